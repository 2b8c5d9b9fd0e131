#include "temporal.hpp"

#include "sigma.hpp"
#include "span.hpp"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

namespace {

struct Temporal {
    VSNode *node;
    const VSVideoInfo *info;
    float threshold;
    int reach;  // frames on each side of a drawing
};

using Source = std::unique_ptr<const VSFrame, void (*)(const VSFrame *)>;

bool is_full(const VSFrame *frame, const VSAPI *vsapi) {
    const VSMap *props = vsapi->getFramePropertiesRO(frame);
    int error = 0;
    const int64_t range = vsapi->mapGetInt(props, "_Range", 0, &error);
    if (!error)
        return range != 0;
    const int64_t old = vsapi->mapGetInt(props, "_ColorRange", 0, &error);  // with its values the other way round
    return !error && old == 0;
}

template <typename T> void read(const uint8_t *row, float *values, int count) {
    const T *samples = reinterpret_cast<const T *>(row);
    for (int i = 0; i < count; i++)
        values[i] = static_cast<float>(samples[i]);
}

template <typename T> void write(const float *values, uint8_t *row, int count) {
    T *samples = reinterpret_cast<T *>(row);
    for (int i = 0; i < count; i++)  // a mean of samples lies between them
        samples[i] = static_cast<T>(values[i] + 0.5f);
}

template <> void write<float>(const float *values, uint8_t *row, int count) {
    std::copy_n(values, count, reinterpret_cast<float *>(row));
}

template <typename T>
void even_out_plane(const VSFrame *centre, const std::vector<Source> &around, VSFrame *target, int plane,
                    float threshold, float own, const VSAPI *vsapi) {
    const int rows = vsapi->getFrameHeight(centre, plane), columns = vsapi->getFrameWidth(centre, plane);
    const int count = static_cast<int>(around.size());
    std::vector<float> values(static_cast<size_t>(count + 1) * columns);
    std::vector<const float *> taps;
    for (int k = 0; k < count; k++)
        taps.push_back(values.data() + static_cast<size_t>(k + 1) * columns);
    auto row_of = [&](const VSFrame *frame, int y) {
        return vsapi->getReadPtr(frame, plane) + y * vsapi->getStride(frame, plane);
    };
    uint8_t *out = vsapi->getWritePtr(target, plane);
    const ptrdiff_t stride = vsapi->getStride(target, plane);
    for (int y = 0; y < rows; y++) {
        read<T>(row_of(centre, y), values.data(), columns);
        for (int k = 0; k < count; k++)
            read<T>(row_of(around[k].get(), y), values.data() + static_cast<size_t>(k + 1) * columns, columns);
        mean_of(values.data(), taps.data(), count, values.data(), columns, threshold, own);
        write<T>(values.data(), out + y * stride, columns);
    }
}

// Steps of 8-bit luma to the unit of a plane's samples.
float in_samples(float threshold, const VSVideoFormat &format, int plane, bool full) {
    if (format.sampleType == stFloat)
        return threshold / 219.0f;
    const float step = static_cast<float>(1 << (format.bitsPerSample - 8));
    if (full)
        return threshold / 219.0f * static_cast<float>((1 << format.bitsPerSample) - 1);
    return plane > 0 ? threshold / 219.0f * 224.0f * step : threshold * step;
}

// The frame's own threshold where it has one, at most the filter's.
float threshold_of(const VSFrame *frame, const Temporal &temporal, const VSAPI *vsapi) {
    int error = 0;
    const double own = vsapi->mapGetFloat(vsapi->getFramePropertiesRO(frame), threshold_name, 0, &error);
    return error ? temporal.threshold : std::min(static_cast<float>(own), temporal.threshold);
}

const VSFrame *evened(const Temporal &temporal, float threshold, const VSFrame *centre, const std::vector<Source> &around,
                      float own, VSCore *core, const VSAPI *vsapi) {
    const VSVideoFormat &format = temporal.info->format;
    const bool full = is_full(centre, vsapi);
    VSFrame *target = vsapi->newVideoFrame(&format, temporal.info->width, temporal.info->height, centre, core);
    for (int plane = 0; plane < format.numPlanes; plane++) {
        const float limit = in_samples(threshold, format, plane, full);
        auto *work = format.sampleType == stFloat ? even_out_plane<float>
                     : format.bytesPerSample == 1 ? even_out_plane<uint8_t>
                                                  : even_out_plane<uint16_t>;
        work(centre, around, target, plane, limit, own, vsapi);
    }
    return target;
}

const VSFrame *VS_CC get_frame(int n, int reason, void *instance, void **frame_data, VSFrameContext *context,
                               VSCore *core, const VSAPI *vsapi) {
    const Temporal &temporal = *static_cast<Temporal *>(instance);
    auto source = [&](int k) { return Source(vsapi->getFrameFilter(k, temporal.node, context), vsapi->freeFrame); };
    if (reason == arInitial) {
        vsapi->requestFrameFilter(n, temporal.node, context);
        return nullptr;
    }
    // The centre frame, once it was there and has told which others are wanted.
    Source centre(static_cast<const VSFrame *>(*frame_data), vsapi->freeFrame);
    *frame_data = nullptr;
    if (reason != arAllFramesReady)
        return nullptr;
    const bool asked = centre != nullptr;
    if (!asked)
        centre = source(n);
    const Span span = span_of(centre.get(), n, temporal.info->numFrames, vsapi);
    const float threshold = threshold_of(centre.get(), temporal, vsapi);
    std::vector<int> others;
    const int from = std::max(span.from, span.first - temporal.reach), to = std::min(span.to, span.last + temporal.reach);
    for (int k = from; k <= to; k++)
        if (threshold > 0 && (k < span.first || k > span.last))
            others.push_back(k);
    if (!asked && !others.empty()) {
        *frame_data = const_cast<VSFrame *>(centre.release());
        for (int k : others)
            vsapi->requestFrameFilter(k, temporal.node, context);
        return nullptr;
    }
    std::vector<Source> around;
    for (int k : others)
        around.push_back(source(k));
    const float own = static_cast<float>(span.last - span.first + 1);
    VSFrame *result = const_cast<VSFrame *>(
        around.empty() ? vsapi->copyFrame(centre.get(), core) : evened(temporal, threshold, centre.get(), around, own, core, vsapi));
    VSMap *props = vsapi->getFramePropertiesRW(result);
    for (const char *name : span_names)
        vsapi->mapDeleteKey(props, name);
    vsapi->mapDeleteKey(props, threshold_name);
    return result;
}

void VS_CC free_temporal(void *instance, VSCore *, const VSAPI *vsapi) {
    auto *temporal = static_cast<Temporal *>(instance);
    vsapi->freeNode(temporal->node);
    delete temporal;
}

}  // namespace

