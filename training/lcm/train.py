"""Train a small AnimateLCM stage by stage: resumable, seeded, with a validation curve.

``python -m training.lcm.train --data CLIPS --out RUN --stage autoencoder``, then ``image``, then ``motion``. The stage
``joint`` trains what image and motion train, but all at once, for comparison; ``memory`` goes on with the motion
modules (or begins with them) on windows in sequence, of which the second remembers the first. ``tasks`` trains base,
ControlNet and low-rank biases of tasks together, with ``--config '{"rank": 4}'``.
"""

from __future__ import annotations

import functools
import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

from training.lcm import stages
from training.lcm.data import Crops, TaskCrops
from training.lite.loop import advance, follow, save
from training.muon import Muon
from vsanimup.architectures.lcm_tiny import Tiny, TinyConfig, offset

BEFORE = {
    "image": ("autoencoder",),
    "motion": ("image",),
    "memory": ("motion", "image"),
    "joint": ("autoencoder",),
    "tasks": ("memory", "motion", "image"),
}
"""The stages one of whose results a stage starts from: the first of them that is there."""
SHAPES = {
    "autoencoder": (8, 1, 96),
    "image": (8, 1, 96),
    "motion": (4, 7, 96),
    "memory": (2, 14, 96),
    "tasks": (8, 1, 96),
    "joint": (4, 7, 96),
}
"""Windows a step, frames of a window, side of a crop."""
RATES = {"autoencoder": 0.006, "image": 0.01, "motion": 0.005, "memory": 0.005, "tasks": 0.005, "joint": 0.01}
DECAY = 0.02
"""Muon's decay of weights."""
ADAM_GAIN = 0.1
"""Learning rate of what Adam trains, as a share of Muon's: offsets, scales, last layers."""
WARM_UP = 50
DECAY_SHARE = 0.6
"""Last part of the run over which the learning rate falls to nothing."""
CLIP = 1.0
"""Largest norm of a step's gradient."""
AVERAGE = 0.99
"""Share of the running average of the weights that a step leaves."""


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Warm-up, plateau, linear decay."""
    return peak * min(1.0, (step + 1) / WARM_UP, max(0.0, (steps - step) / (DECAY_SHARE * steps)))


def trained(tiny: Tiny, stage: str) -> dict[str, nn.Parameter]:
    """The parameters that a stage trains, by name."""
    starts = {
        "autoencoder": ("autoencoder.",),
        "image": ("denoiser.unet.", "control."),
        "motion": ("denoiser.motion.",),
        "memory": ("denoiser.motion.",),
        "joint": ("denoiser.", "control."),
        "tasks": ("denoiser.unet.", "control.", "biases."),
    }[stage]
    return {name: parameter for name, parameter in tiny.named_parameters() if name.startswith(starts)}


def optimizers(parameters: dict[str, nn.Parameter], lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the weights of hidden layers, Adam for all else. Every group has its peak learning rate as ``peak``."""
    last = ("decoder.layers.8.weight", "unet.conv_out.weight")
    hidden = [
        p
        for name, p in parameters.items()
        if p.dim() >= 2 and not name.endswith(last) and not name.startswith("biases.")
    ]
    known = {id(p) for p in hidden}
    others = [p for p in parameters.values() if id(p) not in known]
    muon = Muon(hidden, lr, weight_decay=DECAY)
    adam = torch.optim.AdamW(others, lr, betas=(0.9, 0.99), weight_decay=0.0)
    muon.param_groups[0]["peak"], adam.param_groups[0]["peak"] = lr, ADAM_GAIN * lr
    return [muon, adam]


