"""Train the two lite networks together: resumable, seeded, with a validation curve.

``python -m training.train --data CLIPS --out RUN``

Restoring is trained towards the clean small picture and, through the enlarging network behind it, towards the sharp
large one; enlarging learns on restored pictures as they come and on clean ones. Every window has its own mix of tasks;
backbone and task biases are updated together (Instruct-IPT's synchronous training, arXiv 2407.00676). With one mix a
step the gradients of one task undid what another had learned.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from training.dataset import Batch, Batches, validation
from training.layers import Conv, Round, free_of
from training.muon import Muon
from training.network import ALIGN, Lite, LiteConfig, evened_out
from vsanimup.tasks import TASKS

CHROMA_WEIGHT = 0.5
"""Weight of the chroma planes' loss beside luma's: the eye, and every measure here, looks at luma."""
SSIM_WEIGHT = 0.12
"""Weight of 1 - SSIM: about half of the gradient; it keeps faint lines and textures that L1 gives up."""
FLOOR = 0.02
"""Added to a distance before its logarithm: without it, what is perfect already would weigh most."""
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
SMOOTH = 8 / 219
"""Threshold of the sigma filter behind enlarging, the default of ``Upscale``'s argument ``smooth``."""
AVERAGE = 0.999
"""Share of the running average of the weights that a step leaves."""

Networks = torch.nn.ModuleDict
"""``restore`` and ``upscale``, both :class:`Lite`."""


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Warm-up, plateau, linear decay: a run can be lengthened or cut short while on the plateau."""
    return peak * min(1.0, (step + 1) / 300, max(0.0, (steps - step) / (DECAY_SHARE * steps)))


def rounding_at(step: int, steps: int, begin: int) -> str:
    """Mode of the networks' :class:`Round` at a step of a run that imitates integers from step ``begin`` on."""
    if step < begin:
        return Round.OFF
    again = step % WATCH_EVERY == 0 and step < WATCH_UNTIL * steps
    return Round.WATCH if again or step < begin + WATCH_STEPS else Round.ROUND


def charbonnier(a: Tensor, b: Tensor) -> Tensor:
    """Smooth L1 distance (Charbonnier) of each sample, ``[batch]``."""
    return ((a - b).square() + 1e-6).sqrt().mean((1, 2, 3))


def deviation(a: Tensor, b: Tensor) -> Tensor:
    """Root of the mean square of the difference of each sample, ``[batch]``; PSNR is its logarithm."""
    return ((a - b).square().mean((1, 2, 3)) + 1e-6).sqrt()


def ssim(a: Tensor, b: Tensor, side: int = 7) -> Tensor:
    """Structural similarity, ``[batch]``, of luma planes ``[batch, 1, rows, columns]`` in 0..1, uniform window.

    Windows at every third sample: all of them took a quarter of a training step.
    """

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, side, 3)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, both = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
    above = (2 * mean_a * mean_b + 0.01**2) * (2 * both + 0.03**2)
    return (above / ((mean_a**2 + mean_b**2 + 0.01**2) * (var_a + var_b + 0.03**2))).mean((1, 2, 3))


def distance(y: Tensor, uv: Tensor, goal_y: Tensor, goal_uv: Tensor) -> Tensor:
    """Training loss between pictures: mean over samples of the logarithm of a distance.

    The distance is half L1, which even areas want, and half L2, which lines want. Of the logarithm, as PSNR is: haze is
    a hundred times as far from its goal as a compressed picture, and would otherwise be all that the optimizer sees.
    """
    y = y.float()
    pixels = (charbonnier(y, goal_y) + deviation(y, goal_y)) / 2 + CHROMA_WEIGHT * charbonnier(uv.float(), goal_uv)
    return (pixels + SSIM_WEIGHT * (1 - ssim(y, goal_y)) + FLOOR).log().mean()


