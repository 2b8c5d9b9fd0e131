"""Running a lite network on a clip, drawing by drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import vapoursynth as vs

from vsanimup.bridge import SPAN, FrameView, Job, block_node
from vsanimup.diagnosis.mixes import PROPERTY
from vsanimup.networks.lite.gate import limit
from vsanimup.networks.lite.inference import Inference
from vsanimup.networks.manifest import Model
from vsanimup.networks.settings import Settings
from vsanimup.single_flight import SingleFlight
from vsanimup.tasks import CLEAN, CODECS, DIAGNOSE, Diagnose, TaskMix
from vsanimup.video.duplicates import FAINT, NOISIEST
from vsanimup.video.likeness import RESTORED, refuse_interlaced
from vsanimup.video.noise import THRESHOLD, threshold_by_noise
from vsanimup.video.samples import (
    UNSPECIFIED,
    Picture,
    Plane,
    Scale,
    average,
    is_full,
    keep_black_and_white,
    matrix_by_height,
    scales,
)
from vsanimup.video.sigma import STEP, even_out
from vsanimup.video.spans import spans_of, window

TEMPORAL_REACH = 1
"""Frames before and after a drawing that it is evened out with: each is computed anew when somebody seeks."""


@dataclass(frozen=True)
class Drawing:
    """What a job's output frames show, and the frames around it."""

    frames: Mapping[int, FrameView]
    """Source frames at hand, by number."""
    first: int
    last: int
    """First and last of the frames that show it."""
    picture: Picture
    """The mean of these."""

    @property
    def source(self) -> FrameView:
        """The first of them: what properties say holds for all."""
        return self.frames[self.first]


