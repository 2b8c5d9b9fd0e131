// Evening out along time: the step after a network's frames.
#pragma once

#include <VapourSynth4.h>

// internal_temporal(clip, threshold, reach): gray or YUV of 8 to 16 bits or 32 bit floats; `threshold` in steps of 8-bit
// luma. Each sample becomes the mean of those at its place in up to `reach` frames on each side of the drawing that the
// frame's span (span.hpp) tells, weighed as in sigma.hpp. The copies of a drawing must be equal. A frame with
// the property `threshold_name`, which is removed, has that threshold where it is the lower one.
constexpr const char *threshold_name = "AnimupThreshold";
constexpr char temporal_arguments[] = "clip:vnode;threshold:float;reach:int;";
void VS_CC internal_temporal(const VSMap *in, VSMap *out, void *, VSCore *core, const VSAPI *vsapi);