def loss_of(nets: Networks, batch: Batch) -> tuple[Tensor, Tensor]:
    """Training losses of a batch: restoring and enlarging."""
    restore, upscale = nets["restore"], nets["upscale"]
    assert isinstance(restore, Lite)
    restore.set_mix(batch.mix)
    y, uv = restore(batch.y, batch.uv)
    restored = distance(y, uv, batch.goal_y, batch.goal_uv)
    large_y, large_uv = upscale(torch.cat((y, batch.plain_y)), torch.cat((uv, batch.plain_uv)))
    sharp_y = torch.cat((batch.sharp_y, batch.plain_sharp_y))
    large_y = evened_out(large_y.float(), SMOOTH)
    return restored, distance(large_y, large_uv, sharp_y, torch.cat((batch.sharp_uv, batch.plain_sharp_uv)))


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in 0..1."""
    return -10 * float(torch.log10((a.float().clamp(0, 1) - b).square().mean().clamp_min(1e-7)))


@torch.no_grad()
def validate(nets: Networks, data: Path) -> dict[str, float]:
    """Mean luma PSNR in dB by ``stage kind``: ``restore`` to the clean small picture, ``both`` to the large one.

    ``backbone`` is ``restore`` without task biases; ``both clean`` is enlarging alone.
    """
    restore, upscale = nets["restore"], nets["upscale"]
    assert isinstance(restore, Lite)
    scores: dict[str, list[float]] = defaultdict(list)
    for case in validation(data, restore.config.radius, ALIGN):
        restore.set_mix(None)
        scores[f"backbone {case.kind}"].append(psnr(restore(case.y, case.uv)[0], case.goal_y))
        restore.set_mix(case.mix)
        y, uv = restore(case.y, case.uv)
        scores[f"restore {case.kind}"].append(psnr(y, case.goal_y))
        if case.kind == "clean":
            r = restore.config.radius
            y, uv = case.y[:, r : r + 1], case.uv[:, 2 * r : 2 * r + 2]
        scores[f"both {case.kind}"].append(psnr(evened_out(upscale(y, uv)[0].float(), SMOOTH), case.sharp_y))
    return {kind: sum(v) / len(v) for kind, v in sorted(scores.items())}


DEAD = 1e-3
"""Share of the positions that a rectified channel must be above zero at to be alive."""


@torch.no_grad()
def activity_of(nets: torch.nn.Module, run: Callable[[], object]) -> dict[str, Tensor]:
    """Share of the positions at which each channel behind a rectifier is above zero while ``run`` runs, by layer."""
    seen: dict[str, list[Tensor]] = defaultdict(list)

    def watch(name: str) -> Callable[..., None]:
        return lambda module, given, result: seen[name].append((result > 0).float().mean((0, 2, 3)))

    hooks = [
        module.register_forward_hook(watch(name))
        for name, module in nets.named_modules() if isinstance(module, Conv) and module.relu
    ]  # fmt: skip
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


CONFIGS = {
    "restore": LiteConfig(scale=1, radius=2, half=48, inner=2, last=1, tasks=len(TASKS)),
    "upscale": LiteConfig(scale=2, radius=0, half=48, inner=1, last=2),
}
"""Shapes of the shipped networks. Enlarging is a matter of fine detail, and has its layers at half resolution."""


def networks(restore: LiteConfig, upscale: LiteConfig) -> Networks:
    """Fresh networks of two shapes."""
    return torch.nn.ModuleDict({"restore": Lite(restore), "upscale": Lite(upscale)})


def load_checkpoint(path: Path) -> Networks:
    """The averaged networks of a training checkpoint, ready to run."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    nets = networks(*(LiteConfig(**state["config"][name]) for name in ("restore", "upscale")))
    nets.load_state_dict(state["average"])
    return nets.eval()


def set_rounding(nets: Networks, mode: str) -> None:
    """Put both networks into a mode of :class:`training.network.Round`."""
    for net in nets.values():
        assert isinstance(net, Lite)
        net.set_rounding(mode)


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


