#include "checked.hpp"

#include <string>

namespace {

struct Checked {
    VSNode *node;
    std::string function;  // what error messages start with
};

// The resizer refuses other values too, but names neither filter nor frame.
struct Property {
    const char *name;
    int most, reserved;
    bool of_yuv;  // of no meaning in RGB, where it may be left over from before
    const char *meaning, *example;
};

const Property properties[] = {
    {"_Range", 1, -1, false, "0 (limited) or 1 (full)", "0"},
    {"_FieldBased", 2, -1, false, "0 (progressive), or 1 or 2 (interlaced)", "0"},
    {"_ChromaLocation", 5, -1, false, "from 0 (left) to 5 (bottom)", "0"},
    {"_Matrix", 14, 3, true, "one of ITU-T H.273, from 0 to 14 without 3, as 1 (BT.709) or 6 (BT.601)", "1"},
};

std::string complaint(const VSFrame *frame, int n, const std::string &function, const VSAPI *vsapi) {
    const VSMap *props = vsapi->getFramePropertiesRO(frame);
    const bool yuv = vsapi->getVideoFrameFormat(frame)->colorFamily == cfYUV;
    for (const Property &property : properties) {
        int error = 0;
        const int64_t value = vsapi->mapGetInt(props, property.name, 0, &error);
        const bool wrong = value < 0 || value > property.most || value == property.reserved;
        if (!error && wrong && (yuv || !property.of_yuv))
            return function + ": frame " + std::to_string(n) + " has " + property.name + "=" + std::to_string(value) +
                   ", which must be " + property.meaning + "; set it, as in clip.std.SetFrameProps(" + property.name +
                   "=" + property.example + ")";
    }
    return {};
}

const VSFrame *VS_CC get_frame(int n, int reason, void *instance, void **, VSFrameContext *context, VSCore *,
                               const VSAPI *vsapi) {
    const Checked &checked = *static_cast<Checked *>(instance);
    if (reason == arInitial)
        vsapi->requestFrameFilter(n, checked.node, context);
    if (reason != arAllFramesReady)
        return nullptr;
    const VSFrame *frame = vsapi->getFrameFilter(n, checked.node, context);
    const std::string error = complaint(frame, n, checked.function, vsapi);
    if (error.empty())
        return frame;
    vsapi->freeFrame(frame);
    vsapi->setFilterError(error.c_str(), context);
    return nullptr;
}

void VS_CC free_checked(void *instance, VSCore *, const VSAPI *vsapi) {
    auto *checked = static_cast<Checked *>(instance);
    vsapi->freeNode(checked->node);
    delete checked;
}

}  // namespace

void VS_CC internal_checked(const VSMap *in, VSMap *out, void *, VSCore *core, const VSAPI *vsapi) {
    auto *checked = new Checked{vsapi->mapGetNode(in, "clip", 0, nullptr), vsapi->mapGetData(in, "function", 0, nullptr)};
    VSFilterDependency on_clip = {checked->node, rpStrictSpatial};
    vsapi->createVideoFilter(out, "checked", vsapi->getVideoInfo(checked->node), get_frame, free_checked, fmParallel,
                             &on_clip, 1, checked, core);
}
