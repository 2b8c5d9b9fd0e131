"""Autoencoders as loaded networks: Stable Diffusion's own, and the tiny one in its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

from vsanimup.errors import AnimupError

from . import layouts
from .checkpoints import Tensors, built, config_of, file_of, load, open_tensors
from .recognise import REMEDIES, TINY_VAE, VAE, refuse_others

LEVELS, LAYERS = 4, 2
SCALING = 0.18215
"""What SD1.5's latents are multiplied by. SDXL's differ in that alone."""


def autoencoder_of(tensors: Tensors, what: str) -> AutoencoderKL:
    """SD1.5's autoencoder of tensors under diffusers' names, whose shapes tell its widths.

    ``what`` is for errors. Raises :class:`AnimupError` where they do not fit.
    """
    latents = tensors.shape("decoder.conv_in.weight")[1]
    if latents != 4:
        raise AnimupError(f"{tensors.path} is not {what}: its latents have {latents} channels; {REMEDIES[VAE]}")
    widths = [tensors.shape(f"encoder.down_blocks.{i}.resnets.0.conv1.weight")[0] for i in range(LEVELS)]
    config = {
        "block_out_channels": widths,
        "layers_per_block": LAYERS,
        "latent_channels": latents,
        "scaling_factor": SCALING,
        "down_block_types": ["DownEncoderBlock2D"] * LEVELS,
        "up_block_types": ["UpDecoderBlock2D"] * LEVELS,
    }
    return _loaded(config, tensors, what)


def _loaded(config: dict[str, Any], tensors: Tensors, what: str) -> AutoencoderKL:
    net: AutoencoderKL = built(lambda: AutoencoderKL.from_config(config))
    load(net, tensors, what)
    return net


def read_vae(path: Path, sources: list[Path]) -> AutoencoderKL:
    """An autoencoder of SD1.5: a folder of diffusers, a single file, or a whole checkpoint that holds one.

    Raises :class:`AnimupError` where it is none.
    """
    file = file_of(path)
    tensors = open_tensors(file)
    refuse_others(VAE, path, tensors)
    inside = "first_stage_model."
    tensors = tensors.part(layouts.autoencoder, inside if any(name.startswith(inside) for name in tensors) else "")
    what = "an autoencoder of SD1.5"
    if path.is_dir():
        config = config_of(path)
        if config.get("latent_channels", 4) != 4 or len(config.get("block_out_channels", ())) != LEVELS:
            raise AnimupError(
                f"autoencoder {path} is not of SD1.5: its latents have other channels or another size; {REMEDIES[VAE]}"
            )
        scaling = config.get("scaling_factor", SCALING)
        if abs(scaling - SCALING) > 1e-3:
            raise AnimupError(
                f"autoencoder {path} is not of SD1.5: it scales latents by {scaling} (SDXL's by 0.13025), "
                f"SD1.5's by {SCALING}; {REMEDIES[VAE]}"
            )
        net = _loaded(config, tensors, what)
    else:
        net = autoencoder_of(tensors, what)
    sources.append(file)
    return net


def read_tiny_vae(path: Path, sources: list[Path]) -> AutoencoderTiny:
    """A small autoencoder (TAESD) as diffusers has it, its folder or its file.

    Raises :class:`AnimupError` where it is none.
    """
    file = file_of(path)
    tensors = open_tensors(file)
    refuse_others(TINY_VAE, path, tensors)
    config = config_of(path) if path.is_dir() else _tiny_config(tensors)
    widths = config.get("encoder_block_out_channels", ())
    if config.get("latent_channels", 4) != 4 or len(widths) != LEVELS:
        raise AnimupError(f"tiny autoencoder {path} is not for SD1.5: {REMEDIES[TINY_VAE]}")
    net: AutoencoderTiny = built(lambda: AutoencoderTiny.from_config(config))
    load(net, tensors, "a tiny autoencoder for SD1.5")
    sources.append(file)
    return net


def _tiny_config(tensors: Tensors) -> dict[str, Any]:
    """For diffusers, what the shapes of a tiny autoencoder tell."""
    width = tensors.shape("encoder.layers.0.weight")[0]
    counts = {half: _blocks(tensors, half) for half in ("encoder", "decoder")}
    return {
        "encoder_block_out_channels": [width] * len(counts["encoder"]),
        "num_encoder_blocks": counts["encoder"],
        "decoder_block_out_channels": [width] * len(counts["decoder"]),
        "num_decoder_blocks": counts["decoder"],
        "latent_channels": tensors.shape("decoder.layers.0.weight")[1],
    }


def _blocks(tensors: Tensors, half: str) -> list[int]:
    """How many residual blocks lie between the convolutions of a tiny autoencoder's half."""
    found = (re.match(rf"{half}\.layers\.(\d+)\.(conv\.0\.)?weight$", name) for name in tensors)
    layers = sorted((int(match[1]), match[2] is not None) for match in found if match)
    counts: list[int] = []
    for _, is_block in layers:
        if is_block and counts:
            counts[-1] += 1
        elif not is_block:
            counts.append(0)
    return counts[:-1]
