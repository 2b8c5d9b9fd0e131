"""Windows for the studies, each with the degradation of one task: cut once, kept in memory as 8-bit samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.data.dataset import Array, Rng, read_clip, to_chroma, to_luma, window_indices
from training.data.degradations import lay
from training.data.media import CODEC_KINDS


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows of one task, uint8 as in the clip files."""

    y: Array
    """Degraded luma ``[count, frames, crop, crop]``."""
    uv: Array
    """Degraded chroma ``[count, 2 * frames, crop / 2, crop / 2]``, by frame: U0 V0 U1 V1 ..."""
    goal_y: Array
    """Clean centre frames ``[count, 1, crop, crop]``."""
    goal_uv: Array
    """Their chroma ``[count, 2, crop / 2, crop / 2]``."""

    def __len__(self) -> int:
        return len(self.y)

    def planes(self, index: Sequence[int] | slice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``y``, ``uv``, ``goal_y``, ``goal_uv`` of some windows, as the lite networks take them."""
        return (
            to_luma(self.y[index]),
            to_chroma(self.uv[index]),
            to_luma(self.goal_y[index]),
            to_chroma(self.goal_uv[index]),
        )


def _eight_bit(x: Tensor, span: int, zero: int) -> Array:
    return np.asarray((x * span + zero).round().clamp(0, 255).to(torch.uint8).numpy(), np.uint8)


def _cut(clip: dict[str, Array], task: str, radius: int, crop: int, rng: Rng) -> tuple[Array, Array, Array, Array]:
    """One window of ``crop`` x ``crop`` luma samples, degraded for ``task``, at a place drawn from ``rng``."""
    height, width = clip["lr_y"].shape[-2:]
    top, left = (2 * int(rng.integers((side - crop) // 2 + 1)) for side in (height, width))
    luma = (slice(top, top + crop), slice(left, left + crop))
    chroma = (slice(top // 2, (top + crop) // 2), slice(left // 2, (left + crop) // 2))
    centre = int(rng.integers(radius, clip["cut"].shape[0] - radius))
    frames = window_indices(clip["cut"].astype(np.int8), centre, radius)
    variant = 0
    if task == "deblock":
        variant = int(rng.choice([i for i, kind in enumerate(clip["kinds"]) if str(kind) in CODEC_KINDS]))
    y, uv = clip["lr_y"][variant][:, *luma], clip["lr_uv"][variant][:, :, *chroma]
    if task == "deblock":
        y, uv = y[frames], uv[frames].reshape(-1, *uv.shape[2:])
    else:
        # a span of consecutive frames, so that rain falls, as in training/data/dataset.py
        low, high = min(frames), max(frames) + 1
        bad_y, bad_uv = lay([task], to_luma(y[low:high]), to_chroma(uv[low:high]).flatten(0, 1), rng)
        order = np.array(frames) - low
        y = _eight_bit(bad_y, 219, 16)[order]
        uv = _eight_bit(bad_uv, 224, 128).reshape(-1, 2, *uv.shape[2:])[order].reshape(-1, *uv.shape[2:])
    # copies, so that no clip is kept for a corner of it
    goal = clip["lr_y"][0][centre : centre + 1, *luma].copy(), clip["lr_uv"][0][centre, :, *chroma].copy()
    return y, uv, *goal


def cut_windows(
    paths: Iterable[Path], tasks: Sequence[str], *, radius: int, crop: int, each: int, seed: int
) -> dict[str, Windows]:
    """``each`` windows of every clip file for every task. One clip is in memory at a time."""
    parts: dict[str, list[tuple[Array, ...]]] = {task: [] for task in tasks}
    for number, path in enumerate(paths):
        clip = read_clip(path)
        for place, task in enumerate(tasks):
            rng = np.random.default_rng((seed, number, place))
            parts[task] += (_cut(clip, task, radius, crop, rng) for _ in range(each))
    if not all(parts.values()):
        raise FileNotFoundError("no clip files; make them with python -m training.data.clips")
    found = {}
    for task, windows in parts.items():
        y, uv, goal_y, goal_uv = (np.stack(planes) for planes in zip(*windows, strict=True))
        found[task] = Windows(y=y, uv=uv, goal_y=goal_y, goal_uv=goal_uv)
    return found
