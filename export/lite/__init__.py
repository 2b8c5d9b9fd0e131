"""The trained lite networks to model folders: as floats and as 8-bit integers."""

from __future__ import annotations

import copy
import io
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
import typer
from torch import Tensor
from torch.nn import functional as F

from vsanimup.architectures.lite.checkpoint import BOTH, CODEC_TASKS, lites, load_checkpoint
from vsanimup.architectures.lite.layers import Conv, Round
from vsanimup.architectures.lite.network import ALIGN, TOKEN, Lite, TaskConv
from vsanimup.architectures.lite.shipped import onnx_scope, shipped
from vsanimup.networks.manifest import MANIFEST
from vsanimup.tasks import TASKS

from ..folder import sync, write_model
from .quantise import Feed, Ranges, corrected, quantise
from .weights import shortened

INPUTS = ["y", "uv"]
OUTPUTS = ["result_y", "result_uv"]
FLOAT, INT8, WEIGHTS = "network.onnx", "network.int8.onnx", "tasks.npz"
FOLDERS = {"restore": "lite-restore", "upscale": "lite-upscale", "one_pass": "lite-one-pass"}
"""Names of the model folders."""
TOLERANCE = 1e-4
"""Largest difference to PyTorch that an export may have, of a range of 1."""
OPSET = 17
KEEP_FLOAT = (
    "/head/Conv",
    "/body/body.0/attention/Add",
    "/body/body.1/attention/Add",
    "/Add",
    "/DepthToSpace",
)
"""What stays float in the 8-bit network: the head's change of basis, which takes small differences of large numbers,
the products of attention, and what is added to the picture in the end."""
LANES = 8
"""Integer kernels take a third to half as long again where the channels are no multiple of this."""
FEWEST = 16
"""Output channels of a convolution below which onnxruntime's integer kernels take two and a half times as long."""
BYTES_PER_PIXEL = {"lite-restore": 300, "lite-upscale": 290, "lite-one-pass": 360}
"""Working memory of onnxruntime a luma sample of input, by model; measured with benchmarks.memory, rounded up."""


def plain(net: Lite, mode: str = Round.OFF) -> Lite:
    """A copy for export: ordinary convolutions, the backbone's weights in those that have task biases.

    The head's inputs and the last layer's outputs are filled up with nothing to multiples of :data:`LANES`.
    """
    net = copy.deepcopy(net).float().cpu().eval()
    net.set_mix(None)
    net.set_rounding(mode)
    for name, module in list(net.named_modules()):
        if isinstance(module, TaskConv):
            parent, _, child = name.rpartition(".")
            setattr(net.get_submodule(parent), child, convolution(module, module.weight, module.bias))
    head, out = net.head, net.out
    surplus = -head.conv.in_channels % LANES
    head.basis_uv = F.pad(head.basis_uv, (0, 0, 0, 0, 0, 0, 0, surplus))
    wide = convolution(head.conv, F.pad(head.conv.weight, (0, 0, 0, 0, 0, surplus)), head.conv.bias)
    head.conv = wide  # type: ignore[assignment]
    surplus = max(FEWEST - out.out_channels, -out.out_channels % LANES)
    assert out.bias is not None
    net.out = convolution(out, F.pad(out.weight, (0, 0, 0, 0, 0, 0, 0, surplus)), F.pad(out.bias, (0, surplus)))
    return net


def convolution(like: Conv, weight: Tensor, bias: Tensor | None) -> Conv:
    """A convolution as ``like`` with these values."""
    outputs, inputs, rows, _ = weight.shape
    new = Conv(inputs, outputs, rows, like.stride[0], like.relu)
    new.round = like.round
    assert bias is not None and new.bias is not None
    with torch.no_grad():
        new.weight.copy_(weight)
        new.bias.copy_(bias)
    return new


