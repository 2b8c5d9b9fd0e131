"""Drawings in motion whose faults are diagnosed."""

from __future__ import annotations

import cv2
import numpy as np
import vapoursynth as vs

from tests.helpers.clips import core, drawn
from training.data.media import Planes, halve, to_planes
from vsanimup.diagnosis import PROPERTY, probe


def cartoon(count: int = 9, seed: int = 1, height: int = 720, width: int = 1152) -> Planes:
    """Outlined shapes that move on twos over a shaded background with hatching, at half of this size."""
    rng = np.random.default_rng(seed)
    shade = np.linspace(0, 1, height)[:, None, None] * rng.uniform(20, 60, 3) + rng.uniform(90, 160, 3)
    plate = np.repeat(shade, width, 1)
    for _ in range(60):
        start, stop = rng.integers(0, width, 2), rng.integers(0, 60, 2)
        cv2.line(plate, start.tolist(), (start + stop).tolist(), rng.uniform(30, 220, 3).tolist(), 2, cv2.LINE_AA)
    shapes = [
        (rng.uniform(0.1, 0.9, 2) * (width, height), rng.normal(0, 7, 2), rng.uniform(30, 130), rng.uniform(0, 255, 3))
        for _ in range(14)
    ]
    outlines = [rng.uniform(0.5, 1.0, int(rng.integers(5, 12))) for _ in shapes]
    frames: list[np.ndarray] = []
    for number in range(count):
        if number % 2:
            frames.append(frames[-1])
            continue
        picture = plate.copy()
        for (centre, speed, size, colour), radii in zip(shapes, outlines, strict=True):
            angle = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
            points = (centre + speed * number)[None] + size * radii[:, None] * np.stack(
                [np.cos(angle), np.sin(angle)], 1
            )
            corners = np.round(points * 16).astype(np.int32)
            cv2.fillPoly(picture, [corners], colour.tolist(), cv2.LINE_AA, 4)
            cv2.polylines(picture, [corners], True, (colour * 0.2).tolist(), 3, cv2.LINE_AA, 4)
        frames.append(np.clip(picture, 0, 255).astype(np.uint8))
    return halve(to_planes(frames))


def floats(clip: Planes) -> list[tuple[np.ndarray, ...]]:
    """Frames as the filters' working format has them."""
    y, uv = (clip.y.astype(np.float32) - 16) / 219, (clip.uv.astype(np.float32) - 128) / 224
    return [(luma, *colour) for luma, colour in zip(y, uv, strict=True)]


def node(clip: Planes, length: int | None = None, format: int = vs.YUV420PS) -> vs.VideoNode:
    """A clip of floats that repeats the frames of ``clip`` up to ``length``."""
    frames = floats(clip)
    rows, columns = frames[0][0].shape
    blank = core.std.BlankClip(format=format, width=columns, height=rows, length=length or len(frames), keep=True)
    blank = blank.std.SetFrameProps(Mine="kept", _Matrix=1)
    return drawn(blank, lambda n, i, _: frames[n % len(frames)][i] + (0.5 if i else 0))


def mixes(clip: vs.VideoNode, order: list[int] | None = None) -> dict[int, str]:
    tagged = clip.std.CopyFrameProps(probe(clip), props=[PROPERTY])
    found = {}
    for n in range(clip.num_frames) if order is None else order:
        with tagged.get_frame(n) as frame:
            assert frame.props["Mine"] == "kept" and frame.props["_Matrix"] == 1
            found[n] = str(frame.props[PROPERTY])
    return found
