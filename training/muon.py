"""Muon: momentum whose every matrix is made orthogonal before it is taken as a step.

Jordan et al., *Muon: An optimizer for hidden layers in neural networks* (2024). A convolution counts as the matrix
``[outputs, inputs * rows * columns]``; ``torch.optim.Muon`` takes plain matrices alone. With it the enlarging network
is after 600 steps where AdamW was after 10,000: benchmarks are in ``docs/networks.md``.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration; they are chosen for speed, and leave singular values in 0.7..1.2."""


@functools.cache
def _arithmetic(device: str) -> torch.dtype:
    """bfloat16 is precise enough, says the source; on CPUs that lack it, it takes eight times as long as float32."""
    has = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)  # PyTorch tells of x86 alone
    return torch.float32 if device == "cpu" and not has() else torch.bfloat16


def orthogonal(matrices: Tensor, iterations: int = 5) -> Tensor:
    """About the nearest matrices ``[batch, rows, columns]`` whose singular values are all one."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(_arithmetic(matrices.device.type))
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = (x.mT if tall else x).to(matrices.dtype)
    return result


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum for the weights of linear layers and convolutions.

    ``lr`` is the spectral norm of a step for a matrix no higher than wide; decay by ``lr * weight_decay`` a step keeps
    a weight's spectral norm below about ``1 / weight_decay``. Matrices of one shape are treated as a batch.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.1
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step along the gradients."""
        assert closure is None, "not supported"
        for group in self.param_groups:
            shapes: dict[Any, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                shapes[p.flatten(1).shape].append((p, p.grad.lerp(state["momentum"], group["momentum"]).flatten(1)))
            for shape, pairs in shapes.items():
                gain = max(1.0, shape[0] / shape[1]) ** 0.5
                steps = orthogonal(torch.stack([update for _, update in pairs]))
                for (p, _), update in zip(pairs, steps, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(update.view_as(p), alpha=-group["lr"] * gain)
        return None
