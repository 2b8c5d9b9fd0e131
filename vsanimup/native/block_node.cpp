// Requests: what VapourSynth's workers do with a node.
#include "block_node.hpp"

#include "janitor.hpp"
#include "registry.hpp"

#include <algorithm>
#include <climits>

namespace {

using Shared = std::shared_ptr<BlockNode>;

BlockNode &node_of(void *instance) { return **static_cast<Shared *>(instance); }

// The source frames that a request to fetch has asked for.
struct Asked {
    int from, to;
};

}  // namespace

BlockNode::BlockNode(BlockSettings settings, Callback callback, VSNode *source, VSNode *spans, VSCore *core,
                     const VSAPI *vsapi)
    : settings_(std::move(settings)),
      callback_(callback),
      vsapi_(vsapi),
      core_(core),
      source_(source),
      spans_(spans) {}

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
        for (PyRef ref : {callback.run, callback.cancel, callback.close})
            gil.api->Py_DecRef(ref);
    });
}

VSNode *BlockNode::create(BlockSettings settings, Callback callback, VSNode *source, VSNode *spans, VSCore *core,
                          const VSAPI *vsapi) {
    Shared node(new BlockNode(std::move(settings), callback, source, spans, core, vsapi));
    registry::add(node);
    const BlockSettings &s = node->settings_;

    VSVideoInfo info = s.output;
    vsapi->getVideoFormatByID(&info.format, pfGray8, core);
    info.width = info.height = 1;
    node->ticket_ = Frame(vsapi->newVideoFrame(&info.format, 1, 1, nullptr, core), vsapi);

    const bool spatial = s.block == 1 && s.grid == 1 && s.before == 0 && s.after == 0 && !spans;
    VSFilterDependency on_source[] = {{source, spatial ? rpStrictSpatial : rpGeneral}, {spans, rpGeneral}};
    node->fetch_ = vsapi->createVideoFilter2((s.function + " source").c_str(), &info, fetch_get_frame, fetch_free,
                                             fmParallel, on_source, spans ? 2 : 1, new Shared(node), core);
    info.numFrames = INT_MAX;
    node->await_ = vsapi->createVideoFilter2((s.function + " wait").c_str(), &info, await_get_frame, await_free,
                                             fmUnordered, nullptr, 0, new Shared(node), core);
    if (!node->fetch_ || !node->await_)
        return nullptr;
    // A ticket from a cache would stand for a block that was neither queued nor waited for.
    vsapi->setCacheMode(node->fetch_, cmForceDisable);
    vsapi->setCacheMode(node->await_, cmForceDisable);

    VSFilterDependency on_both[] = {{node->fetch_, rpGeneral}, {node->await_, rpGeneral}};
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
    vsapi->freeNode((*shared)->spans_);
    delete shared;
}

void BlockNode::stop(const char *reason) {
    std::map<int, BlockPtr> blocks;  // their frames are freed after the mutex
    std::vector<BlockPtr> gone;
    std::deque<BlockPtr> queue;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        if (stopped_.empty())
            stopped_ = reason;
        blocks.swap(blocks_);
        gone.swap(gone_);
        queue.swap(queue_);
        recent_.clear();
        for (const auto &entry : running_)
            abandon(entry.second);
        work_.notify_all();
        finished_.notify_all();
    }
}

BlockNode::BlockPtr BlockNode::covering(int n) const {
    auto it = blocks_.upper_bound(n);
    if (it == blocks_.begin())
        return nullptr;
    --it;
    return it->second->last >= n ? it->second : nullptr;
}

// A new block, held by the requests that have waited to know of it.
BlockNode::BlockPtr BlockNode::place(int first, int last, int from, int to) {
    auto block = std::make_shared<Block>(first, last, from, to);
    blocks_[first] = block;
    for (auto it = unplaced_.begin(); it != unplaced_.end();) {
        Request *request = *it;
        if (first <= request->n && request->n <= last) {
            hold(*request, block);
            it = unplaced_.erase(it);
        } else {
            ++it;
        }
    }
    return block;
}

