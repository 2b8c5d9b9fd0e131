"""The loop that all lite networks are trained in: resumable, seeded, with a validation curve."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from training.data.dataset import Batch, Batches
from training.muon import Muon
from vsanimup.architectures.lite.checkpoint import Networks, lites
from vsanimup.architectures.lite.layers import Conv, Round, free_of
from vsanimup.architectures.lite.network import Lite

ADAM_GAIN = 0.2
"""Learning rate of what Adam trains - offsets, attention's biases, task biases -, as a share of Muon's."""
OFFSET_GAIN = 0.02
"""The same of the offsets in front of rectifiers. Ten times as fast, they ran away below everything that came in, and
by and by all of Restore's layers at a quarter resolution were dead."""
OUTPUT_GAIN = 0.025
"""The same of the last layers, whose few rows sum hundreds of inputs each."""
CLIP = 3.0
"""Largest norm of a step's gradient, about the usual one: one bad step would stay in the momentum for twenty."""
DECAY_SHARE = 0.8
"""Last part of the run over which the learning rate falls to nothing."""
WATCH_STEPS = 200
"""Steps in which the ranges of activations are found before rounding begins."""
REVIVE_UNTIL = 0.6
"""Part of the run in which dead channels are begun anew, at each validation."""
WATCH_EVERY = 10
"""Every so many steps the ranges are watched again instead of rounded to: layers that begin quietly grow."""
WATCH_UNTIL = 0.85
"""Part of the run after which ranges stay as they are."""
AVERAGE = 0.999
"""Share of the running average of the weights that a step leaves."""

KEEP_SECONDS = 480.0
"""Time after which a checkpoint is written between validations."""

Losses = dict[str, Tensor]
"""What is to become small, by name; their sum counts."""


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Warm-up, plateau, linear decay: a run can be lengthened or cut short while on the plateau."""
    return peak * min(1.0, (step + 1) / 300, max(0.0, (steps - step) / (DECAY_SHARE * steps)))


def rounding_at(step: int, steps: int, begin: int) -> str:
    """Mode of the networks' :class:`Round` at a step of a run that imitates integers from step ``begin`` on."""
    if step < begin:
        return Round.OFF
    again = step % WATCH_EVERY == 0 and step < WATCH_UNTIL * steps
    return Round.WATCH if again or step < begin + WATCH_STEPS else Round.ROUND