def main(
    data: Annotated[Path, typer.Option(help="folder of clip files")],
    out: Annotated[Path, typer.Option(help="folder of the run: checkpoint and log")],
    steps: int = 18000,
    batch: Annotated[int, typer.Option(help="windows a step")] = 8,
    plain: Annotated[int, typer.Option(help="single frames a step, enlarged without restoring")] = 6,
    crop: Annotated[int, typer.Option(help=f"side of a crop, a multiple of {ALIGN}")] = 96,
    lr: float = 0.02,
    size: Annotated[float, typer.Option(help="channels, as a multiple of the shipped networks'")] = 1.0,
    small_until: Annotated[float, typer.Option(help="part of the run in which crops have half the side")] = 0.7,
    round_from: Annotated[float, typer.Option(help="part of the run after which integers are imitated")] = 0.75,
    seed: int = 0,
    bf16: Annotated[bool, typer.Option(help="bfloat16 arithmetic: twice as fast on AVX512-BF16 and GPUs")] = False,
    threads: int = 0,
    every: Annotated[int, typer.Option(help="steps between validations and checkpoints")] = 500,
    stop: Annotated[int | None, typer.Option(help="stop after this step, to go on another time")] = None,
) -> None:
    """Train, or go on with, the run in OUT."""
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    configs = {name: config.scaled(size) for name, config in CONFIGS.items()}
    nets = networks(configs["restore"], configs["upscale"]).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = networks(configs["restore"], configs["upscale"]).to(device)
    average.load_state_dict(nets.state_dict())
    both = optimizers(nets, lr)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint, log = out / "checkpoint.pt", out / "log.jsonl"
    step = resumed(checkpoint, nets, average, both)
    radius = configs["restore"].radius
    batches = Batches(
        data, radius=radius, crop=crop, batch=batch, plain=plain, steps=steps, seed=seed,
        small=int(small_until * steps),
    )  # fmt: skip
    # one worker process, so that its copy of the clips is the only one
    loader: DataLoader[Batch] = DataLoader(
        batches, batch_size=None, sampler=range(step, min(steps, stop or steps)), num_workers=1, prefetch_factor=6
    )
    running: dict[str, float] = defaultdict(float)
    revived = 0
    began, first = time.monotonic(), step
    begin = int(round_from * steps)
    for sample in loader:
        set_rounding(nets, rounding_at(step, steps, begin))
        for group in (group for optimizer in both for group in optimizer.param_groups):
            group["lr"] = learning_rate(step, steps, group["peak"])
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            losses = loss_of(nets, sample.to(device))
        advance(losses, list(nets.parameters()), both, CLIP, step, partial(keep_level, nets))
        step += 1
        follow(list(average.parameters()), list(nets.parameters()), AVERAGE, step)
        for name, loss in zip(configs, losses, strict=True):
            running[name] += float(loss.detach())
        if step % every == 0 or step in (steps, stop):
            for kept, buffer in zip(average.buffers(), nets.buffers(), strict=True):
                kept.copy_(buffer)
            set_rounding(average, Round.ROUND if step > begin + WATCH_STEPS else Round.OFF)
            seconds = (time.monotonic() - began) / (step - first)
            if step % every == 0 and step < REVIVE_UNTIL * steps:
                torch.manual_seed(seed + step)  # a run that goes on does as one that was never stopped
                revived += revive(nets, activity_of(nets, partial(loss_of, nets, sample.to(device))))
            save(checkpoint, {
                "net": nets.state_dict(), "average": average.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in both], "step": step,
                "config": {name: config.to_dict() for name, config in configs.items()},
            })  # fmt: skip
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                scores = validate(average, data)
            entry = {
                "step": step, "revived": revived, "seconds_per_step": seconds,
                "psnr": {k: round(v, 3) for k, v in scores.items()},
                "loss": {name: running[name] / every for name in configs},
            }  # fmt: skip
            running.clear()
            with log.open("a") as file:
                file.write(json.dumps(entry) + "\n")
            print(json.dumps(entry), flush=True)


if __name__ == "__main__":
    typer.run(main)
