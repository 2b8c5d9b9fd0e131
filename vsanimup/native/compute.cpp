// Computation: what a node's own threads do.
#include "block_node.hpp"
#include "janitor.hpp"
#include "registry.hpp"

#include <algorithm>
#include <system_error>
#include <thread>

namespace {

constexpr int buffer_read = 0x100, buffer_write = 0x200;  // PyBUF_READ, PyBUF_WRITE

struct Prefetch {
    std::shared_ptr<BlockNode> node;
    VSNode *lease;  // keeps the fetch filter, and with it the core
};

}  // namespace

void BlockNode::enqueue(const BlockPtr &block) {
    block->stage = Stage::queued;
    queue_.push_back(block);
    if (static_cast<int>(queue_.size()) > idle_ && threads_ < settings_.streams) {
        auto self = shared_from_this();
        registry::thread_started(this);
        try {
            std::thread([self]() mutable {
                BlockNode *node = self.get();
                node->compute_loop();
                registry::thread_ended(node);
                self.reset();
            }).detach();
            threads_++;
        } catch (const std::system_error &e) {
            registry::thread_ended(this);
            if (threads_ == 0) {
                queue_.pop_back();
                finish(block, settings_.function + ": cannot start a thread: " + e.what());
            }
        }
    }
    work_.notify_one();
}

void BlockNode::finish(const BlockPtr &block, std::string error) {
    block->error = std::move(error);
    block->stage = block->error.empty() ? Stage::done : Stage::failed;
    if (covering(block->first) == block) {
        if (block->stage == Stage::done)
            touch(block->first);
        else
            blocks_.erase(block->first);  // an error is told to those who wait, not remembered
    }
    finished_.notify_all();
}

// Blocks somebody waits for come before prefetched ones.
BlockNode::BlockPtr BlockNode::take_next() {
    auto it = std::find_if(queue_.begin(), queue_.end(), [](const BlockPtr &block) { return block->waiters > 0; });
    if (it == queue_.end())
        it = queue_.begin();
    BlockPtr block = std::move(*it);
    queue_.erase(it);
    block->stage = Stage::running;
    return block;
}

void BlockNode::compute_loop() {
    const PythonApi *py = python_api();
    if (!py || !interpreter_gate::enter()) {
        stop("the Python interpreter is shutting down");
        return;
    }
    // One thread state for the thread's whole life: Python's thread-local data must survive a block.
    const int gil_state = py->PyGILState_Ensure();
    void *thread_state = py->PyEval_SaveThread();

    std::unique_lock<std::mutex> lock(mutex_);
    while (stopped_.empty()) {
        const int ahead = queue_.empty() ? prefetch_target() : -1;
        if (ahead >= 0) {
            start_prefetch(ahead, lock);
            continue;
        }
        if (queue_.empty()) {
            idle_++;
            work_.wait(lock);
            idle_--;
            continue;
        }
        BlockPtr block = take_next();
        const int64_t number = runs_++;
        running_[number] = block;
        // The core lives as long as a node of it, so a block can be finished after the clip was freed: which may be
        // whenever the mutex is free.
        VSNode *lease = vsapi_->addNodeRef(fetch_);
        // Ahead of the computation, so that the next block's source frames are fetched meanwhile.
        for (int next; (next = prefetch_target()) >= 0;)
            start_prefetch(next, lock);
        lock.unlock();
        std::string error = compute(*block, number, *py, thread_state);
        lock.lock();
        running_.erase(number);
        finish(block, std::move(error));
        std::vector<BlockPtr> gone;
        gone.swap(gone_);
        lock.unlock();
        gone.clear();
        block.reset();
        vsapi_->freeNode(lease);
        lock.lock();
    }
    threads_--;
    lock.unlock();

    py->PyEval_RestoreThread(thread_state);
    py->PyGILState_Release(gil_state);
    interpreter_gate::leave();
}

// A filter may not call getFrameAsync from its getFrame function, but this thread is none of
// VapourSynth's and never waits for the frame. Requested along with the present frame instead, the
// block would delay that frame, and its source errors would fail it.
void BlockNode::start_prefetch(int n, std::unique_lock<std::mutex> &lock) {
    if (!spans_)
        place_on_grid(n);
    ahead_.insert(n);
    prefetched_up_to_ = n;
    VSNode *lease = vsapi_->addNodeRef(fetch_);
    auto *data = new Prefetch{shared_from_this(), lease};
    lock.unlock();
    vsapi_->getFrameAsync(n, lease, prefetch_done, data);
    lock.lock();
}

void VS_CC BlockNode::prefetch_done(void *data, const VSFrame *frame, int n, VSNode *, const char *error) {
    auto *prefetch = static_cast<Prefetch *>(data);
    BlockNode &node = *prefetch->node;
    const VSAPI *vsapi = node.vsapi_;
    if (frame)
        vsapi->freeFrame(frame);
    {
        std::lock_guard<std::mutex> lock(node.mutex_);
        node.ahead_.erase(n);
        const BlockPtr block = error ? node.covering(n) : nullptr;
        if (block && block->stage == Stage::wanted && block->waiters == 0)
            node.blocks_.erase(block->first);
    }
    janitor::post([prefetch, vsapi] {
        vsapi->freeNode(prefetch->lease);
        delete prefetch;
    });
}

