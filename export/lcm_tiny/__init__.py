"""A trained small AnimateLCM to a model folder of the same kind as the large one's, see :mod:`export.animatelcm`.

``python -m export lcm-tiny --checkpoint RUN/motion.pt --out FOLDER``

The graphs are those of the export of AnimateLCM, of the same modules. What differs is in the manifest: ``factor`` and
``latent_channels`` of its autoencoder, and a text encoder of random weights, so that prompts have no effect.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor, nn

from vsanimup.architectures.animatelcm import graphs
from vsanimup.architectures.animatelcm.layers import POSITIONS
from vsanimup.architectures.animatelcm.text import CONTEXT
from vsanimup.architectures.lcm_tiny import TASKS, TOKENS, TaskBiases, load
from vsanimup.errors import AnimupError
from vsanimup.networks.animatelcm.tokenizer import END, LAST, MERGES, START, VOCABULARY, byte_signs

from ..animatelcm.onnx_files import export as export_graph
from ..folder import model_folder
from ..lite import WEIGHTS, places

FRAMES = 7
"""Of the windows that it was trained on."""
BYTES_PER_PIXEL = 9000
"""Working memory of onnxruntime a luma sample of a tile, for windows of 16 frames; measured, rounded up."""


def tokenizer() -> dict[str, bytes]:
    """Files of a tokenizer for CLIP's that knows bytes alone."""
    signs = [*byte_signs(), *(sign + LAST for sign in byte_signs()), START, END]
    assert len(signs) == TOKENS
    vocabulary = json.dumps({sign: i for i, sign in enumerate(signs)})
    return {VOCABULARY: vocabulary.encode(), MERGES: b"#version: 0.2\n"}


def task_weights(unet: nn.Module, biases: TaskBiases) -> dict[str, NDArray[np.float32]]:
    """The arrays of ``tasks.npz``: see :class:`vsanimup.networks.modulation.Modulation`."""
    arrays = {}
    for name in biases.layers:
        parts = unet.get_parameter(f"{name}.weight"), unet.get_parameter(f"{name}.bias"), *biases.parts(name)
        for part, value in zip(("weight", "bias", "a", "b", "c"), parts, strict=True):
            arrays[f"unet.{name}.{part}"] = value.detach().numpy().astype(np.float32)
    return arrays


