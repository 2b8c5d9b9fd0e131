// All nodes of the process, and the number of their threads.
#pragma once

#include <memory>

class BlockNode;

namespace registry {
void add(const std::shared_ptr<BlockNode> &node);
void remove(const BlockNode *node);
void thread_started(const BlockNode *node);
void thread_ended(const BlockNode *node);
}  // namespace registry
