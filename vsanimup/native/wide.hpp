// For functions whose loops are left to the compiler's vectoriser: where the loader can choose by processor, twice as
// wide.
#pragma once

#if defined(__linux__) && defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define ANIMUP_WIDE __attribute__((target_clones("avx2", "default")))
#else
#define ANIMUP_WIDE
#endif
