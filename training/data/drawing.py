"""Pictures as layers: cut-outs, ink, placing, bending. RGB is uint8 [H, W, 3], layers are premultiplied RGBA."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.corpus import Library

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Rng = np.random.Generator


def recolour(image: U8, rng: Rng) -> U8:
    """Turns hues and scales saturation and value a little; ``image`` RGB or RGBA."""
    hsv = cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_RGB2HSV)
    index = np.arange(256)
    hue = ((index + int(rng.integers(0, 180))) % 180).astype(np.uint8)
    saturation = np.clip(index * rng.uniform(0.5, 1.2), 0, 255).astype(np.uint8)
    value = np.clip(255 * (index / 255) ** rng.uniform(0.75, 1.35), 0, 255).astype(np.uint8)
    turned = np.dstack([hue[hsv[..., 0]], saturation[hsv[..., 1]], value[hsv[..., 2]]])
    rgb = np.asarray(cv2.cvtColor(turned, cv2.COLOR_HSV2RGB), np.uint8)
    return rgb if image.shape[2] == 3 else np.dstack([rgb, image[..., 3]])


def ink(image: U8, width: float, rng: Rng) -> U8:
    """Draws ink along the outline and the inner edges of an RGBA cut-out, ``width`` pixels wide."""
    alpha = image[..., 3]
    size = max(1, round(width / 2))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * size + 1, 2 * size + 1))
    outline = cv2.subtract(cv2.dilate(alpha, disc), cv2.erode(alpha, disc))
    smooth = cv2.bilateralFilter(np.ascontiguousarray(image[..., :3]), 5, 40, 3)
    dot = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size + 1, size + 1))
    inner = cv2.dilate(cv2.Canny(smooth, 50, 130), dot)
    both = cv2.GaussianBlur(cv2.max(outline, cv2.min(inner, alpha)), (0, 0), 0.8)
    line = both.astype(np.float32)[..., None] / 255
    colour = np.array(rng.uniform(0, 50, 3) * (rng.random() < 0.5), np.float32)
    rgb = image[..., :3] * (1 - line) + colour * line
    full = np.maximum(alpha, (line[..., 0] * 255).astype(np.uint8))
    return np.dstack([rgb.astype(np.uint8), full])


def premultiply(image: U8) -> U8:
    """RGBA with straight alpha to RGBA with colour multiplied by alpha."""
    alpha = image[..., 3:].astype(np.uint16)
    return np.dstack([((image[..., :3] * alpha + 127) // 255).astype(np.uint8), image[..., 3]])


def resize(image: U8, width: int, height: int) -> U8:
    """Area average when shrinking, Lanczos when enlarging."""
    shrinking = width <= image.shape[1]
    how = cv2.INTER_AREA if shrinking else cv2.INTER_LANCZOS4
    return np.asarray(cv2.resize(image, (max(width, 2), max(height, 2)), interpolation=how), np.uint8)


def cutout(library: Library, side: float, rng: Rng, names: list[str], inked: float = 0.35) -> U8:
    """One random cut-out, premultiplied RGBA, its longest side *twice* ``side`` pixels, varied."""
    name = library.art[int(rng.integers(len(library.art)))]
    names.append(name)
    image = library.picture("art", name)
    scale = 2 * side / max(image.shape[:2])
    image = resize(image, round(image.shape[1] * scale), round(image.shape[0] * scale))
    image = np.pad(image, ((6, 6), (6, 6), (0, 0)))
    if rng.random() < 0.45:
        image = recolour(image, rng)
    if rng.random() < inked:
        image = ink(image, float(rng.uniform(2, 6)), rng)
    if rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
    return premultiply(image)


def over(canvas: U8, layer: U8) -> None:
    """Lays premultiplied RGBA over RGB, in place."""
    if layer.shape[2] == 4:
        keep = 255 - layer[..., 3:].astype(np.uint16)
        under = (canvas * keep + 127) // 255
        np.copyto(canvas, np.minimum(under + layer[..., :3], 255).astype(np.uint8))


def place(canvas: U8, layer: U8, matrix: F32) -> None:
    """Warps ``layer`` (premultiplied RGBA at double size) into ``canvas`` (RGB, single size), in place.

    ``matrix`` [2, 3] takes layer pixels to canvas pixels, both at double size.
    """
    height, width = layer.shape[:2]
    corners = matrix @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]], np.float32)
    low = np.maximum(np.floor(corners.min(1) / 2).astype(int) - 2, 0)
    high = np.minimum(np.ceil(corners.max(1) / 2).astype(int) + 2, (canvas.shape[1], canvas.shape[0]))
    if (high - low).min() < 1:
        return
    moved = matrix.copy()
    moved[:, 2] -= 2 * low
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    warped = cv2.warpAffine(layer, moved, (2 * size[0], 2 * size[1]), flags=cv2.INTER_LINEAR)
    small = np.asarray(cv2.resize(warped, size, interpolation=cv2.INTER_AREA), np.uint8)
    over(canvas[low[1] : high[1], low[0] : high[0]], small)


def affine(layer: U8, at: tuple[float, float], turn: float, stretch: float, scale: float) -> F32:
    """The matrix that puts the middle of a double-size layer at ``at`` (canvas pixels), turned (radians),
    squashed by ``stretch`` with its area kept, and scaled."""
    cosine, sine = np.cos(turn), np.sin(turn)
    linear = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([scale * stretch, scale / stretch])
    middle = np.array([layer.shape[1], layer.shape[0]]) / 2
    return np.column_stack([linear, 2 * np.array(at) - linear @ middle]).astype(np.float32)


def bend(layer: U8, amount: float, phase: float, waves: tuple[float, float]) -> U8:
    """Another drawing of the same thing: a smooth bend by up to ``amount`` pixels."""
    rows = np.arange(layer.shape[0], dtype=np.float32)[:, None]
    columns = np.arange(layer.shape[1], dtype=np.float32)[None]
    x = columns + np.float32(amount) * np.sin(rows * np.float32(waves[0]) + np.float32(phase))
    y = rows + np.float32(amount * 0.6) * np.sin(columns * np.float32(waves[1]) + np.float32(phase * 1.3))
    bent = cv2.remap(layer, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
    return np.asarray(bent, np.uint8)


def gradient(width: int, height: int, rng: Rng) -> U8:
    """A smooth gradient between two colours, RGB, dithered so that it holds no bands."""
    first, second = rng.uniform(10, 250, 3), rng.uniform(10, 250, 3)
    angle = rng.uniform(0, 2 * np.pi)
    across, down = np.linspace(-1, 1, width)[None], np.linspace(-1, 1, height)[:, None]
    field = np.cos(angle) * across + np.sin(angle) * down
    if rng.random() < 0.3:
        field = np.hypot(across - rng.uniform(-1, 1), down)
    part = ((field - field.min()) / np.ptp(field))[..., None]
    return np.asarray(first + (second - first) * part + rng.random((height, width, 1)), np.uint8)
