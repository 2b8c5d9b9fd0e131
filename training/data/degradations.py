"""Degradations that need no encoder, laid over a window of frames while training: one function a restoration task.

Windows are float tensors: ``y`` ``[frames, height, width]`` in 0..1 and ``uv`` ``[2 * frames, height / 2, width / 2]``
in -0.5..0.5 (U0 V0 U1 V1 …). Strengths are drawn from ``rng``. Nothing here moves the picture, and only haze changes
its overall brightness. Rain, snow and haze follow the usual additive and atmospheric models: rain and snow are bright
and drawn anew in every frame, haze is ``J t + A (1 - t)`` with a smooth transmission ``t`` that stays still.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Rng = np.random.Generator
Window = tuple[Tensor, Tensor]


def _normal(shape: tuple[int, ...], rng: Rng) -> Tensor:
    return torch.from_numpy(rng.standard_normal(shape, np.float32))


def _between(low: float, high: float, rng: Rng) -> float:
    return float(rng.uniform(low, high))


def gauss(x: Tensor, across: float, down: float) -> Tensor:
    """Gaussian blur of ``[planes, rows, columns]`` by deviations in samples, edges continued."""
    for sigma, vertical in ((across, False), (down, True)):
        if sigma < 0.15:
            continue
        reach = max(1, int(np.ceil(2.5 * sigma)))
        taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float32) / sigma) ** 2)
        taps = taps / taps.sum()
        pad = (0, 0, reach, reach) if vertical else (reach, reach, 0, 0)
        kernel = taps.view(1, 1, -1, 1) if vertical else taps.view(1, 1, 1, -1)
        x = F.conv2d(F.pad(x[:, None], pad, mode="replicate"), kernel)[:, 0]
    return x


def smooth_field(shape: tuple[int, ...], cell: int, rng: Rng) -> Tensor:
    """Smooth random field ``[planes, rows, columns]`` about 0, with detail of about ``cell`` samples."""
    planes, rows, columns = shape
    small = _normal((planes, rows // cell + 2, columns // cell + 2), rng)
    return F.interpolate(small[None], size=(rows, columns), mode="bilinear", align_corners=False)[0]


def denoise(y: Tensor, uv: Tensor, rng: Rng) -> Window:
    """Fresh noise on every frame: fine, correlated along lines (tape) or clumped (film grain)."""
    sigma = float(rng.triangular(0.6, 5, 18)) / 255
    grain = _normal(tuple(y.shape), rng)
    shape = rng.random()
    if shape < 0.4:
        along, down = (_between(0.4, 1.2, rng), 0.0) if shape < 0.2 else (_between(0.4, 0.9, rng),) * 2
        grain = gauss(grain, along, down)
        grain = grain / grain.std().clamp_min(1e-6)
    if rng.random() < 0.25:  # film grain is strongest in the middle tones
        grain = grain * (4 * y * (1 - y)).clamp_min(0.15)
    colour = _normal(tuple(uv.shape), rng) * (sigma * _between(0, 1.2, rng))
    return y + sigma * grain, uv + (gauss(colour, 0.7, 0.3) if rng.random() < 0.5 else colour)


def deblur(y: Tensor, uv: Tensor, rng: Rng) -> Window:
    """Out of focus, or enlarged by somebody from a smaller size."""
    if rng.random() < 0.35:
        height, width = y.shape[-2:]
        share = _between(0.5, 0.85, rng)
        small = F.interpolate(y[None], size=(round(height * share), round(width * share)), mode="area")
        return F.interpolate(small, size=(height, width), mode="bicubic", align_corners=False)[0], uv
    sigma = _between(0.5, 1.7, rng)
    return gauss(y, sigma, sigma * _between(0.7, 1.0, rng)), uv


def dehalo(y: Tensor, uv: Tensor, rng: Rng) -> Window:
    """What an over-eager sharpener leaves: halos on both sides of lines, mostly along scan lines."""
    size, amount = _between(0.7, 2.2, rng), float(rng.triangular(0.3, 0.8, 1.8))
    base = gauss(y, _between(0.3, 0.9, rng), 0.3)
    down = size if rng.random() < 0.4 else 0.3
    return base + amount * (base - gauss(base, size, down)), uv


def dechroma(y: Tensor, uv: Tensor, rng: Rng) -> Window:
    """Bled and displaced chroma; of composite video also rainbows (luma in chroma) and dot crawl (the reverse)."""
    smeared = gauss(uv, _between(0.6, 3.2, rng), _between(0.2, 0.9, rng))
    shift = float(rng.triangular(-1.5, 0.6, 2.5))
    whole = int(np.floor(shift))
    part, width = shift - whole, uv.shape[-1]
    padded = F.pad(smeared, (4, 4), mode="replicate")
    smeared = (1 - part) * padded[..., 4 - whole : 4 - whole + width] + part * padded[..., 3 - whole :][..., :width]
    if rng.random() < 0.5:
        frames, rows, columns = y.shape
        phase = np.pi * (torch.arange(frames).view(-1, 1, 1) + torch.arange(rows).view(1, -1, 1))
        carrier = torch.cos(phase + _between(0.4, 0.6, rng) * np.pi * torch.arange(columns).view(1, 1, -1))
        if rng.random() < 0.6:
            fine = y - gauss(y, 1.0, 0.0)
            beat = F.avg_pool2d((fine * carrier)[:, None], 2)
            beat = gauss(beat[:, 0], 1.2, 0.3) * _between(0.5, 2.0, rng)
            smeared = smeared + torch.stack((beat, beat * _between(-1, 1, rng)), 1).flatten(0, 1)
        if rng.random() < 0.6:
            edges = (uv - gauss(uv, 1.5, 0.3)).view(frames, 2, *uv.shape[1:]).sum(1)
            edges = F.interpolate(edges[:, None], size=(rows, columns), mode="bilinear")[:, 0]
            y = y + edges * carrier * _between(0.3, 1.0, rng)
    return y, smeared


def descratch(y: Tensor, uv: Tensor, rng: Rng) -> Window:
    """Film damage: vertical scratches that stay and wander, dust, hairs and blotches that last one frame."""
    frames, rows, columns = y.shape
    x, down = torch.arange(columns, dtype=torch.float32), torch.arange(rows, dtype=torch.float32).view(-1, 1)
    y = y.clone()
    for _ in range(int(rng.integers(0, 3))):
        at, depth, width = _between(0, columns, rng), _between(0.1, 0.6, rng), _between(0.4, 1.0, rng)
        tone = float(rng.choice([0.0, 1.0]))
        for frame in range(frames):
            at += float(rng.normal(0, 0.4))
            line = depth * torch.exp(-0.5 * ((x - at - 0.004 * down) / width) ** 2)
            line = line * (smooth_field((1, rows, 1), 24, rng)[0] > -0.8)
            y[frame] += line * (tone - y[frame])
    for frame in range(frames):
        for _ in range(int(rng.poisson(rows * columns / 2500))):
            tone, size = float(rng.choice([0.05, 0.95])), _between(0.6, 2.6, rng)
            cx, cy = _between(0, columns, rng), _between(0, rows, rng)
            angle, stretch = _between(0, np.pi, rng), _between(1, 4, rng)
            u = (x - cx) * np.cos(angle) + (down - cy) * np.sin(angle)
            v = (down - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
            if rng.random() < 0.15:  # a hair is bent
                v, stretch = v - u * u * _between(-0.06, 0.06, rng), stretch * 3
            spot = torch.sigmoid(4 * (1 - torch.hypot(u / (size * stretch), v / size)))
            y[frame] += spot * _between(0.5, 1, rng) * (tone - y[frame])
    return y, uv


def dirt(y: Tensor, shapes: Sequence[Tensor], rng: Rng) -> Tensor:
    """Real shapes of dust, hairs and scratches (``[rows, columns]``, 0..1), other ones in every frame."""
    rows, columns = y.shape[-2:]
    y = y.clone()
    dense = float(np.exp(rng.uniform(np.log(0.3), np.log(4)))) * rows * columns / 9000
    for frame in range(len(y)):
        for _ in range(int(rng.poisson(dense))):
            shape = shapes[int(rng.integers(len(shapes)))]
            share = float(np.exp(rng.uniform(np.log(0.12), np.log(0.5))))
            size = [max(2, round(n * share)) for n in shape.shape]
            mask = F.interpolate(shape[None, None], size=size, mode="area")[0, 0]
            mask = torch.rot90(mask, int(rng.integers(4)))
            mask = mask.flip(0) if rng.random() < 0.5 else mask
            mask = mask * (_between(0.35, 1, rng) / float(mask.max().clamp_min(0.2)))
            top, left = (int(rng.integers(1 - n, side)) for n, side in zip(mask.shape, (rows, columns), strict=True))
            place = tuple(
                slice(max(at, 0), min(at + n, side))
                for at, n, side in zip((top, left), mask.shape, (rows, columns), strict=True)
            )
            part = mask[place[0].start - top : place[0].stop - top, place[1].start - left : place[1].stop - left]
            tone = float(rng.choice([0.03, 0.97]))
            y[frame][place] += part.clamp(0, 1) * (tone - y[frame][place])
    return y


def deband(y: Tensor, uv: Tensor, rng: Rng) -> Window:
    """Too few levels: smooth ramps become steps."""
    levels = float(rng.choice([20, 28, 36, 48, 64]))
    offset = _between(0, 1, rng)
    return ((y * levels + offset).round() - offset) / levels, (uv * levels).round() / levels


def derain(y: Tensor, uv: Tensor, rng: Rng) -> Window:
    """Streaks of rain, new ones in every frame."""
    frames, rows, columns = y.shape
    lean, length = _between(-0.5, 0.5, rng), int(rng.integers(7, 22))
    margin = length + 12
    drops = torch.from_numpy(rng.random((frames, rows + margin, columns + margin), np.float32))
    drops = (drops < _between(0.002, 0.012, rng)).float() * 0.7
    streaks = torch.zeros_like(y)
    for i in range(length):
        left = round(margin / 2 + lean * (i - length / 2))
        fade = 1 - abs(2 * i / (length - 1) - 1) * 0.6
        streaks = torch.maximum(streaks, fade * drops[:, i : i + rows, left : left + columns])
    streaks = gauss(streaks, _between(0.3, 0.7, rng), 0.4) * _between(0.5, 1.1, rng)
    grey = F.avg_pool2d(streaks[:, None], 2)[:, 0].repeat_interleave(2, 0)
    return y + streaks * (0.95 - y).clamp_min(0), uv * (1 - grey)


def dehaze(y: Tensor, uv: Tensor, rng: Rng) -> Window:
    """Haze of one colour, thicker here and thinner there."""
    rows, columns = y.shape[-2:]
    clear = smooth_field((1, rows, columns), 48, rng) * 0.08
    slope = torch.linspace(-1, 1, rows).view(1, -1, 1) * _between(-0.15, 0.15, rng)
    through = (_between(0.35, 0.9, rng) + clear + slope).clamp(0.2, 1)
    air = _between(0.7, 0.98, rng)
    return y * through + air * (1 - through), uv * F.avg_pool2d(through[None], 2)[0]


def desnow(y: Tensor, uv: Tensor, rng: Rng) -> Window:
    """Flakes that drift down and sideways, near ones large and soft."""
    frames, rows, columns = y.shape
    x, down = torch.arange(columns, dtype=torch.float32), torch.arange(rows, dtype=torch.float32).view(-1, 1)
    cover = torch.zeros_like(y)
    for _ in range(int(rng.poisson(rows * columns / 450))):
        size, opaque = float(rng.triangular(0.5, 0.9, 3.2)), _between(0.4, 1, rng)
        cx, cy = _between(-8, columns + 8, rng), _between(-20, rows, rng)
        fall, drift = (1.5 + 2 * size) * _between(0.7, 1.3, rng), float(rng.normal(0, 1.2))
        for frame in range(frames):
            px, py = cx + drift * frame, cy + fall * frame
            left, top = int(px - 4 * size), int(py - 4 * size)
            below, right = max(int(py + 4 * size) + 2, 0), max(int(px + 4 * size) + 2, 0)
            area = (slice(max(top, 0), below), slice(max(left, 0), right))
            if cover[frame][area].numel() == 0:
                continue
            distance = torch.hypot(x[area[1]] - px, down[area[0]] - py)
            flake = opaque * torch.sigmoid((size - distance) / (0.25 * size + 0.15))
            cover[frame][area] = torch.maximum(cover[frame][area], flake)
    grey = F.avg_pool2d(cover[:, None], 2)[:, 0].repeat_interleave(2, 0)
    return y + cover * (0.97 - y), uv * (1 - grey)


DEGRADATIONS: dict[str, Callable[[Tensor, Tensor, Rng], Window]] = {
    "denoise": denoise,
    "deblur": deblur,
    "dehalo": dehalo,
    "dechroma": dechroma,
    "descratch": descratch,
    "deband": deband,
    "derain": derain,
    "dehaze": dehaze,
    "desnow": desnow,
}
"""Degradations by the task that removes them; ``deblock``'s come from real encoders, see ``degrade.py``."""


def lay(tasks: list[str], y: Tensor, uv: Tensor, rng: Rng, shapes: Sequence[Tensor] = ()) -> Window:
    """Lay the degradations of ``tasks`` over a window, in the order of film, weather, optics, wire; rounded to 8 bits.

    Where ``shapes`` of film damage are known (:func:`dirt`), three windows in four with damage have those.
    """
    for task in ("dehaze", "derain", "desnow", "descratch", "deblur", "dehalo", "dechroma", "denoise", "deband"):
        if task == "descratch" and task in tasks and len(shapes) and rng.random() < 0.75:
            y = dirt(y, shapes, rng)
        elif task in tasks:
            y, uv = DEGRADATIONS[task](y, uv, rng)
    y = ((y * 219 + 16).round().clamp(1, 254) - 16) / 219
    return y, ((uv * 224 + 128).round().clamp(1, 254) - 128) / 224
