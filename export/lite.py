"""A trained lite network to a model folder."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import onnxruntime as ort
import torch
import typer

from export.folder import write_model
from training.network import ALIGN, Head, Lite, LiteConfig

INPUTS = ["y", "uv"]
OUTPUTS = ["result_y", "result_uv"]
TOLERANCE = 1e-4
"""Largest difference to PyTorch that an export may have, of a range of 1."""
OPSET = 17


def to_onnx(net: Lite) -> bytes:
    """The network as ONNX with symbolic sizes ``height, width, half_height, half_width``, batch 1."""
    net = copy.deepcopy(net)
    if isinstance(net.head, Head):
        net.head = net.head.folded()
    frames = net.config.frames
    example = torch.rand(1, frames, ALIGN, 2 * ALIGN), torch.rand(1, 2 * frames, ALIGN // 2, ALIGN) - 0.5
    axes = {"y": {2: "height", 3: "width"}, "uv": {2: "half_height", 3: "half_width"}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        torch.onnx.export(
            net, example, path, input_names=INPUTS, output_names=OUTPUTS, dynamic_axes=axes,
            opset_version=OPSET, dynamo=False,
        )  # fmt: skip
        onnx.checker.check_model(path, full_check=True)
        return path.read_bytes()


def largest_difference(net: Lite, network: bytes, height: int = 2 * ALIGN, width: int = 3 * ALIGN) -> float:
    """Largest difference between PyTorch and onnxruntime on random input of the given size."""
    frames = net.config.frames
    y, uv = torch.rand(1, frames, height, width), torch.rand(1, 2 * frames, height // 2, width // 2) - 0.5
    session = ort.InferenceSession(network, providers=["CPUExecutionProvider"])
    found = session.run(OUTPUTS, {"y": y.numpy(), "uv": uv.numpy()})
    with torch.no_grad():
        wanted = net(y, uv)
    return max(float(np.abs(a - b.numpy()).max()) for a, b in zip(found, wanted, strict=True))


def load_checkpoint(path: Path) -> Lite:
    """The averaged network of a training checkpoint, ready to run."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    net = Lite(LiteConfig(**state["config"]))
    net.load_state_dict(state["average"])
    return net.eval()


def main(
    checkpoint: Annotated[Path, typer.Option(help="checkpoint.pt of a training run")],
    out: Annotated[Path, typer.Option(help="model folder to write")],
    licence: Annotated[str, typer.Option(help="SPDX identifier of the weights' licence")] = "MIT",
) -> None:
    """Export a lite network trained by training.train."""
    net = load_checkpoint(checkpoint)
    network = to_onnx(net)
    difference = largest_difference(net, network)
    print(f"largest difference between PyTorch and onnxruntime: {difference:.2e}")
    if difference > TOLERANCE:
        raise SystemExit(f"that is above the tolerance of {TOLERANCE:.0e}: nothing was written")
    scale = net.config.scale
    write_model(out, {"network.onnx": network}, {
        "name": out.name,
        "kind": "lite",
        "scale": scale,
        "radius": net.config.radius,
        "align": ALIGN,
        "value_range": "unit",
        "tasks": ["deblock"] if scale == 1 else [],
        "bytes_per_pixel": BYTES_PER_PIXEL[scale],
        "licence": licence,
        "source": "trained by training/ of animup on animation composed from openly licensed drawings",
        "network": net.config.to_dict(),
        "parameters": sum(p.numel() for p in net.parameters()),
    })  # fmt: skip
    print(f"{out}: {len(network)} bytes, {sum(p.numel() for p in net.parameters())} parameters")


BYTES_PER_PIXEL = {1: 450, 2: 500}
"""Working memory of onnxruntime a luma sample of input, by scale; measured with benchmarks.memory, rounded up."""
