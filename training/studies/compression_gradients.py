"""Gradients of a batch under a strategy, and how far compression puts them off."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.data.dataset import Batch
from training.lite.loop import CLIP
from training.losses import CHROMA_WEIGHT, FLOOR
from training.studies.vit import CROP, Output, Strategy, Vit
from vsanimup.architectures.lite.network import Lite

CONTRAST_WEIGHT = 0.1
"""Weight of the contrastive loss beside the logarithm of the distance."""
TEMPERATURE = 0.2
"""Of the contrastive loss."""


def matrices(net: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of a network that Muon trains: those of layers but the last, and no task offsets."""
    assert isinstance(net, Vit | Lite)
    dims = (2, 4) if isinstance(net, Vit) else (4,)
    outputs = {id(p) for p in net.output_parameters()}
    return {name: p for name, p in net.named_parameters() if p.dim() in dims and id(p) not in outputs}


def part_of(batch: Batch, strategy: Strategy, generator: torch.Generator) -> tuple[Batch, Tensor]:
    """What a strategy keeps: crops or windows cut out of them; and where in its crop each begins, ``[batch, 2]``."""
    kept = strategy.crops or len(batch.y)
    height, width = strategy.size
    tops = torch.randint(0, (CROP - height) // (CROP // 2) + 1, (kept,), generator=generator) * (CROP // 2)
    lefts = torch.randint(0, (CROP - width) // (CROP // 2) + 1, (kept,), generator=generator) * (CROP // 2)
    cut: dict[str, Tensor] = {}
    for field in fields(batch):
        value: Tensor = getattr(batch, field.name)
        if field.name in ("y", "uv", "goal_y", "goal_uv"):
            by = CROP // value.shape[-1]
            value = torch.stack(
                [
                    value[i, :, top // by : (top + height) // by, left // by : (left + width) // by]
                    for i, (top, left) in enumerate(zip(tops.tolist(), lefts.tolist(), strict=True))
                ]
            )
        cut[field.name] = value[:kept]
    return Batch(**cut), torch.stack((tops, lefts), 1)


def apply(
    net: nn.Module, y: Tensor, uv: Tensor, mix: Tensor, places: Tensor, strategy: Strategy, generator: torch.Generator
) -> Output:
    """Restore windows with either network."""
    if isinstance(net, Vit):
        out: Output = net(y, uv, mix, places, strategy, generator)
        return out
    assert isinstance(net, Lite)
    net.set_mix(mix)
    restored_y, restored_uv = net(y, uv)
    return Output(y=restored_y, uv=restored_uv)


def restoration_loss(out: Output, batch: Batch) -> Tensor:
    """Mean logarithm of each sample's distance to its goal, as in training but without SSIM, over what was computed."""

    def mean(a: Tensor, b: Tensor) -> Tensor:
        apart = ((a.float() - b).square() + 1e-6).sqrt()
        if out.kept is None:
            return apart.mean((1, 2, 3))
        mask = F.interpolate(out.kept, size=apart.shape[-2:])
        return (apart * mask).sum((1, 2, 3)) / (mask.sum((1, 2, 3)) * apart.shape[1])

    return (mean(out.y, batch.goal_y) + CHROMA_WEIGHT * mean(out.uv, batch.goal_uv) + FLOOR).log().mean()


def contrastive_loss(codes: Tensor) -> Tensor:
    """IPT's contrastive loss: parts of one picture are pulled together, parts of other pictures pushed away.

    ``codes`` ``[batch, parts, dim]``. Of each pair of parts of one picture the logarithm of how much more alike they
    are than the first is to the parts of other pictures, negative.
    """
    batch, parts = codes.shape[:2]
    flat = F.normalize(codes.float().flatten(0, 1), dim=1)
    alike = flat @ flat.T / TEMPERATURE
    picture = torch.arange(batch).repeat_interleave(parts)
    same = picture[:, None] == picture
    others = alike.masked_fill(same, -torch.inf).logsumexp(1, keepdim=True)
    pairs = same & ~torch.eye(len(flat), dtype=torch.bool)
    return -(alike - torch.logaddexp(alike, others))[pairs].mean()


def gradients(
    net: nn.Module, batch: Batch, strategy: Strategy, generator: torch.Generator, *, contrast: bool, bf16: bool
) -> float:
    """Put the gradient of a batch under a strategy into the network; the restoration loss."""
    part, places = part_of(batch, strategy, generator)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        out = apply(net, part.y, part.uv, part.mix, places, strategy, generator)
    loss = total = restoration_loss(out, part)
    if contrast:
        assert out.codes is not None, "only the transformer has codes to compare"
        total = loss + CONTRAST_WEIGHT * contrastive_loss(out.codes)
    net.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


def measure(net: nn.Module, batches: Sequence[Batch], menu: Sequence[Strategy], bf16: bool) -> list[dict[str, float]]:
    """Squared bias and variance of each strategy's gradient of one batch, ``menu[0]`` being the uncompressed one.

    Both are shares of the mean squared norm of the uncompressed gradient, averaged over the weights that Muon trains:
    it scales the step of each to the same norm. (Where none of them has a gradient yet, as after a last layer of
    zeros, it is that layer that counts.) The bias is that of paired differences, less what their own variance adds.
    """
    assert isinstance(net, Vit | Lite)
    layers, last = list(matrices(net)), next(name for name, p in net.named_parameters() if p is net.out.weight)
    weights = {name: net.get_parameter(name) for name in (*layers, last)}
    sums: dict[tuple[int, str, str], Any] = defaultdict(float)
    n = len(batches)
    for number, batch in enumerate(batches):
        whole: dict[str, Tensor] = {}
        for index, strategy in enumerate(menu):
            gradients(net, batch, strategy, torch.Generator().manual_seed(number), contrast=False, bf16=bf16)
            nn.utils.clip_grad_norm_(net.parameters(), CLIP)  # as in training
            for name, weight in weights.items():
                gradient = weight.grad
                assert gradient is not None
                if not index:
                    whole[name] = gradient
                for key, value in (("own", gradient), ("apart", gradient - whole[name])):
                    sums[index, name, key] = sums[index, name, key] + value / n
                    sums[index, name, key + " squared"] += float(value.square().sum()) / n
    net.zero_grad(set_to_none=True)
    counted = [name for name in layers if sums[0, name, "own squared"]] or [last]
    rows = []
    for index in range(len(menu)):
        bias, variance = [], []
        for name in counted:
            scale = sums[0, name, "own squared"]
            own, apart = (float(sums[index, name, key].square().sum()) for key in ("own", "apart"))
            variance.append((sums[index, name, "own squared"] - own) * n / (n - 1) / scale)
            bias.append((apart - (sums[index, name, "apart squared"] - apart) / (n - 1)) / scale)
        rows.append({"bias": max(0.0, float(np.mean(bias))), "variance": float(np.mean(variance))})
    return rows


def choose(stages: Sequence[Sequence[dict[str, float]]], costs: Sequence[float], budget: float) -> list[int]:
    """Of each quarter, the number of the strategy with the least cost-adjusted gradient error.

    ``stages``: :func:`measure` at the ends of the quarters; costs and budget in gradients of whole crops. As many
    gradients as the budget pays for can be averaged, which divides the variance but not the bias. A quarter takes the
    mean of the errors at its two ends.
    """
    errors = [
        [row["bias"] + cost * row["variance"] / budget for row, cost in zip(rows, costs, strict=True)]
        for rows in stages
    ]
    return [int(np.argmin(np.add(*ends))) for ends in pairwise(errors)]