def trained_ranges(net: Lite, network: bytes) -> Ranges:
    """Range of every tensor of the exported network that training rounded.

    PyTorch names a node after the modules that it lies in, ``/before/before.0/a/Conv``.
    """
    nodes = {node.name: node for node in onnx.load_from_string(network).graph.node}
    ranges: Ranges = {}
    for path, module in net.named_modules():
        if not isinstance(module, Round):
            continue
        if not bool(module.high > module.low):
            raise ValueError(f"{path} has no range: the checkpoint is from before rounding began")
        parent, _, last = path.rpartition(".")
        scope = onnx_scope(net, parent)
        names = {"round": ("Conv", "Relu", "Add", "Concat"), "mixed": ("MatMul_1",)}[last]
        found = [nodes[f"{scope}/{name}"] for name in names if f"{scope}/{name}" in nodes]
        if scope == "/head":  # whose convolutions stay float
            found = [node for node in found if node.op_type == "Concat"]
        assert found, path
        # what goes into a rectifier has the range of what comes out: it is one kernel
        ranges |= {node.output[0]: (float(module.low), float(module.high)) for node in found}
    return ranges


def to_onnx(net: Lite, mode: str = Round.OFF) -> bytes:
    """The network as ONNX with symbolic sizes ``height, width, half_height, half_width``, batch 1.

    With ``Round.CLIP`` what lies beyond the ranges of training is cut off, as integers do: what was trained so is
    another network without, off by several steps of 8-bit luma in noise.
    """
    frames = net.config.frames
    example = torch.rand(1, frames, ALIGN, 2 * ALIGN), torch.rand(1, 2 * frames, ALIGN // 2, ALIGN) - 0.5
    axes = {"y": {2: "height", 3: "width"}, "uv": {2: "half_height", 3: "half_width"}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FLOAT
        torch.onnx.export(
            plain(net, mode),
            example,
            path,
            input_names=INPUTS,
            output_names=OUTPUTS,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
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


def task_weights(net: Lite) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of ``tasks.npz``: see :class:`vsanimup.networks.modulation.Modulation`. Half precision."""
    arrays, exported = {}, plain(net)
    for name, module in net.named_modules():
        if not isinstance(module, TaskConv) or module.task_a is None:
            continue
        layer = exported.get_submodule(name)
        assert isinstance(layer, Conv) and module.task_b is not None and module.task_c is not None
        # the head's inputs are filled up
        surplus = (layer.in_channels - module.in_channels) * layer.kernel_size[0] * layer.kernel_size[1]
        parts = {"weight": layer.weight, "bias": layer.bias, "a": F.pad(module.task_a, (0, surplus))}
        for part, value in (parts | {"b": module.task_b, "c": module.task_c}).items():
            assert value is not None
            # the 8-bit network's scales span a hundred times more than half precision loses
            arrays[f"{name}.{part}"] = value.detach().cpu().numpy().astype(np.float16)
    return arrays


def places(network: bytes, layer: str) -> dict[str, int | float]:
    """Where a layer's weights lie in the bytes of an ONNX file, and the scale of its integer input."""
    graph = onnx.load_from_string(network).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}

    def place(name: str) -> int:
        tensor = tensors[name].SerializeToString()  # holds its name, so there is one; its values come last
        found = network.index(tensor) + len(tensor) - len(tensors[name].raw_data)
        assert network.startswith(tensors[name].raw_data, found)
        return found

    weight, bias = f"{layer}.weight", f"{layer}.bias"
    if weight in tensors:
        return {"weight": place(weight), "bias": place(bias)}
    scale = onnx.numpy_helper.to_array(tensors[f"{weight}_scale"])
    bias_scale = onnx.numpy_helper.to_array(tensors[f"{bias}_quantized_scale"])
    return {
        "weight": place(f"{weight}_quantized"),
        "weight_scale": place(f"{weight}_scale"),
        "bias": place(f"{bias}_quantized"),
        "bias_scale": place(f"{bias}_quantized_scale"),
        "input_scale": float((bias_scale / scale).mean()),
    }


def folder_of(
    net: Lite, networks: dict[str, bytes], name: str, licence: str, recipe: str = ""
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Files and manifest of a model folder."""
    files, manifest = (
        dict(networks),
        {
            "name": name,
            "kind": "lite",
            "scale": net.config.scale,
            "radius": net.config.radius,
            "align": ALIGN,
            "multiple": TOKEN,
            "value_range": "unit",
            "tasks": list(TASKS) if net.config.tasks else [],
            "bytes_per_pixel": BYTES_PER_PIXEL.get(name, max(BYTES_PER_PIXEL.values())),
            "licence": licence,
            "source": "trained by training/ of animup on animation composed from openly licensed drawings",
            "network": net.config.to_dict(),
            "parameters": sum(p.numel() for p in net.parameters()),
        },
    )
    if recipe:
        manifest["recipe"] = recipe
    weights = task_weights(net)
    if weights:
        data = io.BytesIO()
        np.savez(data, **weights)  # type: ignore[arg-type]
        files[WEIGHTS] = data.getvalue()
        layers = dict.fromkeys(key.rpartition(".")[0] for key in weights)
        manifest["modulation"] = {
            "file": WEIGHTS,
            "layers": {layer: {file: places(network, layer) for file, network in networks.items()} for layer in layers},
        }
    return files, manifest


def flats(net: Lite, count: int = 48) -> list[Feed]:
    """Windows of one colour each."""
    rng = np.random.default_rng(0)
    made: list[Feed] = []
    for i in range(count):
        y = np.full((1, net.config.frames, 2 * ALIGN, 2 * ALIGN), rng.uniform(0.02, 0.98), np.float32)
        colour = rng.uniform(-0.35, 0.35, (1, 2, 1, 1)) * (i % 3 > 0)
        uv = np.broadcast_to(np.tile(colour, (1, net.config.frames, 1, 1)), (1, 2 * net.config.frames, ALIGN, ALIGN))
        made.append({"y": y, "uv": np.ascontiguousarray(uv, np.float32)})
    return made


def exported(net: Lite, name: str) -> dict[str, bytes]:
    """The network's files, as floats and as integers.

    Ends the program when the floats differ from PyTorch.
    """
    floats = to_onnx(net, Round.CLIP)
    net.set_rounding(Round.CLIP)
    difference = largest_difference(net, floats)
    print(f"{name}: largest difference between PyTorch and onnxruntime: {difference:.2e}")
    if difference > TOLERANCE:
        raise SystemExit(f"that is above the tolerance of {TOLERANCE:.0e}: nothing was written")
    bare = to_onnx(net)
    ranges = trained_ranges(net, bare)
    if net.config.scale == 1:
        return {FLOAT: shortened(floats), INT8: corrected(bare, ranges, KEEP_FLOAT, flats(net), (2, 1))}
    return {FLOAT: shortened(floats), INT8: quantise(bare, ranges, KEEP_FLOAT)}  # which leaves flat areas alone


def between(net: Lite, other: Lite, share: float) -> Lite:
    """A copy of ``net`` with ``share`` of its weights, task biases and ranges, and the rest of those of ``other``.

    A network that was trained on from ``other`` still lies in one valley with it, where a mean may be better than
    either (Wortsman et al., Model soups, arXiv 2203.05482).
    """
    if net.config != other.config:
        raise typer.BadParameter(f"no mean can be taken with a network of another shape: {net.config}, {other.config}")
    mean = copy.deepcopy(net)
    theirs = other.state_dict()
    mean.load_state_dict({name: torch.lerp(theirs[name], mine, share) for name, mine in net.state_dict().items()})
    return mean


def specialists_of(folder: Path) -> dict[str, str]:
    """Tasks and folders of the specialists in a model's folder, none where there is no such model."""
    path = folder / MANIFEST
    return dict(json.loads(path.read_text(encoding="utf-8")).get("specialists", {})) if path.exists() else {}


def add_specialist(folder: Path, task: str, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> None:
    """Put a network for one task, or for both kinds of codecs, into the folder of the model that it stands in for.

    The model's manifest names it last; folders that it names no more are removed.
    """
    write_model(folder / task, files, manifest)
    path = folder / MANIFEST
    own = json.loads(path.read_text(encoding="utf-8"))
    before = set(own.get("specialists", {}).values())
    served = sorted(set(CODEC_TASKS.values())) if task == BOTH else (task,)
    own["specialists"] = own.get("specialists", {}) | dict.fromkeys(served, task)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(own, indent=2) + "\n", encoding="utf-8")
    sync(partial)
    partial.replace(path)
    sync(folder)
    for name in before - set(own["specialists"].values()):
        shutil.rmtree(folder / name, ignore_errors=True)


def main(
    out: Annotated[Path, typer.Option(help="folder to write the model folders to")],
    checkpoint: Annotated[Path | None, typer.Option(help="checkpoint.pt of training.lite.train: two networks")] = None,
    one_pass: Annotated[Path | None, typer.Option(help="checkpoint.pt of training.lite.one_pass: one")] = None,
    specialist: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK=PATH",
            help="checkpoint.pt of training.lite.experts for a task, or for both kinds of codecs as codecs=PATH; of "
            "several, the mean is taken",
        ),
    ] = None,
    share: Annotated[
        float, typer.Option(help="share of the specialists in what is exported; the rest is the models' own weights")
    ] = 1.0,
    licence: Annotated[str, typer.Option(help="SPDX identifier of the weights' licence")] = "MIT",
    recipe: Annotated[str, typer.Option(help="file of training/recipes that made them, for the manifest")] = "",
) -> None:
    """Export the lite networks trained by training.lite.train, training.lite.one_pass and training.lite.experts.

    A model keeps the specialists that it has; new ones go into the folders of the models that they stand in for.
    """
    nets: dict[str, Lite] = {}
    if checkpoint is not None:
        nets |= lites(load_checkpoint(checkpoint))
    if one_pass is not None:
        nets |= lites(load_checkpoint(one_pass))
    if not 0 < share <= 1:
        raise typer.BadParameter(f"--share must be above 0 and at most 1, got {share:g}")
    found: dict[tuple[str, str], list[Lite]] = {}
    for text in specialist or ():
        task, _, path = text.partition("=")
        if task not in (*TASKS, BOTH) or not path:
            raise typer.BadParameter(f"--specialist must be TASK=PATH with one of {', '.join(TASKS)}, got {text!r}")
        for name, net in lites(load_checkpoint(Path(path))).items():
            found.setdefault((task, name), []).append(net)
    beside: list[tuple[str, str, Lite]] = []
    for (task, name), several in found.items():
        net = several[0]
        for count, other in enumerate(several[1:], 1):
            net = between(net, other, count / (count + 1))
        if share < 1:
            net = between(net, nets[name] if name in nets else shipped(out / FOLDERS[name]), share)
        beside.append((task, name, net))
    if not nets and not beside:
        raise typer.BadParameter("give --checkpoint, --one-pass or --specialist: there is nothing to export")
    networks = {name: exported(net, name) for name, net in nets.items()}
    others = [exported(net, f"{name} for {task}") for task, name, net in beside]
    for name, net in nets.items():
        files, manifest = folder_of(net, networks[name], FOLDERS[name], licence, recipe)
        kept = specialists_of(out / FOLDERS[name])
        write_model(out / FOLDERS[name], files, manifest | ({"specialists": kept} if kept else {}), set(kept.values()))
        print(f"{out / FOLDERS[name]}: {sum(map(len, files.values()))} bytes, {manifest['parameters']} parameters")
    for (task, name, net), made in zip(beside, others, strict=True):
        files, manifest = folder_of(net, made, f"{FOLDERS[name]}-{task}", licence, recipe)
        add_specialist(out / FOLDERS[name], task, files, manifest)
        print(f"{out / FOLDERS[name] / task}: {sum(map(len, files.values()))} bytes")
