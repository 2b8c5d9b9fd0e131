"""Networks that ``benchmarks.gpu`` times: of each what runs in an engine, and the same for PyTorch."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from vsanimup.engines import Backend, Engine, Feed, Size
from vsanimup.networks.lite.inference import FLOAT, fixed
from vsanimup.networks.manifest import SHIPPED, open_model

INPUTS = {"480p": (720, 480), "720p": (1280, 720), "1080p": (1920, 1080)}
PATCHES = 64
"""Patches of 48x48 that IPT takes at once."""
FRAMES = 16
"""Frames of AnimateLCM's window."""
TILES = 15
"""Tiles of 512x512 with 64 samples shared that it takes to cover 1920x1080."""
STATED = {
    "denoise": 1.11e12 * FRAMES,
    "encode": 1.12e12,
    "decode": 2.51e12,
    "tiny encode": 0.12e12,
    "tiny decode": 0.14e12,
}
"""FLOPs of full-size parts that were told beforehand, for comparison with the count."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network in one size."""

    name: str
    inputs: Mapping[str, Feed]
    """Random, by name, in the order of the PyTorch network's arguments."""
    load: Callable[[Backend, int, int], Engine]
    """Given backend, device and streams."""
    module: Callable[[], torch.nn.Module]
    """The same network in PyTorch on torch's default device; its weights may be others."""
    converts: bool = True
    """Whether the PyTorch network takes half-precision weights and float inputs; else it needs autocast."""
    frames: float
    """Frames of the video that one run makes."""
    stated: float | None = None
    """FLOPs that it should need."""

    def flops(self) -> int:
        """FLOPs of one run, a multiplication with addition as two, by PyTorch's counter."""
        counter = FlopCounterMode(display=False)
        with FakeTensorMode(allow_non_fake_inputs=True):  # shapes without numbers
            net = self.module().eval().requires_grad_(False)
            given = [torch.empty(value.shape, dtype=kind(value)) for value in self.inputs.values()]
            with counter, torch.no_grad():
                net(*given)
        return int(counter.get_total_flops())


def kind(value: Feed) -> torch.dtype:
    """PyTorch's type of an input."""
    return torch.int32 if value.dtype == np.int32 else torch.float32