def export(checkpoint: Path, out: Path, *, precision: str) -> Iterator[str]:
    """Do it; says what it is doing. Raises :class:`AnimupError` where it cannot."""
    if out.exists() and not (out.is_dir() and (out / "manifest.json").exists()):
        raise AnimupError(f"--out {out} exists and is no model folder: give a new name, or remove it")
    tiny = load(checkpoint)
    if tiny.biases is not None and precision != "fp32":
        raise AnimupError(f"--precision {precision}: a model with task biases is exported with --precision fp32")
    config = tiny.config
    widths, factor, channels = tuple(config.widths), config.factor, config.latent_channels
    picture = {0: "frames", 2: "height", 3: "width"}
    image = {0: "frames", 2: "image_height", 3: "image_width"}
    residuals = graphs.residual_axes(widths, config.layers)

    def step(n: int, height: int, width: int) -> dict[str, Tensor]:
        return graphs.example_of_denoise(
            widths, config.text, n, height, width, True, channels=channels, layers=config.layers
        )

    def images(n: int, height: int, width: int) -> Tensor:
        return torch.rand(n, 3, factor * height, factor * width)

    def hints(n: int, height: int, width: int) -> dict[str, Tensor]:
        whole = step(n, height, width)
        seen = {name: whole[name] for name in ("latents", "timestep", "text")}
        return {**seen, "image": images(n, height, width), "strength": torch.tensor([0.7])}

    def coded(n: int, height: int, width: int) -> dict[str, Tensor]:
        return {"latents": torch.randn(n, channels, height, width)}

    def tokens(*_: int) -> dict[str, Tensor]:
        return {"tokens": torch.randint(0, TOKENS, (1, CONTEXT), dtype=torch.int32)}

    layout = tiny.denoiser.motion_layout

    def remember(n: int, height: int, width: int) -> dict[str, Tensor]:
        return graphs.example_of_memory(layout, step(n, height, width), n + 2)

    coder: Any = tiny.autoencoder
    denoise = {"latents": picture, "noise": picture, "mask": {0: "frames", 1: "frames"}, "next_latents": picture}
    both = {"image": image, "latents": picture}
    jobs: dict[str, tuple[Any, Callable[..., dict[str, Tensor]], list[str], dict[str, dict[int, str]]]] = {
        "denoise": (tiny.denoiser, step, ["next_latents"], {**denoise, **residuals}),
        graphs.REMEMBER: (
            graphs.Remembering(tiny.denoiser.unet, tiny.denoiser.motion, 1),
            remember,
            graphs.memory_outputs(layout),
            {**denoise, **residuals, **graphs.memory_axes(layout)},
        ),
        "control": (tiny.control, hints, list(residuals), {"latents": picture, "image": image, **residuals}),
        "text": (tiny.text_encoder, tokens, ["text"], {}),
        "encode": (graphs.Encode(coder), lambda *size: {"image": images(*size) * 2 - 1}, ["latents"], both),
        "decode": (graphs.Decode(coder), coded, ["image"], both),
    }
    torch.manual_seed(0)
    manifest: dict[str, Any] = {}
    differences = {}
    parameters = sum(parameter.numel() for parameter in tiny.parameters())
    with model_folder(out, manifest) as folder:
        for name, (net, inputs, outputs, axes) in jobs.items():
            for said in export_graph(
                net.eval,
                name=name,
                folder=folder,
                example=inputs(2, 8, 16),
                other=inputs(3, 16, 8),
                outputs=outputs,
                axes=axes,
                precision=precision,
                weights_of=graphs.SHARED.get(name) if tiny.biases is None else None,
                inline=tiny.biases is not None and name in ("denoise", graphs.REMEMBER),
            ):
                yield said
            differences[name] = said.rpartition(" ")[2]
        for name, data in tokenizer().items():
            (folder / name).write_bytes(data)
        if tiny.biases is not None:
            arrays = task_weights(tiny.denoiser.unet, tiny.biases)
            np.savez(folder / WEIGHTS, **arrays)  # type: ignore[arg-type]
            names = [f"{name}.onnx" for name in ("denoise", graphs.REMEMBER)]
            modulated = {name: (folder / name).read_bytes() for name in names}
            for file in modulated:
                (folder / file).with_suffix(".weights").unlink()  # all of them are in the graph
            layers = dict.fromkeys(key.rpartition(".")[0] for key in arrays)
            manifest["modulation"] = {
                "file": WEIGHTS,
                "layers": {
                    layer: {file: places(graph, layer) for file, graph in modulated.items()} for layer in layers
                },
            }
        manifest.update(
            name=out.name,
            kind="animatelcm",
            scale=1,
            radius=0,
            align=factor * graphs.LATENT_ALIGN,
            value_range="rgb",
            tasks=[] if tiny.biases is None else list(TASKS),
            bytes_per_pixel=BYTES_PER_PIXEL,
            licence="MIT",
            source="trained by training/lcm on the corpus of training/README.md; its text encoder has random weights: "
            "prompts have no effect",
            parameters=parameters,
            animatelcm={
                "precision": precision,
                "frames": FRAMES,
                "most_frames": POSITIONS,
                "text_channels": config.text,
                "control": True,
                "residuals": len(residuals),
                "autoencoder": "own",
                "factor": factor,
                "latent_channels": channels,
                "betas": graphs.BETAS,
                "timesteps": graphs.TIMESTEPS,
                "original_steps": graphs.ORIGINAL_STEPS,
                "motion_norm": "frame",
                "slices": 1,
                "memory": layout,
                "differences": differences,
            },
        )
    yield f"{out}: {parameters} parameters"


def main(
    checkpoint: Annotated[Path, typer.Option(help="checkpoint of training.lcm.train, of the stage motion")],
    out: Annotated[Path, typer.Option(help="model folder to write; an earlier one there is replaced")],
    precision: Annotated[str, typer.Option(help="fp32 or fp16; CPUs are slower with fp16")] = "fp32",
) -> None:
    """Export a small AnimateLCM that ``training.lcm`` made."""
    try:
        for said in export(checkpoint, out, precision=precision):
            print(said, flush=True)
    except AnimupError as error:
        raise SystemExit(f"lcm-tiny: {error}") from error
