"""What lies on a picture everywhere: paper, brush strokes, fur and grass. Arrays are float32 or RGB uint8."""

from __future__ import annotations

import cv2
import numpy as np

from training.data.corpus import Library
from training.data.drawing import F32, U8, Rng, gradient, resize


def field(height: int, width: int, cell: float, rng: Rng) -> F32:
    """Smooth noise [height, width] of mean 0 and deviation 1 with detail of about ``cell`` pixels."""
    rows, columns = max(2, round(height / cell)), max(2, round(width / cell))
    small = rng.standard_normal((rows, columns), np.float32)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray((large - large.mean()) / max(float(large.std()), 1e-6), np.float32)


def paper(height: int, width: int, rng: Rng) -> F32:
    """The relief of paper or canvas, [height, width], deviation 1."""
    kind = rng.random()
    if kind < 0.25:  # woven canvas
        pitch = rng.uniform(2.5, 7, 2)
        rows = np.arange(height, dtype=np.float32)[:, None]
        columns = np.arange(width, dtype=np.float32)[None]
        relief = np.sin(2 * np.pi * rows / pitch[0]) * np.sin(2 * np.pi * columns / pitch[1])
        relief = relief.astype(np.float32) + 0.5 * field(height, width, 1.5, rng)
    else:  # pulp: octaves
        weights = rng.uniform(0.1, 1, 4)
        relief = sum(
            np.float32(w) * field(height, width, float(c), rng) for w, c in zip(weights, (1, 2, 4, 10), strict=True)
        )
        if rng.random() < 0.4:  # fibres
            relief = relief + 0.6 * strokes(height, width, rng)
    return np.asarray(relief / max(float(np.std(relief)), 1e-6), np.float32)


def strokes(height: int, width: int, rng: Rng) -> F32:
    """Short bent lines all over, [height, width], deviation 1."""
    canvas = np.zeros((height, width), np.float32)
    for _ in range(height * width // 300):
        x, y, angle, length = *rng.uniform(0, (width, height)), rng.uniform(0, np.pi), rng.uniform(5, 30)
        end = (int(x + length * np.cos(angle)), int(y + length * np.sin(angle)))
        cv2.line(canvas, (int(x), int(y)), end, float(rng.normal()), 1, cv2.LINE_AA)
    return np.asarray(canvas / max(float(canvas.std()), 1e-6), np.float32)


def fur(plate: U8, rng: Rng) -> U8:
    """The picture, combed: hairs or blades of grass in its colours along a smooth flow. RGB, the same size."""
    height, width = plate.shape[:2]
    combed = np.ascontiguousarray(cv2.GaussianBlur(plate, (0, 0), 4))
    turn = field(height, width, float(rng.uniform(80, 250)), rng) * float(rng.uniform(0.2, 0.9)) + rng.uniform(0, 6.3)
    light = field(height, width, float(rng.uniform(2, 8)), rng)
    length, spread = float(rng.uniform(6, 26)), float(rng.uniform(10, 45))
    count = round(height * width / rng.uniform(10, 40))
    xs, ys = rng.uniform(0, width, count), rng.uniform(0, height, count)
    ys.sort()  # those in front hang over those behind
    angles = turn[ys.astype(int), xs.astype(int)] + rng.normal(0, 0.18, count)
    sizes = length * rng.uniform(0.5, 1.3, count)
    tones = combed[ys.astype(int), xs.astype(int)].astype(np.float32)
    tones = np.clip(
        tones + spread * (0.7 * light[ys.astype(int), xs.astype(int)] + rng.normal(0, 0.7, count))[:, None], 2, 253
    )
    starts = np.round(8 * np.stack([xs, ys], 1)).astype(int)
    ends = np.round(8 * np.stack([xs + sizes * np.cos(angles), ys + sizes * np.sin(angles)], 1)).astype(int)
    for start, end, tone in zip(starts.tolist(), ends.tolist(), tones.tolist(), strict=True):
        cv2.line(combed, start, end, tone, 1, cv2.LINE_AA, 3)
    return np.asarray(combed, np.uint8)


def plate_of(library: Library, folder: str, side: int, rng: Rng, names: list[str]) -> U8:
    """A square part of a random painting or photograph, never enlarged: small ones go on mirrored. RGB [side, side]."""
    known = library.painted if folder == "painted" else library.photos
    if not known:
        return gradient(side, side, rng)
    name = known[int(rng.integers(len(known)))]
    names.append(name)
    image = library.picture(folder, name)
    least = side / min(image.shape[:2])
    scale = min(1.0, float(rng.uniform(max(least, 0.45), 1))) if least < 1 else 1.0
    if scale < 1:
        image = resize(image, round(image.shape[1] * scale), round(image.shape[0] * scale))
    down, across = max(0, side - image.shape[0]), max(0, side - image.shape[1])
    image = np.pad(image, ((0, down), (0, across), (0, 0)), "symmetric")
    y, x = int(rng.integers(image.shape[0] - side + 1)), int(rng.integers(image.shape[1] - side + 1))
    image = image[y : y + side, x : x + side]
    return np.ascontiguousarray(image[:, ::-1] if rng.random() < 0.5 else image)
