"""What each stage of the training learns: its losses, and how good it is."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from export.animatelcm.graphs import alphas
from training.lcm.data import Pictures, luma_of, validation
from training.lcm.networks import Tiny
from training.train import ssim

SSIM_WEIGHT = 0.05
LATENT_NOISE = 0.04
"""Noise that the autoencoder's latents get in training, as a share of their spread: it makes an error in latents about
as bad as one in pixels, wherever it lies."""
EPS = 1e-6


def pixels(found: Tensor, wanted: Tensor) -> Tensor:
    """Distance of pictures in -1..1: smooth L1, and luma's structure."""
    near = ((found - wanted).square() + EPS).sqrt().mean()
    return near + SSIM_WEIGHT * (1 - ssim(luma_of(found) / 2 + 0.5, luma_of(wanted) / 2 + 0.5)).mean()


def autoencoder_loss(tiny: Tiny, batch: Pictures, random: torch.Generator) -> dict[str, Tensor]:
    """Pictures through noisy latents and back; a quarter of them faulty ones."""
    count = len(batch.sharp) // 4
    image = torch.cat([batch.source[:count], batch.sharp[count:]]) * 2 - 1
    latents = tiny.autoencoder.encoder(image).float()
    spread = latents.detach().std()
    noisy = latents + LATENT_NOISE * spread * torch.randn(latents.shape, generator=random)
    found = tiny.autoencoder.decoder(noisy).float()
    centred = latents.mean((0, 2, 3)).square().mean() + (latents.std() - 1).square()
    return {"pixels": pixels(found, image), "centre": 0.02 * centred}


def psnr(a: Tensor, b: Tensor) -> float:
    """Of pictures in 0..1."""
    return -10 * math.log10(float((a - b).square().mean()) + 1e-10)


def scores_of(found: Tensor, batch: Pictures) -> dict[str, float]:
    """Luma's PSNR, SSIM and flicker, for pictures in 0..1."""
    a, b = luma_of(found.clamp(0, 1)), luma_of(batch.sharp)
    scores = {"psnr": psnr(a, b), "ssim": float(ssim(a, b).mean())}
    same = batch.scenes[1:] == batch.scenes[:-1]
    if same.any():
        scores["flicker"] = 255 * float(((a[1:] - a[:-1]) - (b[1:] - b[:-1])).abs()[same].mean())
    return scores


def validate_autoencoder(tiny: Tiny, data: Path, clips: int, side: int) -> dict[str, dict[str, float]]:
    """Scores of the sharp pictures coming back, and of faulty ones."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for batch in validation(data, frames=1, side=side, clips=clips):
        if batch.kinds[0] not in ("clean", "vhs"):
            continue
        clean = batch.kinds[0] == "clean"
        image = batch.sharp if clean else batch.source
        back = tiny.autoencoder.decode(tiny.autoencoder.encode(image * 2 - 1)) / 2 + 0.5
        found["sharp" if clean else "faulty"].append(
            scores_of(back, Pictures(image, image, batch.scenes, batch.kinds))
        )
    return means(found)


def means(found: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Of each score of each kind."""
    return {
        kind: {
            name: round(sum(values) / len(values), 4)
            for name in sorted({name for scores in group for name in scores})
            if (values := [scores[name] for scores in group if name in scores])
        }
        for kind, group in sorted(found.items())
    }


LOSSES = {"autoencoder": autoencoder_loss}
