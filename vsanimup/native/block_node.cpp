// Requests: what VapourSynth's workers do with a node.
#include "block_node.hpp"

#include "janitor.hpp"
#include "registry.hpp"

#include <algorithm>

namespace {

using Shared = std::shared_ptr<BlockNode>;

BlockNode &node_of(void *instance) { return **static_cast<Shared *>(instance); }

constexpr int linear_from = 3;  // of max_linearity: three frames in order, give or take a swap
constexpr int max_linearity = 6;

}  // namespace

BlockNode::BlockNode(BlockSettings settings, Callback callback, VSNode *source, VSCore *core, const VSAPI *vsapi)
    : settings_(std::move(settings)),
      callback_(callback),
      vsapi_(vsapi),
      core_(core),
      source_(source),
      blocks_total_((settings_.output.numFrames - 1) / settings_.block + 1) {}

BlockNode::~BlockNode() {
    registry::remove(this);
    Callback callback = callback_;
    janitor::post([callback] {
        Gil gil;
        if (!gil.api)
            return;  // no interpreter any more: the references went with it
        PyRef result = gil.api->PyObject_CallObject(callback.close, nullptr);
        if (result)
            gil.api->Py_DecRef(result);
        else
            gil.api->PyErr_Clear();
        gil.api->Py_DecRef(callback.run);
        gil.api->Py_DecRef(callback.close);
    });
}

VSNode *BlockNode::create(BlockSettings settings, Callback callback, VSNode *source, VSCore *core, const VSAPI *vsapi) {
    Shared node(new BlockNode(std::move(settings), callback, source, core, vsapi));
    registry::add(node);
    const BlockSettings &s = node->settings_;

    VSVideoInfo ticket_info = s.output;
    vsapi->getVideoFormatByID(&ticket_info.format, pfGray8, core);
    ticket_info.width = ticket_info.height = 1;
    ticket_info.numFrames = node->blocks_total_;
    node->ticket_ = Frame(vsapi->newVideoFrame(&ticket_info.format, 1, 1, nullptr, core), vsapi);

    const bool spatial = s.block == 1 && s.grid == 1 && s.before == 0 && s.after == 0;
    VSFilterDependency on_source = {source, spatial ? rpStrictSpatial : rpGeneral};
    node->fetch_ = vsapi->createVideoFilter2((s.function + " source").c_str(), &ticket_info, fetch_get_frame,
                                             fetch_free, fmParallel, &on_source, 1, new Shared(node), core);
    node->await_ = vsapi->createVideoFilter2((s.function + " wait").c_str(), &ticket_info, await_get_frame,
                                             await_free, fmUnordered, nullptr, 0, new Shared(node), core);
    if (!node->fetch_ || !node->await_)
        return nullptr;
    // A ticket from a cache would stand for a block that was neither queued nor waited for.
    vsapi->setCacheMode(node->fetch_, cmForceDisable);
    vsapi->setCacheMode(node->await_, cmForceDisable);

    const int pattern = s.block == 1 ? rpStrictSpatial : rpGeneral;
    VSFilterDependency on_both[] = {{node->fetch_, pattern}, {node->await_, pattern}};
    return vsapi->createVideoFilter2(s.function.c_str(), &s.output, main_get_frame, main_free, fmParallel, on_both, 2,
                                     new Shared(node), core);
}

void VS_CC BlockNode::main_free(void *instance, VSCore *, const VSAPI *vsapi) {
    auto *shared = static_cast<Shared *>(instance);
    (*shared)->stop("the filter was freed");
    vsapi->freeNode((*shared)->await_);
    vsapi->freeNode((*shared)->fetch_);
    delete shared;  // running computations keep the rest alive
}

void VS_CC BlockNode::await_free(void *instance, VSCore *, const VSAPI *) { delete static_cast<Shared *>(instance); }

void VS_CC BlockNode::fetch_free(void *instance, VSCore *, const VSAPI *vsapi) {
    auto *shared = static_cast<Shared *>(instance);
    (*shared)->ticket_ = Frame();
    vsapi->freeNode((*shared)->source_);
    delete shared;
}

