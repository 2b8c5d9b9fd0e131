// zig links its own C++ library into the plugin for macOS and its linker exports the library's operators new and delete,
// which are weak: macOS would let the whole process use them. These here, which are hidden, take their places: all of
// them, for any that is missing brings in the library's file of them, and with it the exports of the others.
#ifdef ANIMUP_ZIG_MACOS
#include <algorithm>
#include <cstdlib>
#include <new>

#define HIDDEN __attribute__((visibility("hidden")))

static void *plain(std::size_t size) noexcept { return std::malloc(size ? size : 1); }

static void *aligned(std::size_t size, std::align_val_t alignment) noexcept {
    void *memory = nullptr;
    const std::size_t least = std::max(static_cast<std::size_t>(alignment), sizeof(void *));
    return posix_memalign(&memory, least, size ? size : 1) == 0 ? memory : nullptr;
}

static void *checked(void *memory) {
    if (!memory)
        throw std::bad_alloc();
    return memory;
}

using Size = std::size_t;
using Align = std::align_val_t;
using Nothrow = const std::nothrow_t &;

#define OPERATORS(KIND)                                                                                                \
    HIDDEN void *operator new KIND(Size size) { return checked(plain(size)); }                                         \
    HIDDEN void *operator new KIND(Size size, Nothrow) noexcept { return plain(size); }                                \
    HIDDEN void *operator new KIND(Size size, Align to) { return checked(aligned(size, to)); }                         \
    HIDDEN void *operator new KIND(Size size, Align to, Nothrow) noexcept { return aligned(size, to); }                \
    HIDDEN void operator delete KIND(void *memory) noexcept { std::free(memory); }                                     \
    HIDDEN void operator delete KIND(void *memory, Size) noexcept { std::free(memory); }                               \
    HIDDEN void operator delete KIND(void *memory, Nothrow) noexcept { std::free(memory); }                            \
    HIDDEN void operator delete KIND(void *memory, Align) noexcept { std::free(memory); }                              \
    HIDDEN void operator delete KIND(void *memory, Size, Align) noexcept { std::free(memory); }                        \
    HIDDEN void operator delete KIND(void *memory, Align, Nothrow) noexcept { std::free(memory); }

OPERATORS()
OPERATORS([])
#endif
