#include "gate.hpp"

#include "wide.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <vector>

namespace {

using Values = std::vector<float>;

// A half-band filter: what it leaves is the lower octave, in each direction.
constexpr float band0 = 16.0f / 32, band1 = 9.0f / 32, band3 = -1.0f / 32;
constexpr ptrdiff_t margin = 4;

// A plane whose edge samples are continued outwards.
class Padded {
  public:
    Padded(ptrdiff_t rows, ptrdiff_t columns)
        : rows(rows), columns(columns), stride_(columns + 2 * margin),
          values_(static_cast<size_t>(stride_ * (rows + 2 * margin))) {}
    explicit Padded(const PlaneView &plane) : Padded(plane.rows, plane.columns) {
        for (ptrdiff_t y = 0; y < rows; y++)
            std::copy_n(plane.row(y), columns, row(y));
        surround();
    }
    // Samples -margin .. columns + margin - 1 of row -margin .. rows + margin - 1.
    float *row(ptrdiff_t y) { return values_.data() + (y + margin) * stride_ + margin; }
    void surround() {
        for (ptrdiff_t y = 0; y < rows; y++) {
            std::fill_n(row(y) - margin, margin, row(y)[0]);
            std::fill_n(row(y) + columns, margin, row(y)[columns - 1]);
        }
        for (ptrdiff_t k = 1; k <= margin; k++) {
            std::copy_n(row(0) - margin, stride_, row(-k) - margin);
            std::copy_n(row(rows - 1) - margin, stride_, row(rows - 1 + k) - margin);
        }
    }
    const ptrdiff_t rows, columns;

  private:
    ptrdiff_t stride_;
    Values values_;
};

ANIMUP_WIDE void low_across(const float *__restrict row, float *__restrict low, ptrdiff_t length) {
    for (ptrdiff_t x = 0; x < length; x++)
        low[x] = band0 * row[x] + band1 * (row[x - 1] + row[x + 1]) + band3 * (row[x - 3] + row[x + 3]);
}

// The upper octave of a row from rows -3 .. 3 filtered across.
ANIMUP_WIDE void upper(const float *__restrict row, const std::array<const float *, 7> &low, float *__restrict high,
                       ptrdiff_t length) {
    const float *l0 = low[0], *l2 = low[2], *l3 = low[3], *l4 = low[4], *l6 = low[6];
    for (ptrdiff_t x = 0; x < length; x++)
        high[x] = row[x] - (band0 * l3[x] + band1 * (l2[x] + l4[x]) + band3 * (l0[x] + l6[x]));
}

// The upper octave of a plane.
class Octave {
  public:
    explicit Octave(Padded &plane) : columns_(plane.columns), values_(static_cast<size_t>(plane.rows * plane.columns)) {
        Values low(static_cast<size_t>(8 * columns_));
        auto filtered = [&](ptrdiff_t y) { return low.data() + (y + 8) % 8 * columns_; };
        for (ptrdiff_t y = -3; y < plane.rows + 3; y++) {
            low_across(plane.row(y), filtered(y), columns_);
            if (y < 3)
                continue;
            std::array<const float *, 7> around;
            for (ptrdiff_t k = 0; k < 7; k++)
                around[static_cast<size_t>(k)] = filtered(y - 6 + k);
            upper(plane.row(y - 3), around, values_.data() + (y - 3) * columns_, columns_);
        }
    }
    const float *row(ptrdiff_t y) const { return values_.data() + y * columns_; }

