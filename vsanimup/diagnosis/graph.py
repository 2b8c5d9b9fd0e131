"""The probe of a clip: a tiny clip of the same length whose frames carry the task mix as a property."""

from __future__ import annotations

from typing import Final

import vapoursynth as vs

from vsanimup.bridge import FrameView, Job, block_node
from vsanimup.diagnosis.decision import RUN, decide, state_probabilities
from vsanimup.diagnosis.measures import Planes, tiles
from vsanimup.diagnosis.mixes import MIXES, PROPERTY
from vsanimup.errors import AnimupError

CELL: Final = 48
"""Frames that share a decision. They are counted from the clip's start, never from where somebody looks."""
RUNS: Final = 3
"""Runs of frames that a cell is judged by."""
_SIDE: Final = 16


def cell_count(length: int) -> int:
    """Cells of a clip of so many frames; at its end less than half a cell joins the one before."""
    return max((length + CELL // 2) // CELL, 1)


def cell(number: int, length: int) -> tuple[int, int]:
    """First frame and length of cell ``number`` of a clip of ``length`` frames."""
    first = number * CELL
    return first, CELL if number < cell_count(length) - 1 else length - first


def probe_frames(first: int, length: int) -> list[int]:
    """The RUNS * RUN frames that a cell is judged by; some come more than once in a cell of few frames."""
    frames: list[int] = []
    for run in range(RUNS):
        start = min(max((2 * run + 1) * length // (2 * RUNS) - RUN // 2, 0), max(length - RUN, 0))
        frames += [first + min(start + i, length - 1) for i in range(RUN)]
    return frames


def probe(clip: vs.VideoNode, function: str = "Restore") -> vs.VideoNode:
    """What each frame of a clip needs, as the frame property PROPERTY (see :class:`vsanimup.tasks.TaskMix`).

    The result is a GRAYS clip of 16x16, as long as ``clip``, made to be taken apart by
    ``clip.std.CopyFrameProps(probe(clip), props=[PROPERTY])``. Frame n depends on the probe frames of n's cell alone.

    Args:
        clip: Of any gray, YUV or RGB format; the range of integers follows the frame properties.
        function: Name of the plugin function, for error messages.

    Raises:
        AnimupError: The clip varies in format or size.
    """
    if clip.format is None or clip.format.color_family == vs.UNDEFINED or not clip.width or not clip.height:
        raise AnimupError(f"{function}: clip must have one format and size throughout")
    length, last = clip.num_frames, cell_count(clip.num_frames) - 1
    places = tiles(clip.height, clip.width)
    count = RUNS * RUN

    def planes(frame: FrameView) -> Planes:
        return tuple(plane.reshape(len(places), -1, plane.shape[1]) for plane in frame.planes)

    def process(job: Job) -> None:
        numbers = probe_frames(*cell(job.first // count, length))
        runs = dict.fromkeys(tuple(numbers[i : i + RUN]) for i in range(0, count, RUN))
        at = {number: position for position, number in enumerate(numbers)}
        found = []
        for run in runs:
            if job.cancelled:
                return
            found.append(state_probabilities([planes(job.inputs[at[n]]) for n in dict.fromkeys(run)]))
        text = str(MIXES[decide(found)])
        for output in job.outputs:
            output.planes[0][:] = 0
            output.set_prop(PROPERTY, text)

    rest = cell(last, length)[1]
    looked_at = _select(clip, last, CELL, probe_frames(0, CELL), probe_frames(0, rest))
    decided = block_node(
        _floats(looked_at, places),
        process,
        function=function,
        block=count,
        width=_SIDE,
        height=_SIDE,
        format=vs.GRAYS,
        cached_blocks=16,
        prefetch=False,
    )
    return _select(decided, last, count, [0] * CELL, [0] * rest)


def _floats(clip: vs.VideoNode, places: list[tuple[int, int, int, int]]) -> vs.VideoNode:
    """The tiles of a clip, one below the other, as GRAYS or YUV420PS."""
    # all that the conversion has to know is the range; of the rest, some cannot be converted
    clip = clip.std.RemoveFrameProps(["_FieldBased", "_Matrix", "_Transfer", "_Primaries", "_ChromaLocation"])
    parts = [clip.std.CropAbs(width=wide, height=high, left=left, top=top) for top, left, high, wide in places]
    small = parts[0] if len(parts) == 1 else vs.core.std.StackVertical(parts)
    if small.format.color_family == vs.GRAY:
        return small.resize.Bicubic(format=vs.GRAYS)
    matrix = {"matrix_s": "709"} if small.format.color_family == vs.RGB else {}
    return small.resize.Bicubic(format=vs.YUV420PS, **matrix)


def _select(clip: vs.VideoNode, whole: int, size: int, offsets: list[int], rest: list[int]) -> vs.VideoNode:
    """Frames by ``offsets`` from each of the first ``whole`` pieces of ``size`` frames, by ``rest`` from what follows.

    A list of all frames would take longer the longer the clip is, and clips from ``std.Loop()`` have 2^31 frames.
    """
    tail = clip[whole * size :]
    if tail.num_frames == 1:
        last = tail.std.Loop(len(rest))
    else:
        last = tail.std.SelectEvery(cycle=tail.num_frames, offsets=rest, modify_duration=False)
    if not whole:
        return last
    return clip[: whole * size].std.SelectEvery(cycle=size, offsets=offsets, modify_duration=False) + last
