"""A network's weights in groups, their changes by fine-tuning, and low-rank task biases anywhere in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsanimup.architectures.lite.layers import Conv
from vsanimup.architectures.lite.network import Lite, TaskConv

State = Mapping[str, Tensor]

BODY = {"attention": "attention", "fc1": "feed-forward", "fc2": "feed-forward", "across": "across"}
"""Groups of the body's weights, by the name of the module within a block."""


def group_of(name: str) -> str:
    """Group of a parameter or layer by its name, such as ``body.0.attention.q.weight``: ``attention``."""
    parts = name.split(".")
    return BODY[parts[2]] if parts[0] == "body" else parts[0]


def groups(net: Lite) -> dict[str, list[nn.Parameter]]:
    """All weights of the backbone by group, in the order in which a picture passes them."""
    found: dict[str, list[nn.Parameter]] = defaultdict(list)
    for name, parameter in net.named_parameters():
        if ".task_" not in name:
            found[group_of(name)].append(parameter)
    return dict(found)


def layers(net: Lite) -> dict[str, nn.Conv2d]:
    """The convolutions that have weights of their own, by name."""
    return {name: module for name, module in net.named_modules() if isinstance(module, nn.Conv2d)}


def energies(delta: Tensor) -> Tensor:
    """Share of a weight change ``[outputs, inputs, k, k]`` that its best approximation of rank 1, 2, ... holds."""
    squares = torch.linalg.svdvals(delta.flatten(1).double()).square()
    shares: Tensor = squares.cumsum(0) / squares.sum().clamp_min(1e-30)
    return shares


def cut_change(start: State, tuned: State, rank: int | None) -> dict[str, Tensor]:
    """``tuned`` as task biases of ``rank`` could hold it: changes of weights cut to it, offsets whole.

    Other parameters, attention's position biases, stay as they were at the ``start``. ``None`` cuts nothing off.
    """
    result = {}
    for name, before in start.items():
        delta = tuned[name] - before
        if before.dim() == 4 and rank is not None:
            u, s, v = torch.linalg.svd(delta.flatten(1), full_matrices=False)
            delta = ((u[:, :rank] * s[:rank]) @ v[:rank]).view_as(before)
        elif before.dim() == 3:
            delta = torch.zeros_like(before)
        result[name] = before + delta
    return result


class BiasedConv(TaskConv):
    """A :class:`vsanimup.architectures.lite.network.TaskConv` made of any convolution, strided ones too."""

    def __init__(self, conv: Conv, tasks: int, rank: int) -> None:
        super().__init__(conv.in_channels, conv.out_channels, conv.kernel_size[0], tasks, rank, relu=conv.relu)
        self.stride, self.padding = conv.stride, conv.padding
        self.load_state_dict(conv.state_dict(), strict=False)

    def convolved(self, x: Tensor) -> Tensor:
        """Convolve ``[batch, inputs, rows, columns]``, each sample under its own mix."""
        plain = Conv.convolved(self, x)
        if self.mix is None or self.task_a is None or self.task_b is None or self.task_c is None:
            return plain
        thin = F.conv2d(x, self.task_a.reshape(-1, *self.weight.shape[1:]), None, self.stride, self.padding)
        share = self.mix.repeat_interleave(self.task_a.shape[1], 1)[..., None, None]
        bias = F.conv2d(thin * share.to(thin.dtype), self.task_b.permute(1, 0, 2).flatten(1)[..., None, None])
        offset: Tensor = (self.mix @ self.task_c)[..., None, None].to(plain.dtype)
        return plain + bias + offset


def put_biases(net: Lite, ranks: Mapping[str, int], tasks: int) -> None:
    """Give the layers named in ``ranks`` biases of these ranks for ``tasks`` tasks; their weights stay."""
    for name, rank in ranks.items():
        parent, _, last = name.rpartition(".")
        conv = net.get_submodule(name)
        assert isinstance(conv, Conv)
        setattr(net.get_submodule(parent), last, BiasedConv(conv, tasks, rank))


def bias_parameters(net: Lite) -> list[nn.Parameter]:
    """Parameters of the task biases."""
    return [parameter for name, parameter in net.named_parameters() if ".task_" in name]


def cost(conv: nn.Conv2d, rank: int, tasks: int) -> int:
    """Parameters of the biases of one layer: two factors and an offset a channel, for each task; none at rank 0."""
    size = conv.weight[0].numel() + conv.out_channels
    return tasks * (rank * size + conv.out_channels) if rank else 0


def recommend(
    net: Lite, gains: Mapping[str, float], kept: Mapping[str, Mapping[int, float]], tasks: int, budget: float
) -> dict[str, int]:
    """Ranks by layer that promise most within ``budget``, a share of the backbone's parameters.

    A layer's promise at a rank is its share of its group's ``gains`` (dB, even among the layers of the group), times
    the energy of the weight changes that the rank has ``kept``. Parameters go where the next rank promises most each.
    """
    convs = layers(net)
    members: dict[str, int] = defaultdict(int)
    for name in convs:
        members[group_of(name)] += 1
    left = budget * sum(p.numel() for p in net.parameters())
    chosen = dict.fromkeys(convs, 0)
    while True:
        moves = []
        for name, rank in chosen.items():
            higher = [r for r in kept[name] if rank < r < min(convs[name].weight.flatten(1).shape)]
            if not higher:
                continue
            price = cost(convs[name], higher[0], tasks) - cost(convs[name], rank, tasks)
            more = kept[name][higher[0]] - (kept[name][rank] if rank else 0.0)
            worth = max(0.0, gains[group_of(name)]) / members[group_of(name)] * more
            if worth > 0 and price <= left:
                moves.append((worth / price, name, higher[0], price))
        if not moves:
            return {name: rank for name, rank in chosen.items() if rank}
        _, name, rank, price = max(moves)
        chosen[name] = rank
        left -= price
