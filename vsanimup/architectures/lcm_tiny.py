"""The networks of a small AnimateLCM: the classes that the export knows, at small widths, and an autoencoder.

The base and its ControlNet have no group norms in their convolutional blocks: the statistics of a small crop are not
those of a whole tile, and the noise has to pass through the base exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from vsanimup.architectures.animatelcm.graphs import Control, Denoiser, MotionModules, alphas
from vsanimup.architectures.animatelcm.layers import KeysValues, Pooling
from vsanimup.architectures.animatelcm.memory import Heard, Remembers
from vsanimup.architectures.animatelcm.text import TextConfig, TextEncoder

LEVELS = 4
"""Of the base, as SD1.5 has them."""
TASKS = "denoise", "deblur", "derain", "dehaze", "desnow"
"""What a model with task biases knows: the tasks of Instruct-IPT (arXiv 2407.00676)."""
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
    widths: tuple[int, ...] = (48, 64, 80, 80)
    """Channels of the base's levels; the first at least three times those of latents."""
    layers: int = 1
    """Residual blocks of a level."""
    text: int = 32
    groups: int = 8
    """Of the norms that are left."""
    rank: int = 0
    """Of the biases that each of :data:`TASKS` puts on the base; 0 for a model that knows no tasks."""

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

    def at(self, number: int) -> nn.Conv2d:
        """A layer that is a convolution."""
        layer = self.layers[number]
        assert isinstance(layer, nn.Conv2d)
        return layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y


def convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """A convolution of 3x3."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def offset(layer: nn.Conv2d) -> Tensor:
    """What a convolution adds."""
    assert layer.bias is not None
    return layer.bias


class Autoencoder(nn.Module):
    """Pictures in -1..1 to latents of a quarter of their size and back.

    It rearranges pixels instead of skipping them, so that nothing is lost but by its narrow middle. ``spread`` is
    that of the latents as the layers give them, found after training; scaled latents have spread 1.
    """

    spread: Tensor

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        half, quarter, latents = config.half, config.quarter, config.latent_channels
        self.latent_channels = latents
        self.encoder = Coder(
            nn.PixelUnshuffle(2),
            convolution(12, half),
            Block(half),
            nn.PixelUnshuffle(2),
            convolution(4 * half, quarter),
            Block(quarter),
            Block(quarter),
            convolution(quarter, latents),
        )
        self.decoder = Coder(
            convolution(latents, quarter),
            Block(quarter),
            Block(quarter),
            Block(quarter),
            convolution(quarter, 4 * half),
            nn.PixelShuffle(2),
            Block(half),
            Block(half),
            convolution(half, 12),
            nn.PixelShuffle(2),
        )
        self.register_buffer("spread", torch.ones(()))

    @torch.no_grad()
    def prepare(self, pictures: Tensor) -> None:
        """Start from the principal components of blocks of 4x4 pixels, which the layers then better.

        What else the layers do begins small, and the residual blocks begin by doing nothing.
        """
        half, n = self.encoder.at(1).out_channels, self.latent_channels
        for module in (*self.encoder.layers, *self.decoder.layers):
            if isinstance(module, Block):
                module.second.weight.zero_()
                offset(module.second).zero_()
            elif isinstance(module, nn.Conv2d):
                module.weight *= 0.1
                offset(module).zero_()
        blocks = F.pixel_unshuffle(F.pixel_unshuffle(pictures, 2), 2)
        basis = torch.linalg.eigh(torch.cov(blocks.transpose(0, 1).flatten(1))).eigenvectors[:, -n:].T.flip(0)
        first, second, last = (self.encoder.at(i) for i in (1, 4, 7))
        first.weight[:12, :, 1, 1] = torch.eye(12)
        second.weight[:48, :, 1, 1] = torch.eye(48, 4 * half)
        last.weight[:, :48, 1, 1] = basis
        first, second, last = (self.decoder.at(i) for i in (0, 4, 8))
        first.weight[:48, :, 1, 1] = basis.T
        second.weight[:48, :48, 1, 1] = torch.eye(48)
        last.weight[:, :12, 1, 1] = torch.eye(12)

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


class Hint(Coder):
    """The ControlNet's way from the enlarged source, RGB in 0..1, to features of latents' size.

    It has the layers of the encoder, and starts as a copy of it.
    """

    def __init__(self, config: TinyConfig) -> None:
        super().__init__(*Autoencoder(config).encoder.layers[:-1], convolution(config.quarter, config.widths[0]))

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(2 * image - 1)


class Recall:
    """All keys and values of one window: what training remembers. It is to the denoiser what
    :class:`vsanimup.architectures.animatelcm.memory.Memory` is, but chooses nothing."""

    def __init__(self, earlier: list[list[KeysValues]] | None = None, mask: Tensor | None = None) -> None:
        self.mask, self._earlier = mask, earlier
        self._own: list[list[KeysValues]] = []

    def behind(self, mask: Tensor) -> Recall:
        """The memory of the window after this, whose frames see those of this as ``mask [frames, these]`` says."""
        return Recall(self._own, mask)

    def earlier(self, dtype: torch.dtype) -> list[KeysValues] | None:
        """Keys and values for both attentions of the next module."""
        return None if self._earlier is None else self._earlier[len(self._own)]

    def listen(self, x: Tensor, heard: Heard) -> None:
        """No score is wanted."""

    def add(self, x: Tensor, seen: list[KeysValues], heard: Heard) -> None:
        """What a module went over."""
        frames = x.shape[0]
        self._own.append([(key[:, -frames:].detach(), value[:, -frames:].detach()) for key, value in seen])


class TaskBiases(nn.Module):
    """Low-rank biases of tasks on the convolutions of a base, after Instruct-IPT (arXiv 2407.00676).

    In force are ``W + sum of mix[t] B[t] A[t]`` and ``b + sum of mix[t] c[t]``. They begin at nothing.
    """

    def __init__(self, unet: nn.Module, rank: int) -> None:
        super().__init__()
        self.layers = [
            name for name, module in unet.named_modules() if isinstance(module, nn.Conv2d) and module.bias is not None
        ]
        for name in self.layers:
            weight = unet.get_submodule(name).weight
            assert isinstance(weight, Tensor)
            inputs, key = weight[0].numel(), name.replace(".", "_")
            self.register_parameter(f"{key}_a", nn.Parameter(torch.randn(len(TASKS), rank, inputs) * inputs**-0.5))
            self.register_parameter(f"{key}_b", nn.Parameter(torch.zeros(len(TASKS), len(weight), rank)))
            self.register_parameter(f"{key}_c", nn.Parameter(torch.zeros(len(TASKS), len(weight))))

    def parts(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """``A [tasks, rank, inputs]``, ``B [tasks, outputs, rank]`` and ``c [tasks, outputs]`` of a layer."""
        a, b, c = (self.get_parameter(f"{name.replace('.', '_')}_{part}") for part in "abc")
        return a, b, c

    def merged(self, unet: nn.Module, mix: Mapping[str, float]) -> dict[str, Tensor]:
        """Weights and offsets in force for a mix of tasks, by their names in ``unet``."""
        found: dict[str, Tensor] = {}
        for name in self.layers:
            a, b, c = self.parts(name)
            weight: Tensor = unet.get_parameter(f"{name}.weight")
            bias: Tensor = unet.get_parameter(f"{name}.bias")
            for task, share in mix.items():
                t = TASKS.index(task)
                weight = weight + share * (b[t] @ a[t]).reshape(weight.shape)
                bias = bias + share * c[t]
            found |= {f"{name}.weight": weight, f"{name}.bias": bias}
        return found


class MovingDenoiser(Denoiser):
    """The export's denoiser, whose motion modules can be left out while they do nothing yet."""

    moving = True

    def move(
        self, module: nn.Module, x: Tensor, mask: Tensor, memory: Remembers | None, attention: Any = None
    ) -> Tensor:
        """One motion module."""
        return super().move(module, x, mask, memory, attention) if self.moving else x


