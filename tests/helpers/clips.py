"""Clips that are made on the spot."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import vapoursynth as vs

core = vs.core


def drawn(clip: vs.VideoNode, plane: Callable[[int, int, tuple[int, int]], np.ndarray]) -> vs.VideoNode:
    """``clip`` with its planes filled by ``plane(frame, index, (height, width))`` in 0..1 of the sample range."""
    whole = (1 << clip.format.bits_per_sample) - 1 if clip.format.sample_type == vs.INTEGER else 1
    chroma_zero = 0.5 if clip.format.sample_type == vs.FLOAT and clip.format.color_family == vs.YUV else 0

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        for index in range(clip.format.num_planes):
            target = np.asarray(frame[index])
            value = plane(n, index, target.shape) - (chroma_zero if index else 0)
            target[:] = np.round(value * whole) if clip.format.sample_type == vs.INTEGER else value
        return frame

    return clip.std.ModifyFrame(clip, fill)


def moving(
    format: int = vs.YUV420P8,
    width: int = 96,
    height: int = 64,
    length: int = 12,
    cut: int | None = None,
    noise: float = 0.03,
) -> vs.VideoNode:
    """A textured picture that pans a pixel a frame under noise, with another scene from frame ``cut`` on."""

    def plane(n: int, index: int, shape: tuple[int, int]) -> np.ndarray:
        scene = int(cut is not None and n >= cut)
        rng = np.random.default_rng((scene, index))
        texture = np.kron(rng.random((-(-shape[0] // 8), -(-shape[1] // 8))), np.ones((8, 8)))[: shape[0], : shape[1]]
        picture = np.roll(texture * 0.5 + 0.2 + 0.15 * scene, n, 1)
        return np.clip(picture + np.random.default_rng((n, index, 7)).normal(0, noise, shape), 0.07, 0.92)

    return drawn(core.std.BlankClip(format=format, width=width, height=height, length=length, keep=True), plane)


def inked(width: int = 192, height: int = 96, length: int = 5, noise: float = 0.0) -> vs.VideoNode:
    """Outlined discs that move a sample a frame over a shaded background, under noise: what animation looks like."""

    def plane(n: int, index: int, shape: tuple[int, int]) -> np.ndarray:
        rows, columns = (a / shape[0] for a in np.mgrid[: shape[0], : shape[1]].astype(float))
        picture = 0.3 + 0.25 * columns if index == 0 else np.full(shape, 0.45 + 0.1 * (index == 2))
        for x, y, radius, level in ((0.4, 0.5, 0.3, 0.75), (1.1, 0.35, 0.2, 0.5), (1.6, 0.6, 0.25, 0.85)):
            away = (np.hypot(columns - x - n / height, rows - y) - radius) * shape[0]
            inside, line = np.clip(0.5 - away, 0, 1), np.clip(1.5 - np.abs(away), 0, 1) * (index == 0)
            picture = picture + (level - picture) * inside
            picture = picture + (0.12 - picture) * line
        grain = np.random.default_rng((n, index, 3)).normal(0, noise, shape) if noise else 0
        return np.clip(picture + grain, 0.07, 0.92)

    return drawn(core.std.BlankClip(format=vs.YUV420P8, width=width, height=height, length=length, keep=True), plane)


def disc() -> vs.VideoNode:
    """A disc that moves a sample a frame over a clean ramp; no fault to be found."""

    def plane(n: int, index: int, shape: tuple[int, int]) -> np.ndarray:
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        inside = np.hypot(rows - shape[0] / 2, columns - shape[1] / 3 - n) < shape[0] / 4
        return np.where(inside, 0.7, 0.3 + 0.2 * (index == 0) * columns / shape[1])

    return drawn(core.std.BlankClip(format=vs.YUV420P8, width=320, height=192, length=6, keep=True), plane)
