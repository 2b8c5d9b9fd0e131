#include "sigma.hpp"

#include "wide.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace {

constexpr ptrdiff_t chunk = 256;  // samples in the works, so that sums stay in the first cache

// A function of its own, so that GCC does not work at two taps at once, sample by sample: four times as slow.
ANIMUP_WIDE void add_tap(const float *tap, const float *middle, float *total, float *weight, ptrdiff_t length,
                         float threshold) {
    for (ptrdiff_t i = 0; i < length; i++) {
        // Within the threshold on both sides, beyond which the share is 0. What is no number is on neither side, so it
        // counts as beyond. Written as minimum and maximum, which GCC vectorises: ten times as slow otherwise.
        const float off = tap[i] - middle[i];
        const float below = off < threshold ? off : threshold;
        const float difference = below > -threshold ? below : -threshold;
        const float share = threshold - std::fabs(difference);
        total[i] += share * difference;
        weight[i] += share;
    }
}

}  // namespace

ANIMUP_WIDE void mean_of(const float *centre, const float *const *taps, int count, float *target, ptrdiff_t length,
                         float threshold, float own) {
    float total[chunk], weight[chunk];
    for (ptrdiff_t start = 0; start < length; start += chunk) {
        const ptrdiff_t n = std::min(chunk, length - start);
        const float *middle = centre + start;
        for (ptrdiff_t i = 0; i < n; i++) {
            total[i] = 0.0f;
            weight[i] = own * threshold;
        }
        for (int k = 0; k < count; k++)
            add_tap(taps[k] + start, middle, total, weight, n, threshold);
        for (ptrdiff_t i = 0; i < n; i++)
            target[start + i] = middle[i] + total[i] / weight[i];
    }
}

void even_out(float *plane, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t stride, float threshold, int radius) {
    std::vector<const float *> taps(2 * static_cast<size_t>(radius));
    const int count = static_cast<int>(taps.size());
    std::vector<float> wide(static_cast<size_t>(columns) + taps.size());
    for (ptrdiff_t y = 0; y < rows; y++) {
        float *row = plane + y * stride;
        std::fill_n(wide.data(), radius, row[0]);
        std::copy_n(row, columns, wide.data() + radius);
        std::fill_n(wide.data() + radius + columns, radius, row[columns - 1]);
        for (int k = 0; k < count; k++)
            taps[static_cast<size_t>(k)] = wide.data() + k + (k >= radius);
        mean_of(wide.data() + radius, taps.data(), count, row, columns, threshold, 1.0f);
    }
    // rows above are written over while those below still need them: a ring of copies
    const ptrdiff_t kept = radius + 1;
    std::vector<float> ring(static_cast<size_t>(kept * columns));
    for (ptrdiff_t y = 0; y < rows; y++) {
        float *row = plane + y * stride;
        std::copy_n(row, columns, ring.data() + y % kept * columns);
        for (int k = 0; k < count; k++) {
            const ptrdiff_t at = std::clamp<ptrdiff_t>(y + k - radius + (k >= radius), 0, rows - 1);
            taps[static_cast<size_t>(k)] = at > y ? plane + at * stride : ring.data() + at % kept * columns;
        }
        mean_of(ring.data() + y % kept * columns, taps.data(), count, row, columns, threshold, 1.0f);
    }
}
