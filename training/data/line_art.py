"""Line art drawn by chance: shapes in flat tones under smooth ink lines, with shades, shines, stripes and folds.

What the corpus has little of: lines that swell and taper as a pen's do, close to each other, in drawings as crowded as
a feature's. Canvases are premultiplied RGBA, uint8 [height, width, 4], at twice the final size, so that lines are free
of aliasing once they are averaged down. Curves are float32 [points, 2], x before y.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Rng = np.random.Generator

SHIFT = 4
"""Fractional bits of the coordinates that are handed to OpenCV."""
PEN = (1.2, 2.2, 4.8)
"""Least, usual and greatest width of outlines, in final pixels."""


def _fixed(curve: F32) -> NDArray[np.int32]:
    return np.round(curve * (1 << SHIFT)).astype(np.int32)


def waves(angle: F32, size: float, rng: Rng, first: int = 2, last: int = 7) -> F32:
    """A smooth function of the angle around 0, whose parts fall with their frequency."""
    total = np.zeros_like(angle)
    for k in range(first, last):
        total += np.float32(rng.normal(0, size / k)) * np.cos(k * angle + np.float32(rng.uniform(0, 7)))
    return total


def outline(radius: float, rng: Rng) -> F32:
    """A closed curve around 0: a smooth blob, scalloped, tufted, many-cornered, or a bent limb."""
    kind = rng.choice(["blob", "scallops", "tufts", "corners", "limb"], p=[0.36, 0.1, 0.12, 0.12, 0.3])
    count = int(np.clip(2.5 * radius, 48, 600))
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False, dtype=np.float32)
    if kind == "limb":
        return limb(radius, rng)
    reach = 1 + waves(angle, 0.22, rng)
    if kind == "scallops":
        reach += np.float32(rng.uniform(0.05, 0.16)) * np.abs(np.sin(angle * int(rng.integers(5, 16)) / 2))
    if kind == "tufts":
        teeth = int(rng.integers(7, 30))
        length = np.float32(rng.uniform(0.08, 0.3)) * rng.uniform(0.3, 1, teeth + 1).astype(np.float32)
        where = angle / (2 * np.pi) * teeth
        reach += length[where.astype(int)] * (where % 1)
    if kind == "corners":
        corners = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7)))).astype(np.float32)
        spots = np.stack([np.cos(corners), np.sin(corners)], 1)
        steps = np.linspace(0, len(spots), count, endpoint=False, dtype=np.float32)
        low, part = steps.astype(int), (steps % 1)[:, None]
        curve = spots[low] * (1 - part) + spots[(low + 1) % len(spots)] * part
    else:
        curve = reach[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return turned(curve * np.float32(radius) * np.array([1, rng.uniform(0.45, 1)], np.float32), rng)


def turned(curve: F32, rng: Rng) -> F32:
    """The curve at a random angle."""
    angle = rng.uniform(0, 2 * np.pi)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.asarray(curve @ np.array([[cosine, sine], [-sine, cosine]]), np.float32)


def bow(start: F32, middle: F32, end: F32, count: int) -> F32:
    """A quadratic Bezier curve."""
    t = np.linspace(0, 1, count, dtype=np.float32)[:, None]
    return np.asarray((1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end, np.float32)


def limb(radius: float, rng: Rng) -> F32:
    """An arm, a horn, a strand of hair: a bent line, thick and thin."""
    start, middle, end = radius * np.array([[-1, 0], [0, rng.uniform(-0.9, 0.9)], [1, 0]], np.float32)
    spine = bow(start, middle, end, 60)
    t = np.linspace(0, 1, 60, dtype=np.float32)
    thick = radius * (rng.uniform(0.08, 0.35) * (1 - t) + rng.uniform(0.02, 0.35) * t) * (1 + waves(3 * t, 0.25, rng))
    sides = sideways(spine) * np.maximum(thick, 2)[:, None]
    turn = np.linspace(0, np.pi, 12, dtype=np.float32)[1:-1, None]
    along = spine[-1] - spine[-2]
    along /= np.float32(np.hypot(*along) + 1e-6)
    tip = spine[-1] + np.cos(turn) * sides[-1] + np.sin(turn) * along * thick[-1]
    foot = spine[0] - np.cos(turn) * sides[0] - np.sin(turn) * (spine[1] - spine[0]) / 2
    return turned(np.concatenate([spine + sides, tip, (spine - sides)[::-1], foot]), rng)


def sideways(curve: F32, closed: bool = False) -> F32:
    """Unit normals of a curve."""
    step = np.roll(curve, -1, 0) - np.roll(curve, 1, 0) if closed else np.gradient(curve, axis=0)
    normal = np.stack([-step[:, 1], step[:, 0]], 1)
    return np.asarray(normal / (np.hypot(normal[:, :1], normal[:, 1:]) + 1e-6), np.float32)


def ring(curve: F32, width: float, rng: Rng) -> list[NDArray[np.int32]]:
    """Both sides of a pen's closed line, which swells and tapers."""
    angle = np.linspace(0, 2 * np.pi, len(curve), endpoint=False, dtype=np.float32)
    half = np.clip(1 + waves(angle, 0.5, rng, 1, 5), 0.35, 1.8) * np.float32(width / 2)
    across = sideways(curve, closed=True) * half[:, None]
    return [_fixed(curve + across), _fixed(curve - across)]


