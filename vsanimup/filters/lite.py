"""Running a lite network on a clip, drawing by drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import vapoursynth as vs

from vsanimup.bridge import FrameView, Job, block_node
from vsanimup.diagnosis.mixes import PROPERTY, parse_mix_text
from vsanimup.engines import Array, Backend
from vsanimup.filters.gate import limit
from vsanimup.filters.inference import Inference, Mix
from vsanimup.filters.likeness import Likeness, Run, refuse_interlaced
from vsanimup.filters.once import Once
from vsanimup.filters.samples import UNSPECIFIED, Plane, average, is_full, matrix_by_height, scales
from vsanimup.filters.smooth import STEP, even_out
from vsanimup.models import Model
from vsanimup.temporal.drawings import CELL, FAINT, NOISIEST
from vsanimup.temporal.scenes import scene_window

STEADY_REACH = 2
"""Frames before and behind a drawing that it is evened out with."""
SPAN = "AnimupFrom", "AnimupFirst", "AnimupLast", "AnimupTo"
"""Frame properties that tell the plugin's evening out along time, which removes them, of a frame's drawing: the first
frame to even out with, the drawing's first and last, the last frame to even out with."""
RESTORED = "AnimupRestored"
"""Frame property that names the task whose own network restored a frame: enlarging has another beside it."""
MEMORY = 512 << 20
"""Bytes that the finished frames of one filter may take, where there are more than a few for each stream."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to run a network; the arguments that both filters share, checked."""

    tilesize: tuple[int, int] | None
    """Width and height of a tile in luma samples; ``None`` chooses."""
    overlap: tuple[int, int]
    """Samples that neighbouring tiles share, across and down."""
    backend: Backend
    """Where to run."""
    device_id: int
    """Which device of the backend."""
    num_streams: int
    """Computations at once."""
    scenecut: bool
    """Whether windows stop at scene cuts."""
    drawings: bool = True
    """Whether frames that show one drawing are averaged and computed once."""
    strength: float = 1.0
    """Share of the network's change that is applied."""
    smooth: float = 0.0
    """Differences of the result that are evened out, in steps of 8-bit luma; 0 for none."""
    steady: float = 0.0
    """Differences between neighbouring frames of the result that are evened out, in the same steps; 0 for none."""
    gate: float = 1.0
    """How far the network's change is limited to what the source supports; 0 for not at all."""
    tta: bool = False
    """Whether the mean over a tile's four mirror images is taken (test-time augmentation)."""
    precision: str = "auto"
    """Arithmetic, see :data:`vsanimup.filters.inference.PRECISIONS`."""


