"""IPT checkpoints of the exact layout with made-up weights: a number depends on its tensor's name and place alone."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import torch

from tests.helpers.places import DATA

GOLDEN = DATA / "ipt.npz"
"""Made by the original code's own classes (see ``docs/ipt.md``) with the weights of :func:`weight`.

``layout_NAME``: names and shapes of a checkpoint, as JSON. ``patches``: uint8 ``[2, 3, 48, 48]``; ``six_I``: what the
six-query network makes of them for query I, every fifth row and column. ``image_x1``, ``image_x2``: uint8
``[3, rows, columns]``; ``whole_x1``, ``whole_x2``: what the original's test path makes of them. All results in 0..255.
"""

FEATURES, LAYERS = 8, 2
MEAN = np.array([0.4488, 0.4371, 0.4040])


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in -1..1 by a counter-based generator with the name for its key."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    raw = np.random.Philox(key=key).random_raw(int(np.prod(shape)))
    return ((raw >> np.uint64(11)) * 2.0**-52 - 1).reshape(shape)


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor such that each has a say in the result: features are about 1, the picture about 128."""
    part = name.split(".")
    if part[0] in {"sub_mean", "add_mean"}:
        sign = -255 if part[0] == "sub_mean" else 255
        return sign * MEAN if part[-1] == "bias" else np.eye(3).reshape(shape)
    u = uniform(name, shape)
    if "norm" in part[-2]:
        return 1 + 0.3 * u if part[-1] == "weight" else 0.2 * u
    if part[-2] in {"pe", "query_embed"}:
        return u
    if part[-1] == "bias":
        return 0.1 * u
    gain = 1.0
    if re.fullmatch(r"head\.\d\.0\.weight", name):
        gain = 1 / 60
    elif re.fullmatch(r"tail\.\d\.1\.weight", name):
        gain = 6
    return gain * u * (3 / np.prod(shape[1:])) ** 0.5


def layout(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint: ``six``, ``x1`` or ``x2``."""
    with np.load(GOLDEN) as golden:
        return {key: tuple(shape) for key, shape in json.loads(str(golden[f"layout_{name}"])).items()}


def state(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """A checkpoint's tensors."""
    return {
        name: torch.arange(shape[-1]).expand(shape)
        if name.endswith("position_ids")
        else torch.from_numpy(weight(name, shape)).float()
        for name, shape in shapes.items()
    }


def write(path: Path, name: str, prefix: str = "") -> Path:
    """A checkpoint file."""
    torch.save({prefix + key: value.clone() for key, value in state(layout(name)).items()}, path)
    return path