  private:
    ptrdiff_t columns_;
    Values values_;
};

ANIMUP_WIDE void add(const float *__restrict row, float *__restrict sums, ptrdiff_t length) {
    for (ptrdiff_t x = 0; x < length; x++)
        sums[x] += row[x];
}

ANIMUP_WIDE void add_size(const float *__restrict row, float *__restrict sums, ptrdiff_t length) {
    for (ptrdiff_t x = 0; x < length; x++)
        sums[x] += std::fabs(row[x]);
}

ANIMUP_WIDE void add_product(const float *__restrict one, const float *__restrict other, float *__restrict sums,
                             ptrdiff_t length) {
    for (ptrdiff_t x = 0; x < length; x++)
        sums[x] += one[x] * other[x];
}

ANIMUP_WIDE void add_source(const float *__restrict above, const float *__restrict row, float *__restrict level,
                            float *__restrict across, float *__restrict down, ptrdiff_t length) {
    for (ptrdiff_t x = 0; x < length; x++) {
        level[x] += row[x];
        across[x] += std::fabs(row[x] - row[x - 1]);
        down[x] += std::fabs(row[x] - above[x]);
    }
}

// The mean change at each source sample, and the sum of its squares, of one row of the result.
ANIMUP_WIDE void change_of(const float *__restrict to, const float *__restrict from, float *__restrict mean,
                           float *__restrict squares, ptrdiff_t length) {
    for (ptrdiff_t x = 0; x < length; x++) {
        const float change = to[x] - from[x];
        mean[x] += change;
        squares[x] += change * change;
    }
}

ANIMUP_WIDE void change_of_two(const float *__restrict to, const float *__restrict from, float *__restrict mean,
                               float *__restrict squares, ptrdiff_t length) {
    for (ptrdiff_t x = 0; x < length; x++) {
        const float one = to[2 * x] - from[2 * x], other = to[2 * x + 1] - from[2 * x + 1];
        mean[x] += 0.25f * (one + other);
        squares[x] += 0.25f * (one * one + other * other);
    }
}

// Means over cells of a plane, from sums of columns over the rows of a row of cells.
class Cells {
  public:
    Cells(ptrdiff_t columns, ptrdiff_t cell, float *means) : sums(static_cast<size_t>(columns)), cell_(cell), means_(means) {}
    void close(ptrdiff_t row, ptrdiff_t rows) {
        const ptrdiff_t columns = static_cast<ptrdiff_t>(sums.size()), count = (columns + cell_ - 1) / cell_;
        for (ptrdiff_t c = 0; c < count; c++) {
            const ptrdiff_t first = c * cell_, last = std::min(columns, first + cell_);
            float sum = 0.0f;
            for (ptrdiff_t x = first; x < last; x++)
                sum += sums[static_cast<size_t>(x)];
            means_[row * count + c] = sum / static_cast<float>((last - first) * rows);
        }
        std::fill(sums.begin(), sums.end(), 0.0f);
    }
    float *data() { return sums.data(); }
    Values sums;

