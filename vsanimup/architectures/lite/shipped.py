"""Networks read back from the files that users have, so that training may go on where its checkpoint is lost."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from vsanimup.architectures.lite.layers import Round
from vsanimup.architectures.lite.network import Lite, LiteConfig
from vsanimup.networks.manifest import open_model


def onnx_scope(net: Lite, path: str) -> str:
    """The scope in which PyTorch's exporter puts a module's nodes: ``before.0.a`` lies in ``/before/before.0/a``."""
    parts = path.split(".")
    places: list[str] = []
    for depth, part in enumerate(parts):
        if not part.isdigit():
            places.append(part)
        elif isinstance(net.get_submodule(".".join(parts[:depth])), torch.nn.ModuleList):
            places[-1] += f".{part}"
        else:
            places.append(f"{places[-1]}.{part}")
    return "/" + "/".join(places)


def cut(values: Tensor, like: Tensor) -> Tensor:
    """The first of the values along every dimension."""
    return values[tuple(slice(n) for n in like.shape)]


def shipped(folder: Path) -> Lite:
    """The network of a lite model's folder with its task biases and the ranges of its activations.

    Biases are half precision there. Raises :class:`vsanimup.errors.AnimupError` where files are damaged.
    """
    model = open_model(folder)
    net = Lite(LiteConfig(**model.sections["network"]))
    graph = onnx.load_from_string(model.read("network.onnx")).graph
    values = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    nodes = {node.name: node for node in graph.node}
    constants = {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t) for node in graph.node if node.op_type == "Constant"
    }
    state = net.state_dict()
    found: dict[str, Tensor] = {}
    for name, own in state.items():
        if name in values:  # the head's inputs and the last layer's outputs are filled up
            found[name] = cut(values[name], own)
    for name, module in net.named_modules():
        if isinstance(module, Round):
            _, low, high = nodes[f"{onnx_scope(net, name)}/Clip"].input
            found[f"{name}.low"], found[f"{name}.high"] = (torch.tensor(float(constants[end])) for end in (low, high))
    if net.config.tasks:
        with np.load(io.BytesIO(model.read("tasks.npz")), allow_pickle=False) as tasks:
            for key in tasks.files:
                layer, _, part = key.rpartition(".")
                if part in "abc":
                    name = f"{layer}.task_{part}"
                    values[name] = torch.from_numpy(tasks[key].astype(np.float32))
                    found[name] = cut(values[name], state[name])
    missing = state.keys() - found.keys()
    if missing:
        raise ValueError(f"{folder}: no {', '.join(sorted(missing))}")
    net.load_state_dict(found)
    return net
