"""The networks as the modules that are exported. Inputs and outputs: see :mod:`export.animatelcm`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from vsanimup.architectures.animatelcm.layers import (
    POSITIONS,
    Motion,
    PlainAttention,
    Pooling,
    sinusoid,
    with_float_norms,
)
from vsanimup.architectures.animatelcm.memory import Memory, Remembers
from vsanimup.architectures.animatelcm.text import CONTEXT

TIMESTEPS = 1000
BETAS = 0.00085, 0.012
ORIGINAL_STEPS = 100
TIMESTEP_SCALE = 10.0
DATA_SPREAD = 0.5
LATENT_ALIGN = 8
"""Sides of latents are multiples of this: the base halves them three times."""


def alphas() -> Tensor:
    """ᾱ of each training timestep, float32 ``[1000]``: betas grow linearly."""
    return torch.cumprod(1 - torch.linspace(*BETAS, TIMESTEPS, dtype=torch.float32), 0)


class Motions(nn.Module):
    """The motion modules of one block of the base, under the names that diffusers gives them."""

    def __init__(self, channels: int, count: int, groups: int, pooling: Pooling) -> None:
        super().__init__()
        self.motion_modules = nn.ModuleList([Motion(channels, groups, pooling) for _ in range(count)])


class MotionModules(nn.Module):
    """All motion modules, with the keys of diffusers' MotionAdapter.

    ``widths`` are the channels of the base's down blocks; ``middle`` says whether the middle block has one.
    """

    def __init__(self, widths: tuple[int, ...], layers: int, groups: int, middle: bool, pooling: Pooling) -> None:
        super().__init__()
        self.down_blocks = nn.ModuleList([Motions(width, layers, groups, pooling) for width in widths])
        self.mid_block = Motions(widths[-1], int(middle), groups, pooling)
        self.up_blocks = nn.ModuleList([Motions(width, layers + 1, groups, pooling) for width in reversed(widths)])


class Denoiser(nn.Module):
    """The base with motion modules between its layers, and a step of LCM around it."""

    def __init__(self, unet: UNet2DConditionModel, motion: MotionModules, slices: int) -> None:
        super().__init__()
        self.unet, self.motion = plain(unet, slices), motion
        with_float_norms(motion)
        for channels in {block.norm.num_channels for block in motion.modules() if isinstance(block, Motion)}:
            # every module of a width shares one table, which is no parameter
            self.register_buffer(f"positions_{channels}", sinusoid(POSITIONS, channels), persistent=False)

    def move(
        self, module: nn.Module, x: Tensor, mask: Tensor, memory: Remembers | None, attention: Any = None
    ) -> Tensor:
        """One motion module, after the ``attention`` of its layer where there is one."""
        positions = self.get_buffer(f"positions_{x.shape[1]}")[: x.shape[0]].to(x.dtype)
        if memory is None:
            y: Tensor = module(x, positions, mask)[0]
            return y
        y, seen = module(x, positions, mask, memory.earlier(x.dtype), memory.mask)
        memory.add(x, seen, None if attention is None else attention.transformer_blocks[-1].attn2.processor.heard)
        return y

    def noise_of(
        self,
        latents: Tensor,
        timestep: Tensor,
        text: Tensor,
        mask: Tensor,
        *residuals: Tensor,
        memory: Remembers | None = None,
    ) -> Tensor:
        """The noise ε that the network sees in ``latents``, in the network's precision."""
        unet: Any = self.unet
        motion: Any = self.motion
        dtype = unet.conv_in.weight.dtype
        embedding = unet.time_embedding(unet.time_proj(timestep).to(dtype))
        text = text.to(dtype)
        x = unet.conv_in(latents.to(dtype))
        states = [x]
        for block, moves in zip(unet.down_blocks, motion.down_blocks, strict=True):
            for i, resnet in enumerate(block.resnets):
                x = resnet(x, embedding)
                attention = block.attentions[i] if hasattr(block, "attentions") else None
                if attention is not None:
                    x = attention(x, encoder_hidden_states=text, return_dict=False)[0]
                x = self.move(moves.motion_modules[i], x, mask, memory, attention)
                states.append(x)
            for downsampler in block.downsamplers or ():
                x = downsampler(x)
                states.append(x)
        middle = unet.mid_block
        x = middle.resnets[0](x, embedding)
        x = middle.attentions[0](x, encoder_hidden_states=text, return_dict=False)[0]
        if memory is not None:
            memory.listen(x, middle.attentions[0].transformer_blocks[-1].attn2.processor.heard)
        for module in motion.mid_block.motion_modules:
            x = self.move(module, x, mask, memory, middle.attentions[0])
        x = middle.resnets[1](x, embedding)
        if residuals:
            *across, last = (residual.to(dtype) for residual in residuals)
            states = [state + residual for state, residual in zip(states, across, strict=True)]
            x = x + last
        for block, moves in zip(unet.up_blocks, motion.up_blocks, strict=True):
            for i, resnet in enumerate(block.resnets):
                x = resnet(torch.cat([x, states.pop()], 1), embedding)
                attention = block.attentions[i] if hasattr(block, "attentions") else None
                if attention is not None:
                    x = attention(x, encoder_hidden_states=text, return_dict=False)[0]
                x = self.move(moves.motion_modules[i], x, mask, memory, attention)
            for upsampler in block.upsamplers or ():
                x = upsampler(x)
        y: Tensor = unet.conv_out(F.silu(unet.conv_norm_out(x)))
        return y

    def forward(self, *inputs: Tensor, **memory: Remembers | None) -> Tensor:
        """As :meth:`step`; the exporter would pass on a named argument's default, too."""
        return self.step(*inputs, memory=memory.get("memory"))

    def step(
        self,
        latents: Tensor,
        noise: Tensor,
        timestep: Tensor,
        signal: Tensor,
        spread: Tensor,
        next_signal: Tensor,
        next_spread: Tensor,
        text: Tensor,
        mask: Tensor,
        *residuals: Tensor,
        memory: Remembers | None = None,
    ) -> Tensor:
        """The latents for the next timestep."""
        found = self.noise_of(latents, timestep, text, mask, *residuals, memory=memory).float()
        scaled, data = timestep * TIMESTEP_SCALE, DATA_SPREAD**2
        skip = data / (scaled.square() + data)
        out = scaled / (scaled.square() + data).sqrt()
        denoised = skip * latents + out * (latents - spread * found) / signal
        return next_signal * denoised + next_spread * noise

    @property
    def motion_layout(self) -> list[tuple[int, int]]:
        """Channels of each motion module in the order in which they run, and how often it halves latents' sides, as
        the factor by which its pictures are smaller."""
        motion: Any = self.motion
        last = len(motion.down_blocks) - 1
        levels = [*range(last + 1), last, *range(last, -1, -1)]
        blocks = (*motion.down_blocks, motion.mid_block, *motion.up_blocks)
        return [
            (module.norm.num_channels, 1 << level)
            for level, block in zip(levels, blocks, strict=True)
            for module in block.motion_modules
        ]


