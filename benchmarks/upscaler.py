"""What all peers' networks have in common: planes in, planes of twice the size out."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from vsanimup.packages import need

Planes = NDArray[np.float32]  # channels x height x width, RGB or luma, 0..1
Image = NDArray[np.uint8]  # height x width x 3, RGB

SCALE = 2
WEIGHTS = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""BT.709 luma of RGB."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Upscaler(ABC):
    """A loaded network that enlarges whole frames by 2."""

    channels = 3
    """3 is RGB, 1 is luma."""

    @abstractmethod
    def infer(self, planes: Planes) -> Planes:
        """What is timed: padding, tiling and the network itself."""

    def planes(self, image: Image) -> Planes:
        """What the network takes of an 8-bit frame."""
        scaled = image.astype(np.float32) * np.float32(1 / 255)
        if self.channels == 1:
            return np.ascontiguousarray((scaled @ WEIGHTS)[None])
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))

    def enlarge(self, image: Image) -> Image:
        """An 8-bit frame, as the peer's own program would write it."""
        result = self.infer(self.planes(image))
        rgb = with_chroma(result[0], image) if self.channels == 1 else result.transpose(1, 2, 0)
        return np.ascontiguousarray(np.clip(np.floor(rgb * 255 + 0.5), 0, 255).astype(np.uint8))


def with_chroma(luma: NDArray[np.float32], image: Image) -> NDArray[np.float32]:
    """RGB in 0..1 of this luma, with the colours of a frame of half the size, enlarged by cubic splines."""
    height, width = luma.shape
    resize = need("skimage.transform").resize
    small = image.astype(np.float32) * np.float32(1 / 255)
    large = resize(small, (height, width, 3), order=3, mode="edge", anti_aliasing=False, clip=False)
    # each of RGB is luma and some colour difference, so all three move with luma
    rgb: NDArray[np.float32] = large + (luma - large @ WEIGHTS)[:, :, None]
    return rgb