def following(path: Path, stage: str, config: dict[str, Any]) -> Tiny:
    """Networks for a stage, with what the stage before left in its checkpoint."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    tiny = Tiny(TinyConfig(**{**state["config"], **config}))
    if stage in ("motion", "memory", "tasks"):
        kept = tiny.state_dict()  # biases of tasks begin as they are
        tiny.load_state_dict(kept | {name: value for name, value in state["average"].items() if name in kept})
    else:
        parts = {name: value for name, value in state["average"].items() if name.startswith("autoencoder.")}
        tiny.autoencoder.load_state_dict({name.removeprefix("autoencoder."): value for name, value in parts.items()})
        tiny.prepare(stages.TIMESTEPS[0])
    return tiny


@torch.no_grad()
def validate(tiny: Tiny, stage: str, data: Path, clips: int, side: int) -> dict[str, dict[str, float]]:
    """Scores by kind."""
    if stage == "autoencoder":
        return stages.validate_autoencoder(tiny, data, clips, side)
    if stage == "tasks":
        return stages.validate_tasks(tiny, data, clips, side)
    return stages.validate(tiny, data, clips, side, frames=1 if stage == "image" else 7)


@torch.no_grad()
def scale_latents(tiny: Tiny, crops: Crops, count: int) -> None:
    """Find the spread of latents, and take their mean away, once the autoencoder is trained."""
    coder = tiny.autoencoder
    latents = torch.cat([coder.encoder(crops[step].sharp * 2 - 1).float() for step in range(count)])
    mean = latents.mean((0, 2, 3))
    coder.spread.copy_((latents - mean[:, None, None]).std())
    # what the encoder takes away the decoder's first layer has to add, which it does exactly but at the border
    offset(coder.encoder.at(-1)).sub_(mean)
    first = coder.decoder.at(0)
    offset(first).add_((first.weight.sum((2, 3)) * mean).sum(1))


class Run:
    """The networks of a stage in training, their optimizers and their running average."""

    def __init__(self, tiny: Tiny, stage: str, lr: float) -> None:
        self.tiny = tiny.to(memory_format=torch.channels_last).eval().requires_grad_(False)
        self.stage = stage
        self.parameters = trained(self.tiny, stage)
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)
        self.optimizers = optimizers(self.parameters, lr)
        self.step = 0
        self.average = self._copied()

    def _copied(self) -> dict[str, Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    def averaged(self) -> dict[str, Any]:
        return {**self.tiny.state_dict(), **self.average}

    def evaluated(self) -> Tiny:
        """The networks with averaged weights, apart."""
        smooth = Tiny(self.tiny.config)
        smooth.load_state_dict(self.averaged())
        return smooth.to(memory_format=torch.channels_last).eval()

    def take_average(self) -> None:
        self.tiny.load_state_dict(self.averaged())

    def average_again(self) -> None:
        """Begin the average anew from the weights of now."""
        self.average = self._copied()

    def save(self, path: Path) -> None:
        state = {
            "net": self.tiny.state_dict(),
            "average": self.averaged(),
            "step": self.step,
            "stage": self.stage,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "config": self.tiny.config.to_dict(),
        }
        save(path, state)

    def load(self, path: Path) -> None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.tiny.load_state_dict(state["net"])
        self.average = {name: state["average"][name] for name in self.average}
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.step = state["step"]

    def advance(
        self, crop: Any, rate: Callable[[float], float], random: torch.Generator, bf16: bool
    ) -> dict[str, float]:
        """One step, at the learning rate that ``rate`` makes of each peak; the losses, and the gradient's norm."""
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = rate(group["peak"])
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses = stages.LOSSES[self.stage](self.tiny, crop, random)
        parameters = list(self.parameters.values())
        norm = advance(list(losses.values()), parameters, self.optimizers, CLIP, self.step)
        self.step += 1
        follow(list(self.average.values()), parameters, AVERAGE, self.step)
        return {**{name: float(loss.detach()) for name, loss in losses.items()}, "gradient": norm}


