"""Train the enlarging network on alone: ``python -m training.lite.upscale --data CLIPS --out RUN``.

It begins as the one that is shipped, and learns on single frames that are clean, a few of which went through an
encoder: what is soft, painted, dithered or grainy in the truth is to stay so.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer

from training.data.dataset import Batch, Batches, validation
from training.lite import options
from training.lite.loop import Losses, Schedule, fit
from training.lite.train import SPATIAL
from training.losses import distance, psnr, ssim
from vsanimup.architectures.lite.checkpoint import Networks, lites, load_checkpoint
from vsanimup.architectures.lite.network import ALIGN, evened_out
from vsanimup.architectures.lite.shipped import shipped
from vsanimup.networks.manifest import SHIPPED

NAME = "upscale"
"""Of the network in checkpoints."""


def losses_of(nets: Networks, batch: Batch, ssim_weight: float) -> Losses:
    """Training loss of a batch's single frames."""
    y, uv = lites(nets)[NAME](batch.plain_y, batch.plain_uv)
    sharp = batch.plain_sharp_y, batch.plain_sharp_uv
    return {NAME: distance(evened_out(y.float(), SPATIAL), uv, *sharp, ssim_weight)}


@torch.no_grad()
def validate(nets: Networks, data: Path) -> dict[str, float]:
    """Mean luma PSNR in dB and SSIM of clean pictures, and PSNR of the worst."""
    found: list[tuple[float, float]] = []
    for case in validation(data, 0, ALIGN):
        if case.kind == "clean":
            y = evened_out(lites(nets)[NAME](case.y, case.uv)[0].float(), SPATIAL)
            found.append((psnr(y, case.sharp_y), float(ssim(y.clamp(0, 1), case.sharp_y))))
    values = torch.tensor(found)
    mean = values.mean(0).tolist()
    return {"psnr": mean[0], "ssim": mean[1], "lowest psnr": float(values[:, 0].min())}


def main(
    data: options.Data,
    out: options.Out,
    models: Annotated[Path, typer.Option(help="folder of the model folders to begin from")] = SHIPPED,
    start: Annotated[Path | None, typer.Option(help="checkpoint to begin from in place of these")] = None,
    steps: int = 3000,
    batch: options.Windows = 8,
    crop: options.Crop = 96,
    lr: float = 0.006,
    ssim_weight: Annotated[float, typer.Option(help="weight of 1 - SSIM in the distance")] = 0.25,
    small_until: options.SmallUntil = 1.0,
    seed: int = 0,
    bf16: options.Bf16 = False,
    threads: int = 0,
    every: options.Every = 500,
    stop: options.Stop = None,
) -> None:
    """Train, or go on with the run in OUT."""
    options.prepare(threads, seed)
    nets = Networks({NAME: shipped(models / "lite-upscale")}) if start is None else load_checkpoint(start)
    nets = nets.train().to(memory_format=torch.channels_last)
    batches = Batches(
        data, radius=0, crop=crop, batch=1, plain=batch, steps=steps, seed=seed, small=int(small_until * steps)
    )
    # nothing is begun anew, and ranges are known
    schedule = Schedule(steps=steps, lr=lr, round_from=0, revive_until=0, every=every, stop=stop, bf16=bf16, seed=seed)
    fit(nets, batches, schedule, out, partial(losses_of, ssim_weight=ssim_weight), partial(validate, data=data))


if __name__ == "__main__":
    typer.run(main)
