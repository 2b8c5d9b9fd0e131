"""A made-up cartoon to time filters on: it pans, so no two drawings are equal unless they are held."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 640, 360
STEP = 4
"""Source pixels the picture moves from one drawing to the next."""
DRAWINGS = 96
LOOPS = 500


@cache
def picture() -> NDArray[np.uint8]:
    """Flat discs with ink outlines and a little noise, as RGB; wide enough for all drawings of the pan."""
    random = np.random.default_rng(7)
    width, height = WIDTH + STEP * DRAWINGS, HEIGHT
    y, x = np.mgrid[:height, :width].astype(np.float32)
    image = np.empty((height, width, 3), np.float32)
    image[:] = (150, 190, 220)
    for _ in range(90):
        radius = random.uniform(8, 70)
        dx, dy = x - random.uniform(0, width), y - random.uniform(0, height)
        distance = np.hypot(dx, dy * random.uniform(0.6, 1.6))
        image[distance < radius + 2.5] = (20, 16, 24)
        image[distance < radius] = random.uniform(40, 250, 3)
    image += random.normal(0, 2, (height, width, 1))
    return image.clip(0, 255).astype(np.uint8)


def video(vs: Any, *, hold: int = 1) -> Any:
    """The pan as a 640x360 YUV420P8 clip of 24 fps, looped; each drawing is shown `hold` times."""
    image = picture()
    height, width, _ = image.shape

    def fill(n: int, f: Any) -> Any:
        copy = f.copy()
        for plane in range(3):
            np.asarray(copy[plane])[:] = image[:, :, plane]
        return copy

    core = vs.core
    blank = core.std.BlankClip(width=width, height=height, format=vs.RGB24, length=1, fpsnum=24, fpsden=1)
    still = core.std.ModifyFrame(blank, blank, fill)
    yuv = core.resize.Bicubic(still, format=vs.YUV420P8, matrix_s="709")
    core.std.SetVideoCache(yuv, mode=1, fixedsize=1, maxsize=1)
    yuv.get_frame(0).close()  # from here on no frame asks Python for anything
    views = [core.std.CropAbs(yuv, width=WIDTH, height=HEIGHT, left=n * STEP, top=0) for n in range(DRAWINGS)]
    return core.std.Loop(core.std.Splice([view for view in views for _ in range(hold)]), LOOPS)