class Remembering(Denoiser):
    """A denoiser whose motion modules see frames of earlier windows, too. See :mod:`export.animatelcm`.

    Its inputs are those of the denoiser, with ``memory_mask, slot_order, frame_order`` behind the mask, and three
    tensors for each motion module at the end.
    """

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        plain, (memory_mask, slots, frames), rest = inputs[:9], inputs[9:12], inputs[12:]
        count = 3 * len(self.motion_layout)
        residuals, kept = rest[: len(rest) - count], rest[len(rest) - count :]
        memory = Memory(plain[8], memory_mask, slots, frames, kept)
        return self.step(*plain, *residuals, memory=memory), *memory.results()


class Control(nn.Module):
    """A ControlNet: residuals for :class:`Denoiser`."""

    def __init__(self, net: ControlNetModel, slices: int) -> None:
        super().__init__()
        self.net = plain(net, slices)

    def forward(
        self, latents: Tensor, timestep: Tensor, text: Tensor, image: Tensor, strength: Tensor
    ) -> tuple[Tensor, ...]:
        dtype = self.net.conv_in.weight.dtype
        across, last = self.net(
            latents.to(dtype), timestep, text.to(dtype), controlnet_cond=image.to(dtype), return_dict=False
        )
        return tuple(residual.float() * strength for residual in (*across, last))


