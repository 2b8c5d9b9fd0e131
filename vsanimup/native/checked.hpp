// A filter that refuses frames whose properties say what no conversion can go by.
#pragma once

#include <VapourSynth4.h>

constexpr const char *checked_arguments = "clip:vnode;function:data;";

void VS_CC internal_checked(const VSMap *in, VSMap *out, void *, VSCore *core, const VSAPI *vsapi);
