"""The networks of AnimateLCM as an export makes them, one after the other, and what each is traced with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vsanimup.architectures.animatelcm import graphs
from vsanimup.architectures.animatelcm.layers import Pooling
from vsanimup.architectures.animatelcm.text import CONTEXT
from vsanimup.errors import AnimupError

from . import layouts, parts
from .autoencoders import read_tiny_vae, read_vae
from .checkpoints import named
from .loras import Lora, merge

if TYPE_CHECKING:
    from .command import Request

Inputs = dict[str, torch.Tensor]
_PICTURE = {0: "frames", 2: "height", 3: "width"}
_IMAGE = {0: "frames", 2: "image_height", 3: "image_width"}


@dataclass(frozen=True)
class Job:
    """One graph to export."""

    name: str
    make: Callable[[], Any]
    inputs: Callable[[int, int, int], Inputs]
    """Random, for frames, height and width of the latents."""
    outputs: list[str]
    axes: graphs.Axes


class Networks:
    """Reads each network when it is asked for, so that one at a time takes memory."""

    def __init__(self, request: Request, base: parts.Base, loras: Mapping[str, Lora]) -> None:
        self.request, self.base = request, base
        self._loras = loras
        self.sources: list[Path] = [request.lora]
        """Files that were read, beside the base's."""
        self.parameters = 0
        """Of all networks made so far."""
        self.layout: list[tuple[int, int]] = []
        """Of the motion modules' memory; known once the denoiser is made."""

    @cached_property
    def residuals(self) -> graphs.Axes:
        return graphs.residual_axes(self.base.widths) if self.request.controlnet else {}

    def counted(self, net: Any) -> Any:
        self.parameters += sum(parameter.numel() for parameter in net.parameters())
        return net

    def _merge(self, net: torch.nn.Module, start: str, prefix: str, left_out: tuple[str, ...] = ()) -> None:
        """Those changes of the LoRA whose names have this start, into the network with this prefix."""
        mine = {
            name: lora for name, lora in self._loras.items() if name.startswith(start) and not name.startswith(left_out)
        }
        names = {layouts.kohya(prefix, path): path for path, module in net.named_modules() if hasattr(module, "weight")}
        lora_file = self.request.lora
        if surplus := mine.keys() - names.keys():
            raise AnimupError(
                f"LoRA {lora_file} changes {named(surplus)}, which the base lacks: give AnimateLCM's LoRA for SD1.5"
            )
        merge(net, mine, names, self.request.lora_weight, lora_file)

    def text(self) -> Any:
        net = self.base.text(self.request.clip_skip)
        prefix, first = "lora_te_text_model", net.layers
        # what the LoRA would change in a layer that is left out is no mistake
        left_out = [f"{prefix}_encoder_layers_{first + i}_" for i in range(self.request.clip_skip - 1)]
        self._merge(net, "lora_te_", prefix, tuple(left_out))
        return self.counted(net)

    def denoiser(self) -> Any:
        motion = parts.read_motion(
            self.request.motion,
            self.base,
            Pooling(self.request.motion_norm),
            self.sources,
            consistent=not self.request.not_consistency,
        )
        unet = self.base.unet()
        self._merge(unet, "lora_", "lora_unet", ("lora_te_",))
        made = graphs.Denoiser(unet, motion, self.request.slices).eval()
        self.layout[:] = made.motion_layout
        return made

    def remembering(self) -> Any:
        plain = self.denoiser()
        return graphs.Remembering(plain.unet, plain.motion, self.request.slices).eval()

    def vae(self) -> Any:
        if self.request.tiny_vae:
            return read_tiny_vae(self.request.tiny_vae, self.sources)
        return read_vae(self.request.vae, self.sources) if self.request.vae else self.base.vae()

    def control(self) -> Any:
        assert self.request.controlnet
        control = parts.read_control(self.request.controlnet, self.base, self.sources)
        return self.counted(graphs.Control(control, self.request.slices).eval())


def jobs(networks: Networks) -> Iterator[Job]:
    """The denoiser first: most mistakes show there, and then the layout of its memory is known."""
    request, base, layout = networks.request, networks.base, networks.layout
    residuals = networks.residuals

    def step(n: int, height: int, width: int) -> Inputs:
        with_control = request.controlnet is not None
        return graphs.example_of_denoise(base.widths, base.text_channels, n, height, width, with_control)

    def remember(n: int, height: int, width: int) -> Inputs:
        return graphs.example_of_memory(layout, step(n, height, width), n + 2)

    def hints(n: int, height: int, width: int) -> Inputs:
        whole = step(n, height, width)
        return {
            "latents": whole["latents"],
            "timestep": whole["timestep"],
            "text": whole["text"],
            "image": torch.rand(n, 3, 8 * height, 8 * width),
            "strength": torch.tensor([0.7]),
        }

    denoise = {"latents": _PICTURE, "noise": _PICTURE, "mask": {0: "frames", 1: "frames"}, "next_latents": _PICTURE}
    both = {"image": _IMAGE, "latents": _PICTURE}
    yield Job(
        "denoise", lambda: networks.counted(networks.denoiser()), step, ["next_latents"], {**denoise, **residuals}
    )
    if request.memory:
        axes = {**denoise, **residuals, **graphs.memory_axes(layout)}
        yield Job(graphs.REMEMBER, networks.remembering, remember, graphs.memory_outputs(layout), axes)
    yield Job("text", networks.text, _tokens, ["text"], {})
    yield Job("encode", lambda: networks.counted(graphs.Encode(networks.vae()).eval()), _images, ["latents"], both)
    yield Job("decode", lambda: networks.counted(graphs.Decode(networks.vae()).eval()), _latents, ["image"], both)
    if request.controlnet:
        axes = {"latents": _PICTURE, "image": _IMAGE, **residuals}
        yield Job("control", networks.control, hints, list(residuals), axes)


def _latents(n: int, height: int, width: int) -> Inputs:
    return {"latents": torch.randn(n, 4, height, width)}


def _images(n: int, height: int, width: int) -> Inputs:
    return {"image": torch.rand(n, 3, 8 * height, 8 * width) * 2 - 1}


def _tokens(*_: int) -> Inputs:
    return {"tokens": torch.randint(0, 400, (1, CONTEXT), dtype=torch.int32)}
