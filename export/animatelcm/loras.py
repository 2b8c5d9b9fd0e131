"""LoRA files in kohya's layout, and adding them to a network's weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from vsanimup.errors import AnimupError

from .checkpoints import named, open_tensors
from .recognise import LORA, REMEDIES, refuse_others

SHARE = 1 / 8
"""Scale of changes without alpha: AnimateLCM's own code takes all changes so, whatever their alpha and rank."""


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A low-rank change of some modules' weights."""

    down: Tensor
    up: Tensor
    alpha: float | None
    """The change is ``up @ down`` times alpha over the rank; times :data:`SHARE` where the file has none."""

    def change(self, like: Tensor) -> Tensor:
        """The change in the shape of the weight, float32."""
        scale = SHARE if self.alpha is None else self.alpha / self.down.shape[0]
        down, up = self.down.float().flatten(1), self.up.float().flatten(1)
        return (up @ down * scale).reshape(like.shape)


def read_lora(path: Path) -> dict[str, Lora]:
    """A LoRA file, by the names of modules in it.

    Raises :class:`AnimupError` where it is none.
    """
    tensors = open_tensors(path)
    refuse_others(LORA, path, tensors)
    parts: dict[str, dict[str, str]] = {}
    strange = []
    for name in tensors:
        module, _, part = name.partition(".")
        if module.startswith("lora_") and part in {"lora_down.weight", "lora_up.weight", "alpha"}:
            parts.setdefault(module, {})[part.split(".")[0]] = name
        else:
            strange.append(name)
    incomplete = [module for module, found in parts.items() if not {"lora_down", "lora_up"} <= found.keys()]
    if strange or incomplete or not parts:
        said = f"it has {named(strange)}" if strange else f"down or up is missing for {named(incomplete)}"
        raise AnimupError(
            f"LoRA {path} is none in kohya's layout: {said if strange or incomplete else 'it is empty'}; "
            f"{REMEDIES[LORA]}"
        )
    return {
        module: Lora(
            down=tensors[found["lora_down"]],
            up=tensors[found["lora_up"]],
            alpha=float(tensors[found["alpha"]]) if "alpha" in found else None,
        )
        for module, found in parts.items()
    }


def merge(net: nn.Module, loras: Mapping[str, Lora], names: Mapping[str, str], weight: float, path: Path) -> int:
    """Add those of ``loras`` that are meant for ``net`` to its weights; gives how many they were.

    ``names`` are the names of modules of ``net`` by those in the file. Raises :class:`AnimupError` where a shape
    does not fit.
    """
    done = 0
    for name, module in names.items():
        if name not in loras:
            continue
        parameter = net.get_submodule(module).weight
        assert isinstance(parameter, Tensor)
        lora = loras[name]
        if lora.up.shape[0] != parameter.shape[0] or lora.down[0].numel() != parameter[0].numel():
            raise AnimupError(
                f"{path} does not fit the base: {name} changes a weight of [{lora.up.shape[0]}, "
                f"{lora.down[0].numel()}], the base's is {list(parameter.shape)}; give a LoRA for SD1.5"
            )
        parameter.data = parameter.data + weight * lora.change(parameter)
        done += 1
    return done
