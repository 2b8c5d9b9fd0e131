"""Train the enlarging network on alone: ``python -m training.lite.upscale --data CLIPS --out RUN``.

It begins as the one that is shipped, and learns on single frames that are clean, or went through an encoder that hardly
hurt them, as sources did that no diagnosis restores: what is soft, painted, dithered or grainy in the truth is to stay
so.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor

from training.data.dataset import TRIES, Batch, Batches, Rng, validation
from training.data.media import CODEC_KINDS
from training.lite import options
from training.lite.edit_layers import deeper
from training.lite.loop import Losses, Schedule, fit
from training.lite.train import SPATIAL
from training.losses import distance, psnr, ssim
from vsanimup.architectures.lite.checkpoint import Networks, lites, load_checkpoint
from vsanimup.architectures.lite.network import ALIGN, evened_out
from vsanimup.architectures.lite.shipped import shipped
from vsanimup.networks.manifest import SHIPPED

NAME = "upscale"
"""Of the network in checkpoints."""
LIGHT = 2.9
"""Root mean square change in steps of 8-bit luma below which compression is light: 37.6 dB of limited range."""


class Singles(Batches):
    """Single frames alone, clean or lightly compressed."""

    light_share = 0.0
    """Share of the frames that are compressed."""

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng((self.seed, step))
        plain, crop = self.plain, self.crop
        if step < self._small:
            plain, crop = round(1.5 * plain), crop // 2
        singles = [self._drawn(crop, rng) for _ in range(plain)]
        y, uv, sharp_y, sharp_uv = (torch.stack(part) for part in zip(*singles, strict=True))
        none = torch.zeros(1)
        return Batch(none, none, none, none, none, none, y, uv, sharp_y, sharp_uv, none)

    def _drawn(self, crop: int, rng: Rng) -> tuple[Tensor, ...]:
        clip = self._clip(rng)
        if rng.random() >= self.light_share:
            return self._cut_single(clip, 0, crop, rng)
        for _ in range(TRIES):
            variants = light_variants(clip)
            if variants:
                return self._cut_single(clip, int(rng.choice(variants)), crop, rng)
            clip = self._clip(rng)
        raise ValueError("the clips hold none that are lightly compressed")


def light_variants(clip: Mapping[str, NDArray[np.uint8]]) -> list[int]:
    """The variants of a clip that an encoder moved by less than :data:`LIGHT`, by every fourth sample of its middle."""
    y = clip["lr_y"][:, clip["lr_y"].shape[1] // 2, ::2, ::2].astype(np.float32)
    errors = np.square(y - y[0]).mean((1, 2))
    return [n for n, kind in enumerate(clip["kinds"]) if kind in CODEC_KINDS and errors[n] < LIGHT**2]


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
    light: Annotated[float, typer.Option(help="share of the frames that are lightly compressed", min=0, max=1)] = 0.0,
    last: Annotated[int, typer.Option(help="pairs after the body; 0: as it is")] = 0,
    seed: int = 0,
    bf16: options.Bf16 = False,
    threads: int = 0,
    every: options.Every = 500,
    stop: options.Stop = None,
) -> None:
    """Train, or go on with the run in OUT."""
    options.prepare(threads, seed)
    nets = Networks({NAME: shipped(models / "lite-upscale")}) if start is None else load_checkpoint(start)
    if last:
        nets[NAME] = deeper(lites(nets)[NAME], last)
    nets = nets.train().to(memory_format=torch.channels_last)
    batches = Singles(
        data, radius=0, crop=crop, batch=1, plain=batch, steps=steps, seed=seed, small=int(small_until * steps)
    )
    batches.light_share = light
    # nothing is begun anew, and ranges are known
    schedule = Schedule(steps=steps, lr=lr, round_from=0, revive_until=0, every=every, stop=stop, bf16=bf16, seed=seed)
    fit(nets, batches, schedule, out, partial(losses_of, ssim_weight=ssim_weight), partial(validate, data=data))


if __name__ == "__main__":
    typer.run(main)
