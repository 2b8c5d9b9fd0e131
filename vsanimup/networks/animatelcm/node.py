"""Running AnimateLCM on a clip: windows of drawings in, cross-faded frames out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import vapoursynth as vs
from numpy.typing import NDArray

from vsanimup.bridge import FrameView, Job, block_node
from vsanimup.engines import Array
from vsanimup.networks.animatelcm.chains import Asked, Chains
from vsanimup.networks.animatelcm.interpolation import enlarge
from vsanimup.networks.animatelcm.memory import Budget, Carried, Turn
from vsanimup.networks.animatelcm.windows import BLOCK, LEAD, WINDOW, Share, sequence, shares
from vsanimup.networks.animatelcm.windows import Sequence as Drawings
from vsanimup.networks.settings import Settings
from vsanimup.single_flight import SingleFlight
from vsanimup.video.formats import converted
from vsanimup.video.likeness import Likeness, matrix_of, refuse_interlaced
from vsanimup.video.rgb import to_rgb, to_yuv
from vsanimup.video.samples import UNSPECIFIED, average, is_full, matrix_by_height, scales

SEQUENCES = 8
"""Sequences of drawings that are remembered."""
KEPT = 2
"""Finished windows that are kept beside one for each stream: a frame is made of two at most."""
DEPTH = 65535
"""Finished windows are kept as integers up to this; half of what floats would take."""

Stored = NDArray[np.uint16]
"""One finished picture, YUV ``[3, rows, columns]``: luma and chroma + 0.5, as shares of :data:`DEPTH`."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """That windows hand on a memory."""

    budget: Budget
    """Its size."""
    spacing: int
    """Blocks after which it begins anew."""


class Enhance(Protocol):
    """What turns a window of pictures into better ones, see :class:`vsanimup.networks.animatelcm.pipeline.Enhancer`."""

    def __call__(
        self, images: Array, scenes: NDArray[np.int64], cancelled: Callable[[], bool],
        memory: tuple[Carried, Turn] | None = None,
    ) -> Array:  # fmt: skip
        """RGB ``[drawings, 3, rows, columns]`` in 0..1 to the same, given the scene of each, and the memory of the
        windows before in its chain, if there are any."""
        ...


class DiffusionProcess:
    """Output frames of a clip of floats, gray or YUV 4:4:4, ``scale`` times as large; called from several threads."""

    def __init__(
        self, clip: vs.VideoNode, scale: int, settings: Settings, enhance: Enhance, memory: Memory | None
    ) -> None:
        self._count, self._height = clip.num_frames, clip.height
        self._target = vs.core.get_video_format(_result(clip))
        self._scale, self._settings, self._enhance = scale, settings, enhance
        self._likeness = Likeness(clip.format, scenecut=settings.scenecut)
        self._sequences = SingleFlight[int, Drawings](SEQUENCES + (memory.spacing if memory else 0))
        self._windows = SingleFlight[tuple[int, int], Sequence[Stored]](KEPT + settings.num_streams)
        self._chains: Chains | None = None
        if memory is not None:
            self._chains = Chains(
                budget=memory.budget, spacing=memory.spacing, streams=settings.num_streams,
                kept=2 * KEPT + settings.num_streams,
            )  # fmt: skip
        self._places = threading.BoundedSemaphore(settings.num_streams)

    def __call__(self, job: Job) -> None:
        """Fill the one output frame of ``job``, gray or YUV 4:4:4 in 16 bits."""
        (output,) = job.outputs
        frames = {frame.n: frame for frame in job.inputs}

        def of_block(block: int) -> Drawings:
            return self._sequences.get(block, lambda: self._sequence(frames, block))

        parts = shares(output.n, self._count, of_block)
        pictures = [self._picture(job, frames, of_block(part.block), part) for part in parts]
        yuv = pictures[0].astype(np.float32)
        if len(pictures) > 1:
            # where both agree nothing changes: a still scene stays still
            yuv += np.float32(parts[1].weight) * (pictures[1].astype(np.float32) - yuv)
        yuv *= np.float32(1 / DEPTH)
        yuv[1:] -= np.float32(0.5)
        source = frames[output.n]
        for scale, values, plane in zip(scales(self._target, is_full(source)), yuv, output.planes, strict=False):
            scale.write(values, plane)
        if len(output.planes) > 1 and output.prop("_Matrix", UNSPECIFIED) == UNSPECIFIED:
            output.set_prop("_Matrix", matrix_by_height(self._height))

    def _sequence(self, frames: dict[int, FrameView], block: int) -> Drawings:
        if self._settings.dedup:
            return sequence(
                block, self._count, lambda a, b: self._likeness.same(frames, a, b),
                lambda n: self._likeness.cut(frames, n),
            )  # fmt: skip
        return sequence(block, self._count, lambda a, b: False, lambda n: self._likeness.cut(frames, n))

    def _picture(self, job: Job, frames: dict[int, FrameView], drawings: Drawings, part: Share) -> Stored:
        """The enhanced picture of one share."""
        key = part.block, part.window
        if self._chains is None:
            return self._windows.get(key, lambda: self._window(job, frames, drawings, part.window))[part.position]

        def of_block(block: int) -> Drawings:
            return self._sequences.get(block, lambda: self._sequence(frames, block))

        asked = Asked(
            of_block=of_block,
            cut=lambda block: block > 0 and self._likeness.cut(frames, block * BLOCK),
            compute=lambda window, *memory: self._window(job, frames, of_block(window[0]), window[1], memory),
        )
        return self._chains.pictures(key, asked)[part.position]

    def _window(
        self, job: Job, frames: dict[int, FrameView], drawings: Drawings, number: int,
        memory: tuple[Carried, Turn] | None = None,
    ) -> Sequence[Stored]:  # fmt: skip
        """All pictures of one window."""
        first, end = drawings.windows()[number]
        chosen = drawings.drawings[first:end]
        with self._places:
            matrices, images = [], []
            for drawing in chosen:
                copies = [frames[n] for n in range(drawing.first, drawing.last + 1)]
                for frame in copies:
                    refuse_interlaced(frame)
                matrices.append(matrix_of(copies[0], self._height))
                mean = average([self._likeness.picture(frame) for frame in copies])
                yuv = np.zeros((3, *mean.planes[0].shape), np.float32)
                yuv[: len(mean.planes)] = mean.planes
                images.append(to_rgb(yuv, matrices[-1]))
            large = np.clip(enlarge(np.stack(images), self._scale), 0, 1)
            scenes = np.array([drawing.scene for drawing in chosen])
            result = self._enhance(large, scenes, lambda: job.cancelled, memory)
            return [_stored(to_yuv(rgb, matrix)) for rgb, matrix in zip(result, matrices, strict=True)]


def _result(clip: vs.VideoNode) -> int:
    """The format of the process's frames."""
    return int(vs.GRAY16 if clip.format.color_family == vs.GRAY else vs.YUV444P16)