class Encode(nn.Module):
    """The encoder of an autoencoder, with its scaling factor; the mean, not a sample."""

    def __init__(self, vae: AutoencoderKL | AutoencoderTiny) -> None:
        super().__init__()
        config: Any = vae.config
        self.encoder, self.scale = plain(vae.encoder), float(config.scaling_factor)
        self.quant_conv = getattr(vae, "quant_conv", None)
        self.channels = int(config.latent_channels)

    def forward(self, image: Tensor) -> Tensor:
        moments = self.encoder(image.to(next(p.dtype for p in self.encoder.parameters())))
        if self.quant_conv is not None:
            moments = self.quant_conv(moments)
        mean: Tensor = moments[:, : self.channels]  # the variance follows
        return mean.float() * self.scale


class Decode(nn.Module):
    """The decoder of an autoencoder, with its scaling factor."""

    def __init__(self, vae: AutoencoderKL | AutoencoderTiny) -> None:
        super().__init__()
        config: Any = vae.config
        self.decoder, self.scale = plain(vae.decoder), float(config.scaling_factor)
        self.post_quant_conv = getattr(vae, "post_quant_conv", None)

    def forward(self, latents: Tensor) -> Tensor:
        x = (latents / self.scale).to(next(p.dtype for p in self.decoder.parameters()))
        if self.post_quant_conv is not None:
            x = self.post_quant_conv(x)
        if hasattr(self.decoder, "layers"):  # the tiny one
            tiny: Tensor = self.decoder(x)
            return tiny.float()
        # layer by layer: the decoder's own forward casts to the precision of the first norm, which is kept wide
        x = self.decoder.mid_block(self.decoder.conv_in(x))
        for block in self.decoder.up_blocks:
            x = block(x)
        image: Tensor = self.decoder.conv_out(F.silu(self.decoder.conv_norm_out(x)))
        return image.float()


def plain(net: Any, slices: int = 1) -> Any:
    """A diffusers module with plain attention and float32 norms, in place.

    ``slices`` is for the attention at full size, see :func:`vsanimup.architectures.animatelcm.layers.attend`.
    """
    with_float_norms(net)
    for path, module in net.named_modules():
        if hasattr(module, "set_processor"):
            full_size = path.startswith(("down_blocks.0.", "up_blocks.3."))
            module.set_processor(PlainAttention(slices if full_size else 1))
    return net.eval()


def example_of_denoise(
    widths: tuple[int, ...],
    text_channels: int,
    frames: int,
    height: int,
    width: int,
    control: bool,
    *,
    channels: int = 4,
    layers: int = 2,
) -> dict[str, Tensor]:
    """Random inputs of a denoiser, by name; two scenes where there are two frames.

    ``channels`` are those of latents, ``layers`` those of a down block.
    """
    latents, text = torch.randn(frames, channels, height, width), torch.randn(1, CONTEXT, text_channels)
    alpha, following = alphas()[499], alphas()[249]
    scalars = {
        "timestep": torch.tensor(499.0),
        "signal": alpha.sqrt(),
        "spread": (1 - alpha).sqrt(),
        "next_signal": following.sqrt(),
        "next_spread": (1 - following).sqrt(),
    }
    scene = torch.arange(frames) * 2 // max(frames, 1)
    mask = torch.where(scene[:, None] == scene[None], 0.0, -10000.0)
    inputs = {"latents": latents, "noise": torch.randn_like(latents)}
    inputs |= {name: value.reshape(1) for name, value in scalars.items()} | {"text": text, "mask": mask}
    if control:
        shapes = residual_shapes(widths, frames, height, width, layers)
        inputs |= {f"residual_{i}": 0.3 * torch.randn(shape) for i, shape in enumerate(shapes)}
    return inputs