class LiteProcess:
    """Computes output frames of one clip with one lite network; called from several threads."""

    def __init__(
        self, clip: vs.VideoNode, model: Model, settings: Settings, target: vs.VideoFormat, mix: Mix | None
    ) -> None:
        """``mix`` is the task mix of all frames; without one each frame's property ``AnimupMix`` tells."""
        self._model, self._settings, self._mix = model, settings, mix
        self._source, self._target = clip.format, target
        self.inference = Inference(
            model, width=clip.width, height=clip.height, has_chroma=clip.format.num_planes > 1,
            tilesize=settings.tilesize, overlap=settings.overlap, backend=settings.backend,
            device_id=settings.device_id, streams=settings.num_streams, precision=settings.precision,
            tta=settings.tta,
        )  # fmt: skip
        # what enlarges alone is not to take grain for noise
        noisiest = NOISIEST if model.scale == 1 or model.modulation else FAINT
        self._likeness = Likeness(clip.format, scenecut=settings.scenecut, noisiest=noisiest)
        self._drawings = Once[Run, Sequence[Plane]](CELL + 2 * settings.num_streams)

    def __call__(self, job: Job) -> None:
        """Fill the one output frame of ``job``."""
        (output,) = job.outputs
        frames = {frame.n: frame for frame in job.inputs}
        source = frames[output.n]
        refuse_interlaced(source)
        run = self._likeness.run(frames, output.n) if self._settings.drawings else (output.n, output.n)
        target = scales(self._target, is_full(source))
        untouched = self._model.scale == 1 and self._mix_of(frames, run) is None
        if untouched:
            self._copy(source, output.planes)
        elif run[0] == run[1]:
            self._write(self._infer(job, frames, run), source, output.planes)
        elif self._settings.strength == 1:
            finished = self._drawings.get(run, lambda: self._finished(job, frames, run))
            for plane, drawn in zip(output.planes, finished, strict=True):
                plane[:] = drawn
        else:  # each copy keeps a share of its own noise, as strength says
            self._write(self._drawings.get(run, lambda: self._infer(job, frames, run)), source, output.planes)
        if self._model.scale == 1 and self._settings.strength == 1:
            task = self._model.specialist(dict(self._mix_of(frames, run) or ()))
            if task is not None:
                output.set_prop(RESTORED, task)
        if self._settings.steady and not untouched:
            # what only a share of the change was applied to is a picture of its own in each copy
            drawing = run if self._settings.strength == 1 else (output.n, output.n)
            for name, n in zip(SPAN, self._span(frames, drawing), strict=True):
                output.set_prop(name, n)
        if len(target) > 1 and output.prop("_Matrix", UNSPECIFIED) == UNSPECIFIED:
            # players choose by height: a doubled DVD would change its colours unless its matrix is written down
            output.set_prop("_Matrix", matrix_by_height(source.planes[0].shape[0]))

    def _span(self, frames: dict[int, FrameView], run: Run) -> tuple[int, int, int, int]:
        """Values of :data:`SPAN` for a drawing: frames of its scene alone."""
        start, end = run
        while start > max(0, run[0] - STEADY_REACH) and not self._likeness.cut(frames, start):
            start -= 1
        while end < min(max(frames), run[1] + STEADY_REACH) and not self._likeness.cut(frames, end + 1):
            end += 1
        return start, *run, end

    def _mix_of(self, frames: dict[int, FrameView], run: Run) -> Mix | None:
        """The task mix of a drawing; ``None`` where its frames are said to need nothing."""
        if self._mix == () and self._model.specialists:
            restored = str(frames[run[0]].prop(RESTORED, ""))
            return ((restored, 1.0),) if restored in self._model.specialists else ()
        if self._mix is not None:
            return self._mix
        # decisions hold for whole cells of frames, so all copies have the same
        return tuple(parse_mix_text(str(frames[run[0]].prop(PROPERTY, ""))).items()) or None

    def _infer(self, job: Job, frames: dict[int, FrameView], run: Run) -> list[Array]:
        """The network's planes for one drawing, as values."""
        mix = self._mix_of(frames, run) or ()
        radius, centre = self.inference.radius(mix), (run[0] + run[1]) // 2
        # The window of the middle copy, as networks learned them, but with the average in the middle. Leaving out
        # the other copies, for more of the drawings around, came out no better.
        first, last = max(0, centre - radius), min(max(frames), centre + radius)
        window = scene_window(
            last - first + 1, centre - first, radius, lambda _, i: self._likeness.cut(frames, first + i)
        )  # fmt: skip
        pictures = {}
        for n in {first + i for i in window}:
            copies = [frames[i] for i in (range(run[0], run[1] + 1) if n == centre else (n,))]
            for frame in copies:
                refuse_interlaced(frame)
            pictures[n] = average([self._likeness.picture(frame) for frame in copies])
        y, uv = self.inference([pictures[first + i] for i in window], mix, lambda: job.cancelled)
        planes = evened = [y, *uv]
        if self._settings.smooth:
            evened = [plane.copy() for plane in planes] if self._settings.gate else planes
            for plane in evened:
                even_out(plane, self._settings.smooth * STEP)
        if self._settings.gate:
            limit(pictures[centre], planes, evened, self._model, mix, self._settings.gate)
        return evened

    def _finished(self, job: Job, frames: dict[int, FrameView], run: Run) -> list[Plane]:
        """The planes of one drawing as the output stores them."""
        output = job.outputs[0].planes
        planes = [np.empty(plane.shape, plane.dtype) for plane in output]
        self._write(self._infer(job, frames, run), frames[run[0]], planes)
        return planes

    def _copy(self, source: FrameView, planes: Sequence[Plane]) -> None:
        """Write the source frame into the planes of an output frame of the same size."""
        if self._source.id == self._target.id:
            for plane, samples in zip(planes, source.planes, strict=True):
                plane[:] = samples
            return
        picture = self._likeness.picture(source)
        for index, (scale, plane) in enumerate(zip(scales(self._target, is_full(source)), planes, strict=True)):
            values = np.empty(plane.shape, np.float32)
            picture.scales[index].read(picture.planes[index], values)
            scale.write(values, plane)

    def _write(self, values: Sequence[Array], source: FrameView, planes: Sequence[Plane]) -> None:
        """Write the network's values, as far as the strength goes, into the planes of an output frame."""
        strength = np.float32(self._settings.strength)
        picture = self._likeness.picture(source)
        for index, (scale, plane) in enumerate(zip(scales(self._target, is_full(source)), planes, strict=True)):
            result = values[index]
            if strength != 1:  # only restoring has a strength, so sizes agree
                before = np.empty(plane.shape, np.float32)
                picture.scales[index].read(picture.planes[index], before)
                result = before + strength * (result - before)
            scale.write(result, plane)


