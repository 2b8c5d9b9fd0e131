#include "gate.hpp"

#include "wide.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace {

using Values = std::vector<float>;

// Where between which two cells a sample lies: shares are those of the cells' middles.
struct Between {
    ptrdiff_t one, other;
    float part;
    Between(ptrdiff_t sample, ptrdiff_t cell, ptrdiff_t cells) {
        const float at = (static_cast<float>(sample) + 0.5f) / static_cast<float>(cell) - 0.5f;
        const float whole = std::floor(at);
        one = std::clamp<ptrdiff_t>(static_cast<ptrdiff_t>(whole), 0, cells - 1);
        other = std::clamp<ptrdiff_t>(static_cast<ptrdiff_t>(whole) + 1, 0, cells - 1);
        part = at - whole;
    }
};

// Shares of a row, as two rows between which it lies.
struct Pair {
    const float *one, *other;
};

// Shares interpolated along the rows of a result, asked for from above to below.
class Spread {
  public:
    Spread(const float *shares, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t cell, ptrdiff_t length)
        : length_(length), values_(static_cast<size_t>(rows * length)) {
        for (ptrdiff_t x = 0; x < length; x++) {
            const Between place(x, cell, columns);
            for (ptrdiff_t y = 0; y < rows; y++) {
                const float *row = shares + y * columns;
                values_[static_cast<size_t>(y * length + x)] = row[place.one] + place.part * (row[place.other] - row[place.one]);
            }
        }
    }
    Pair row(const Between &place) const { return {values_.data() + place.one * length_, values_.data() + place.other * length_}; }

  private:
    ptrdiff_t length_;
    Values values_;
};

ANIMUP_WIDE void blend_row(float *result, const float *plain, const float *network, Pair change, Pair evening, float part,
                           ptrdiff_t length) {
    for (ptrdiff_t x = 0; x < length; x++) {
        const float of_change = change.one[x] + part * (change.other[x] - change.one[x]);
        const float of_evening = evening.one[x] + part * (evening.other[x] - evening.one[x]);
        result[x] = plain[x] + of_change * (network[x] - plain[x]) + of_evening * (result[x] - network[x]);
    }
}

// Inputs of a layer that are read at once.
constexpr int together = 4;

// output += the sum of `together` inputs, which lie `length` apart, each times its weight
ANIMUP_WIDE void add_scaled(const float *__restrict input, const float *__restrict weights, float *__restrict output, ptrdiff_t length) {
    for (ptrdiff_t i = 0; i < length; i++)
        output[i] += weights[0] * input[i] + weights[1] * input[length + i] + weights[2] * input[2 * length + i] +
                     weights[3] * input[3 * length + i];
}

// The same of one.
ANIMUP_WIDE void add_scaled(const float *__restrict input, float weight, float *__restrict output, ptrdiff_t length) {
    for (ptrdiff_t i = 0; i < length; i++)
        output[i] += weight * input[i];
}

// One layer over all cells: `inputs` planes to `outputs` planes of `length` cells; then `constant` inputs more that are
// the same for all cells. `weights` go on to the next layer's.
void layer(const Values &input, int inputs, const Values &constant, const float *&weights, int outputs, Values &output,
           ptrdiff_t length) {
    output.resize(static_cast<size_t>(outputs * length));
    const float *of_constant = weights + inputs * outputs;
    const float *biases = of_constant + static_cast<ptrdiff_t>(constant.size()) * outputs;
    for (int o = 0; o < outputs; o++) {
        float *row = output.data() + o * length;
        float bias = biases[o];
        for (size_t c = 0; c < constant.size(); c++)
            bias += of_constant[static_cast<ptrdiff_t>(c) * outputs + o] * constant[c];
        std::fill_n(row, length, bias);
        int i = 0;
        for (; i + together <= inputs; i += together) {
            const float some[together] = {weights[i * outputs + o], weights[(i + 1) * outputs + o],
                                          weights[(i + 2) * outputs + o], weights[(i + 3) * outputs + o]};
            // predictors that stand side by side have nothing to say to each other
            if (std::any_of(some, some + together, [](float weight) { return weight != 0.0f; }))
                add_scaled(input.data() + i * length, some, row, length);
        }
        for (; i < inputs; i++)
            add_scaled(input.data() + i * length, weights[i * outputs + o], row, length);
    }
    weights = biases + outputs;
}

// Means over 5x5 cells, the cells at the edge continued outwards.
void mean_around(const float *values, ptrdiff_t rows, ptrdiff_t columns, float *result) {
    constexpr ptrdiff_t reach = 2;
    Values lines(static_cast<size_t>(rows * columns));
    for (ptrdiff_t y = 0; y < rows; y++)
        for (ptrdiff_t x = 0; x < columns; x++) {
            float sum = 0.0f;
            for (ptrdiff_t k = -reach; k <= reach; k++)
                sum += values[y * columns + std::clamp<ptrdiff_t>(x + k, 0, columns - 1)];
            lines[static_cast<size_t>(y * columns + x)] = sum;
        }
    for (ptrdiff_t y = 0; y < rows; y++)
        for (ptrdiff_t x = 0; x < columns; x++) {
            float sum = 0.0f;
            for (ptrdiff_t k = -reach; k <= reach; k++)
                sum += lines[static_cast<size_t>(std::clamp<ptrdiff_t>(y + k, 0, rows - 1) * columns + x)];
            result[y * columns + x] = sum / ((2 * reach + 1) * (2 * reach + 1));
        }
}

}  // namespace

void predict_shares(const float *measures, ptrdiff_t rows, ptrdiff_t columns, const Predictor &predictor, float *shares) {
    const ptrdiff_t cells = rows * columns;
    Values input(static_cast<size_t>(2 * gate_measures * cells)), whole(gate_measures), first, second, last;
    std::copy_n(measures, gate_measures * cells, input.data());
    for (int m = 0; m < gate_measures; m++) {
        const float *own = measures + m * cells;
        mean_around(own, rows, columns, input.data() + (gate_measures + m) * cells);
        double sum = 0.0;
        for (ptrdiff_t i = 0; i < cells; i++)
            sum += own[i];
        whole[static_cast<size_t>(m)] = static_cast<float>(sum / static_cast<double>(cells));
    }
    const float *weights = predictor.weights;
    layer(input, 2 * gate_measures, whole, weights, predictor.hidden[0], first, cells);
    for (float &value : first)
        value = std::max(value, 0.0f);
    layer(first, predictor.hidden[0], {}, weights, predictor.hidden[1], second, cells);
    for (float &value : second)
        value = std::max(value, 0.0f);
    layer(second, predictor.hidden[1], {}, weights, gate_shares, last, cells);
    for (size_t i = 0; i < last.size(); i++)
        shares[i] = 1.0f / (1.0f + std::exp(-last[i]));
}

void blend_shares(const Passage &plane, const float *change, const float *evening, ptrdiff_t rows, ptrdiff_t columns,
                  ptrdiff_t cell) {
    const PlaneView &result = plane.evened;
    const ptrdiff_t length = result.columns;
    const Spread of_change(change, rows, columns, cell, length), of_evening(evening, rows, columns, cell, length);
    for (ptrdiff_t y = 0; y < result.rows; y++) {
        const Between place(y, cell, rows);
        blend_row(result.row(y), plane.plain.row(y), plane.network.row(y), of_change.row(place), of_evening.row(place),
                  place.part, length);
    }
}