Axes = dict[str, dict[int, str]]
"""Names of symbolic axes of inputs and outputs."""
REMEMBER = "denoise_memory"
"""The graph of the denoiser with memory."""
SHARED = {REMEMBER: "denoise"}
"""Graphs that have the weights of another."""
MEMORY = "keys", "values", "scores"
"""What a motion module remembers, see :class:`vsanimup.architectures.animatelcm.memory.Memory`."""


def example_of_memory(layout: Sequence[tuple[int, int]], plain: dict[str, Tensor], slots: int) -> dict[str, Tensor]:
    """Random inputs of a denoiser with memory, by name, given those of the denoiser and the motion modules' layout.

    The first frames see all slots but the last. The orders alone decide what is kept: what small differences of scores
    change is no measure of an export.
    """
    frames, height, width = (plain["latents"].shape[i] for i in (0, 2, 3))
    mask = torch.where((torch.arange(frames)[:, None] < frames // 2) & (torch.arange(slots) < slots - 1), 0.0, -10000.0)
    order = 1e5 * torch.randperm(slots + frames).float()
    orders = {"slot_order": order[:slots], "frame_order": order[slots:]}
    names = list(plain)
    behind = names.index("mask") + 1
    inputs = {name: plain[name] for name in names[:behind]} | {"memory_mask": mask} | orders
    inputs |= {name: plain[name] for name in names[behind:]}
    for i, (channels, divide) in enumerate(layout):
        shape = height // divide, width // divide, slots
        inputs |= {f"keys_{i}": torch.randn(*shape, 2 * channels), f"values_{i}": torch.randn(*shape, 2 * channels)}
        inputs[f"scores_{i}"] = 3 * torch.rand(shape)
    return inputs


def memory_axes(layout: Sequence[tuple[int, int]]) -> Axes:
    """Symbolic axes of what a denoiser with memory takes and gives besides, by name; outputs begin with ``next_``."""
    axes = {"memory_mask": {0: "frames", 1: "slots"}, "slot_order": {0: "slots"}, "frame_order": {0: "frames"}}
    for i, (_, divide) in enumerate(layout):
        suffix = f"_{divide}" if divide > 1 else ""
        for name in MEMORY:
            axes[f"{name}_{i}"] = {0: f"height{suffix}", 1: f"width{suffix}", 2: "slots"}
            axes[f"next_{name}_{i}"] = axes[f"{name}_{i}"]
    return axes


def memory_outputs(layout: Sequence[tuple[int, int]]) -> list[str]:
    """Outputs of a denoiser with memory, in order."""
    return ["next_latents", *(f"next_{name}_{i}" for i in range(len(layout)) for name in MEMORY)]


def residual_shapes(
    widths: tuple[int, ...], frames: int, height: int, width: int, layers: int = 2
) -> list[tuple[int, int, int, int]]:
    """Shapes of the states that go across from down blocks to up blocks, and of the middle block's."""
    shapes = [(frames, widths[0], height, width)]
    for level, channels in enumerate(widths):
        shapes += [(frames, channels, height >> level, width >> level)] * layers
        if level < len(widths) - 1:
            shapes.append((frames, channels, height >> (level + 1), width >> (level + 1)))
    return [*shapes, shapes[-1]]


def residual_axes(widths: tuple[int, ...], layers: int = 2) -> dict[str, dict[int, str]]:
    """Symbolic axes of residuals by name: the frames, and sizes that have names of their own at lower levels."""
    suffixes = {LATENT_ALIGN >> level: f"_{1 << level}" if level else "" for level in range(4)}
    return {
        f"residual_{i}": {0: "frames", 2: f"height{suffixes[side]}", 3: f"width{suffixes[side]}"}
        for i, (_, _, side, _) in enumerate(residual_shapes(widths, 1, LATENT_ALIGN, LATENT_ALIGN, layers))
    }