def stroke(curve: F32, width: float, rng: Rng) -> NDArray[np.int32]:
    """The outline of a pen's open line, thin at one end or both."""
    t = np.linspace(0, 1, len(curve), dtype=np.float32)
    half = np.maximum(1 - t if rng.random() < 0.6 else np.sin(np.pi * t), 0) ** np.float32(0.7) * np.float32(width / 2)
    across = sideways(curve) * np.maximum(half, 0.25)[:, None]
    return _fixed(np.concatenate([curve + across, (curve - across)[::-1]]))


def paint(canvas: U8, mask: U8, colour: F32) -> None:
    """Lay a colour (RGB, one or one a pixel) over the canvas where the mask is, in place."""
    part = mask.astype(np.float32)[..., None] / 255
    over = np.concatenate([np.broadcast_to(colour, (*mask.shape, 3)), np.full((*mask.shape, 1), 255, np.float32)], -1)
    canvas[:] = (canvas * (1 - part) + over * part + 0.5).astype(np.uint8)


def tone(rng: Rng) -> F32:
    """A colour of the paint box: a third dark, a third light, most of them dull."""
    value = rng.choice([rng.uniform(15, 80), rng.uniform(70, 190), rng.uniform(180, 252)])
    return np.clip(value * (1 + rng.normal(0, 0.16, 3)), 0, 255).astype(np.float32)


