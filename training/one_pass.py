"""Train the lite network that restores and doubles in one pass: resumable, seeded, with a validation curve.

``python -m training.one_pass --data CLIPS --out RUN --start CHECKPOINT``

It begins as the enlarging network of a run of :mod:`training.train`, and sees that run's faults with neither a picture
of the small size nor a second network between: two thirds of the time of restoring and enlarging one after the other.
"""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor
from torch.utils.data import DataLoader

from training.dataset import Batch, Batches, Rng, validation
from training.layers import Round
from training.network import ALIGN, Lite, LiteConfig, evened_out
from training.train import (
    AVERAGE,
    CLIP,
    REVIVE_UNTIL,
    SMOOTH,
    WATCH_STEPS,
    activity_of,
    advance,
    distance,
    follow,
    keep_level,
    learning_rate,
    load_checkpoint,
    optimizers,
    psnr,
    resumed,
    revive,
    rounding_at,
    save,
)
from vsanimup.tasks import TASKS

CONFIG = LiteConfig(scale=2, radius=2, half=48, inner=2, first=2, last=2, tasks=len(TASKS))
"""Shape of the shipped network: that of enlarging, a pair of convolutions more at half resolution and two at a quarter,
five frames."""
CLEAN_WINDOWS = 0.25
"""Share of the windows that are clean, enlarged by the backbone alone."""
QUIET = 0.02
"""Gain of what the network has and the one that it begins as has not."""


class Windows(Batches):
    """Windows with their faults, and clean ones without a mix of tasks."""

    backbone_share = 0.0

    def _faults(self, rng: Rng) -> tuple[str, list[str], dict[str, float]]:
        return ("clean", [], {}) if rng.random() < CLEAN_WINDOWS else super()._faults(rng)


def begun(upscale: Lite, config: LiteConfig) -> Lite:
    """A network of the shape ``config`` that does what the enlarging network does to the centre frame."""
    net, had = Lite(config), upscale.state_dict()
    own = net.state_dict()
    for name, value in own.items():
        if name in had and had[name].shape == value.shape:
            own[name] = had[name]
    wide = torch.zeros_like(own["head.conv.weight"])
    luma, chroma = 4 * config.radius, 4 * config.frames + 2 * config.radius
    wide[:, luma : luma + 4], wide[:, chroma : chroma + 2] = had["head.conv.weight"].split((4, 2), 1)
    own["head.conv.weight"] = wide
    for name in own.keys() - had.keys():
        if name.endswith(".b.weight"):  # a pair that is new
            own[name] = QUIET * own[name]
    net.load_state_dict(own)
    for module in net.modules():
        if isinstance(module, Round):  # ranges are found anew
            module.low.zero_()
            module.high.zero_()
    return net


def loss_of(net: Lite, batch: Batch) -> Tensor:
    """Training loss of a batch."""
    net.set_mix(batch.mix)
    y, uv = net(batch.y, batch.uv)
    return distance(evened_out(y.float(), SMOOTH), uv, batch.sharp_y, batch.sharp_uv)


@torch.no_grad()
def validate(net: Lite, data: Path) -> dict[str, float]:
    """Mean luma PSNR in dB by kind of fault."""
    scores: dict[str, list[float]] = {}
    for case in validation(data, net.config.radius, ALIGN):
        net.set_mix(None if case.kind == "clean" else case.mix)
        y = evened_out(net(case.y, case.uv)[0].float(), SMOOTH)
        scores.setdefault(case.kind, []).append(psnr(y, case.sharp_y))
    return {kind: round(sum(v) / len(v), 3) for kind, v in sorted(scores.items())}


def load_one_pass(path: Path) -> Lite:
    """The averaged network of a training checkpoint, ready to run."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    net = Lite(LiteConfig(**state["config"]))
    net.load_state_dict(state["average"])
    return net.eval()


def main(
    data: Annotated[Path, typer.Option(help="folder of clip files")],
    out: Annotated[Path, typer.Option(help="folder of the run: checkpoint and log")],
    start: Annotated[Path, typer.Option(help="checkpoint of training.train to begin from")],
    steps: int = 10500,
    batch: Annotated[int, typer.Option(help="windows a step")] = 8,
    crop: Annotated[int, typer.Option(help=f"side of a crop, a multiple of {ALIGN}")] = 96,
    lr: float = 0.012,
    size: Annotated[float, typer.Option(help="channels, as a multiple of the shipped network's")] = 1.0,
    small_until: Annotated[float, typer.Option(help="part of the run in which crops have half the side")] = 0.7,
    round_from: Annotated[float, typer.Option(help="part of the run after which integers are imitated")] = 0.5,
    seed: int = 0,
    bf16: Annotated[bool, typer.Option(help="bfloat16 arithmetic: twice as fast on AVX512-BF16 and GPUs")] = False,
    threads: int = 0,
    every: Annotated[int, typer.Option(help="steps between validations and checkpoints")] = 500,
    stop: Annotated[int | None, typer.Option(help="stop after this step, to go on another time")] = None,
) -> None:
    """Train, or go on with the run in OUT."""
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    upscale = load_checkpoint(start)["upscale"]
    assert isinstance(upscale, Lite)
    config = CONFIG if size == 1 else CONFIG.scaled(size)
    net = begun(upscale, config).train().to(memory_format=torch.channels_last)
    average = Lite(config)
    average.load_state_dict(net.state_dict())
    both = optimizers(torch.nn.ModuleDict({"one_pass": net}), lr)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint, log = out / "checkpoint.pt", out / "log.jsonl"
    step = resumed(checkpoint, net, average, both)
    batches = Windows(
        data, radius=config.radius, crop=crop, batch=batch, plain=1, steps=steps, seed=seed,
        small=int(small_until * steps),
    )  # fmt: skip
    loader: DataLoader[Batch] = DataLoader(
        batches, batch_size=None, sampler=range(step, min(steps, stop or steps)), num_workers=1, prefetch_factor=6
    )
    began, first, running, revived = time.monotonic(), step, 0.0, 0
    begin = int(round_from * steps)
    for sample in loader:
        net.set_rounding(rounding_at(step, steps, begin))
        for group in (group for optimizer in both for group in optimizer.param_groups):
            group["lr"] = learning_rate(step, steps, group["peak"])
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = loss_of(net, sample)
        advance([loss], list(net.parameters()), both, CLIP, step, partial(keep_level, net))
        step += 1
        follow(list(average.parameters()), list(net.parameters()), AVERAGE, step)
        running += float(loss.detach())
        if step % every == 0 or step in (steps, stop):
            for kept, buffer in zip(average.buffers(), net.buffers(), strict=True):
                kept.copy_(buffer)
            average.set_rounding(Round.ROUND if step > begin + WATCH_STEPS else Round.OFF)
            if step % every == 0 and step < REVIVE_UNTIL * steps:
                torch.manual_seed(seed + step)  # a run that goes on does as one that was never stopped
                revived += revive(net, activity_of(net, partial(loss_of, net, sample)))
            save(checkpoint, {
                "net": net.state_dict(), "average": average.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in both], "step": step, "config": config.to_dict(),
            })  # fmt: skip
            seconds = (time.monotonic() - began) / (step - first)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                scores = validate(average, data)
            entry = {
                "step": step, "revived": revived, "seconds_per_step": seconds, "psnr": scores,
                "loss": running / every,
            }  # fmt: skip
            running = 0.0
            with log.open("a") as file:
                file.write(json.dumps(entry) + "\n")
            print(json.dumps(entry), flush=True)


if __name__ == "__main__":
    typer.run(main)
