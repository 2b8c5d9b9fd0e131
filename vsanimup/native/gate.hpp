// How much of what a network does is taken, place by place, and taking it.
#pragma once

#include "lanczos.hpp"

#include <array>
#include <cstddef>

constexpr ptrdiff_t gate_cell = 8;   // luma samples of the source, across and down, that one share stands for
constexpr int gate_measures = 17;    // numbers known of each cell
constexpr int gate_shares = 3;       // of the change of luma, of luma's evening out, of both for chroma

constexpr ptrdiff_t gate_cells(ptrdiff_t samples) { return (samples + gate_cell - 1) / gate_cell; }

// One plane on its way through a network. All but `source` are of one size, the source's or twice that.
struct Passage {
    PlaneView source;   // what the network was given
    PlaneView plain;    // the source, or the source enlarged by Lanczos
    PlaneView network;  // what the network made of it
    PlaneView evened;   // the same, evened out; for chroma `network` itself
};

// Measures of the cells of a picture, [gate_measures, cells down, cells across]: what the source holds, and what was
// changed. Gray pictures have luma alone, and zeros for what is known of chroma.
void measure_cells(const Passage *planes, int count, float *measures);

// A network of two hidden layers that maps a cell's measures, their means over the 5x5 cells around it and over the
// frame to its shares. `weights` hold, one after the other, the matrix [inputs, outputs] and the biases of each layer.
struct Predictor {
    const float *weights;
    std::array<int, 2> hidden;
};

// Shares 0..1, [gate_shares, rows, columns], for measures [gate_measures, rows, columns].
void predict_shares(const float *measures, ptrdiff_t rows, ptrdiff_t columns, const Predictor &predictor, float *shares);

// evened = plain + change * (network - plain) + evening * (evened - network), in place. The shares [rows, columns] each
// stand for `cell` samples of the result, and are interpolated between.
void blend_shares(const Passage &plane, const float *change, const float *evening, ptrdiff_t rows, ptrdiff_t columns,
                  ptrdiff_t cell);
