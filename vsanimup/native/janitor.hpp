// One thread of our own that gives things back which must not be given back where they fell due:
// Python references (the thread at hand may hold VapourSynth's locks, so it must not wait for the
// GIL) and node references (the last one deletes the core, which joins VapourSynth's workers, so
// it must not happen on one of these).
#pragma once

#include <functional>

namespace janitor {
void post(std::function<void()> task);
bool wait_idle(double seconds);  // without the GIL; false on timeout
}  // namespace janitor
