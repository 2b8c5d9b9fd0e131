// Evening out along time: the step behind a network's frames.
#pragma once

#include <VapourSynth4.h>

// Frame properties that a clip to be evened out carries, and that are gone from the result: the first and last frame
// of the drawing that a frame shows, of which all copies are equal, and of the frames that it may be evened out with.
constexpr char steady_first[] = "AnimupFirst", steady_last[] = "AnimupLast";
constexpr char steady_from[] = "AnimupFrom", steady_to[] = "AnimupTo";

// internal_steady(clip, threshold): gray or YUV of 8 to 16 bits or 32 bit floats; `threshold` in steps of 8-bit luma.
// Each sample becomes the mean of those at its place in the frames around, weighed as in smooth.hpp.
constexpr char steady_arguments[] = "clip:vnode;threshold:float;";
void VS_CC internal_steady(const VSMap *in, VSMap *out, void *, VSCore *core, const VSAPI *vsapi);