void BlockNode::stop(const char *reason) {
    std::unordered_map<int, BlockPtr> blocks;  // frees its frames after the mutex
    std::deque<BlockPtr> queue;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        if (stopped_.empty())
            stopped_ = reason;
        blocks.swap(blocks_);
        queue.swap(queue_);
        recent_.clear();
        work_.notify_all();
        finished_.notify_all();
    }
}

bool BlockNode::stopped() {
    std::lock_guard<std::mutex> lock(mutex_);
    return !stopped_.empty();
}

int BlockNode::first_source(int index) const {
    const int cell = index - index % settings_.grid;
    return std::max(0, cell * settings_.block - settings_.before);
}

int BlockNode::last_source(int index) const {
    const int last = settings_.output.numFrames - 1;
    const int64_t next_cell = int64_t(index - index % settings_.grid) + settings_.grid;
    const int64_t end = next_cell * settings_.block - 1 + settings_.after;
    return static_cast<int>(std::min<int64_t>(last, end));
}

int BlockNode::output_count(int index) const {
    return std::min(settings_.block, settings_.output.numFrames - index * settings_.block);
}

const VSFrame *VS_CC BlockNode::main_get_frame(int n, int reason, void *instance, void **frame_data,
                                               VSFrameContext *context, VSCore *, const VSAPI *) {
    BlockNode &node = node_of(instance);
    if (reason == arInitial)
        return node.request(n, frame_data, context);
    if (reason == arAllFramesReady)
        return node.serve(n, frame_data, context);
    node.forsake(frame_data);
    return nullptr;
}

const VSFrame *BlockNode::request(int n, void **frame_data, VSFrameContext *context) {
    const int index = n / settings_.block;
    std::unique_lock<std::mutex> lock(mutex_);
    if (!stopped_.empty()) {
        vsapi_->setFilterError((settings_.function + ": " + stopped_).c_str(), context);
        return nullptr;
    }
    note_access(n);
    BlockPtr &block = blocks_[index];
    if (!block)
        block = std::make_shared<Block>(index);
    if (block->stage == Stage::done) {
        touch(index);
        return block->outputs[n - index * settings_.block].share();
    }
    block->waiters++;
    // Pinned until served: the block may leave the cache before.
    *frame_data = new BlockPtr(block);
    lock.unlock();
    vsapi_->requestFrameFilter(index, fetch_, context);
    return nullptr;
}

const VSFrame *BlockNode::serve(int n, void **frame_data, VSFrameContext *context) {
    auto *pin = static_cast<BlockPtr *>(*frame_data);
    BlockPtr block = *pin;
    std::unique_lock<std::mutex> lock(mutex_);
    const Stage stage = block->stage;
    if (stage < Stage::done && stopped_.empty()) {
        lock.unlock();
        // Usually queued or running by now. But VapourSynth merges equal requests, so the ticket may
        // have been on its way already for an earlier block of this index which has failed since.
        vsapi_->requestFrameFilter(block->index, stage == Stage::wanted ? fetch_ : await_, context);
        return nullptr;
    }
    block->waiters--;
    delete pin;
    *frame_data = nullptr;
    if (stage == Stage::done)
        return block->outputs[n - block->index * settings_.block].share();
    const std::string error = stage == Stage::failed ? block->error : settings_.function + ": " + stopped_;
    lock.unlock();
    vsapi_->setFilterError(error.c_str(), context);
    return nullptr;
}

const VSFrame *VS_CC BlockNode::await_get_frame(int n, int, void *instance, void **, VSFrameContext *, VSCore *,
                                                const VSAPI *) {
    return node_of(instance).await(n);
}

const VSFrame *BlockNode::await(int index) {
    std::unique_lock<std::mutex> lock(mutex_);
    auto it = blocks_.find(index);
    if (it != blocks_.end()) {
        BlockPtr block = it->second;
        finished_.wait(lock, [&] { return block->stage >= Stage::done || !stopped_.empty(); });
    }
    return ticket_.share();
}

