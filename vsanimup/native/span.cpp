#include "span.hpp"

namespace {

// Whatever the properties say: frames on each side of a drawing, and of a drawing.
constexpr int most_around = 16, longest = 64;

}  // namespace

Span span_of(const VSFrame *frame, int n, int frames, const VSAPI *vsapi) {
    const VSMap *props = vsapi->getFramePropertiesRO(frame);
    int told[4];
    for (int i = 0; i < 4; i++) {
        int error = 0;
        told[i] = vsapi->mapGetIntSaturated(props, span_names[i], 0, &error);
        if (error)
            return {n, n, n, n};
    }
    const Span span = {told[0], told[1], told[2], told[3]};
    const bool ordered = 0 <= span.from && span.from <= span.first && span.first <= n && n <= span.last &&
                         span.last <= span.to && span.to < frames;
    const bool sound = ordered && span.first - span.from <= most_around && span.to - span.last <= most_around &&
                       span.last - span.first < longest;
    return sound ? span : Span{n, n, n, n};
}
