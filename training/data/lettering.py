"""Type of 10 to 40 pixels, still or rolling: credits, subtitles, signs."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.data.corpus import Library
from training.data.drawing import U8, Rng

_SYLLABLES = (
    "ka",
    "mi",
    "ro",
    "the",
    "an",
    "El",
    "Sa",
    "tor",
    "gi",
    "ne",
    "Ob",
    "ri",
    "chi",
    "Mu",
    "lly",
    "qua",
    "ver",
    "Wo",
    "xi",
    "jan",
    "Pf",
    "sz",
    "Bé",
    "no",
    "ü",
    "dre",
    "st",
    "'s",
    "ing",
    "tion",
)
_KANA = (
    "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをん"
    "アイウエオカキクケコ監督製作音楽原画動画美術撮影"
)


def words(rng: Rng, kana: bool) -> str:
    """A line of made-up names and numbers."""
    if kana:
        return "".join(rng.choice(list(_KANA), int(rng.integers(3, 12))))
    text = " ".join("".join(rng.choice(_SYLLABLES, int(rng.integers(1, 4)))) for _ in range(int(rng.integers(1, 5))))
    case = rng.random()
    text = text.upper() if case < 0.3 else text.title() if case < 0.6 else text
    return f"{text} {int(rng.integers(1, 2030))}" if rng.random() < 0.15 else text


def strip(library: Library, width: int, height: int, rng: Rng, names: list[str]) -> U8:
    """Lines of type on nothing: premultiplied RGBA [height, width, 4]."""
    sheet = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    draw = ImageDraw.Draw(sheet)
    dark = rng.random() < 0.2
    ink = tuple(int(v) for v in (rng.integers(0, 60, 3) if dark else rng.integers(180, 256, 3)))
    edge = tuple(int(v) for v in (rng.integers(200, 256, 3) if dark else rng.integers(0, 50, 3)))
    outline, shadow = int(rng.choice([0, 0, 0, 1, 2, 3])), int(rng.choice([0, 0, 0, 1, 2]))
    layout = str(rng.choice(["centre", "left", "columns"]))
    y = int(rng.integers(0, 20))
    base = float(np.exp(rng.uniform(np.log(10), np.log(40))))
    while y < height:
        if y == 0 or rng.random() < 0.3 or "font" not in locals():
            path = library.fonts[int(rng.integers(len(library.fonts)))]
            size = round(float(np.clip(base * rng.uniform(0.75, 1.4), 10, 40)))
            font = ImageFont.truetype(str(path), size)
            names.append(f"font_{path.stem}")
        kana = path.stem.lower().startswith("ipa") and rng.random() < 0.7

        def put(text: str, x: float, anchor: str, row: int = y) -> None:
            if shadow:
                draw.text((x + shadow, row + shadow), text, (*edge, 200), font, anchor)  # noqa: B023
            draw.text((x, row), text, (*ink, 255), font, anchor, stroke_width=outline, stroke_fill=(*edge, 255))  # noqa: B023

        if layout == "columns":
            put(words(rng, kana), width * 0.48, "rt")
            put(words(rng, kana), width * 0.52, "lt")
        else:
            middle = layout == "centre"
            put(words(rng, kana), width / 2 if middle else 16, "mt" if middle else "lt")
        y += round(size * float(rng.uniform(1.1, 1.8)))
    rgba = np.array(sheet, np.uint8)
    alpha = rgba[..., 3:].astype(np.uint16)
    return np.dstack([((rgba[..., :3] * alpha + 127) // 255).astype(np.uint8), rgba[..., 3]])


def roll(library: Library, grounds: list[U8], rng: Rng, names: list[str]) -> list[U8]:
    """Type over the frames: still, rolling up or creeping sideways, by whole pixels or fractions."""
    height, width = grounds[0].shape[:2]
    if not library.fonts:
        return grounds
    speed = float(rng.choice([0, 1, 2, 3, 4, 6]) if rng.random() < 0.75 else rng.uniform(0.2, 5))
    creeping = rng.random() < 0.15
    travel = int(np.ceil(speed * len(grounds))) + 2
    sheet = strip(library, width + travel * creeping, height + travel * (not creeping), rng, names)
    frames: list[U8] = []
    for t, ground in enumerate(grounds):
        if t and not speed and ground is grounds[t - 1]:
            frames.append(frames[-1])
            continue
        at = speed * t
        shift = np.array([[1, 0, -at * creeping], [0, 1, -at * (not creeping)]], np.float32)
        layer = cv2.warpAffine(sheet, shift, (width, height), flags=cv2.INTER_LINEAR)
        keep = 255 - layer[..., 3:].astype(np.uint16)
        frames.append((np.minimum((ground * keep + 127) // 255 + layer[..., :3], 255)).astype(np.uint8))
    return frames
