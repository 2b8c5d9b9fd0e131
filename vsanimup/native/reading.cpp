// How a clip is being read: what to compute ahead, and what nobody wants any more.
#include "block_node.hpp"

#include <algorithm>

namespace {

constexpr int linear_from = 3;  // of max_linearity: three frames in order, give or take a swap
constexpr int max_linearity = 6;

}  // namespace

// VapourSynth's workers overtake each other, so a frame may come a little before its turn; only a
// clear trend counts as reading on, and only a wide jump as a seek.
void BlockNode::note_access(int n) {
    const int64_t near = std::max<int64_t>(16, 2 * int64_t(settings_.block));
    const int64_t step = int64_t(n) - last_frame_;
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

// After a seek: blocks that were prefetched for the old place.
void BlockNode::drop_unwanted() {
    ahead_.clear();
    auto unwanted = [](const BlockPtr &block) { return block->waiters == 0 && block->stage < Stage::done; };
    const auto dropped = std::stable_partition(queue_.begin(), queue_.end(), [&](const BlockPtr &b) { return !unwanted(b); });
    gone_.insert(gone_.end(), dropped, queue_.end());
    queue_.erase(dropped, queue_.end());
    for (auto it = blocks_.begin(); it != blocks_.end();) {
        const BlockPtr block = it->second;
        if (!unwanted(block)) {
            ++it;
            continue;
        }
        it = blocks_.erase(it);
        if (block->stage == Stage::running)
            abandon(block);
    }
}

// The last frame of the block that n belongs to, as far as that is known.
int BlockNode::end_of(int n) const {
    if (BlockPtr block = covering(n))
        return block->last;
    const int64_t last = spans_ ? n : int64_t(n) - n % settings_.block + settings_.block - 1;
    return static_cast<int>(std::min<int64_t>(last, settings_.output.numFrames - 1));
}

// A frame of the next block worth computing ahead, or -1. Each is prefetched once while the clip is read on, so
// that one which fails or falls out of the cache is not computed over and over.
int BlockNode::prefetch_target() const {
    if (!settings_.prefetch || linearity_ < linear_from || !stopped_.empty() || !unplaced_.empty())
        return -1;
    for (const auto &entry : blocks_)
        if (entry.second->waiters > 0 && entry.second->stage < Stage::running)
            return -1;  // what is waited for comes first
    const int blocks = std::min(settings_.streams, settings_.cached_blocks - 1);
    int last = end_of(last_frame_);
    for (int i = 0; i < blocks && last < settings_.output.numFrames - 1; i++) {
        if (last + 1 > prefetched_up_to_ && !covering(last + 1))
            return last + 1;
        last = end_of(last + 1);
    }
    return -1;
}

void BlockNode::touch(int first) {
    recent_.remove(first);
    recent_.push_front(first);
    while (static_cast<int>(recent_.size()) > settings_.cached_blocks) {
        auto it = blocks_.find(recent_.back());
        gone_.push_back(std::move(it->second));
        blocks_.erase(it);
        recent_.pop_back();
    }
}