def _stored(yuv: Array) -> Stored:
    yuv[1:] += np.float32(0.5)
    yuv *= np.float32(DEPTH)
    yuv += np.float32(0.5)
    return np.clip(yuv, 0, DEPTH).astype(np.uint16)


def diffusion_clip(
    clip: vs.VideoNode, scale: int, target: vs.VideoFormat, settings: Settings, enhance: Enhance,
    memory: Memory | None = None,
) -> vs.VideoNode:  # fmt: skip
    """``clip``, of any format, enlarged ``scale`` times by ``enhance``, in format ``target``; windows hand on a
    ``memory`` where one is given."""
    family = clip.format.color_family
    matrix = {"matrix_s": "709"} if family == vs.RGB else {}
    work = converted(clip, format=vs.GRAYS if family == vs.GRAY else vs.YUV444PS, **matrix)
    # one computation for each stream, and threads for the frames that wait for it: else nothing would be ahead
    threads = settings.num_streams + (WINDOW if settings.num_streams > 1 else 1)
    before = LEAD + ((memory.spacing - 1) * BLOCK if memory else 0)
    work.std.SetVideoCache(mode=1, fixedsize=1, maxsize=before + 2 * BLOCK + threads)
    done = block_node(
        work, DiffusionProcess(work, scale, settings, enhance, memory), function="Upscale", grid=BLOCK, before=before,
        after=BLOCK, width=clip.width * scale, height=clip.height * scale, format=_result(work), streams=threads,
        cached_blocks=threads + 2,
    )  # fmt: skip
    return done if done.format.id == target.id else done.resize.Bicubic(format=target.id)
