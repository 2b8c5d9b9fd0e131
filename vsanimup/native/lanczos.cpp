#include "lanczos.hpp"

#include "wide.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace {

// sin(pi x) / (pi x) times the same of x / 3, and 0 from 3 on.
double lanczos(double x) {
    constexpr double pi = 3.14159265358979323846;
    x = std::fabs(x) * pi;
    if (x < 1e-9)
        return 1.0;
    return x < 3 * pi ? 3 * std::sin(x) * std::sin(x / 3) / (x * x) : 0.0;
}

using Taps = std::array<float, 6>;

// Taps for a sample `at` (0..1) of the way from the third to the fourth of six.
Taps taps_at(double at) {
    std::array<double, 6> exact;
    double sum = 0;
    for (int k = 0; k < 6; k++)
        sum += exact[static_cast<size_t>(k)] = lanczos(k - 2 - at);
    Taps taps;
    for (size_t k = 0; k < 6; k++)
        taps[k] = static_cast<float>(exact[k] / sum);
    return taps;
}

// Both samples that each of a row's becomes. `row` can be read three samples beyond its ends.
ANIMUP_WIDE void double_across(const float *row, const Taps &first, const Taps &second, float *result, ptrdiff_t length) {
    for (ptrdiff_t x = 0; x < length; x++) {
        float a = 0.0f, b = 0.0f;
        for (ptrdiff_t k = 0; k < 6; k++) {
            a += first[static_cast<size_t>(k)] * row[x + k - 3];
            b += second[static_cast<size_t>(k)] * row[x + k - 2];
        }
        result[2 * x] = a;
        result[2 * x + 1] = b;
    }
}

ANIMUP_WIDE void mean_down(const std::array<const float *, 6> &rows, const Taps &taps, float *result, ptrdiff_t length) {
    const float *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3], *e = rows[4], *f = rows[5];
    for (ptrdiff_t x = 0; x < length; x++)
        result[x] = taps[0] * a[x] + taps[1] * b[x] + taps[2] * c[x] + taps[3] * d[x] + taps[4] * e[x] + taps[5] * f[x];
}

// Sample `n` of `count`, continued by reflection as zimg does.
ptrdiff_t reflected(ptrdiff_t n, ptrdiff_t count) {
    n = n < 0 ? -1 - n : n;
    return std::clamp<ptrdiff_t>(n >= count ? 2 * count - 1 - n : n, 0, count - 1);
}

}  // namespace

void enlarge(const PlaneView &source, bool left, const PlaneView &result) {
    constexpr ptrdiff_t ring = 8;  // source rows, enlarged across, that are at hand
    const ptrdiff_t wide = 2 * source.columns;
    const Taps across[] = {taps_at(left ? 0.875 : 0.75), taps_at(left ? 0.375 : 0.25)};
    const Taps down[] = {taps_at(0.75), taps_at(0.25)};
    std::vector<float> padded(static_cast<size_t>(source.columns) + 6), rows(static_cast<size_t>(ring * wide));
    auto kept = [&](ptrdiff_t y) { return rows.data() + y % ring * wide; };
    ptrdiff_t next = 0;
    for (ptrdiff_t y = 0; y < result.rows; y++) {
        const ptrdiff_t top = y / 2 - 3 + y % 2;
        for (; next <= std::min(top + 5, source.rows - 1); next++) {
            const float *from = source.row(next);
            std::copy_n(from, source.columns, padded.data() + 3);
            for (ptrdiff_t k = 0; k < 3; k++) {
                padded[static_cast<size_t>(2 - k)] = from[reflected(-1 - k, source.columns)];
                padded[static_cast<size_t>(source.columns + 3 + k)] = from[reflected(source.columns + k, source.columns)];
            }
            double_across(padded.data() + 3, across[0], across[1], kept(next), source.columns);
        }
        std::array<const float *, 6> around;
        for (ptrdiff_t k = 0; k < 6; k++)
            around[static_cast<size_t>(k)] = kept(reflected(top + k, source.rows));
        mean_down(around, down[y % 2], result.row(y), wide);
    }
}