// What is computed of the block is not wanted any more: Python hears of it from the janitor's thread, since the one
// that is here may not wait for the GIL.
void BlockNode::abandon(const BlockPtr &block) {
    block->unwanted = true;
    for (const auto &entry : running_) {
        if (entry.second != block)
            continue;
        janitor::post([self = shared_from_this(), number = entry.first] {
            Gil gil;
            if (!gil.api)
                return;
            const PythonApi &py = *gil.api;
            PyRef arguments = py.Py_BuildValue("(L)", static_cast<long long>(number));
            PyRef result = py.PyObject_CallObject(self->callback_.cancel, arguments);
            for (PyRef ref : {arguments, result})
                if (ref)
                    py.Py_DecRef(ref);
            py.PyErr_Clear();
        });
    }
}

// The block's frames. All copies of a drawing have the planes of the first, and each its own source frame's properties.
std::vector<VSFrame *> BlockNode::make_outputs(Block &block) const {
    const VSVideoInfo &vi = settings_.output;
    std::vector<VSFrame *> outputs;
    for (int n = block.first; n <= block.last; n++) {
        const VSFrame *properties = block.inputs[static_cast<size_t>(n - block.from)].get();
        VSFrame *frame;
        if (spans_ && !outputs.empty()) {
            const VSFrame *whole[] = {outputs[0], outputs[0], outputs[0]};
            const int planes[] = {0, 1, 2};
            frame = vsapi_->newVideoFrame2(&vi.format, vi.width, vi.height, whole, planes, properties, core_);
        } else {
            frame = vsapi_->newVideoFrame(&vi.format, vi.width, vi.height, properties, core_);
            for (int plane = 0; plane < vi.format.numPlanes; plane++)
                vsapi_->getWritePtr(frame, plane);  // before they are shared: later it would copy them
        }
        outputs.push_back(frame);
        block.outputs.emplace_back(frame, vsapi_);
    }
    return outputs;
}

std::string BlockNode::compute(Block &block, int64_t number, const PythonApi &py, void *&thread_state) {
    for (const Frame &frame : block.inputs)
        if (!vsapi_->getReadPtr(frame.get(), 0))
            return settings_.function + ": clip has its frames on the GPU; download them before this filter";
    const std::vector<VSFrame *> outputs = make_outputs(block);

    py.PyEval_RestoreThread(thread_state);
    PyRef in = py.PyTuple_New(static_cast<ptrdiff_t>(block.inputs.size()));
    for (size_t i = 0; i < block.inputs.size(); i++)
        py.PyTuple_SetItem(in, static_cast<ptrdiff_t>(i),
                           frame_tuple(py, block.inputs[i].get(), block.from + static_cast<int>(i), false, true));
    PyRef out = py.PyTuple_New(static_cast<ptrdiff_t>(outputs.size()));
    for (size_t i = 0; i < outputs.size(); i++)
        py.PyTuple_SetItem(out, static_cast<ptrdiff_t>(i),
                           frame_tuple(py, outputs[i], block.first + static_cast<int>(i), true, i == 0 || !spans_));
    PyRef arguments = py.Py_BuildValue("iiNNLK", block.first / settings_.block, block.first, in, out,
                                       static_cast<long long>(number), reinterpret_cast<unsigned long long>(&block.unwanted));
    PyRef result = arguments ? py.PyObject_CallObject(callback_.run, arguments) : nullptr;
    // run() reports errors as text; it raises only when not even that was possible
    std::string error = result ? utf8(py, result) : settings_.function + ": internal error: " + take_python_error(py);
    for (PyRef ref : {arguments, result})
        if (ref)
            py.Py_DecRef(ref);
    thread_state = py.PyEval_SaveThread();
    block.inputs.clear();
    return error;
}

// (n, handle, ((memory, height, width in samples, bytes a row), …)); no planes where the frame has another's
PyRef BlockNode::frame_tuple(const PythonApi &py, const VSFrame *frame, int n, bool writable, bool with_planes) const {
    const VSVideoFormat *format = vsapi_->getVideoFrameFormat(frame);
    const int count = with_planes ? format->numPlanes : 0;
    PyRef planes = py.PyTuple_New(count);
    for (int p = 0; p < count; p++) {
        const ptrdiff_t stride = vsapi_->getStride(frame, p);
        const int height = vsapi_->getFrameHeight(frame, p), width = vsapi_->getFrameWidth(frame, p);
        // planes are made writable where they are made, and must not be copied now
        const uint8_t *data = vsapi_->getReadPtr(frame, p);
        char *memory = const_cast<char *>(reinterpret_cast<const char *>(data));
        PyRef view = py.PyMemoryView_FromMemory(memory, stride * height, writable ? buffer_write : buffer_read);
        py.PyTuple_SetItem(planes, p,
                           py.Py_BuildValue("NiiL", view, height, width, static_cast<long long>(stride)));
    }
    return py.Py_BuildValue("iKN", n, reinterpret_cast<unsigned long long>(frame), planes);
}
