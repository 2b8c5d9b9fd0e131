"""What belongs to a picture and must stay: softness, glow, paper, grain, dither. It is in the truth.

A look is put on frames before they are made smaller, RGB uint8 at full size. A held drawing keeps its look, and stays
the same array object; grain of film is new in every frame.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from training.data.drawing import F32, U8, Rng
from training.data.textures import field, paper

Look = Callable[[list[U8]], list[U8]]
LOOK_SHARES = {
    "plain": 0.36,
    "soft": 0.14,
    "focus": 0.07,
    "glow": 0.07,
    "paper": 0.07,
    "grain": 0.07,
    "dither": 0.10,
    "soft+grain": 0.05,
    "soft+dither": 0.03,
    "glow+grain": 0.04,
}
"""Shares of the looks, some of which lie over each other; ``focus`` is made where layers are put together."""


def _kept(change: Callable[[U8], U8]) -> Look:
    """A look that is the same for the same drawing."""

    def look(frames: list[U8]) -> list[U8]:
        made: dict[int, U8] = {}
        for frame in frames:
            if id(frame) not in made:
                made[id(frame)] = change(frame)
        return [made[id(frame)] for frame in frames]

    return look


def _blurred(picture: F32, sigma: float) -> F32:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)


def _rounded(picture: F32) -> U8:
    return np.asarray(np.clip(picture + np.float32(0.5), 0, 255), np.uint8)


def soft(rng: Rng) -> Look:
    """A soft lens, brush or scan: blurred a little or much, or enlarged from a smaller master."""
    if rng.random() < 0.4:
        share = float(rng.uniform(0.3, 0.85))
        how = cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_LINEAR

        def enlarged(frame: U8) -> U8:
            height, width = frame.shape[:2]
            small = cv2.resize(frame, (round(width * share), round(height * share)), interpolation=cv2.INTER_AREA)
            return np.asarray(cv2.resize(small, (width, height), interpolation=how), np.uint8)

        return _kept(enlarged)
    sigma = float(np.exp(rng.uniform(np.log(0.5), np.log(6))))
    return _kept(lambda frame: _rounded(_blurred(frame.astype(np.float32), sigma)))


def glow(rng: Rng) -> Look:
    """Light that spills: bright parts, blurred wide, laid over by screening; often over a softened picture."""
    reach, amount = float(rng.uniform(5, 35)), float(rng.uniform(0.25, 0.9))
    knee, sigma = float(rng.uniform(0.2, 0.75)), float(rng.choice([0.0, 0.0, 0.8, 1.5, 2.5]))

    def change(frame: U8) -> U8:
        x = frame.astype(np.float32) / 255
        if sigma:
            x = np.asarray(cv2.GaussianBlur(x, (0, 0), sigma), np.float32)
        bright = np.clip((x - knee) / (1 - knee), 0, 1)
        light = amount * cv2.GaussianBlur(bright, (0, 0), reach)
        return _rounded(255 * (1 - (1 - x) * (1 - light)))

    return _kept(change)


def paper_look(rng: Rng) -> Look:
    """The relief of what it is painted on, still or shifted with every drawing."""
    relief = paper(1024, 1024, rng)
    depth, moves = float(np.exp(rng.uniform(np.log(1.2), np.log(9)))), bool(rng.random() < 0.3)
    tint = rng.uniform(0.8, 1, 3).astype(np.float32)

    def change(frame: U8) -> U8:
        height, width = frame.shape[:2]
        top, left = rng.integers(0, (1024 - height, 1024 - width)) if moves else (0, 0)
        part = relief[top : top + height, left : left + width, None]
        return _rounded(frame + np.float32(depth) * part * tint)

    return _kept(change)


def grain(rng: Rng) -> Look:
    """Grain of film, new in every frame or held with the drawing, of 1 to 3 pixels at full size."""
    sigma = float(np.exp(rng.uniform(np.log(0.8), np.log(9))))
    size, held = float(rng.uniform(0.6, 1.6)), bool(rng.random() < 0.2)
    colour = float(rng.choice([0.0, 0.0, 0.4]))
    middle = bool(rng.random() < 0.5)

    def change(frame: U8) -> U8:
        height, width = frame.shape[:2]
        noise = rng.standard_normal((height, width, 1), np.float32)
        if colour:
            noise = noise + colour * rng.standard_normal((height, width, 3), np.float32)
        noise = _blurred(noise, size) if size > 0.7 else noise
        noise = noise.reshape(height, width, -1) / max(float(noise.std()), 1e-6)
        if middle:  # strongest in the middle tones
            x = frame.mean(2, keepdims=True, dtype=np.float32) / 255
            noise = noise * np.maximum(4 * x * (1 - x), 0.2)
        return _rounded(frame + np.float32(sigma) * noise)

    return _kept(change) if held else (lambda frames: [change(frame) for frame in frames])


_BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32) / 16 - 15 / 32


def dither(rng: Rng) -> Look:
    """Few levels kept from bands by ordered, random or diffused dots of half a level to two, on one or two pixels."""
    kind = str(rng.choice(["ordered", "random", "diffused", "checks"]))
    depth, dot, moves = float(rng.uniform(0.5, 2.2)), int(rng.choice([1, 1, 2])), bool(rng.random() < 0.25)
    lean = rng.uniform(0.3, 1, 3).astype(np.float32) * rng.choice([-1, 1], 3)
    still = rng.random((1024, 1024), np.float32) - np.float32(0.5)
    if kind == "diffused":  # the fine, even spread of diffused errors: white noise without its low frequencies
        still = still - cv2.GaussianBlur(still, (0, 0), 0.9)
        still *= np.float32(0.6 / max(float(still.std()), 1e-6))
    checks = np.float32(0.5) - np.indices((1024, 1024)).sum(0).astype(np.float32) % 2
    pattern = {"ordered": np.tile(_BAYER, (256, 256)), "checks": checks}.get(kind, still)
    if dot == 2:
        pattern = np.kron(pattern[:512, :512], np.ones((2, 2), np.float32))
    shade = field(1024, 1024, 120, rng) * np.float32(0.5 * depth)  # where no dots are needed there are none

    def change(frame: U8) -> U8:
        height, width = frame.shape[:2]
        top, left = (rng.integers(0, 64, 2) * 2) if moves else (0, 0)
        dots = pattern[top : top + height, left : left + width, None]
        levels = np.float32(2 * depth) * dots * lean
        part = np.clip(np.abs(shade[:height, :width, None]) + np.float32(0.4), 0, 1) if kind != "checks" else 1
        return _rounded(np.asarray(frame + levels * part, np.float32))

    return _kept(change)


LOOKS: dict[str, Callable[[Rng], Look]] = {
    "plain": lambda rng: lambda frames: frames,
    "soft": soft,
    "glow": glow,
    "paper": paper_look,
    "grain": grain,
    "dither": dither,
}