BlockNode::BlockPtr BlockNode::place_on_grid(int n) {
    const int end = settings_.output.numFrames - 1;
    const int first = n - n % settings_.block;
    const int64_t cell = int64_t(settings_.block) * settings_.grid, begin = n - n % cell;
    auto within = [end](int64_t frame) { return static_cast<int>(std::clamp<int64_t>(frame, 0, end)); };
    return place(first, within(int64_t(first) + settings_.block - 1), within(begin - settings_.before),
                 within(begin + cell - 1 + settings_.after));
}

// The block of frame n, which shows the drawing `span`; null when nobody wants it any more.
BlockNode::BlockPtr BlockNode::place_drawing(int n, Span span) {
    const bool prefetched = ahead_.erase(n) > 0;
    if (BlockPtr block = covering(n))
        return block;
    for (int k = span.first; k <= span.last; k++)
        if (covering(k))
            span = {n, n, n, n};  // properties that contradict each other
    const bool wanted = std::any_of(unplaced_.begin(), unplaced_.end(), [&](const Request *request) {
        return span.first <= request->n && request->n <= span.last;
    });
    if (!stopped_.empty() || !(wanted || prefetched))
        return nullptr;
    const int64_t centre = span.first + (span.last - span.first) / 2;
    const auto from = static_cast<int>(std::max<int64_t>(span.from, centre - settings_.before));
    const auto to = static_cast<int>(std::min<int64_t>(span.to, centre + settings_.after));
    return place(span.first, span.last, std::min(span.first, from), std::max(span.last, to));
}

void BlockNode::hold(Request &request, const BlockPtr &block) {
    request.block = block;
    block->waiters++;
}

void BlockNode::let_go(Request &request) {
    if (request.ticket >= 0)
        tickets_.erase(request.ticket);
    request.ticket = -1;
    if (request.block)
        request.block->waiters--;
    else
        unplaced_.erase(&request);
}

const VSFrame *VS_CC BlockNode::main_get_frame(int n, int reason, void *instance, void **frame_data,
                                               VSFrameContext *context, VSCore *, const VSAPI *) {
    BlockNode &node = node_of(instance);
    if (reason == arInitial)
        return node.request(n, frame_data, context);
    if (reason == arAllFramesReady)
        return node.serve(frame_data, context);
    node.forsake(frame_data);
    return nullptr;
}

const VSFrame *BlockNode::request(int n, void **frame_data, VSFrameContext *context) {
    std::vector<BlockPtr> gone;
    std::unique_lock<std::mutex> lock(mutex_);
    if (!stopped_.empty()) {
        vsapi_->setFilterError((settings_.function + ": " + stopped_).c_str(), context);
        return nullptr;
    }
    note_access(n);
    BlockPtr block = covering(n);
    if (!block && !spans_)
        block = place_on_grid(n);
    if (block && block->stage == Stage::done) {
        touch(block->first);
        gone.swap(gone_);
        return block->outputs[static_cast<size_t>(n - block->first)].share();
    }
    auto *request = new Request{n, nullptr};
    if (block)
        hold(*request, block);  // the block may leave the cache before it is served
    else
        unplaced_.insert(request);
    *frame_data = request;
    const int wanted = block ? block->first : n;
    gone.swap(gone_);
    lock.unlock();
    vsapi_->requestFrameFilter(wanted, fetch_, context);
    return nullptr;
}

const VSFrame *BlockNode::serve(void **frame_data, VSFrameContext *context) {
    auto *request = static_cast<Request *>(*frame_data);
    BlockPtr block;  // freed after the mutex
    std::unique_lock<std::mutex> lock(mutex_);
    block = request->block;
    const Stage stage = block ? block->stage : Stage::wanted;
    if (stage < Stage::done && stopped_.empty()) {
        if (stage == Stage::wanted) {
            // VapourSynth merges equal requests, so fetch may have been on its way already for an earlier block of
            // these frames, which has failed or was dropped since.
            const int wanted = block ? block->first : request->n;
            lock.unlock();
            vsapi_->requestFrameFilter(wanted, fetch_, context);
            return nullptr;
        }
        const int ticket = request->ticket = next_ticket_;
        next_ticket_ = next_ticket_ == INT_MAX - 1 ? 0 : next_ticket_ + 1;
        tickets_[ticket] = block;
        lock.unlock();
        vsapi_->requestFrameFilter(ticket, await_, context);
        return nullptr;
    }
    const int n = request->n;
    let_go(*request);
    delete request;
    *frame_data = nullptr;
    if (stage == Stage::done)
        return block->outputs[static_cast<size_t>(n - block->first)].share();
    const std::string error = stage == Stage::failed ? block->error : settings_.function + ": " + stopped_;
    lock.unlock();
    vsapi_->setFilterError(error.c_str(), context);
    return nullptr;
}

