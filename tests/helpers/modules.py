"""Parts of torch modules, whose attributes torch types as tensors or modules, as what they are."""

from __future__ import annotations

from torch import Tensor, nn

from vsanimup.architectures.lite.network import Pair, TaskConv


def conv_of(net: nn.Module, name: str) -> TaskConv | nn.Conv2d:
    """The convolution of that name."""
    found = net.get_submodule(name)
    assert isinstance(found, nn.Conv2d)
    return found


def pairs_of(net: nn.Module) -> list[Pair]:
    """All pairs of convolutions."""
    return [module for module in net.modules() if isinstance(module, Pair)]


def some(value: Tensor | None) -> Tensor:
    """A tensor that is there, such as a gradient after the way back."""
    assert value is not None
    return value
