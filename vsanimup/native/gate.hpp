// How much of a network's change is taken, place by place, and taking it.
#pragma once

#include <cstddef>

// A plane of floats, whose rows begin `stride` floats apart.
struct PlaneView {
    float *data;
    ptrdiff_t rows, columns, stride;
    float *row(ptrdiff_t y) const { return data + y * stride; }
};

constexpr ptrdiff_t gate_cell = 8;  // luma samples of the source, across and down, that one share stands for

constexpr ptrdiff_t gate_cells(ptrdiff_t samples) { return (samples + gate_cell - 1) / gate_cell; }

// Shares 0..1, [gate_cells(rows), gate_cells(columns)], of the network's change for a source's luma.
void gate_shares(const PlaneView &luma, float *shares);

// result = plain + share * (result - plain), where `plain` is the source, or, where the result is twice as large, the
// source enlarged by Lanczos (three lobes); `left` says that its columns are sited as those of 4:2:0 chroma are. The
// shares [cell_rows, cell_columns], each of which stands for `cell` samples of the result, are interpolated between.
void gate_blend(const PlaneView &result, const PlaneView &source, bool left, const float *shares, ptrdiff_t cell_rows,
                ptrdiff_t cell_columns, ptrdiff_t cell);
