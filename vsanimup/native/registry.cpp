#include "registry.hpp"

#include "block_node.hpp"
#include "janitor.hpp"

#include <chrono>
#include <cstdlib>
#include <unordered_map>

namespace {

struct Entry {
    std::weak_ptr<BlockNode> node;
    int64_t group;
    int threads;
};

// Never destroyed: threads may still use it while the process exits.
struct Registry {
    std::mutex mutex;
    std::condition_variable ended;
    std::unordered_map<const BlockNode *, Entry> nodes;
};

Registry &instance() {
    static Registry *registry = new Registry;
    return *registry;
}

bool belongs(const Entry &entry, int64_t group) { return group < 0 || entry.group == group; }

#ifndef _WIN32
// For hosts that end without finalising Python, as vspipe does: libraries are about to be torn down
// under our threads. (On Windows the other threads are dead by the time such a handler runs.)
void before_exit() {
    stop_nodes(-1, 10.0, "the process is exiting");
    interpreter_gate::close(0.0);
}
#endif

}  // namespace

namespace registry {

void add(const std::shared_ptr<BlockNode> &node) {
    Registry &r = instance();
    std::lock_guard<std::mutex> lock(r.mutex);
    r.nodes[node.get()] = {node, node->group(), 0};
}

void remove(const BlockNode *node) {
    Registry &r = instance();
    std::lock_guard<std::mutex> lock(r.mutex);
    r.nodes.erase(node);
}

void thread_started(const BlockNode *node) {
    Registry &r = instance();
    std::lock_guard<std::mutex> lock(r.mutex);
#ifndef _WIN32
    static bool registered = false;
    if (!registered) {
        registered = true;
        std::atexit(before_exit);
    }
#endif
    r.nodes[node].threads++;
}

void thread_ended(const BlockNode *node) {
    Registry &r = instance();
    std::lock_guard<std::mutex> lock(r.mutex);
    r.nodes[node].threads--;
    r.ended.notify_all();
}

}  // namespace registry

BlockNode::Counts BlockNode::counts() {
    Registry &r = instance();
    std::lock_guard<std::mutex> lock(r.mutex);
    Counts counts = {static_cast<int>(r.nodes.size()), 0};
    for (const auto &entry : r.nodes)
        counts.threads += entry.second.threads;
    return counts;
}

bool stop_nodes(int64_t group, double seconds, const char *reason) {
    if (interpreter_gate::closed())
        seconds = 0.0;  // has been waited for: a thread that still computes will not come back
    Registry &r = instance();
    std::vector<std::shared_ptr<BlockNode>> nodes;
    std::unique_lock<std::mutex> lock(r.mutex);
    for (const auto &entry : r.nodes)
        if (belongs(entry.second, group))
            if (auto node = entry.second.node.lock())
                nodes.push_back(std::move(node));
    lock.unlock();
    for (const auto &node : nodes)
        node->stop(reason);
    nodes.clear();  // not under the lock: a node that goes now takes it
    lock.lock();
    const bool ended = r.ended.wait_for(lock, std::chrono::duration<double>(seconds), [&] {
        for (const auto &entry : r.nodes)
            if (belongs(entry.second, group) && entry.second.threads > 0)
                return false;
        return true;
    });
    lock.unlock();
    janitor::wait_idle(ended ? 1.0 : 0.0);
    return ended;
}
