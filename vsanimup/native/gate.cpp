#include "gate.hpp"

#include "wide.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace {

constexpr int margin = 4;  // samples by which a plane is continued on each side

// A copy of a plane, its edge samples continued outwards.
class Padded {
  public:
    explicit Padded(const PlaneView &plane)
        : stride_(plane.columns + 2 * margin), values_(static_cast<size_t>(stride_ * (plane.rows + 2 * margin))) {
        for (ptrdiff_t y = -margin; y < plane.rows + margin; y++) {
            const float *from = plane.row(std::clamp<ptrdiff_t>(y, 0, plane.rows - 1));
            float *to = values_.data() + (y + margin) * stride_;
            std::fill_n(to, margin, from[0]);
            std::copy_n(from, plane.columns, to + margin);
            std::fill_n(to + margin + plane.columns, margin, from[plane.columns - 1]);
        }
    }
    // Samples -margin .. columns + margin - 1 of row -margin .. rows + margin - 1 can be read.
    const float *row(ptrdiff_t y) const { return values_.data() + (y + margin) * stride_ + margin; }

  private:
    ptrdiff_t stride_;
    std::vector<float> values_;
};

// A half-band filter: what it leaves is the lower octave, in each direction.
constexpr float band0 = 16.0f / 32, band1 = 9.0f / 32, band3 = -1.0f / 32;

ANIMUP_WIDE void low_across(const float *row, float *low, ptrdiff_t length) {
    for (ptrdiff_t x = 0; x < length; x++)
        low[x] = band0 * row[x] + band1 * (row[x - 1] + row[x + 1]) + band3 * (row[x - 3] + row[x + 3]);
}

// Adds |upper octave| and gradient of a row to the sums of its columns. `low` are the rows -3 .. 3 filtered across,
// `rows` the samples of rows -1 .. 1.
ANIMUP_WIDE void add_row(const std::array<const float *, 7> &low, const std::array<const float *, 3> &rows, float *fine,
                         float *slope, ptrdiff_t length) {
    const float *l0 = low[0], *l2 = low[2], *l3 = low[3], *l4 = low[4], *l6 = low[6];
    const float *above = rows[0], *here = rows[1], *below = rows[2];
    for (ptrdiff_t x = 0; x < length; x++) {
        const float lower = band0 * l3[x] + band1 * (l2[x] + l4[x]) + band3 * (l0[x] + l6[x]);
        fine[x] += std::fabs(here[x] - lower);
        const float across = (above[x + 1] + 2 * here[x + 1] + below[x + 1]) - (above[x - 1] + 2 * here[x - 1] + below[x - 1]);
        const float down = (below[x - 1] + 2 * below[x] + below[x + 1]) - (above[x - 1] + 2 * above[x] + above[x + 1]);
        slope[x] += (std::fabs(across) + std::fabs(down)) * 0.125f;
    }
}

// The mean of each cell of a row of cells, from the sums of its columns.
void to_cells(const std::vector<float> &sums, ptrdiff_t rows, float *cells) {
    const ptrdiff_t columns = static_cast<ptrdiff_t>(sums.size());
    for (ptrdiff_t c = 0; c < gate_cells(columns); c++) {
        const ptrdiff_t first = c * gate_cell, last = std::min(columns, first + gate_cell);
        float sum = 0.0f;
        for (ptrdiff_t x = first; x < last; x++)
            sum += sums[static_cast<size_t>(x)];
        cells[c] = sum / static_cast<float>((last - first) * rows);
    }
}

// (1, 2, 1) / 4 in both directions, in place.
void soften(std::vector<float> &cells, ptrdiff_t rows, ptrdiff_t columns) {
    const std::vector<float> before = cells;
    auto at = [&](ptrdiff_t y, ptrdiff_t x) {
        return before[static_cast<size_t>(std::clamp<ptrdiff_t>(y, 0, rows - 1) * columns + std::clamp<ptrdiff_t>(x, 0, columns - 1))];
    };
    auto line = [&](ptrdiff_t y, ptrdiff_t x) { return at(y, x - 1) + 2 * at(y, x) + at(y, x + 1); };
    for (ptrdiff_t y = 0; y < rows; y++)
        for (ptrdiff_t x = 0; x < columns; x++)
            cells[static_cast<size_t>(y * columns + x)] = (line(y - 1, x) + 2 * line(y, x) + line(y + 1, x)) / 16;
}