// The source frames could not be had; VapourSynth passes their error on.
void BlockNode::forsake(void **frame_data) {
    auto *pin = static_cast<BlockPtr *>(*frame_data);
    if (!pin)
        return;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        Block &block = **pin;
        auto it = blocks_.find(block.index);
        if (--block.waiters == 0 && block.stage == Stage::wanted && it != blocks_.end() && it->second == *pin)
            blocks_.erase(it);
    }
    delete pin;
    *frame_data = nullptr;
}

const VSFrame *VS_CC BlockNode::fetch_get_frame(int n, int reason, void *instance, void **, VSFrameContext *context,
                                                VSCore *, const VSAPI *) {
    return reason == arError ? nullptr : node_of(instance).fetch(n, reason == arAllFramesReady, context);
}

const VSFrame *BlockNode::fetch(int index, bool ready, VSFrameContext *context) {
    const int first = first_source(index), last = last_source(index);
    {
        std::lock_guard<std::mutex> lock(mutex_);
        auto it = blocks_.find(index);
        if (it == blocks_.end() || it->second->stage != Stage::wanted)
            return ticket_.share();
    }
    if (!ready) {
        for (int n = first; n <= last; n++)
            vsapi_->requestFrameFilter(n, source_, context);
        return nullptr;
    }
    std::vector<Frame> inputs;
    for (int n = first; n <= last; n++)
        inputs.emplace_back(vsapi_->getFrameFilter(n, source_, context), vsapi_);
    std::lock_guard<std::mutex> lock(mutex_);
    auto it = blocks_.find(index);
    if (it != blocks_.end() && it->second->stage == Stage::wanted) {
        it->second->inputs = std::move(inputs);
        enqueue(it->second);
    }
    return ticket_.share();
}

// VapourSynth's workers overtake each other, so a frame may come a little before its turn; only a
// clear trend counts as reading on, and only a wide jump as a seek.
void BlockNode::note_access(int n) {
    const int near = std::max(16, 2 * settings_.block);
    const int step = n - last_frame_;
    if (step > 0 && step <= near) {
        linearity_ = std::min(linearity_ + 2, max_linearity);
        last_frame_ = n;
    } else if (step < 0 && step >= -near) {
        linearity_ = std::max(linearity_ - 1, 0);
    } else if (step != 0) {
        linearity_ = 0;
        last_frame_ = n;
        prefetched_up_to_ = -1;
        drop_unwanted();
    }
    if (idle_ > 0 && prefetch_target() >= 0)
        work_.notify_one();
}

// After a seek: blocks that were prefetched for the old place and not begun.
void BlockNode::drop_unwanted() {
    auto unwanted = [](const BlockPtr &block) {
        return block->waiters == 0 && (block->stage == Stage::queued || block->stage == Stage::wanted);
    };
    queue_.erase(std::remove_if(queue_.begin(), queue_.end(), unwanted), queue_.end());
    for (auto it = blocks_.begin(); it != blocks_.end();)
        it = unwanted(it->second) ? blocks_.erase(it) : std::next(it);
}

// The next block worth computing ahead, or -1. Each is prefetched once while the clip is read on, so
// that one which fails or falls out of the cache is not computed over and over.
int BlockNode::prefetch_target() const {
    if (!settings_.prefetch || linearity_ < linear_from || !stopped_.empty())
        return -1;
    for (const auto &entry : blocks_)
        if (entry.second->waiters > 0 && entry.second->stage < Stage::running)
            return -1;  // what is waited for comes first
    const int current = last_frame_ / settings_.block;
    const int ahead = std::min(settings_.streams, settings_.cached_blocks - 1);
    const int end = std::min(blocks_total_ - 1, current + ahead);
    for (int index = std::max(current, prefetched_up_to_) + 1; index <= end; index++)
        if (!blocks_.count(index))
            return index;
    return -1;
}

void BlockNode::touch(int index) {
    recent_.remove(index);
    recent_.push_front(index);
    while (static_cast<int>(recent_.size()) > settings_.cached_blocks) {
        blocks_.erase(recent_.back());
        recent_.pop_back();
    }
}
