"""The networks of a small AnimateLCM: the classes that the export knows, at small widths, and an autoencoder.

The base and its ControlNet have no group norms in their convolutional blocks: the statistics of a small crop are not
those of a whole tile, and the noise has to pass through the base exactly.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from export.animatelcm.graphs import Control, Denoiser, MotionModules, TextConfig, TextEncoder
from export.animatelcm.layers import Pooling

LEVELS, LAYERS = 4, 2
"""As SD1.5 has them."""
TOKENS = 514
"""Entries of the vocabulary: each byte within a word and at its end, and two marks."""


@dataclass(frozen=True, kw_only=True)
class TinyConfig:
    """Shapes of all the networks."""

    half: int = 32
    """Channels of the autoencoder at half size."""
    quarter: int = 64
    """Channels of the autoencoder at a quarter of the size."""
    latent_channels: int = 16
    widths: tuple[int, ...] = (48, 48, 64, 64)
    """Channels of the base's levels."""
    hint: tuple[int, ...] = (16, 32, 48)
    """Channels of the ControlNet's way from the picture to latents; each but the first halves the size."""
    text: int = 32
    groups: int = 8
    """Of the norms that are left."""

    @property
    def factor(self) -> int:
        """Samples of a picture that one of latents stands for, along each axis."""
        return 4

    def to_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return asdict(self)


class Block(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.second(F.relu(self.first(x)))
        return y


class Coder(nn.Module):
    """A chain of layers; ``layers`` is what the export knows a small decoder by."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y


def convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """A convolution of 3x3."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Autoencoder(nn.Module):
    """Pictures in -1..1 to latents of a quarter of their size and back.

    It rearranges pixels instead of skipping them, so that nothing is lost but by its narrow middle. ``spread`` and
    ``centre`` are those of the latents as the layers give them, found after training; scaled latents have spread 1.
    """

    spread: Tensor

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        half, quarter, latents = config.half, config.quarter, config.latent_channels
        self.latent_channels = latents
        self.encoder = Coder(
            nn.PixelUnshuffle(2), convolution(12, half), Block(half),
            nn.PixelUnshuffle(2), convolution(4 * half, quarter), Block(quarter), Block(quarter),
            convolution(quarter, latents),
        )  # fmt: skip
        self.decoder = Coder(
            convolution(latents, quarter), Block(quarter), Block(quarter), Block(quarter),
            convolution(quarter, 4 * half), nn.PixelShuffle(2), Block(half), Block(half),
            convolution(half, 12), nn.PixelShuffle(2),
        )  # fmt: skip
        self.register_buffer("spread", torch.ones(()))

    @property
    def config(self) -> SimpleNamespace:
        """What the export wants to know of an autoencoder."""
        return SimpleNamespace(scaling_factor=1 / float(self.spread), latent_channels=self.latent_channels)

    def encode(self, image: Tensor) -> Tensor:
        """Scaled latents."""
        y: Tensor = self.encoder(image).float() / self.spread
        return y

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures of scaled latents."""
        y: Tensor = self.decoder(latents * self.spread)
        return y.float()


def without_norms(net: Any) -> Any:
    """``net`` without the group norms of its convolutional blocks, in place."""
    for module in net.modules():
        if isinstance(module, ResnetBlock2D):
            module.norm1, module.norm2 = nn.Identity(), nn.Identity()
    if hasattr(net, "conv_norm_out"):
        net.conv_norm_out = nn.Identity()
    return net


class Tiny(nn.Module):
    """All the networks. ``denoiser`` holds the base and the motion modules."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        self.autoencoder = Autoencoder(config)
        same: dict[str, Any] = {
            "in_channels": config.latent_channels, "block_out_channels": config.widths, "layers_per_block": LAYERS,
            "down_block_types": ("DownBlock2D",) * LEVELS, "cross_attention_dim": config.text,
            "attention_head_dim": 8, "norm_num_groups": config.groups,
        }  # fmt: skip
        unet = UNet2DConditionModel(
            **same, up_block_types=("UpBlock2D",) * LEVELS, out_channels=config.latent_channels
        )
        net = ControlNetModel(**same, conditioning_embedding_out_channels=config.hint)
        for layer in (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out):
            layer.reset_parameters()  # zeros are for a base that is trained already
        motion = MotionModules(config.widths, LAYERS, config.groups, True, Pooling.FRAME)
        for name, parameter in motion.named_parameters():
            if ".proj_out." in name:
                nn.init.zeros_(parameter)
        self.denoiser = Denoiser(without_norms(unet), motion, 1)
        self.control = Control(without_norms(net), 1)
        shape = TextConfig(tokens=TOKENS, channels=config.text, inner=2 * config.text, layers=1, heads=1)
        self.text_encoder = TextEncoder(shape).prepared()

    @property
    def spatial(self) -> list[nn.Parameter]:
        """The base and the ControlNet."""
        return [*self.denoiser.unet.parameters(), *self.control.parameters()]

    @property
    def motion(self) -> list[nn.Parameter]:
        """The motion modules."""
        return list(self.denoiser.motion.parameters())
