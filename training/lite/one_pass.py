"""Train the lite network that restores and doubles in one pass: resumable, seeded, with a validation curve.

``python -m training.lite.one_pass --data CLIPS --out RUN --start CHECKPOINT``

It begins as the enlarging network of a run of :mod:`training.lite.train`, and sees that run's degradations with neither
a picture of the small size nor a second network between: two thirds of the time of restoring and enlarging one after
the other.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer

from training.data.dataset import Batch, Batches, Rng, validation
from training.lite import options
from training.lite.loop import Losses, Schedule, fit
from training.lite.train import SPATIAL
from training.losses import distance, psnr
from vsanimup.architectures.lite.checkpoint import Networks, lites, load_checkpoint
from vsanimup.architectures.lite.layers import Round
from vsanimup.architectures.lite.network import ALIGN, Lite, LiteConfig, evened_out
from vsanimup.tasks import TASKS

NAME = "one_pass"
"""Of the network in checkpoints."""
CONFIG = LiteConfig(scale=2, radius=2, half=48, inner=2, first=2, last=2, tasks=len(TASKS))
"""Shape of the shipped network: that of enlarging, a pair of convolutions more at half resolution and two at a quarter,
five frames."""
CLEAN_WINDOWS = 0.25
"""Share of the windows that are clean, enlarged by the backbone alone."""
QUIET = 0.02
"""Gain of what the network has and the one that it begins as has not."""


class Windows(Batches):
    """Windows with their degradations, and clean ones without a mix of tasks."""

    backbone_share = 0.0

    def _degradation(self, rng: Rng) -> tuple[str, list[str], dict[str, float]]:
        return ("clean", [], {}) if rng.random() < CLEAN_WINDOWS else super()._degradation(rng)


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


def loss_of(nets: Networks, batch: Batch) -> Losses:
    """Training loss of a batch."""
    net = lites(nets)[NAME]
    net.set_mix(batch.mix)
    y, uv = net(batch.y, batch.uv)
    return {NAME: distance(evened_out(y.float(), SPATIAL), uv, batch.sharp_y, batch.sharp_uv)}


@torch.no_grad()
def validate(nets: Networks, data: Path) -> dict[str, float]:
    """Mean luma PSNR in dB by kind of degradation."""
    net = lites(nets)[NAME]
    scores: dict[str, list[float]] = {}
    for case in validation(data, net.config.radius, ALIGN):
        net.set_mix(None if case.kind == "clean" else case.mix)
        y = evened_out(net(case.y, case.uv)[0].float(), SPATIAL)
        scores.setdefault(case.kind, []).append(psnr(y, case.sharp_y))
    return {kind: sum(v) / len(v) for kind, v in sorted(scores.items())}


def main(
    data: options.Data,
    out: options.Out,
    start: Annotated[Path, typer.Option(help="checkpoint of training.lite.train to begin from")],
    steps: int = 10500,
    batch: options.Windows = 8,
    crop: options.Crop = 96,
    lr: float = 0.012,
    size: options.Size = 1.0,
    small_until: options.SmallUntil = 0.7,
    round_from: options.RoundFrom = 0.5,
    seed: int = 0,
    bf16: options.Bf16 = False,
    threads: int = 0,
    every: options.Every = 500,
    stop: options.Stop = None,
) -> None:
    """Train, or go on with the run in OUT."""
    options.prepare(threads, seed)
    upscale = lites(load_checkpoint(start))["upscale"]
    config = CONFIG if size == 1 else CONFIG.scaled(size)
    batches = Windows(
        data,
        radius=config.radius,
        crop=crop,
        batch=batch,
        plain=1,
        steps=steps,
        seed=seed,
        small=int(small_until * steps),
    )
    schedule = Schedule(steps=steps, lr=lr, round_from=round_from, every=every, stop=stop, bf16=bf16, seed=seed)
    nets = Networks({NAME: begun(upscale, config)}).train().to(memory_format=torch.channels_last)
    fit(nets, batches, schedule, out, loss_of, partial(validate, data=data))


if __name__ == "__main__":
    typer.run(main)
