#include "deband.hpp"

#include <algorithm>
#include <vector>

namespace {

using Values = std::vector<float>;
using Ranks = std::vector<uint16_t>;

constexpr ptrdiff_t radii[] = {16, 8, 4, 2};  // one after the other, so that no border of a band is left over
constexpr ptrdiff_t around = 5;               // samples to each side by which a place is told to have bands
constexpr float textured = 0.65f, banded = 0.95f;  // shares of equal neighbours: nothing is done up to, all from

// Whether samples of two levels belong to one ramp.
bool in_one_ramp(const Levels &levels, uint16_t a, uint16_t b) {
    return a == b || (b == a + 1 && levels.joined[a]) || (a == b + 1 && levels.joined[b]);
}

// Each sample of a line becomes the mean of those at most `radius` away on either side, as far as all in between are near.
class Line {
  public:
    explicit Line(ptrdiff_t length) : length_(length), sums_(static_cast<size_t>(length) + 1) {}

    void smooth(const uint16_t *ranks, float *values, const Levels &levels, ptrdiff_t radius) {
        for (ptrdiff_t x = 0; x < length_; x++)
            sums_[static_cast<size_t>(x) + 1] = sums_[static_cast<size_t>(x)] + static_cast<double>(values[x]);
        for (ptrdiff_t start = 0, end; start < length_; start = end) {
            const uint16_t own = ranks[start];
            for (end = start + 1; end < length_ && ranks[end] == own;)
                end++;
            ptrdiff_t first = start, last = end;
            while (first > 0 && start - first < radius && in_one_ramp(levels, own, ranks[first - 1]))
                first--;
            while (last < length_ && last - end < radius && in_one_ramp(levels, own, ranks[last]))
                last++;
            for (ptrdiff_t x = start; x < end; x++) {
                const ptrdiff_t from = std::max(first, x - radius), to = std::min(last, x + radius + 1);
                const double sum = sums_[static_cast<size_t>(to)] - sums_[static_cast<size_t>(from)];
                values[x] = static_cast<float>(sum / static_cast<double>(to - from));
            }
        }
    }

  private:
    ptrdiff_t length_;
    std::vector<double> sums_;
};

template <typename Sample>
void transpose(const Sample *plane, ptrdiff_t rows, ptrdiff_t columns, Sample *result) {
    constexpr ptrdiff_t tile = 32;
    for (ptrdiff_t top = 0; top < rows; top += tile)
        for (ptrdiff_t left = 0; left < columns; left += tile)
            for (ptrdiff_t y = top; y < std::min(rows, top + tile); y++)
                for (ptrdiff_t x = left; x < std::min(columns, left + tile); x++)
                    result[x * rows + y] = plane[y * columns + x];
}

// Means over 2 * around + 1 samples along a line, fewer at its ends.
void mean_along(const float *values, ptrdiff_t length, ptrdiff_t apart, float *result) {
    double sum = 0.0;
    for (ptrdiff_t x = 0; x < std::min(around, length); x++)
        sum += values[x * apart];
    for (ptrdiff_t x = 0; x < length; x++) {
        if (x + around < length)
            sum += values[(x + around) * apart];
        if (x - around - 1 >= 0)
            sum -= values[(x - around - 1) * apart];
        const ptrdiff_t count = std::min(x + around, length - 1) - std::max<ptrdiff_t>(x - around, 0) + 1;
        result[x * apart] = static_cast<float>(sum / static_cast<double>(count));
    }
}

// How much of a place's smoothing to take, 0..1: by the share of neighbours around that are equal, as those in bands are.
Values evidence(const uint16_t *ranks, ptrdiff_t rows, ptrdiff_t columns) {
    Values equal(static_cast<size_t>(rows * columns)), lines(equal.size());
    for (ptrdiff_t y = 0; y < rows; y++)
        for (ptrdiff_t x = 0; x < columns; x++) {
            const uint16_t *own = ranks + y * columns + x;
            int same = 0, count = 0;
            const auto look = [&](bool there, ptrdiff_t away) {
                count += there;
                same += there && own[away] == *own;
            };
            look(x > 0, -1);
            look(x + 1 < columns, 1);
            look(y > 0, -columns);
            look(y + 1 < rows, columns);
            equal[static_cast<size_t>(y * columns + x)] = count ? static_cast<float>(same) / static_cast<float>(count) : 1.0f;
        }
    for (ptrdiff_t y = 0; y < rows; y++)
        mean_along(equal.data() + y * columns, columns, 1, lines.data() + y * columns);
    for (ptrdiff_t x = 0; x < columns; x++)
        mean_along(lines.data() + x, rows, columns, equal.data() + x);
    for (float &share : equal)
        share = std::clamp((share - textured) / (banded - textured), 0.0f, 1.0f);
    return equal;
}

}  // namespace

void deband(const uint16_t *ranks, ptrdiff_t rows, ptrdiff_t columns, const Levels &levels, float *shares, float *result) {
    const size_t count = static_cast<size_t>(rows * columns);
    Values values(count), turned(count);
    Ranks turned_ranks(count);
    transpose(ranks, rows, columns, turned_ranks.data());
    for (size_t i = 0; i < count; i++)
        values[i] = levels.values[ranks[i]];
    Line across(columns), down(rows);
    for (const ptrdiff_t radius : radii) {
        for (ptrdiff_t y = 0; y < rows; y++)
            across.smooth(ranks + y * columns, values.data() + y * columns, levels, radius);
        transpose(values.data(), rows, columns, turned.data());
        for (ptrdiff_t x = 0; x < columns; x++)
            down.smooth(turned_ranks.data() + x * rows, turned.data() + x * rows, levels, radius);
        transpose(turned.data(), columns, rows, values.data());
        for (size_t i = 0; i < count; i++)
            values[i] = std::clamp(values[i], levels.least[ranks[i]], levels.most[ranks[i]]);
    }
    const Values share = evidence(ranks, rows, columns);
    std::copy(share.begin(), share.end(), shares);
    for (size_t i = 0; i < count; i++) {
        const float own = levels.values[ranks[i]];
        result[i] = own + share[i] * (values[i] - own);
    }
}