def lite_node(
    clip: vs.VideoNode, function: str, model: Model, settings: Settings, format: int | None = None,
    mix: Mix | None = (),
) -> vs.VideoNode:  # fmt: skip
    """A gray or YUV 4:2:0 clip with left-sited chroma through a lite network.

    ``clip`` must be no node of the script's, since its cache is set. The result has the given format, gray or
    4:2:0 as the clip, or the clip's own. ``mix`` is the mix of tasks; ``None`` takes each frame's own from its
    property ``AnimupMix``, and where it is empty leaves those alone, or enlarges them by the backbone.
    """
    target = clip.format if format is None else vs.core.get_video_format(format)
    if settings.steady and (target.bits_per_sample > 16) != (target.sample_type == vs.FLOAT):  # what evens out has none
        fine = vs.core.query_video_format(target.color_family, vs.FLOAT, 32, target.subsampling_w, target.subsampling_h)
        return lite_node(clip, function, model, settings, fine.id, mix).resize.Bicubic(format=target.id)
    process = LiteProcess(clip, model, settings, target, mix)
    size = {"width": clip.width * model.scale, "height": clip.height * model.scale}
    threads, kept = settings.num_streams, 4
    radius = model.radius if mix is None else model.of(model.specialist(dict(mix))).radius
    around = max(radius, STEADY_REACH) if settings.steady else radius
    if settings.drawings:
        most = MEMORY // _bytes(target, **size)
        # Copies of a drawing wait for one computation. There must be threads for them, and for those beyond.
        threads += max(2, min(2 * settings.num_streams + 2, most))
        # The next filter may ask for the frames of a cell again for each of them.
        kept = max(threads + 2, min(threads + 2 * CELL, most))
        # So does this one, for which VapourSynth's adaptive caches are a little small.
        cell = CELL + 2 * around
        held = max(cell + 2, min(cell + CELL + threads, MEMORY // _bytes(clip.format, clip.width, clip.height)))
        clip.std.SetVideoCache(mode=1, fixedsize=1, maxsize=held)
    result = block_node(
        clip, process, function=function, grid=CELL if settings.drawings else 1, before=around,
        after=around, format=target.id, streams=threads, cached_blocks=kept, **size,
    )  # fmt: skip
    if not settings.steady:
        return result
    result.std.SetVideoCache(mode=1, fixedsize=1, maxsize=kept + 2 * STEADY_REACH)
    return vs.core.animup.internal_steady(result, threshold=settings.steady * min(1.0, settings.strength))


def _bytes(format: vs.VideoFormat, width: int, height: int) -> int:
    """Memory of a gray or 4:2:0 frame."""
    return width * height * int(format.bytes_per_sample) * (3 if format.num_planes > 1 else 2) // 2
