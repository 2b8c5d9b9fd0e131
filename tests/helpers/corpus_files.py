"""A tiny corpus to compose training clips of, drawn on the spot."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import ImageFont


def draw_corpus(root: Path) -> Path:
    """Cut-outs, scenes, pictures, a font and a film run, written into ``root``."""
    rng = np.random.default_rng(5)
    for folder in ("art", "scenes", "runs"):
        (root / folder).mkdir()
    letters = "abcdefghijklmnopqrstuvwxyz"
    for i in range(40):
        image = np.zeros((400, 400, 4), np.uint8)
        for _ in range(6):
            corners = rng.integers(20, 380, (5, 1, 2)).astype(np.int32)
            cv2.fillPoly(image, [corners], (*(int(c) for c in rng.integers(0, 255, 3)), 255), cv2.LINE_AA)
            cv2.polylines(image, [corners], True, (10, 10, 10, 255), 3, cv2.LINE_AA)
        name = f"shape_{letters[i % 26]}{letters[i // 26]}x"
        cv2.imwrite(str(root / "art" / f"{name}.png"), image)
        if i < 4:
            cv2.imwrite(str(root / "scenes" / f"{name}.png"), cv2.resize(image[..., :3], (800, 700)))
    for folder in ("painted", "photos"):
        (root / folder).mkdir()
        for name in ("hills", "woods"):
            picture = cv2.GaussianBlur(rng.integers(0, 255, (600, 800, 3), dtype=np.uint8), (0, 0), 2)
            cv2.imwrite(
                str(root / folder / f"{name}.png"),
                cv2.normalize(picture, np.empty_like(picture), 0, 255, cv2.NORM_MINMAX),
            )
    (root / "fonts").mkdir()
    font = ImageFont.load_default(20)
    assert isinstance(font, ImageFont.FreeTypeFont) and isinstance(font.path, io.BytesIO)
    (root / "fonts" / "Plain.ttf").write_bytes(font.path.getvalue())
    np.save(root / "runs" / "film_00000.npy", rng.integers(0, 255, (13, 360, 640, 3), dtype=np.uint8))
    return root
