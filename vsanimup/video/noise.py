"""How much was taken from a picture, and how far what is left of it is to be evened out along time."""

from __future__ import annotations

from typing import Final

import numpy as np

from vsanimup.video.samples import Picture
from vsanimup.video.sigma import STEP

THRESHOLD: Final = "AnimupThreshold"
"""Frame property: the frame's own threshold of evening out along time; native code reads and removes it."""
LEAST: Final = 4.0
"""Threshold in steps of 8-bit luma where little was removed: codecs that hardly hurt leave little to even out, and what
differs from frame to frame is motion, or grain."""
ONSET: Final = 16.0
"""Steps of the threshold for each step of what was removed, up to there: where nothing was, nothing is evened out."""
GAIN: Final = 6.0
"""Steps of the threshold for each step of what was removed."""


def removed(before: Picture, after: Picture) -> float:
    """The mean absolute change of luma, in steps of 8-bit luma. Both pictures have the same size."""
    return float(np.abs(before.values(0) - after.values(0)).mean(dtype=np.float64)) / STEP


def threshold_by_noise(before: Picture, after: Picture) -> float:
    """The threshold of evening out along time for what became of a picture."""
    change = removed(before, after)
    return max(min(LEAST, ONSET * change), GAIN * change)
