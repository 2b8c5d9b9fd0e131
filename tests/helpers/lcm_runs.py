"""Short trainings of the small AnimateLCM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.lcm import train

SMALL: dict[str, Any] = {
    "half": 12,
    "quarter": 48,
    "latent_channels": 4,
    "widths": [16, 16, 16, 16],
    "text": 8,
    "groups": 4,
}
SIDE = 96
"""Of the clips' sharp pictures."""


def clips_in(folder: Path) -> Path:
    """Write two training clips and one for validation."""
    rng = np.random.default_rng(0)
    for name in ("train_0", "train_1", "val_0"):
        sharp = rng.integers(16, 235, (7, SIDE // 8, SIDE // 8), np.uint8).repeat(8, 1).repeat(8, 2)
        small = np.stack([sharp[:, ::2, ::2]] * 3)
        grey = np.full((7, 2, SIDE // 2, SIDE // 2), 128, np.uint8)
        np.savez(
            folder / f"{name}.npz",
            hr_y=sharp,
            hr_uv=grey,
            lr_y=small,
            lr_uv=np.stack([grey[..., ::2, ::2]] * 3),
            kinds=np.array(["clean", "mpeg2", "vhs"]),
            cut=np.array([1, 0, 0, 0, 1, 0, 0], np.int8),
        )
    return folder


def run(clips: Path, out: Path, stage: str, steps: int = 2, **more: Any) -> dict[str, Any]:
    """Train a stage; its checkpoint."""
    train.main(
        data=clips,
        out=out,
        stage=stage,
        steps=steps,
        config=json.dumps(SMALL),
        windows=2,
        side=64,
        every=steps,
        small_until=0.0,
        val_clips=1,
        val_side=64,
        **more,
    )
    found: dict[str, Any] = torch.load(out / f"{stage}.pt", weights_only=True)
    return found
