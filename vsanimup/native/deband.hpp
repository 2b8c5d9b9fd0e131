// Bands: a picture that has too few levels, and what it may have been.
#pragma once

#include <cstddef>
#include <cstdint>

// The levels that a plane's samples have, from the least to the greatest.
struct Levels {
    const float *values;
    const float *least, *most;  // what a sample of the level may have been
    const uint8_t *joined;      // whether the level and the next are neighbours in a ramp
};

// The smoothest picture that has the plane's levels, of `rows` x `columns` samples, as far as it has bands:
// `result` = values + shares * (that - values). `ranks` tells the level of each sample.
void deband(const uint16_t *ranks, ptrdiff_t rows, ptrdiff_t columns, const Levels &levels, float *shares, float *result);