const VSFrame *VS_CC BlockNode::await_get_frame(int n, int, void *instance, void **, VSFrameContext *, VSCore *,
                                                const VSAPI *) {
    return node_of(instance).await(n);
}

const VSFrame *BlockNode::await(int ticket) {
    std::unique_lock<std::mutex> lock(mutex_);
    auto it = tickets_.find(ticket);
    if (it != tickets_.end()) {
        const BlockPtr block = it->second;
        finished_.wait(lock, [&] { return block->stage >= Stage::done || !stopped_.empty(); });
    }
    return ticket_.share();
}

// The source frames could not be had; VapourSynth passes their error on.
void BlockNode::forsake(void **frame_data) {
    auto *request = static_cast<Request *>(*frame_data);
    if (!request)
        return;
    BlockPtr block;  // freed after the mutex
    {
        std::lock_guard<std::mutex> lock(mutex_);
        block = request->block;
        let_go(*request);
        if (block && block->waiters == 0 && block->stage == Stage::wanted && covering(block->first) == block)
            blocks_.erase(block->first);
    }
    delete request;
    *frame_data = nullptr;
}

const VSFrame *VS_CC BlockNode::fetch_get_frame(int n, int reason, void *instance, void **frame_data,
                                                VSFrameContext *context, VSCore *, const VSAPI *) {
    if (reason == arInitial)
        return node_of(instance).fetch(n, frame_data, context);
    if (reason == arAllFramesReady)
        return node_of(instance).take_sources(n, frame_data, context);
    delete static_cast<Asked *>(*frame_data);
    *frame_data = nullptr;
    return nullptr;
}

const VSFrame *BlockNode::fetch(int n, void **frame_data, VSFrameContext *context) {
    std::unique_lock<std::mutex> lock(mutex_);
    const BlockPtr block = covering(n);
    const bool wanted = block ? block->stage == Stage::wanted : spans_ != nullptr;
    lock.unlock();
    if (!wanted)
        return ticket_.share();
    if (block)
        return ask_sources(*block, frame_data, context);
    vsapi_->requestFrameFilter(n, spans_, context);
    return nullptr;
}

const VSFrame *BlockNode::ask_sources(const Block &block, void **frame_data, VSFrameContext *context) {
    *frame_data = new Asked{block.from, block.to};
    for (int n = block.from; n <= block.to; n++)
        vsapi_->requestFrameFilter(n, source_, context);
    return nullptr;
}

const VSFrame *BlockNode::take_sources(int n, void **frame_data, VSFrameContext *context) {
    if (!*frame_data) {
        const Frame frame(vsapi_->getFrameFilter(n, spans_, context), vsapi_);
        const Span span = span_of(frame.get(), n, settings_.output.numFrames, vsapi_);
        std::unique_lock<std::mutex> lock(mutex_);
        const BlockPtr block = place_drawing(n, span);
        const bool wanted = block && block->stage == Stage::wanted;
        lock.unlock();
        return wanted ? ask_sources(*block, frame_data, context) : ticket_.share();
    }
    const std::unique_ptr<Asked> asked(static_cast<Asked *>(*frame_data));
    *frame_data = nullptr;
    std::vector<Frame> inputs;
    for (int k = asked->from; k <= asked->to; k++)
        inputs.emplace_back(vsapi_->getFrameFilter(k, source_, context), vsapi_);
    std::lock_guard<std::mutex> lock(mutex_);
    const BlockPtr block = covering(n);
    if (block && block->stage == Stage::wanted && block->from == asked->from && block->to == asked->to) {
        block->inputs = std::move(inputs);
        enqueue(block);
    }
    return ticket_.share();
}