  private:
    ptrdiff_t cell_;
    float *means_;
};

void add_change(const PlaneView &to, const PlaneView &from, ptrdiff_t y, ptrdiff_t scale, Values &mean, float *squares) {
    const ptrdiff_t length = static_cast<ptrdiff_t>(mean.size());
    std::fill(mean.begin(), mean.end(), 0.0f);
    if (scale == 1) {
        change_of(to.row(y), from.row(y), mean.data(), squares, length);
    } else {
        change_of_two(to.row(2 * y), from.row(2 * y), mean.data(), squares, length);
        change_of_two(to.row(2 * y + 1), from.row(2 * y + 1), mean.data(), squares, length);
    }
}

Padded halved(Padded &plane) {
    Padded half((plane.rows + 1) / 2, (plane.columns + 1) / 2);
    for (ptrdiff_t y = 0; y < half.rows; y++) {
        const float *one = plane.row(2 * y), *other = plane.row(2 * y + 1);
        float *row = half.row(y);
        for (ptrdiff_t x = 0; x < half.columns; x++)
            row[x] = 0.25f * (one[2 * x] + one[2 * x + 1] + other[2 * x] + other[2 * x + 1]);
    }
    half.surround();
    return half;
}

// Mean size of a plane's upper octave in each cell.
void octave_cells(Padded &plane, ptrdiff_t cell, float *means) {
    const Octave octave(plane);
    Cells size(plane.columns, cell, means);
    for (ptrdiff_t y = 0; y < plane.rows; y++) {
        add_size(octave.row(y), size.data(), plane.columns);
        if ((y + 1) % cell == 0 || y + 1 == plane.rows)
            size.close(y / cell, y % cell + 1);
    }
}

// What is known of a cell; sizes and deviations as logarithms to the base 2.
enum Measure {
    level,          // mean of the source's luma
    fine,           // mean size of the source's upper octave
    fine_rms,       // its deviation
    fine_least,     // the least mean size among the cell's four quarters
    steps,          // mean difference between neighbouring samples
    second,         // mean size of the octave below,
    third,          // and of the one below that
    edge_steps,     // mean difference across the cell's left and upper edges, where blocks of codecs begin
    evening_rms,    // deviation of the evening out
    change_size,    // mean size of the change, at the source's resolution
    change_rms,     // its deviation, at the result's
    change_mean,    // size of its mean
    change_along,   // its correlation with the upper octave: -1 takes away what is there, 1 strengthens it
    evening_size,   // mean size of the evening out
    colour_fine,    // of chroma: the same as `fine`,
    colour_change,  // `change_size`, with the evening out,
    colour_along,   // and `change_along`
};

float logarithm(float value) { return std::log2(value + 0x1p-12f); }

float correlation(float product, float one, float other) { return product / std::sqrt(one * other + 0x1p-30f); }

// Measures of all cells, one after the other.
struct Table {
    float *values;
    ptrdiff_t down, across;
    float *of(Measure measure) const { return values + measure * cells(); }
    ptrdiff_t cells() const { return down * across; }
    Values scratch() const { return Values(static_cast<size_t>(cells())); }
};

void close_all(std::initializer_list<Cells *> all, ptrdiff_t row, ptrdiff_t rows) {
    for (Cells *each : all)
        each->close(row, rows);
}

// The least of a cell's four quarters.
void least_quarters(const Values &quarters, ptrdiff_t down, ptrdiff_t across, const Table &table) {
    for (ptrdiff_t y = 0; y < table.down; y++)
        for (ptrdiff_t x = 0; x < table.across; x++) {
            const ptrdiff_t below = std::min(2 * y + 1, down - 1), right = std::min(2 * x + 1, across - 1);
            auto part = [&](ptrdiff_t row, ptrdiff_t column) { return quarters[static_cast<size_t>(row * across + column)]; };
            table.of(fine_least)[y * table.across + x] =
                std::min({part(2 * y, 2 * x), part(2 * y, right), part(below, 2 * x), part(below, right)});
        }
}

void measure_source(Padded &luma, const Octave &octave, const Table &table) {
    const ptrdiff_t rows = luma.rows, columns = luma.columns;
    const ptrdiff_t half = gate_cell / 2, half_down = (rows + half - 1) / half, half_across = (columns + half - 1) / half;
    Values quarters(static_cast<size_t>(half_down * half_across)), energy_of = table.scratch(), down_of = table.scratch();
    Cells mean(columns, gate_cell, table.of(level)), size(columns, gate_cell, table.of(fine));
    Cells energy(columns, gate_cell, energy_of.data()), quarter(columns, half, quarters.data());
    Cells across(columns, gate_cell, table.of(steps)), down(columns, gate_cell, down_of.data());
    Values edge(static_cast<size_t>(columns));
    for (ptrdiff_t y = 0; y < rows; y++) {
        const ptrdiff_t row = y / gate_cell, count = y % gate_cell + 1;
        const float *high = octave.row(y);
        add_source(luma.row(y - 1), luma.row(y), mean.data(), across.data(), down.data(), columns);
        if (count == 1)
            edge = down.sums;
        add_size(high, size.data(), columns);
        add_size(high, quarter.data(), columns);
        add_product(high, high, energy.data(), columns);
        if ((y + 1) % half == 0 || y + 1 == rows)
            quarter.close(y / half, y % half + 1);
        if (count < gate_cell && y + 1 < rows)
            continue;
        for (ptrdiff_t c = 0; c < table.across; c++) {
            const ptrdiff_t first = c * gate_cell, last = std::min(columns, first + gate_cell);
            float sum = 0.0f;
            for (ptrdiff_t x = first; x < last; x++)
                sum += edge[static_cast<size_t>(x)];
            table.of(edge_steps)[row * table.across + c] = 0.5f * (across.sums[static_cast<size_t>(first)] / static_cast<float>(count) +
                                                                  sum / static_cast<float>(last - first));
        }
        close_all({&mean, &size, &energy, &across, &down}, row, count);
    }
    for (ptrdiff_t i = 0; i < table.cells(); i++) {
        table.of(fine_rms)[i] = std::sqrt(energy_of[static_cast<size_t>(i)]);
        table.of(steps)[i] = 0.5f * (table.of(steps)[i] + down_of[static_cast<size_t>(i)]);
    }
    least_quarters(quarters, half_down, half_across, table);
    Padded small = halved(luma);
    octave_cells(small, gate_cell / 2, table.of(second));
    Padded smallest = halved(small);
    octave_cells(smallest, gate_cell / 4, table.of(third));
}

void measure_change(const Octave &octave, const Passage &passage, const Table &table) {
    const ptrdiff_t rows = passage.source.rows, columns = passage.source.columns, scale = passage.network.rows / rows;
    Values energy_of = table.scratch(), changed_of = table.scratch(), product_of = table.scratch();
    Cells energy(columns, gate_cell, energy_of.data()), changed(columns, gate_cell, changed_of.data());
    Cells product(columns, gate_cell, product_of.data()), size(columns, gate_cell, table.of(change_size));
    Cells squares(columns, gate_cell, table.of(change_rms)), mean(columns, gate_cell, table.of(change_mean));
    Cells evening(columns, gate_cell, table.of(evening_size)), evening_squares(columns, gate_cell, table.of(evening_rms));
    Values change(static_cast<size_t>(columns));
    for (ptrdiff_t y = 0; y < rows; y++) {
        const float *high = octave.row(y);
        add_product(high, high, energy.data(), columns);
        add_change(passage.network, passage.plain, y, scale, change, squares.data());
        add(change.data(), mean.data(), columns);
        add_size(change.data(), size.data(), columns);
        add_product(change.data(), change.data(), changed.data(), columns);
        add_product(change.data(), high, product.data(), columns);
        add_change(passage.evened, passage.network, y, scale, change, evening_squares.data());
        add_size(change.data(), evening.data(), columns);
        if ((y + 1) % gate_cell == 0 || y + 1 == rows)
            close_all({&energy, &changed, &product, &size, &squares, &mean, &evening, &evening_squares}, y / gate_cell,
                      y % gate_cell + 1);
    }
    for (ptrdiff_t i = 0; i < table.cells(); i++) {
        const auto k = static_cast<size_t>(i);
        table.of(change_rms)[i] = std::sqrt(table.of(change_rms)[i]);
        table.of(evening_rms)[i] = std::sqrt(table.of(evening_rms)[i]);
        table.of(change_mean)[i] = std::fabs(table.of(change_mean)[i]);
        table.of(change_along)[i] = correlation(product_of[k], energy_of[k], changed_of[k]);
    }
}

// Adds half of what is known of one chroma plane.
void measure_chroma(const Passage &passage, const Table &table) {
    constexpr ptrdiff_t cell = gate_cell / 2;
    const ptrdiff_t rows = passage.source.rows, columns = passage.source.columns, scale = passage.network.rows / rows;
    Values size_of = table.scratch(), energy_of = size_of, change_of = size_of, changed_of = size_of, product_of = size_of;
    Padded plane(passage.source);
    const Octave octave(plane);
    Cells size(columns, cell, size_of.data()), energy(columns, cell, energy_of.data()), sizes(columns, cell, change_of.data());
    Cells changed(columns, cell, changed_of.data()), product(columns, cell, product_of.data());
    Values change(static_cast<size_t>(columns)), squares(change);
    for (ptrdiff_t y = 0; y < rows; y++) {
        const float *high = octave.row(y);
        add_size(high, size.data(), columns);
        add_product(high, high, energy.data(), columns);
        add_change(passage.evened, passage.plain, y, scale, change, squares.data());
        add_size(change.data(), sizes.data(), columns);
        add_product(change.data(), change.data(), changed.data(), columns);
        add_product(change.data(), high, product.data(), columns);
        if ((y + 1) % cell == 0 || y + 1 == rows)
            close_all({&size, &energy, &sizes, &changed, &product}, y / cell, y % cell + 1);
    }
    for (ptrdiff_t i = 0; i < table.cells(); i++) {
        const auto k = static_cast<size_t>(i);
        table.of(colour_fine)[i] += 0.5f * size_of[k];
        table.of(colour_change)[i] += 0.5f * change_of[k];
        table.of(colour_along)[i] += 0.5f * correlation(product_of[k], energy_of[k], changed_of[k]);
    }
}

}  // namespace

void measure_cells(const Passage *planes, int count, float *measures) {
    const Table table = {measures, gate_cells(planes[0].source.rows), gate_cells(planes[0].source.columns)};
    std::fill_n(measures, gate_measures * table.cells(), 0.0f);
    Padded luma(planes[0].source);
    const Octave octave(luma);
    measure_source(luma, octave, table);
    measure_change(octave, planes[0], table);
    for (int index = 1; index < count; index++)
        measure_chroma(planes[index], table);
    for (int index = 0; index < gate_measures; index++) {
        if (index == level || index == change_along || index == colour_along)
            continue;
        float *values = table.of(static_cast<Measure>(index));
        for (ptrdiff_t i = 0; i < table.cells(); i++)
            values[i] = logarithm(values[i]);
    }
}