def shape(canvas: U8, centre: F32, radius: float, pen: float, ink: F32, rng: Rng) -> None:
    """One shape with all that is on it, in place; ``radius`` and ``pen`` in the canvas's pixels."""
    curve = outline(radius, rng) + centre
    low = np.maximum(np.floor(curve.min(0) - 2 * pen).astype(int), 0)
    high = np.minimum(np.ceil(curve.max(0) + 2 * pen).astype(int), canvas.shape[1::-1])
    if (high - low).min() < 4:
        return
    part, curve = canvas[low[1] : high[1], low[0] : high[0]], curve - low.astype(np.float32)
    size = part.shape[:2]

    def mask(*curves: NDArray[np.int32]) -> U8:
        made: Any = np.zeros(size, np.uint8)
        return np.asarray(cv2.fillPoly(made, curves, 255, cv2.LINE_AA, SHIFT), np.uint8)

    inside, base, middle = mask(_fixed(curve)), tone(rng), centre - low.astype(np.float32)

    def lay(curve: NDArray[np.int32], colour: F32) -> None:
        """Paint the part of a curve that lies inside of the shape."""
        paint(part, np.minimum(mask(curve), inside), colour)

    if rng.random() < 0.25:
        down = np.linspace(0, 1, size[0], dtype=np.float32)[:, None, None]
        paint(part, inside, base * (1 - down) + tone(rng) * down)
    else:
        paint(part, inside, base)
    if rng.random() < 0.15:  # stripes
        for y in np.arange(0, size[0], rng.uniform(3, 9) * pen):
            left, sag, right = np.array([[0, y], [size[1] / 2, y + radius * 0.3], [size[1], y]], np.float32)
            stripe = stroke(bow(left, sag, right, 30), 2.5 * pen, rng)
            lay(stripe, ink if rng.random() < 0.5 else base * np.float32(0.6))
    if rng.random() < 0.6:  # a shade
        away = radius * rng.normal(0, 0.16, 2).astype(np.float32)
        shade = np.asarray(cv2.subtract(inside, mask(_fixed(curve + away))), np.uint8)
        paint(part, shade, base * np.float32(rng.uniform(0.55, 0.85)))
    for _ in range(int(rng.integers(0, 3)) if rng.random() < 0.4 else 0):  # shines
        shine = outline(radius * rng.uniform(0.06, 0.25), rng) + (curve[int(rng.integers(len(curve)))] + middle) / 2
        lay(_fixed(shine), base + (255 - base) * np.float32(rng.uniform(0.15, 0.7)))
    for _ in range(int(rng.integers(1, 8)) if rng.random() < 0.5 else 0):  # folds
        start = curve[int(rng.integers(len(curve)))]
        end = start + (middle - start) * rng.uniform(0.2, 1.2) + rng.normal(0, 0.15 * radius, 2)
        fold = bow(start, (start + end) / 2 + rng.normal(0, 0.12 * radius, 2), end, 40)
        lay(stroke(fold, pen * rng.uniform(0.5, 1.2), rng), ink)
    if rng.random() < 0.93:
        paint(part, mask(*ring(curve, pen, rng)), ink)


def draw(canvas: U8, count: int, sizes: tuple[float, float, float], area: tuple[F32, F32], rng: Rng) -> None:
    """``count`` shapes in place, their centres within ``area`` (corners) and their radii drawn from ``sizes``
    (least, usual, greatest), all in final pixels; large ones mostly lie below."""
    ink = np.float32(rng.uniform(0, 40)) * rng.uniform(0.5, 1, 3).astype(np.float32)
    pen = 2 * float(rng.triangular(*PEN))
    radii = rng.triangular(*sizes, count)
    radii = radii[np.argsort(-radii * rng.uniform(0.5, 1.5, count))]
    for radius in radii:
        centre = (2 * rng.uniform(*area)).astype(np.float32)
        width = pen * float(np.clip((radius / sizes[1]) ** 0.4, 0.5, 1.4) * rng.uniform(0.6, 1.2))
        shape(canvas, centre, 2 * float(radius), width, ink, rng)


def plate(ground: U8, rng: Rng) -> U8:
    """A crowded picture over a background, RGB [height, width, 3] of the final size in and out."""
    height, width = ground.shape[:2]
    big = np.asarray(cv2.resize(ground, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR), np.uint8)
    canvas = np.dstack([big, np.full(big.shape[:2], 255, np.uint8)])
    count = int(rng.triangular(30, 70, 170))
    draw(canvas, count, (6, 34, 190), (np.zeros(2, np.float32), np.array([width, height], np.float32)), rng)
    return np.asarray(cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA), np.uint8)[..., :3].copy()


def figure(side: float, rng: Rng) -> U8:
    """A cut-out of several shapes, premultiplied RGBA, about ``side`` final pixels wide, at double size."""
    size = round(2 * side)
    canvas = np.zeros((size, size, 4), np.uint8)
    area = np.full(2, 0.32 * side, np.float32), np.full(2, 0.68 * side, np.float32)
    draw(canvas, int(rng.integers(5, 22)), (0.03 * side, 0.12 * side, 0.3 * side), area, rng)
    return canvas
