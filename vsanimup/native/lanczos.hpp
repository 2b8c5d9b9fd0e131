// Planes of floats, and one enlarged twice by Lanczos.
#pragma once

#include <cstddef>

// A plane of floats, whose rows begin `stride` floats apart.
struct PlaneView {
    float *data;
    ptrdiff_t rows, columns, stride;
    float *row(ptrdiff_t y) const { return data + y * stride; }
};

// Writes the source, enlarged by Lanczos (three lobes), to a plane of twice its rows and columns: what zimg gives, but
// for rounding. `left` says that columns are sited as those of 4:2:0 chroma are. The planes do not overlap.
void enlarge(const PlaneView &source, bool left, const PlaneView &result);