def begun(out: Path, stage: str, config: dict[str, Any], data: Path, seed: int) -> Tiny:
    """Networks that a stage starts from: what the stage before left in the run's folder, or new ones."""
    if stage in BEFORE:
        paths = [out / f"{before}.pt" for before in BEFORE[stage]]
        path = next((path for path in paths if path.exists()), None)
        if path is None:
            raise SystemExit(f"--stage {stage} starts from {paths[0]}, which is missing: train that stage first")
        return following(path, stage, config)
    tiny = Tiny(TinyConfig(**config))
    if not (out / f"{stage}.pt").exists():
        tiny.autoencoder.prepare(Crops(data, windows=32, frames=1, side=64, seed=seed)[0].sharp * 2 - 1)
    return tiny


def main(
    data: Annotated[Path, typer.Option(help="folder of clip files")],
    out: Annotated[Path, typer.Option(help="folder of the run: a checkpoint a stage, and the log")],
    stage: Annotated[str, typer.Option(help="autoencoder, image, motion, memory, tasks or joint")],
    steps: int = 2000,
    windows: Annotated[int, typer.Option(help="windows a step; 0: the stage's own")] = 0,
    side: Annotated[int, typer.Option(help="side of a crop of the result; 0: the stage's own")] = 0,
    lr: Annotated[float, typer.Option(help="peak learning rate; 0: the stage's own")] = 0.0,
    config: Annotated[str, typer.Option(help="fields of TinyConfig as JSON, where they are others")] = "{}",
    small_until: Annotated[float, typer.Option(help="part of the run in which crops have two thirds of it")] = 0.6,
    seed: int = 0,
    bf16: Annotated[bool, typer.Option(help="bfloat16 arithmetic: twice as fast on AVX512-BF16")] = False,
    threads: int = 1,
    every: Annotated[int, typer.Option(help="steps between validations")] = 250,
    keep_every: Annotated[float, typer.Option(help="minutes between checkpoints")] = 2.0,
    val_clips: int = 8,
    val_side: int = 256,
    stop: Annotated[int | None, typer.Option(help="stop after this step, to go on another time")] = None,
) -> None:
    """Train, or go on with, one stage of the run in OUT."""
    if stage not in SHAPES:
        raise SystemExit(f"--stage must be one of {', '.join(SHAPES)}, got {stage!r}")
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / f"{stage}.pt"
    tiny = begun(out, stage, json.loads(config), data, seed)
    shape = SHAPES[stage]
    crops = (TaskCrops if stage == "tasks" else Crops)(
        data,
        windows=windows or shape[0],
        frames=shape[1],
        side=side or shape[2],
        seed=seed,
        small=int(small_until * steps) if stage != "autoencoder" else 0,
    )
    run = Run(tiny, stage, lr or RATES[stage])
    if checkpoint.exists():
        run.load(checkpoint)

    running: dict[str, float] = defaultdict(float)
    began, first, kept_at, since = time.monotonic(), run.step, time.monotonic(), run.step
    end = min(steps, stop or steps)
    while run.step < end:
        random = torch.Generator().manual_seed(seed * 1_000_003 + run.step)
        rate = functools.partial(learning_rate, run.step, steps)
        for name, loss in run.advance(crops[run.step], rate, random, bf16).items():
            running[name] += loss
        last = run.step == end
        if last and run.step == steps and stage == "autoencoder":
            run.take_average()
            scale_latents(tiny, crops, 32)
            run.average_again()
        if last or time.monotonic() - kept_at > 60 * keep_every:
            run.save(checkpoint)
            kept_at = time.monotonic()
        if last or run.step % every == 0:
            seconds = (time.monotonic() - began) / (run.step - first)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                scores = validate(run.evaluated(), stage, data, val_clips, val_side)
            entry = {
                "stage": stage,
                "step": run.step,
                "seconds_per_step": round(seconds, 3),
                "loss": {name: round(total / (run.step - since), 5) for name, total in running.items()},
                "scores": scores,
            }
            running.clear()
            since = run.step
            with (out / "log.jsonl").open("a") as file:
                file.write(json.dumps(entry) + "\n")
            print(json.dumps(entry), flush=True)


if __name__ == "__main__":
    typer.run(main)
