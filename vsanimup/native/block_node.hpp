// The one kind of node: it computes a clip in blocks of frames, by a Python callback.
//
// A block is `block` frames of a fixed grid or, where another clip's frames tell of drawings (span.hpp), the run of
// frames that show one drawing: computed once, and served to all of them. A node is three VapourSynth filters that
// share one BlockNode; two of them give empty tickets for frames:
//   fetch  asks for the source frames of the block that frame n belongs to, and puts the block into the queue. Never
//          waits, so any number of blocks can be on their way.
//   await  waits until the block of ticket n is computed. fmUnordered lets only one of VapourSynth's workers in, so
//          that the others go on with the filters before and after: a block done out of turn is handed over after the
//          one asked for before it, once that is computed.
//   main   the filter the user sees. Asks the two others in turn; serves finished blocks at once.
// (One fmParallelRequests filter would do with less, but while one of its frames waits for another to be computed
// VapourSynth starts no further request of it.)
// Blocks are computed by `streams` threads of our own, since thread-local state of Python, CUDA and OpenMP does not
// survive on VapourSynth's workers.
//
// Why no wait is endless. The one place where a worker waits is await. Each request of main draws a ticket of its own,
// which names the block that the request holds: VapourSynth cannot merge it with another's, nor can it come to mean a
// later block of the same frames. A ticket is drawn only for a block that has its source frames (stage `queued` or
// beyond), so nothing that needs a worker is left to do for it; a block that is held (`waiters`) is never dropped from
// the queue; and the threads that compute it wait for no worker and for no other block.
#pragma once

#include "python_api.hpp"
#include "span.hpp"

#include <VapourSynth4.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
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
    int grid;       // a block's source frames are those of all blocks in its cell of the grid, in blocks
    bool prefetch;
    int64_t group;  // nodes that are stopped together, by stop_nodes()
    VSVideoInfo output;
};

// The Python side of a node: run(block, first, inputs, outputs, number, handle) -> None | error text; cancel(number),
// while that run is going on or later; close().
struct Callback {
    PyRef run = nullptr, cancel = nullptr, close = nullptr;  // owned
};

class BlockNode : public std::enable_shared_from_this<BlockNode> {
  public:
    // Takes over `source`, `spans`, whose frames tell of those of `source` (null: blocks lie on the grid), and the
    // callback's references. Returns the filter, or nullptr.
    static VSNode *create(BlockSettings settings, Callback callback, VSNode *source, VSNode *spans, VSCore *core,
                          const VSAPI *vsapi);

    ~BlockNode();
    void stop(const char *reason);  // waiting requests fail, blocks are dropped, threads end
    int64_t group() const { return settings_.group; }

    struct Counts {
        int nodes, threads;
    };
    static Counts counts();

  private:
    enum class Stage { wanted, queued, running, done, failed };

    struct Block {
        Block(int first, int last, int from, int to) : first(first), last(last), from(from), to(to) {}
        const int first, last, from, to;  // the frames it makes, and the source frames it needs
        Stage stage = Stage::wanted;
        int waiters = 0;                     // requests that will be served from it
        std::atomic<bool> unwanted = {false};  // nobody will look at what is being computed
        std::vector<Frame> inputs, outputs;
        std::string error;
    };
    using BlockPtr = std::shared_ptr<Block>;

    // A request that main has not answered yet.
    struct Request {
        int n;
        BlockPtr block;   // null until it is known which drawing the frame shows
        int ticket = -1;  // the one that it waits for
    };

    BlockNode(BlockSettings settings, Callback callback, VSNode *source, VSNode *spans, VSCore *core,
              const VSAPI *vsapi);

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
    const VSFrame *serve(void **frame_data, VSFrameContext *context);
    void forsake(void **frame_data);
    const VSFrame *fetch(int n, void **frame_data, VSFrameContext *context);
    const VSFrame *take_sources(int n, void **frame_data, VSFrameContext *context);
    const VSFrame *ask_sources(const Block &block, void **frame_data, VSFrameContext *context);
    const VSFrame *await(int ticket);

    // With the mutex held:
    BlockPtr covering(int n) const;
    BlockPtr place_on_grid(int n);
    BlockPtr place_drawing(int n, Span span);
    BlockPtr place(int first, int last, int from, int to);
    int end_of(int n) const;
    void hold(Request &request, const BlockPtr &block);
    void let_go(Request &request);
    void note_access(int n);
    void drop_unwanted();
    void abandon(const BlockPtr &block);
    int prefetch_target() const;
    void finish(const BlockPtr &block, std::string error);
    void touch(int first);
    void enqueue(const BlockPtr &block);
    BlockPtr take_next();

    // On a compute thread:
    void compute_loop();
    void start_prefetch(int n, std::unique_lock<std::mutex> &lock);
    std::string compute(Block &block, int64_t number, const PythonApi &py, void *&thread_state);
    std::vector<VSFrame *> make_outputs(Block &block) const;
    PyRef frame_tuple(const PythonApi &py, const VSFrame *frame, int n, bool writable, bool with_planes) const;

    const BlockSettings settings_;
    Callback callback_;
    const VSAPI *const vsapi_;
    VSCore *const core_;
    VSNode *const source_, *const spans_;         // owned by the fetch filter
    VSNode *fetch_ = nullptr, *await_ = nullptr;  // owned by the main filter
    Frame ticket_;

    std::mutex mutex_;
    std::condition_variable work_, finished_;
    std::map<int, BlockPtr> blocks_;  // by their first frames
    std::vector<BlockPtr> gone_;      // to be freed without the mutex: a frame's properties may need the GIL for that
    std::set<Request *> unplaced_;    // requests for frames whose drawing is not known yet
    std::unordered_map<int, BlockPtr> tickets_;
    int next_ticket_ = 0;
    std::list<int> recent_;  // finished blocks, the latest used first
    std::deque<BlockPtr> queue_;
    std::map<int64_t, BlockPtr> running_;
    int64_t runs_ = 0;
    int threads_ = 0, idle_ = 0;
    std::string stopped_;  // why, once the node was stopped or freed

    // How the clip is being read, for prefetching.
    int last_frame_ = -1000000;
    int linearity_ = 0;
    int prefetched_up_to_ = -1;
    std::set<int> ahead_;  // frames that are on their way to be prefetched
};

// Stops all nodes of a group (all nodes: group < 0) and waits, without the GIL, until their
// threads have ended. False when some were still computing after `seconds`.
bool stop_nodes(int64_t group, double seconds, const char *reason);

// The functions that vsanimup.bridge gets from here; see its native.py. Needs the GIL. New reference.
PyRef native_functions(const PythonApi &py);

// Frame properties and frame references are reached without a core.
extern const VSAPI *g_vsapi;
