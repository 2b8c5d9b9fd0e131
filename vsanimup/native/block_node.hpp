// The one kind of node: it computes a clip in blocks of frames on a fixed grid, by a Python callback.
//
// A node is three VapourSynth filters that share one BlockNode; two of them have one frame a block,
// an empty ticket:
//   fetch  asks for the block's source frames and puts the block into the queue. Never waits, so any
//          number of blocks can be on their way.
//   await  waits until the block is computed. fmUnordered lets only one of VapourSynth's workers in,
//          so that the others go on with the filters before and after.
//   main   the filter the user sees. Asks the two others in turn; serves finished blocks at once.
// (One fmParallelRequests filter would do with less, but while one of its frames waits for another
// to be computed VapourSynth starts no further request of it.)
// Blocks are computed by `streams` threads of our own, since thread-local state of Python, CUDA and
// OpenMP does not survive on VapourSynth's workers.
#pragma once

#include "python_api.hpp"

#include <VapourSynth4.h>

#include <condition_variable>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

// A reference to a frame.
class Frame {
  public:
    Frame() = default;
    Frame(const VSFrame *owned, const VSAPI *vsapi) : frame_(owned), vsapi_(vsapi) {}
    Frame(Frame &&other) noexcept : frame_(other.frame_), vsapi_(other.vsapi_) { other.frame_ = nullptr; }
    Frame &operator=(Frame &&other) noexcept {
        std::swap(frame_, other.frame_);
        std::swap(vsapi_, other.vsapi_);
        return *this;
    }
    ~Frame() {
        if (frame_)
            vsapi_->freeFrame(frame_);
    }
    const VSFrame *get() const { return frame_; }
    const VSFrame *share() const { return vsapi_->addFrameRef(frame_); }

  private:
    const VSFrame *frame_ = nullptr;
    const VSAPI *vsapi_ = nullptr;
};

struct BlockSettings {
    std::string function;  // what error messages start with
    int block, before, after, streams, cached_blocks;
    int grid;  // a block's source frames are those of all blocks in its cell of the grid, in blocks
    bool prefetch;
    int64_t group;  // nodes that are stopped together, by stop_nodes()
    VSVideoInfo output;
};

// The Python side of a node: run(block, first, inputs, outputs, node) -> None | error text; close().
struct Callback {
    PyRef run = nullptr, close = nullptr;  // owned
};

class BlockNode : public std::enable_shared_from_this<BlockNode> {
  public:
    // Takes over `source` and the callback's references. Returns the filter, or nullptr.
    static VSNode *create(BlockSettings settings, Callback callback, VSNode *source, VSCore *core, const VSAPI *vsapi);

    ~BlockNode();
    void stop(const char *reason);  // waiting requests fail, queued blocks are dropped, threads end
    bool stopped();
    int64_t group() const { return settings_.group; }

    struct Counts {
        int nodes, threads;
    };
    static Counts counts();

  private:
    enum class Stage { wanted, queued, running, done, failed };

    struct Block {
        explicit Block(int index) : index(index) {}
        const int index;
        Stage stage = Stage::wanted;
        int waiters = 0;  // requests that will be served from it
        std::vector<Frame> inputs, outputs;
        std::string error;
    };
    using BlockPtr = std::shared_ptr<Block>;

    BlockNode(BlockSettings settings, Callback callback, VSNode *source, VSCore *core, const VSAPI *vsapi);

    static const VSFrame *VS_CC main_get_frame(int n, int reason, void *instance, void **frame_data,
                                               VSFrameContext *context, VSCore *core, const VSAPI *vsapi);
    static const VSFrame *VS_CC await_get_frame(int n, int reason, void *instance, void **frame_data,
                                                VSFrameContext *context, VSCore *core, const VSAPI *vsapi);
    static const VSFrame *VS_CC fetch_get_frame(int n, int reason, void *instance, void **frame_data,
                                                VSFrameContext *context, VSCore *core, const VSAPI *vsapi);
    static void VS_CC main_free(void *instance, VSCore *core, const VSAPI *vsapi);
    static void VS_CC fetch_free(void *instance, VSCore *core, const VSAPI *vsapi);
    static void VS_CC await_free(void *instance, VSCore *core, const VSAPI *vsapi);
    static void VS_CC prefetch_done(void *data, const VSFrame *frame, int n, VSNode *node, const char *error);

    const VSFrame *request(int n, void **frame_data, VSFrameContext *context);
    const VSFrame *serve(int n, void **frame_data, VSFrameContext *context);
    void forsake(void **frame_data);
    const VSFrame *fetch(int index, bool ready, VSFrameContext *context);
    const VSFrame *await(int index);

    // With the mutex held:
    void note_access(int n);
    void drop_unwanted();
    int prefetch_target() const;
    void finish(const BlockPtr &block, std::string error);
    void touch(int index);
    void enqueue(const BlockPtr &block);
    BlockPtr take_next();

    // On a compute thread:
    void compute_loop();
    void start_prefetch(int index, std::unique_lock<std::mutex> &lock);
    std::string compute(Block &block, const PythonApi &py, void *&thread_state);
    PyRef frame_tuple(const PythonApi &py, const VSFrame *frame, int n, bool writable) const;

    int first_source(int index) const;
    int last_source(int index) const;
    int output_count(int index) const;

    const BlockSettings settings_;
    Callback callback_;
    const VSAPI *const vsapi_;
    VSCore *const core_;
    VSNode *const source_;    // owned by the fetch filter
    VSNode *fetch_ = nullptr, *await_ = nullptr;  // owned by the main filter
    Frame ticket_;
    int blocks_total_;

    std::mutex mutex_;
    std::condition_variable work_, finished_;
    std::unordered_map<int, BlockPtr> blocks_;
    std::list<int> recent_;  // finished blocks, the latest used first
    std::deque<BlockPtr> queue_;
    int threads_ = 0, idle_ = 0;
    std::string stopped_;  // why, once the node was stopped or freed

    // How the clip is being read, for prefetching.
    int last_frame_ = -1000000;
    int linearity_ = 0;
    int prefetched_up_to_ = -1;
};

// Stops all nodes of a group (all nodes: group < 0) and waits, without the GIL, until their
// threads have ended. False when some were still computing after `seconds`.
bool stop_nodes(int64_t group, double seconds, const char *reason);

// The functions that vsanimup.bridge gets from here; see bridge.py. Needs the GIL. New reference.
PyRef native_functions(const PythonApi &py);

// Frame properties and frame references are reached without a core.
extern const VSAPI *g_vsapi;
