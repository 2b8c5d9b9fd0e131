// Evening out of faint differences, the last step after a network.
#pragma once

#include <cstddef>

// A sigma filter along the rows, then along the columns, of a plane of floats, whose rows begin `stride` floats
// apart. A sample becomes the mean of those at most `radius` away, of which each weighs max(0, threshold - |difference|). The edge
// samples are continued outwards. Equal on every machine: no reordered or fused arithmetic.
void even_out(float *plane, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t stride, float threshold, int radius);

// target[i] = centre[i] moved to its mean with the taps[k][i], weighed as above; the centre weighs `own` times.
// `length` samples; `target` may be `centre`.
void mean_of(const float *centre, const float *const *taps, int count, float *target, ptrdiff_t length, float threshold,
             float own);