void VS_CC internal_temporal(const VSMap *in, VSMap *out, void *, VSCore *core, const VSAPI *vsapi) {
    auto *temporal = new Temporal{vsapi->mapGetNode(in, "clip", 0, nullptr), nullptr, 0.0f, 0};
    temporal->info = vsapi->getVideoInfo(temporal->node);
    temporal->threshold = static_cast<float>(vsapi->mapGetFloat(in, "threshold", 0, nullptr));
    temporal->reach = vsapi->mapGetIntSaturated(in, "reach", 0, nullptr);
    const VSVideoFormat &format = temporal->info->format;
    const bool known = format.sampleType == stFloat ? format.bitsPerSample == 32 : format.bitsPerSample <= 16;
    const bool coloured = format.colorFamily == cfGray || format.colorFamily == cfYUV;
    if (!known || !coloured || temporal->info->width <= 0 || !(temporal->threshold > 0) || temporal->reach < 1) {
        vsapi->mapSetError(out, "clip must be gray or YUV of 8 to 16 bits or 32 bit floats, threshold above 0, and reach at least 1");
        free_temporal(temporal, core, vsapi);
        return;
    }
    VSFilterDependency on_clip = {temporal->node, rpGeneral};
    vsapi->createVideoFilter(out, "temporal", temporal->info, get_frame, free_temporal, fmParallel, &on_clip, 1, temporal,
                             core);
}