def lite_cases(small: bool) -> Iterator[Case]:
    """The shipped networks on whole frames."""
    from vsanimup.architectures.lite.network import Lite, LiteConfig

    sizes = {"tiny": (96, 48)} if small else INPUTS
    for name in ("lite-restore", "lite-upscale"):
        model = open_model(SHIPPED / name)
        config = json.loads((model.folder / "manifest.json").read_text())["network"]
        for size, (width, height) in sizes.items():
            high, wide = (-(-(n + 8) // model.align) * model.align for n in (height, width))
            frames = 2 * model.radius + 1
            rng = np.random.default_rng(0)
            inputs = {
                "y": rng.random((1, frames, high, wide), np.float32),
                "uv": rng.random((1, 2 * frames, high // 2, wide // 2), np.float32) - 0.5,
            }

            def load(
                backend: Backend, device: int, streams: int, m: Any = model, h: int = high, w: int = wide
            ) -> Engine:
                return backend.load(
                    m.read(FLOAT), origin=str(m.folder / FLOAT), sizes=fixed(h, w), device_id=device, streams=streams
                )

            module = functools.partial(Lite, LiteConfig(**config))
            yield Case(name=f"{name} {size}", inputs=inputs, load=load, frames=1, converts=False, module=module)


def ipt_cases(small: bool, work: Path) -> Iterator[Case]:
    """IPT of the published size with random weights."""
    if importlib.util.find_spec("export.ipt") is None:
        raise LookupError("this version has no export of IPT")
    network = importlib.import_module("vsanimup.architectures.ipt")
    whole = {"features": 64, "patch_dim": 3, "side": 16, "heads": 12, "encoders": 12, "decoders": 12, "hidden": 2304}
    part = {"features": 4, "patch_dim": 2, "side": 4, "heads": 2, "encoders": 1, "decoders": 1, "hidden": 32}
    sizes = network.Sizes(**(part if small else whole), scale=2)
    count = 2 if small else PATCHES

    def module() -> torch.nn.Module:
        torch.manual_seed(0)
        return network.Ipt(sizes)  # type: ignore[no-any-return]

    image = np.random.default_rng(0).random((count, 3, sizes.patch, sizes.patch), np.float32)
    path = work / f"ipt-{sizes.encoders}.onnx"
    if not path.exists():
        to_onnx(module().eval(), {"image": image}, ["result"], path)

    def load(backend: Backend, device: int, streams: int) -> Engine:
        return backend.load_file(path, sizes={}, device_id=device, streams=streams)

    # patches 36 samples apart cover a 1080p frame
    per_frame = -(-1920 // 36) * -(-1080 // 36)
    yield Case(
        name=f"IPT x2, {count} patches of {sizes.patch}",
        inputs={"image": image},
        load=load,
        module=module,
        frames=count / per_frame,
    )


def to_onnx(net: torch.nn.Module, inputs: Mapping[str, Feed], outputs: list[str], path: Path) -> None:
    """Export for exactly these shapes."""
    example = tuple(torch.from_numpy(value) for value in inputs.values())
    with torch.no_grad():
        torch.onnx.export(
            net,
            example,
            path.with_suffix(".part"),
            input_names=list(inputs),
            output_names=outputs,
            opset_version=17,
            dynamo=False,
        )
    path.with_suffix(".part").rename(path)


def prepare_animatelcm(small: bool, tiny_vae: bool, work: Path, say: Callable[[str], None]) -> Path:
    """A model folder of full size with random weights, made if it is not there; takes minutes and 13 GB of memory."""
    folder = work / f"animatelcm{'-small' if small else ''}{'-tiny' if tiny_vae else ''}"
    if folder.exists():
        return folder
    made = work / f"checkpoints{'-small' if small else ''}"
    if not made.exists():
        say("writing checkpoints of AnimateLCM with random weights")
        part = made.with_name(made.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        write = "write_all(p)" if small else "main(p)"
        code = f"import pathlib, sys; from benchmarks.animatelcm_files import *; p = pathlib.Path(sys.argv[1]); {write}"
        part.mkdir(parents=True) if small else part.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-c", code, str(part)], check=True, stdout=subprocess.DEVNULL)
        part.rename(made)
    names = (
        ("motion.ckpt", "lora.safetensors", "base/tokenizer")
        if small
        else ("AnimateLCM_sd15_t2v.ckpt", "AnimateLCM_sd15_t2v_lora.safetensors", "tokenizer")
    )
    motion, lora, tokenizer = (str(made / name) for name in names)
    command = [
        sys.executable,
        "-m",
        "export",
        "animatelcm",
        "--base",
        str(made / "base.safetensors"),
        "--motion",
        motion,
        "--lora",
        lora,
        "--tokenizer",
        tokenizer,
        "--out",
        str(folder),
        "--slices",
        "1",
        "--precision",
        "fp32" if small else "fp16",
    ]
    if tiny_vae:
        if not (made / "tiny").exists():
            importlib.import_module("diffusers").AutoencoderTiny().save_pretrained(made / "tiny")
        command += ["--tiny-vae", str(made / "tiny")]
    say(f"exporting AnimateLCM {'with the tiny autoencoder' if tiny_vae else ''}")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def animatelcm_cases(small: bool, tiny_vae: bool, folder: Path) -> Iterator[Case]:
    """Denoiser and autoencoder on a tile."""

    from benchmarks import animatelcm_files as files
    from export.animatelcm.parts import LAYERS
    from vsanimup.architectures.animatelcm import graphs
    from vsanimup.architectures.animatelcm.graphs import MotionModules
    from vsanimup.architectures.animatelcm.layers import Pooling
    from vsanimup.networks.animatelcm.model import AnimateLcm
    from vsanimup.networks.animatelcm.pipeline import tile_sizes
    from vsanimup.tiling.tiles import plan

    tiny_autoencoder: Any = importlib.import_module("diffusers").AutoencoderTiny
    model = AnimateLcm.open(folder)
    chosen, side, frames = (files.TINY, 64, 2) if small else (files.FULL, 512, FRAMES)
    grid = plan(side, side, tile=(side, side), overlap=(0, 0), align=model.align, most=0)
    widths, text = chosen.widths, chosen.text
    torch.manual_seed(0)
    step = graphs.example_of_denoise(widths, text, frames, side // 8, side // 8, False)
    image = np.random.default_rng(0).random((1, 3, side, side), np.float32) * 2 - 1
    latents = np.random.default_rng(0).standard_normal((1, 4, side // 8, side // 8), np.float32)
    inputs: dict[str, dict[str, Feed]] = {
        "denoise": {name: value.float().numpy() for name, value in step.items()},
        "encode": {"image": image},
        "decode": {"latents": latents},
    }

    def module(part: str) -> torch.nn.Module:
        unet, vae, official, _ = files.networks(chosen)
        if part == "denoise":
            motion = MotionModules(widths, LAYERS, 32, official.mid_block is not None, Pooling("frame"))
            net: Any = graphs.Denoiser(unet, motion, 1)
        else:
            net = (graphs.Encode if part == "encode" else graphs.Decode)(tiny_autoencoder() if tiny_vae else vae)
        fill(net)
        return net  # type: ignore[no-any-return]

    for part, given in inputs.items():
        if tiny_vae and part == "denoise":
            continue

        def load(backend: Backend, device: int, streams: int, part: str = part) -> Engine:
            sizes: dict[str, Size] = {**tile_sizes(grid, model.factor), "frames": frames if part == "denoise" else 1}
            return model.load(part, backend, sizes=sizes, device_id=device, streams=streams)

        name = f"{'tiny ' if tiny_vae else ''}{part}"
        yield Case(
            name=f"AnimateLCM {name}, {side}x{side}{f', {frames} frames' if part == 'denoise' else ''}",
            inputs=given,
            load=load,
            module=functools.partial(module, part),
            # a frame at 1080p: two steps of a sixteenth of a window, and one picture, for each tile
            frames=frames / TILES / 2 if part == "denoise" else 1 / TILES,
            stated=None if small else STATED.get(name),
        )


def fill(net: torch.nn.Module) -> None:
    """Random values on the default device in place of weights that have a shape only."""
    for module in net.modules():
        for name, weight in module.named_parameters(recurse=False):
            if weight.is_meta:
                values = torch.randn(weight.shape, dtype=torch.float32) * 0.02
                setattr(module, name, torch.nn.Parameter(values, requires_grad=False))


@contextlib.contextmanager
def on(device: str) -> Iterator[None]:
    """Make what PyTorch makes on a device."""
    with torch.device(device):
        yield
