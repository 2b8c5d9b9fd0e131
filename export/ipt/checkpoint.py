"""Reading IPT checkpoints: one task's tensors out of a file that may hold those of six."""

from __future__ import annotations

import math
import re
from pathlib import Path

from torch import Tensor

from vsanimup.architectures.ipt import Sizes
from vsanimup.errors import AnimupError

from ..animatelcm.checkpoints import Tensors, open_tensors
from .tasks import TASKS

QUERIES = "body.query_embed.weight"
POSITIONS = "body.position_encoding.pe.weight"
HEAD = "head.0.0.weight"
POSITION_IDS = "body.position_encoding.position_ids"
"""A buffer of 0, 1, 2, …"""


def what_it_is(tensors: Tensors) -> str:
    """A guess at a file that holds no IPT."""
    names = list(tensors)
    if not names:
        return "it holds no tensors at its top, as checkpoints of training.lite.train (python -m export lite) do"
    if any("motion_modules" in name for name in names):
        return "it looks like AnimateLCM's motion module: animup export animatelcm takes that"
    if any(name.startswith(("lora_unet", "lora_te")) for name in names):
        return "it looks like a LoRA"
    if any(name.startswith("model.diffusion_model.") for name in names):
        return "it looks like a Stable Diffusion model: animup export animatelcm takes that"
    return f"its tensors are called {', '.join(names[:3])} and so on"


def read(path: Path, task: str, *, heads: int, index: int | None = None) -> tuple[Sizes, Tensors]:
    """The sizes of the network and its tensors, under the names of :class:`vsanimup.architectures.ipt.Ipt`.

    ``index`` is that of head, query and tail, by default the task's where the file has several. What is missing from
    the layers or surplus is found when the tensors are loaded. Raises :class:`AnimupError` where the file is no IPT or
    does not do ``task``.
    """
    if task not in TASKS:
        raise AnimupError(f"--task must be one of {', '.join(TASKS)}, got {task!r}")
    opened = tensors = open_tensors(path)
    if tensors and all(name.startswith("model.") for name in tensors):
        tensors = tensors.part(lambda name: name, "model.")
    if lacking := [name for name in (HEAD, POSITIONS, QUERIES) if name not in tensors]:
        raise AnimupError(f"{path} is no IPT checkpoint: it lacks {', '.join(lacking)}; {what_it_is(opened)}")
    several = sum(re.fullmatch(r"head\.\d+\.0\.weight", name) is not None for name in tensors)
    if index is None:
        index = TASKS[task].index if several > 1 else 0
    queries, _ = shape_of(tensors, QUERIES, 2)
    if not 0 <= index < min(several, queries):
        raise AnimupError(f"{path} has {several} heads and {queries} queries, so none of index {index}: give --query")
    scale = scale_of(tensors, index)
    if scale != TASKS[task].scale:
        does = "restores at the same size" if scale == 1 else f"enlarges by {scale}"
        fitting = " or ".join(name for name, each in TASKS.items() if each.scale == scale)
        raise AnimupError(f"--task {task}: {path} (its tail {index}) {does}; give --task {fitting or 'of that kind'}")
    sizes = sizes_of(tensors, heads, scale, index)
    others = tuple(f"{part}.{i}." for part in ("head", "tail") for i in range(several) if i != index)
    mine = tensors.part(lambda name: None if name == POSITION_IDS or name.startswith(others) else name)

    def value(name: str) -> Tensor:
        return mine[name][index : index + 1] if name == QUERIES else mine[name]

    return sizes, Tensors(path, mine, value)


def shape_of(tensors: Tensors, name: str, dimensions: int) -> tuple[int, ...]:
    """Shape of a tensor. Raises :class:`AnimupError` where there is none, or it is empty or of other dimensions."""
    shape = tensors.shape(name)
    if len(shape) != dimensions or 0 in shape:
        raise AnimupError(f"{tensors.path} is no IPT: {name} is {list(shape)}, wanted {dimensions} dimensions")
    return shape


def scale_of(tensors: Tensors, index: int) -> int:
    """Enlargement of one tail. Raises :class:`AnimupError` where it is none that is known."""
    first, second = f"tail.{index}.0.0.weight", f"tail.{index}.0.2."
    if not any(name.startswith(f"tail.{index}.0.") for name in tensors):
        return 1
    wide, features, *_ = shape_of(tensors, first, 4)
    scale = math.isqrt(wide // features) * (2 if any(name.startswith(second) for name in tensors) else 1)
    if scale not in (2, 3, 4):
        raise AnimupError(f"{tensors.path}: {first} is {list(tensors.shape(first))}, of no enlargement by 2, 3 or 4")
    return scale


def sizes_of(tensors: Tensors, heads: int, scale: int, index: int) -> Sizes:
    """The sizes that the shapes tell. Raises :class:`AnimupError` where they fit no IPT."""
    features = shape_of(tensors, HEAD, 4)[0]
    tokens, width = shape_of(tensors, POSITIONS, 2)
    patch_dim, side = math.isqrt(width // features), math.isqrt(tokens)
    if features * patch_dim**2 != width or side**2 != tokens:
        raise AnimupError(
            f"{tensors.path}: {POSITIONS} is {[tokens, width]}, which is no square of tokens of {features} features, "
            f"as many as {HEAD} has"
        )
    if heads < 1 or width % heads:
        raise AnimupError(f"--heads {heads} does not divide the width of {width}: published networks have 12")

    def layers(part: str) -> int:
        found = [re.match(rf"body\.{part}\.layers\.(\d+)\.", name) for name in tensors]
        return len({match[1] for match in found if match})  # a gap shows when the tensors are loaded

    hidden = "body.encoder.layers.0.linear1.weight"
    return Sizes(
        features=features,
        patch_dim=patch_dim,
        side=side,
        heads=heads,
        encoders=layers("encoder"),
        decoders=layers("decoder"),
        hidden=shape_of(tensors, hidden, 2)[0],
        scale=scale,
        index=index,
    )