def optimizers(nets: Networks, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the weights of the layers, Adam for all else. Every group has its peak learning rate as ``peak``."""
    outputs = [p for net in nets.values() if isinstance(net, Lite) for p in net.output_parameters()]
    known = {id(p) for p in outputs}
    layers = [p for p in nets.parameters() if p.dim() == 4 and id(p) not in known]
    known |= {id(p) for p in layers}
    offsets = [m.bias for m in nets.modules() if isinstance(m, Conv) and m.relu and m.bias is not None]
    known |= {id(p) for p in offsets}
    others = [p for p in nets.parameters() if id(p) not in known]
    groups = [
        {"params": others, "peak": ADAM_GAIN * lr},
        {"params": offsets, "peak": OFFSET_GAIN * lr},
        {"params": outputs, "peak": OUTPUT_GAIN * lr},
    ]
    adam = torch.optim.AdamW(groups, lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    muon = Muon(layers, lr)
    muon.param_groups[0]["peak"] = lr
    return [muon, adam]


def advance(
    losses: Sequence[Tensor],
    parameters: Sequence[Tensor],
    both: Sequence[torch.optim.Optimizer],
    most: float,
    step: int,
    prepare: Callable[[], None] | None = None,
) -> float:
    """One step of the optimizers towards a smaller sum of the losses; the gradient's norm, which is cut to ``most``.

    ``prepare`` may change the gradients before.
    """
    for optimizer in both:
        optimizer.zero_grad(set_to_none=True)
    torch.stack(list(losses)).sum().backward()  # type: ignore[no-untyped-call]
    if prepare is not None:
        prepare()
    norm = torch.nn.utils.clip_grad_norm_(parameters, most)
    if not torch.isfinite(norm):
        raise SystemExit(f"step {step}: the gradient is not finite; go on from the checkpoint with a lower --lr")
    for optimizer in both:
        optimizer.step()
    return float(norm)


@torch.no_grad()
def follow(average: Sequence[Tensor], parameters: Sequence[Tensor], left: float, step: int) -> None:
    """Move a running average, of which a step leaves the share ``left`` at most; less while it is young."""
    torch._foreach_lerp_(list(average), list(parameters), 1 - min(left, (step + 1) / (step + 10)))


DEAD = 1e-3
"""Share of the positions that a rectified channel must be above zero at to be alive."""


@torch.no_grad()
def activity_of(nets: torch.nn.Module, run: Callable[[], object]) -> dict[str, Tensor]:
    """Share of the positions at which each channel after a rectifier is above zero while ``run`` runs, by layer."""
    seen: dict[str, list[Tensor]] = defaultdict(list)

    def watch(name: str) -> Callable[..., None]:
        return lambda module, given, result: seen[name].append((result > 0).float().mean((0, 2, 3)))

    hooks = [
        module.register_forward_hook(watch(name))
        for name, module in nets.named_modules()
        if isinstance(module, Conv) and module.relu
    ]
    run()
    for hook in hooks:
        hook.remove()
    return {name: torch.stack(shares).mean(0) for name, shares in seen.items()}


@torch.no_grad()
def revive(nets: torch.nn.Module, active: Mapping[str, Tensor], gain: float = 0.02) -> int:
    """Begin dead channels anew, quietly; how many there were. ``active`` is what :func:`activity_of` found."""
    count = 0
    follower = {"a": "b", "fc1": "fc2"}
    for name, shares in active.items():
        parent, _, child = name.rpartition(".")
        before, behind = (nets.get_submodule(f"{parent}.{part}") for part in (child, follower[child]))
        assert isinstance(before, Conv) and isinstance(behind, Conv) and before.bias is not None
        dead = shares < DEAD
        if not dead.any():
            continue
        fresh, out = torch.empty_like(before.weight), torch.empty_like(behind.weight)
        torch.nn.init.kaiming_normal_(fresh, nonlinearity="linear")
        torch.nn.init.kaiming_normal_(out, nonlinearity="linear")
        before.weight[dead] = (fresh if before.mean is None else free_of(fresh, before.mean))[dead]
        before.bias[dead] = 0.0
        behind.weight[:, dead] = gain * out[:, dead]
        count += int(dead.sum())
    return count


@torch.no_grad()
def keep_level(nets: torch.nn.Module) -> None:
    """Take out of the gradients what would move the mean of a rectifier's input; the offsets alone may.

    All channels of a layer like that direction, and Muon makes a full step of whatever all of them like: they went
    below zero together, and were dead.
    """
    for module in nets.modules():
        if isinstance(module, Conv) and module.mean is not None and module.weight.grad is not None:
            module.weight.grad.copy_(free_of(module.weight.grad, module.mean))


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def resumed(
    checkpoint: Path, net: torch.nn.Module, average: torch.nn.Module, both: Sequence[torch.optim.Optimizer]
) -> int:
    """The step at which a run goes on, with its state put back; 0 where it has no checkpoint yet."""
    if not checkpoint.exists():
        return 0
    state = torch.load(checkpoint, map_location=next(net.parameters()).device, weights_only=True)
    net.load_state_dict(state["net"])
    average.load_state_dict(state["average"])
    for optimizer, kept in zip(both, state["optimizers"], strict=True):
        optimizer.load_state_dict(kept)
    return int(state["step"])


def set_rounding(nets: Networks, mode: str) -> None:
    """Put all networks into a mode of :class:`vsanimup.architectures.lite.network.Round`."""
    for net in lites(nets).values():
        net.set_rounding(mode)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long a run is, and what happens when; shares are of its steps."""

    steps: int
    lr: float
    round_from: float
    """Share after which integers are imitated."""
    revive_until: float = REVIVE_UNTIL
    """Share until which dead channels are begun anew."""
    every: int = 500
    """Steps between validations and checkpoints."""
    stop: int | None = None
    """Step to stop after, to go on another time."""
    bf16: bool = False
    """Whether to multiply in bfloat16."""
    seed: int = 0


def fit(
    nets: Networks,
    batches: Batches,
    schedule: Schedule,
    out: Path,
    losses_of: Callable[[Networks, Batch], Losses],
    validate: Callable[[Networks], Mapping[str, float]],
) -> None:
    """Train, or go on with, the run in the folder ``out``: its checkpoint, and its log of JSON lines.

    ``nets`` are what it begins from; the checkpoint also holds their running average, which ``validate`` is given.
    """
    device = next(nets.parameters()).device
    average = Networks({name: Lite(net.config) for name, net in lites(nets).items()}).to(device)
    average.load_state_dict(nets.state_dict())
    both = optimizers(nets, schedule.lr)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint, log = out / "checkpoint.pt", out / "log.jsonl"
    step, steps, stop = resumed(checkpoint, nets, average, both), schedule.steps, schedule.stop
    # one worker process, so that its copy of the clips is the only one
    loader: DataLoader[Batch] = DataLoader(
        batches, batch_size=None, sampler=range(step, min(steps, stop or steps)), num_workers=1, prefetch_factor=6
    )
    running: dict[str, float] = defaultdict(float)
    revived = 0
    began, first = time.monotonic(), step
    kept_at = began
    begin = int(schedule.round_from * steps)
    narrow = partial(torch.autocast, device.type, torch.bfloat16, enabled=schedule.bf16)
    for sample in loader:
        batch = sample.to(device)
        set_rounding(nets, rounding_at(step, steps, begin))
        for group in (group for optimizer in both for group in optimizer.param_groups):
            group["lr"] = learning_rate(step, steps, group["peak"])
        with narrow():
            losses = losses_of(nets, batch)
        advance(list(losses.values()), list(nets.parameters()), both, CLIP, step, partial(keep_level, nets))
        step += 1
        follow(list(average.parameters()), list(nets.parameters()), AVERAGE, step)
        for name, loss in losses.items():
            running[name] += float(loss.detach())
        ends = step % schedule.every == 0 or step in (steps, stop)
        if not ends and time.monotonic() - kept_at < KEEP_SECONDS:
            continue
        for kept, buffer in zip(average.buffers(), nets.buffers(), strict=True):
            kept.copy_(buffer)
        set_rounding(average, Round.ROUND if step > begin + WATCH_STEPS else Round.OFF)
        kept_at = time.monotonic()
        seconds = (time.monotonic() - began) / (step - first)
        if step % schedule.every == 0 and step < schedule.revive_until * steps:
            torch.manual_seed(schedule.seed + step)  # a run that goes on does as one that was never stopped
            revived += revive(nets, activity_of(nets, partial(losses_of, nets, batch)))
        save(
            checkpoint,
            {
                "net": nets.state_dict(),
                "average": average.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in both],
                "step": step,
                "config": {name: net.config.to_dict() for name, net in lites(nets).items()},
            },
        )
        if not ends:
            continue
        with narrow():
            scores = validate(average)
        entry = {
            "step": step,
            "revived": revived,
            "seconds_per_step": seconds,
            "scores": {k: round(v, 4) for k, v in scores.items()},
            "loss": {name: total / schedule.every for name, total in running.items()},
        }
        running.clear()
        with log.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        print(json.dumps(entry), flush=True)
