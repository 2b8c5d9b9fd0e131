// zig links its own C++ library into the plugin for macOS and its linker exports the library's operators new and delete,
// which are weak: macOS would let the whole process use them. These here, which are hidden, take their places.
#ifdef ANIMUP_ZIG_MACOS
#include <cstdlib>
#include <new>

#define HIDDEN __attribute__((visibility("hidden")))

HIDDEN void *operator new(std::size_t size) {
    if (void *memory = std::malloc(size ? size : 1))
        return memory;
    throw std::bad_alloc();
}
HIDDEN void *operator new[](std::size_t size) { return operator new(size); }
HIDDEN void operator delete(void *memory) noexcept { std::free(memory); }
HIDDEN void operator delete[](void *memory) noexcept { std::free(memory); }
HIDDEN void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }
HIDDEN void operator delete[](void *memory, std::size_t) noexcept { std::free(memory); }
#endif