class LiteProcess:
    """Computes the drawings of one clip with one lite network; called from several threads."""

    def __init__(
        self,
        clip: vs.VideoNode,
        model: Model,
        settings: Settings,
        target: vs.VideoFormat,
        mix: TaskMix | Diagnose,
        by_noise: bool = False,
    ) -> None:
        """``mix`` is that of all frames, unless each frame's property ``AnimupMix`` tells. ``by_noise`` notes in each
        frame how far it is to be evened out along time."""
        self._model, self._settings, self._mix, self._by_noise = model, settings, mix, by_noise
        self._source, self._target = clip.format, target
        self.inference = Inference(
            model,
            width=clip.width,
            height=clip.height,
            has_chroma=clip.format.num_planes > 1,
            tilesize=settings.tilesize,
            overlap=settings.overlap,
            backend=settings.backend,
            device_id=settings.device_id,
            streams=settings.num_streams,
            precision=settings.precision,
            tta=settings.tta,
        )
        self._finished = SingleFlight[tuple[bytes, TaskMix], Sequence[Plane]](2 + 2 * settings.num_streams)

    def __call__(self, job: Job) -> None:
        """Make the picture of the drawing that ``job``'s output frames show."""
        drawing = self._drawing(job)
        mix = self._decide(drawing.source)
        planes = job.outputs[0].planes
        if self._comes_again(drawing, mix):
            key = drawing.picture.digest(), mix
            for plane, samples in zip(
                planes, self._finished.get(key, lambda: self._made(job, drawing, mix)), strict=True
            ):
                plane[:] = samples
        else:
            self._write(self._infer(job, drawing, mix), drawing.source, planes)
        self._annotate(job, drawing, mix)

    def _drawing(self, job: Job) -> Drawing:
        frames = {frame.n: frame for frame in job.inputs}
        first, last = job.outputs[0].n, job.outputs[-1].n
        for frame in frames.values():
            refuse_interlaced(frame)
        return Drawing(frames, first, last, average([self._picture(frames[n]) for n in range(first, last + 1)]))

    def _picture(self, frame: FrameView) -> Picture:
        return Picture(frame.planes, scales(self._source, is_full(frame)))

    def _decide(self, frame: FrameView) -> TaskMix:
        """The task mix of a drawing, by one of its frames."""
        if self._mix is DIAGNOSE:
            # decisions hold for whole cells of frames, so all copies have the same
            return TaskMix.of_property(str(frame.prop(PROPERTY, "")))
        if self._mix == CLEAN and self._model.specialists:
            restored = str(frame.prop(RESTORED, ""))
            return TaskMix({restored: 1.0}) if restored in self._model.specialists else CLEAN
        return self._mix

    def _leaves(self, mix: TaskMix) -> bool:
        """Whether a drawing stays as it is."""
        return mix == CLEAN and self._mix is DIAGNOSE and self._model.scale == 1

    def _comes_again(self, drawing: Drawing, mix: TaskMix) -> bool:
        """Whether an equal picture may be computed for another drawing: copies of a restored one are equal."""
        return not self._leaves(mix) and len(drawing.frames) == 1 and drawing.source.prop(RESTORED) is not None

    def _infer(self, job: Job, drawing: Drawing, mix: TaskMix) -> Picture:
        """What the network makes of a drawing."""
        if self._leaves(mix):
            return drawing.picture
        y, uv = self.inference(self._window(drawing, mix), mix, lambda: job.cancelled)
        if self._model.scale == 1 and mix.get("dehaze"):
            keep_black_and_white(y, drawing.picture)
        planes = evened = [y, *uv][: self._source.num_planes]
        threshold, gate = self._settings.spatial_threshold, self._settings.gate
        if threshold:
            evened = [plane.copy() for plane in planes] if gate else planes
            for plane in evened:
                even_out(plane, threshold * STEP)
        if gate:
            limit(drawing.picture, planes, evened, threshold, self._model, mix, gate)
        return Picture(evened, [Scale()] * len(evened))

    def _window(self, drawing: Drawing, mix: TaskMix) -> list[Picture]:
        """The window of the drawing's middle copy, as networks learned them, but with the mean in the middle.

        Leaving out the other copies, for more of the drawings around, came out no better.
        """
        first, last, frames = drawing.first, drawing.last, drawing.frames
        numbers = window(frames, first, last, self.inference.radius(mix))
        return [drawing.picture if n == (first + last) // 2 else self._picture(frames[n]) for n in numbers]

    def _made(self, job: Job, drawing: Drawing, mix: TaskMix) -> list[Plane]:
        """The planes of one drawing as the output stores them."""
        planes = [np.empty(plane.shape, plane.dtype) for plane in job.outputs[0].planes]
        self._write(self._infer(job, drawing, mix), drawing.source, planes)
        return planes

    def _write(self, picture: Picture, source: FrameView, planes: Sequence[Plane]) -> None:
        """Write a picture into the planes of an output frame, by the range of the source frame."""
        for index, (scale, plane) in enumerate(zip(scales(self._target, is_full(source)), planes, strict=True)):
            scale.write(picture.values(index), plane)

    def _annotate(self, job: Job, drawing: Drawing, mix: TaskMix) -> None:
        """Set the properties of the output frames."""
        if self._by_noise:
            made = Picture(job.outputs[0].planes, scales(self._target, is_full(drawing.source)))
            threshold = threshold_by_noise(drawing.picture, made)
            for output in job.outputs:
                output.set_prop(THRESHOLD, threshold)
        restored = self._model.scale == 1 and not self._leaves(mix) and self._settings.share == 1
        for output in job.outputs:
            if restored:
                output.set_prop(RESTORED, self._model.specialist(mix) or self._model.name)
            if self._source.num_planes > 1 and output.prop("_Matrix", UNSPECIFIED) == UNSPECIFIED:
                # players choose by height: a doubled DVD would change its colours unless its matrix is written down
                output.set_prop("_Matrix", matrix_by_height(job.inputs[0].planes[0].shape[0]))


def noisiest(mix: TaskMix) -> float:
    """How much noise copies of a drawing may differ by, and still be averaged: where nothing is removed, or what a
    codec did alone, it may be grain."""
    return FAINT if CODECS.issuperset(mix) else NOISIEST


def lite_node(
    clip: vs.VideoNode,
    function: str,
    model: Model,
    settings: Settings,
    format: int | None = None,
    mix: TaskMix | Diagnose = CLEAN,
    again: bool = False,
    by_noise: bool = False,
) -> vs.VideoNode:
    """A gray or YUV 4:2:0 clip with left-sited chroma through a lite network.

    ``clip`` must be no node of the script's, since its cache is set. The result has the given format, gray or
    4:2:0 as the clip, or the clip's own. ``mix`` is the mix of tasks; ``DIAGNOSE`` takes each frame's own from its
    property ``AnimupMix``, and where it is empty leaves those alone, or enlarges them by the backbone. ``again`` says
    that frames which were restored are to be evened out along time once more, ``by_noise`` that ``temporal_threshold``
    is the most, for frames from which much was removed.
    """
    target = clip.format if format is None else vs.core.get_video_format(format)
    wide = target.bits_per_sample > 16
    if settings.temporal_threshold and wide != (target.sample_type == vs.FLOAT):  # what evens out has none of these
        fine = vs.core.query_video_format(target.color_family, vs.FLOAT, 32, target.subsampling_w, target.subsampling_h)
        return lite_node(clip, function, model, settings, fine.id, mix, again, by_noise).resize.Bicubic(
            format=target.id
        )

    def noise_of(frame: vs.VideoFrame) -> float:
        return noisiest(TaskMix.of_property(str(frame.props.get(PROPERTY, ""))) if mix is DIAGNOSE else mix)

    radius = model.radius if mix is DIAGNOSE else model.of(model.specialist(mix)).radius
    around = max(radius, TEMPORAL_REACH) if settings.temporal_threshold else radius
    spans = spans_of(
        clip,
        function,
        dedup=settings.dedup,
        scenecut=settings.scenecut,
        reach=around,
        restored_reach=around if again else radius,
        streams=settings.num_streams,
        noisiest=noise_of,
    )
    threads = settings.num_streams + 1  # one may wait for an equal picture that another computes
    result = block_node(
        clip,
        LiteProcess(clip, model, settings, target, mix, by_noise and settings.temporal_threshold > 0),
        function=function,
        spans=spans,
        before=radius,
        after=radius,
        format=target.id,
        width=clip.width * model.scale,
        height=clip.height * model.scale,
        streams=threads,
        cached_blocks=threads + 4,
    )
    if settings.temporal_threshold:
        result.std.SetVideoCache(mode=1, fixedsize=1, maxsize=2 * settings.num_streams + 4 * TEMPORAL_REACH + 2)
        result = result.std.CopyFrameProps(spans, props=SPAN)
        result = vs.core.animup.internal_temporal(result, threshold=settings.temporal_threshold, reach=TEMPORAL_REACH)
    if model.scale == 1 and (mix is DIAGNOSE or settings.share < 1):
        source = clip if clip.format.id == target.id else clip.resize.Bicubic(format=target.id)
        return _in_part(source, result, settings.share, by_frame=mix is DIAGNOSE)
    return result


def _in_part(source: vs.VideoNode, restored: vs.VideoNode, strength: float, *, by_frame: bool) -> vs.VideoNode:
    """As much of the change as the strength says: each copy of a drawing keeps a share of its own noise. ``by_frame``
    leaves frames as they are whose property ``AnimupMix`` says nothing."""
    result = restored
    if strength < 1:
        result = vs.core.std.Merge(source, restored, weight=strength).std.CopyFrameProps(restored)
    if not by_frame:
        return result

    written = source.std.SetFrameProps(_Matrix=matrix_by_height(source.height))

    def choose(n: int, f: vs.VideoFrame) -> vs.VideoNode:
        if f.props.get(PROPERTY) or f.props.get("_FieldBased", 0) in (1, 2):  # interlaced: refused where it is computed
            return result
        implied = source.format.num_planes > 1 and f.props.get("_Matrix", UNSPECIFIED) == UNSPECIFIED
        return written if implied else source

    return vs.core.std.FrameEval(result, choose, prop_src=source, clip_src=[result, source, written])