// sin(pi x) / (pi x) times the same of x / 3, and 0 from 3 on.
double lanczos(double x) {
    x = std::fabs(x) * 3.14159265358979323846;
    if (x < 1e-9)
        return 1.0;
    return x < 3 * 3.14159265358979323846 ? 3 * std::sin(x) * std::sin(x / 3) / (x * x) : 0.0;
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

// The rows of a source enlarged twice by Lanczos, asked for from above to below.
class Doubled {
  public:
    Doubled(const PlaneView &source, bool left)
        : source_(source), across_{taps_at(left ? 0.875 : 0.75), taps_at(left ? 0.375 : 0.25)},
          down_{taps_at(0.75), taps_at(0.25)}, wide_(static_cast<size_t>(source.columns) + 6),
          rows_(static_cast<size_t>(ring * 2 * source.columns)), row_(static_cast<size_t>(2 * source.columns)) {}

    const float *row(ptrdiff_t y) {
        const ptrdiff_t top = y / 2 - 3 + y % 2;
        for (; next_ <= std::min(top + 5, source_.rows - 1); next_++)
            fill(next_);
        std::array<const float *, 6> rows;
        for (ptrdiff_t k = 0; k < 6; k++)
            rows[static_cast<size_t>(k)] = kept(reflected(top + k, source_.rows));
        mean_down(rows, down_[static_cast<size_t>(y % 2)], row_.data(), 2 * source_.columns);
        return row_.data();
    }

  private:
    static constexpr ptrdiff_t ring = 8;

    float *kept(ptrdiff_t y) { return rows_.data() + y % ring * 2 * source_.columns; }

    void fill(ptrdiff_t y) {
        const float *from = source_.row(y);
        std::copy_n(from, source_.columns, wide_.data() + 3);
        for (ptrdiff_t k = 0; k < 3; k++) {
            wide_[static_cast<size_t>(2 - k)] = from[reflected(-1 - k, source_.columns)];
            wide_[static_cast<size_t>(source_.columns + 3 + k)] = from[reflected(source_.columns + k, source_.columns)];
        }
        double_across(wide_.data() + 3, across_[0], across_[1], kept(y), source_.columns);
    }

    PlaneView source_;
    std::array<Taps, 2> across_, down_;
    std::vector<float> wide_, rows_, row_;
    ptrdiff_t next_ = 0;
};

// Where between which two cells a sample lies: shares are those of the cells' middles.
struct Between {
    ptrdiff_t one, other;
    float part;
    Between(ptrdiff_t sample, ptrdiff_t cell, ptrdiff_t cells) {
        const float at = (static_cast<float>(sample) + 0.5f) / static_cast<float>(cell) - 0.5f;
        const ptrdiff_t whole = static_cast<ptrdiff_t>(std::floor(at));
        one = std::clamp<ptrdiff_t>(whole, 0, cells - 1);
        other = std::clamp<ptrdiff_t>(whole + 1, 0, cells - 1);
        part = at - static_cast<float>(whole);
    }
};

ANIMUP_WIDE void blend_row(float *result, const float *plain, const float *one, const float *other, float part,
                           ptrdiff_t length) {
    for (ptrdiff_t x = 0; x < length; x++) {
        const float share = one[x] + part * (other[x] - one[x]);
        result[x] = plain[x] + share * (result[x] - plain[x]);
    }
}

}  // namespace

void gate_shares(const PlaneView &luma, float *shares) {
    const ptrdiff_t columns = luma.columns, down = gate_cells(luma.rows), across = gate_cells(columns);
    const Padded padded(luma);
    constexpr ptrdiff_t ring = 8;
    std::vector<float> low(static_cast<size_t>(ring * columns)), fine(static_cast<size_t>(columns)), slope(fine);
    std::vector<float> fine_of(static_cast<size_t>(down * across)), slope_of(fine_of);
    auto filtered = [&](ptrdiff_t y) { return low.data() + (y + ring) % ring * columns; };
    for (ptrdiff_t y = -3; y < 3; y++)
        low_across(padded.row(y), filtered(y), columns);
    for (ptrdiff_t c = 0; c < down; c++) {
        const ptrdiff_t first = c * gate_cell, last = std::min(luma.rows, first + gate_cell);
        std::fill(fine.begin(), fine.end(), 0.0f);
        std::fill(slope.begin(), slope.end(), 0.0f);
        for (ptrdiff_t y = first; y < last; y++) {
            low_across(padded.row(y + 3), filtered(y + 3), columns);
            std::array<const float *, 7> around;
            for (ptrdiff_t k = 0; k < 7; k++)
                around[static_cast<size_t>(k)] = filtered(y + k - 3);
            add_row(around, {padded.row(y - 1), padded.row(y), padded.row(y + 1)}, fine.data(), slope.data(), columns);
        }
        to_cells(fine, last - first, fine_of.data() + c * across);
        to_cells(slope, last - first, slope_of.data() + c * across);
    }
    soften(fine_of, down, across);
    soften(slope_of, down, across);
    for (size_t i = 0; i < fine_of.size(); i++)
        shares[i] = std::clamp((fine_of[i] / (slope_of[i] + 0.002f) - 0.08f) / 0.25f, 0.0f, 1.0f);
}

void gate_blend(const PlaneView &result, const PlaneView &source, bool left, const float *shares, ptrdiff_t cell_rows,
                ptrdiff_t cell_columns, ptrdiff_t cell) {
    const bool larger = result.rows != source.rows;
    Doubled doubled(source, left);
    std::vector<float> spread(static_cast<size_t>(cell_rows * result.columns));
    for (ptrdiff_t x = 0; x < result.columns; x++) {
        const Between place(x, cell, cell_columns);
        for (ptrdiff_t c = 0; c < cell_rows; c++) {
            const float *row = shares + c * cell_columns;
            spread[static_cast<size_t>(c * result.columns + x)] = row[place.one] + place.part * (row[place.other] - row[place.one]);
        }
    }
    for (ptrdiff_t y = 0; y < result.rows; y++) {
        const Between place(y, cell, cell_rows);
        blend_row(result.row(y), larger ? doubled.row(y) : source.row(y), spread.data() + place.one * result.columns,
                  spread.data() + place.other * result.columns, place.part, result.columns);
    }
}
