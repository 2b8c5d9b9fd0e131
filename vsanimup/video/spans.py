"""What a network's node is told of each frame: the run of frames that show its drawing, and how far its scene goes."""

from __future__ import annotations

from collections.abc import Callable, Collection

import vapoursynth as vs

from vsanimup.bridge import SPAN, Job, block_node
from vsanimup.video.duplicates import CELL, FAINT, NOISIEST
from vsanimup.video.likeness import RESTORED, Likeness

MEMORY = 512 << 20
"""Bytes that source frames held for comparing them may take."""


def spans_of(
    clip: vs.VideoNode,
    function: str,
    *,
    dedup: bool,
    scenecut: bool,
    reach: int,
    restored_reach: int,
    streams: int,
    noisiest: Callable[[vs.VideoFrame], float] = lambda _: NOISIEST,
) -> vs.VideoNode:
    """A tiny clip, as long as ``clip``, whose frames tell by the properties :data:`vsanimup.bridge.SPAN` of its frames.

    ``dedup`` looks for runs of frames that show one drawing; without, each frame is one, as each restored frame is.
    Surroundings are up to ``reach`` frames (``restored_reach`` where frames were restored) on each side of it, within
    its scene. Frames that differ by more noise than ``noisiest`` says, :data:`NOISIEST` or :data:`FAINT` and the same
    for all frames of a cell, are drawings of their own. ``clip``, gray or YUV, must be no node of the script's, since
    its cache is set.
    """

    def node(most: float, dedup: bool, reach: int) -> vs.VideoNode:
        likeness = Likeness(clip.format, scenecut=scenecut, noisiest=most)
        return _looked_at(clip, function, likeness, dedup=dedup, reach=reach, streams=streams)

    by_noise = {most: node(most, dedup, reach) for most in (NOISIEST, FAINT)}
    restored = node(NOISIEST, False, restored_reach)

    def choose(n: int, f: vs.VideoFrame) -> vs.VideoNode:
        return restored if RESTORED in f.props else by_noise[noisiest(f)]

    return vs.core.std.FrameEval(restored, choose, prop_src=clip, clip_src=[restored, *by_noise.values()])


def window(frames: Collection[int], first: int, last: int, radius: int) -> list[int]:
    """Numbers of the middle frame of the run ``first`` to ``last`` and of ``radius`` frames on each side of it.

    Those beyond ``frames``, which a node is given, are the nearest of these: scenes and clips end there.
    """
    centre, start, end = (first + last) // 2, min(frames), max(frames)
    return [min(max(n, start), end) for n in range(centre - radius, centre + radius + 1)]


def _looked_at(
    clip: vs.VideoNode, function: str, likeness: Likeness, *, dedup: bool, reach: int, streams: int
) -> vs.VideoNode:
    """The same, whatever was done to the frames. Frame n depends on its cell of frames, and ``reach`` more beyond."""
    if not dedup and not reach:
        return clip.std.BlankClip(width=1, height=1, format=vs.GRAY8, keep=True)  # each frame for itself

    def process(job: Job) -> None:
        (output,) = job.outputs
        frames = {frame.n: frame for frame in job.inputs}
        first, last = likeness.run(frames, output.n) if dedup else (output.n, output.n)
        start, end = first, last
        while start > max(0, first - reach) and not likeness.cut(frames, start):
            start -= 1
        while end < min(max(frames), last + reach) and not likeness.cut(frames, end + 1):
            end += 1
        output.planes[0][:] = 0
        for name, n in zip(SPAN, (start, first, last, end), strict=True):
            output.set_prop(name, n)

    if dedup:
        # each frame of a cell asks for all of it, for which VapourSynth's adaptive caches are a little small
        cell = CELL + 2 * reach
        size = clip.width * clip.height * int(clip.format.bytes_per_sample) * clip.format.num_planes
        held = max(cell + 2, min(cell + CELL + streams, MEMORY // size))
        clip.std.SetVideoCache(mode=1, fixedsize=1, maxsize=held)
    return block_node(
        clip,
        process,
        function=function,
        grid=CELL if dedup else 1,
        before=reach,
        after=reach,
        width=1,
        height=1,
        format=vs.GRAY8,
        streams=streams,
        cached_blocks=2 * CELL,
    )
