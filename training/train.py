"""Train a lite network: resumable, seeded, with a validation curve.

``python -m training.train --task restore --data CLIPS --out RUN``
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import typer
from torch import Tensor
from torch.nn import functional as F

from training.dataset import Batch, Clips, Task, validation
from training.network import Lite, LiteConfig

CHROMA_WEIGHT = 0.5
"""Weight of the chroma planes' loss beside luma's: the eye, and every measure here, looks at luma."""
SSIM_WEIGHT = 0.05
"""Weight of 1 - SSIM: about a quarter of the gradient; it keeps faint lines and textures that L1 gives up."""
OUTPUT_GAIN = 0.2
"""Learning rate of the last layers, as a share of the others'."""
DECAY_SHARE = 0.3
"""Last part of the run over which the learning rate falls to nothing."""


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Warm-up, plateau, linear decay: a run can be lengthened or cut short while on the plateau."""
    return peak * min(1.0, (step + 1) / 200, max(0.0, (steps - step) / (DECAY_SHARE * steps)))


def charbonnier(a: Tensor, b: Tensor) -> Tensor:
    """Smooth L1 distance (Charbonnier), mean over elements."""
    return ((a - b).square() + 1e-6).sqrt().mean()


def ssim(a: Tensor, b: Tensor, side: int = 7) -> Tensor:
    """Mean structural similarity of luma planes ``[batch, 1, rows, columns]`` in 0..1, uniform window."""

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, side, 1)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, both = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
    above = (2 * mean_a * mean_b + 0.01**2) * (2 * both + 0.03**2)
    return (above / ((mean_a**2 + mean_b**2 + 0.01**2) * (var_a + var_b + 0.03**2))).mean()


def loss_of(net: Lite, batch: Batch) -> Tensor:
    """Training loss of a batch."""
    y, uv = net(batch.y, batch.uv)
    pixels = charbonnier(y, batch.target_y) + CHROMA_WEIGHT * charbonnier(uv, batch.target_uv)
    return pixels + SSIM_WEIGHT * (1 - ssim(y, batch.target_y))


@torch.no_grad()
def validate(net: Lite, data: Path, task: Task, reach: int | None = None) -> dict[str, float]:
    """Mean luma PSNR in dB by kind of degradation, and ``mean`` over kinds; ``reach`` cuts windows short."""
    errors: dict[str, list[float]] = defaultdict(list)
    for kind, batch in validation(data, task, net.config.radius, reach):
        y, _ = net(batch.y, batch.uv)
        mse = float((y.clamp(0, 1) - batch.target_y).square().mean())
        errors[kind].append(-10 * torch.log10(torch.tensor(max(mse, 1e-7))).item())
    scores = {kind: sum(v) / len(v) for kind, v in sorted(errors.items())}
    return scores | {"mean": sum(scores.values()) / max(len(scores), 1)}


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def main(
    task: Annotated[str, typer.Option(help="restore or upscale")],
    data: Annotated[Path, typer.Option(help="folder of clip files")],
    out: Annotated[Path, typer.Option(help="folder of the run: checkpoint and log")],
    restored: Annotated[Path | None, typer.Option(help="upscale: clips restored by training.restored")] = None,
    steps: int = 12000,
    batch: int = 8,
    crop: int = 128,
    lr: float = 1.5e-3,
    radius: int = 1,
    dim: int = 64,
    depth: int = 4,
    heads: int = 2,
    width: int = 32,
    seed: int = 0,
    threads: int = 0,
    every: Annotated[int, typer.Option(help="steps between validations and checkpoints")] = 500,
    stop: Annotated[int | None, typer.Option(help="stop after this step, to go on another time")] = None,
) -> None:
    """Train, or go on with, the run in OUT."""
    if task not in ("restore", "upscale"):
        raise typer.BadParameter(f"task must be restore or upscale, got {task}")
    kind = cast(Task, task)
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = LiteConfig(
        scale=2 if kind == "upscale" else 1, radius=radius, dim=dim, depth=depth, heads=heads, width=width
    )
    net = Lite(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = Lite(config).to(device)
    average.load_state_dict(net.state_dict())
    last = {id(p) for p in net.output_parameters()}
    groups = [
        {"params": [p for p in net.parameters() if id(p) not in last], "gain": 1.0},
        {"params": net.output_parameters(), "gain": OUTPUT_GAIN},
    ]
    optimizer = torch.optim.AdamW(groups, lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint, log = out / "checkpoint.pt", out / "log.jsonl"
    step = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    clips = Clips(data, kind, radius=radius, crop=crop, seed=seed, restored=restored)
    running, began, first = 0.0, time.monotonic(), step
    for sample in clips.stream(step, batch):
        if step >= min(steps, stop or steps):
            break
        for group in optimizer.param_groups:
            group["lr"] = group["gain"] * learning_rate(step, steps, lr)
        loss = loss_of(net, Batch(*(part.to(device) for part in vars(sample).values())))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        running = 0.98 * running + 0.02 * loss.item() if step > first + 1 else loss.item()
        decay = min(0.998, step / (step + 20))
        with torch.no_grad():
            for mean, value in zip(average.parameters(), net.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        if step % 50 == 0:
            print(f"{step} loss {running:.5f} {(step - first) / (time.monotonic() - began):.2f} it/s", flush=True)
        if step % every == 0 or step == steps:
            scores = validate(average, data, kind)
            save(
                checkpoint,
                {"net": net.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict(),
                 "step": step, "config": config.to_dict()},
            )  # fmt: skip
            with log.open("a") as file:
                file.write(json.dumps({"step": step, "loss": running, "psnr": scores}) + "\n")
            print(step, {k: round(v, 2) for k, v in scores.items()}, flush=True)


if __name__ == "__main__":
    typer.run(main)
