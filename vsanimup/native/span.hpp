// What a frame's properties tell of the drawing that it shows.
#pragma once

#include <VapourSynth4.h>

// Frame properties: the first frame of the drawing's surroundings, its own first and last, the last of
// its surroundings. Surroundings lie in the drawing's scene. Written by vsanimup, removed by it again.
constexpr const char *span_names[] = {"AnimupFrom", "AnimupFirst", "AnimupLast", "AnimupTo"};

// The drawing first..last, amid the frames from..to.
struct Span {
    int from, first, last, to;
};

// The frame alone where properties are missing or cannot be.
Span span_of(const VSFrame *frame, int n, int frames, const VSAPI *vsapi);