def without_norms(net: Any) -> Any:
    """``net`` without the group norms of its convolutional blocks, in place."""
    for module in net.modules():
        if isinstance(module, ResnetBlock2D):
            block: Any = module
            block.norm1, block.norm2 = nn.Identity(), nn.Identity()
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
            "in_channels": config.latent_channels,
            "block_out_channels": tuple(config.widths),
            "layers_per_block": config.layers,
            "down_block_types": ("DownBlock2D",) * LEVELS,
            "cross_attention_dim": config.text,
            "attention_head_dim": 8,
            "norm_num_groups": config.groups,
            "resnet_time_scale_shift": "scale_shift",
        }
        unet = UNet2DConditionModel(**same, up_block_types=("UpBlock2D",) * LEVELS, out_channels=config.latent_channels)
        net = ControlNetModel(**same)
        net.controlnet_cond_embedding = Hint(config)
        for layer in (*net.controlnet_down_blocks, net.controlnet_mid_block):
            layer.reset_parameters()  # zeros are for a base that is trained already
        motion = MotionModules(config.widths, config.layers, config.groups, True, Pooling.FRAME)
        for name, parameter in motion.named_parameters():
            if ".proj_out." in name:
                nn.init.zeros_(parameter)
        self.denoiser = MovingDenoiser(without_norms(unet), motion, 1)
        self.control = Control(without_norms(net), 1)
        self.biases = TaskBiases(self.denoiser.unet, config.rank) if config.rank else None
        self.mix: dict[str, float] = {}
        shape = TextConfig(tokens=TOKENS, channels=config.text, inner=2 * config.text, layers=1, heads=1)
        self.text_encoder = TextEncoder(shape).prepared()

    def denoise(self, *inputs: Tensor, memory: Remembers | None = None) -> Tensor:
        """The denoiser with the biases of the tasks in :attr:`mix`."""
        changed: dict[str, Tensor] = {}
        if self.biases is not None and self.mix:
            merged = self.biases.merged(self.denoiser.unet, self.mix)
            changed = {f"unet.{name}": value for name, value in merged.items()}
        y: Tensor = functional_call(self.denoiser, changed, inputs, {"memory": memory})
        return y

    @torch.no_grad()
    def prepare(self, timestep: int) -> None:
        """Let the base answer with what makes the source itself the result at ``timestep``, to learn from there.

        The hint becomes the encoder, and both it and the latents go straight to the end: the last layer takes silu(e)
        - silu(-e), which is e. Wants a trained autoencoder.
        """
        n, unet, net = self.config.latent_channels, self.denoiser.unet, self.control.net
        hint, coder = net.controlnet_cond_embedding, self.autoencoder
        for layer, trained in zip(hint.layers[:-1], coder.encoder.layers[:-1], strict=True):
            layer.load_state_dict(trained.state_dict())
        first, second = slice(0, n), slice(n, 2 * n)
        hint.layers[-1].weight[first] = coder.encoder.at(-1).weight / coder.spread
        hint.layers[-1].bias[first] = offset(coder.encoder.at(-1)) / coder.spread
        same = torch.eye(n)
        unet.conv_in.weight[: 2 * n] = 0
        unet.conv_in.bias[: 2 * n] = 0
        unet.conv_in.weight[first, :, 1, 1] = same
        # the ControlNet's first state is its hint plus the latents, which are kept out of these channels
        net.conv_in.weight[first], net.conv_in.bias[first] = 0, 0
        across = net.controlnet_down_blocks[0]
        across.weight[: 2 * n], across.bias[: 2 * n] = 0, 0
        across.weight[second, first, 0, 0] = same
        block = unet.up_blocks[-1].resnets[-1]
        for tensor in (block.conv2.weight, block.conv2.bias, unet.conv_out.weight, unet.conv_out.bias):
            tensor.zero_()
        alpha = float(alphas()[timestep])
        width = self.config.widths[0]
        shortcut = block.conv_shortcut.weight[..., 0, 0]
        for rows, sign in ((first, 1.0), (second, -1.0)):
            shortcut[rows] = 0
            block.conv_shortcut.bias[rows] = 0
            shortcut[rows, width : width + n] = sign * same / (1 - alpha) ** 0.5
            shortcut[rows, width + n : width + 2 * n] = -sign * same * (alpha / (1 - alpha)) ** 0.5
            unet.conv_out.weight[:, rows, 1, 1] = sign * same


def load(path: Path) -> Tiny:
    """The averaged networks of a checkpoint, ready to run."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    tiny = Tiny(TinyConfig(**state["config"]))
    tiny.load_state_dict(state["average"])
    return tiny.eval().requires_grad_(False)
