"""A module to ``NAME.onnx`` and ``NAME.weights``, and back again for comparison.

The graph is traced without its weights, which then go to their file one by one, so that no second copy of them is ever
held and the 2 GiB that a protocol buffer may have do not matter.
"""

from __future__ import annotations

import gc
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn

from vsanimup.architectures.animatelcm.layers import halve
from vsanimup.errors import AnimupError

OPSET = 17
ALIGN = 4096
"""Large tensors start at multiples of this, so that they can be mapped into memory."""
INLINE = 1024
"""Tensors of fewer bytes stay in the graph, where shape inference sees them."""
TOLERANCES = {"fp32": 1e-4, "fp16": 2e-2}
"""Largest difference to PyTorch in float32 that a graph may have, of the largest value where that is above 1."""
Axes = Mapping[str, Mapping[int, str]]


def trace(net: nn.Module, example: Mapping[str, Tensor], outputs: Sequence[str], axes: Axes) -> onnx.ModelProto:
    """The graph of ``net`` with its parameters as inputs under their own names."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        # shapes that are really fixed, such as numbers of channels, are taken for constants with a warning each;
        # those that must not be are tried by comparing at another size
        warnings.simplefilter("ignore")
        path = Path(folder) / "graph.onnx"
        torch.onnx.export(
            net,
            tuple(example.values()),
            path,
            input_names=list(example),
            output_names=list(outputs),
            dynamic_axes={name: dict(named) for name, named in axes.items()},
            opset_version=OPSET,
            dynamo=False,
            export_params=False,
            do_constant_folding=False,
        )
        return onnx.load(path)


def tidy(model: onnx.ModelProto, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take detours of weights out of a graph; gives those that it uses.

    Weights that are alike are passed on by Identity, and those of linear layers are transposed: the latter get the name
    ``….T``.
    """
    known = dict(weights)
    names: dict[str, str] = {}
    nodes = []
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = names.get(name, name)
        source = node.input[0] if node.input else ""
        if source in known and node.op_type == "Identity":
            names[node.output[0]] = source
        elif source in known and node.op_type == "Transpose" and known[source].ndim == 2:
            names[node.output[0]] = f"{source}.T"
            known[f"{source}.T"] = known[source].T  # a view
        else:
            nodes.append(node)
    used = {name: known[name] for node in nodes for name in node.input if name in known}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend(nodes)
    model.graph.input.extend(inputs)
    return used


def padded(file: IO[bytes], align: int) -> int:
    """Fill a file up to a multiple of ``align``; gives the place."""
    place = -(-file.tell() // align) * align
    file.write(b"\0" * (place - file.tell()))
    return place


def stored(path: Path) -> dict[str, onnx.TensorProto]:
    """The weights of a graph that lie in a file beside it, by name; none where there is no such graph."""
    if not path.exists():
        return {}
    model = onnx.load(path, load_external_data=False)
    return {tensor.name: tensor for tensor in model.graph.initializer if tensor.external_data}


def store(
    model: onnx.ModelProto, weights: Mapping[str, Tensor], folder: Path, name: str, like: str, inline: bool = False
) -> None:
    """Write the graph and its weights; those that the graph ``like`` has stored already are taken from there. With
    ``inline`` all stay in the graph.

    Raises :class:`AnimupError` when a number does not fit the precision or is none.
    """
    shared = stored(folder / f"{like}.onnx") if like != name else {}
    with (folder / f"{like}.weights").open("ab" if shared else "wb") as file:
        for key, weight in track(weights.items(), f"{name}: writing", transient=True):
            if key in shared:
                model.graph.initializer.append(shared[key])
                continue
            if not torch.isfinite(weight).all():
                half = weight.dtype == torch.float16
                raise AnimupError(
                    f"{name}: {key} holds numbers that {'float16 cannot hold' if half else 'are no numbers'}: "
                    + ("export with --precision fp32" if half else "the checkpoint is damaged, get it again")
                )
            values: NDArray[np.generic] = weight.contiguous().numpy()
            tensor = model.graph.initializer.add()
            tensor.name, tensor.data_type = key, onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
            tensor.dims.extend(values.shape)
            if inline or values.nbytes < INLINE:
                tensor.raw_data = values.tobytes()
                continue
            tensor.data_location = onnx.TensorProto.EXTERNAL
            place = padded(file, ALIGN)
            file.write(memoryview(values).cast("B"))
            for entry, value in (("location", f"{like}.weights"), ("offset", place), ("length", values.nbytes)):
                tensor.external_data.add(key=entry, value=str(value))
    path = folder / f"{name}.onnx"
    path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(path)


def answers(net: nn.Module, inputs: Mapping[str, Tensor]) -> list[NDArray[np.float32]]:
    """What PyTorch gives."""
    with torch.no_grad():
        found = net(*inputs.values())
    return [value.numpy() for value in (found if isinstance(found, tuple) else (found,))]


def run(path: Path, inputs: Mapping[str, Tensor]) -> list[NDArray[np.float32]]:
    """What onnxruntime gives, one thread, without copies of weights in another order."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_prepacking", "1")
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found: list[NDArray[np.float32]] = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return found


def difference(found: Sequence[NDArray[np.float32]], wanted: Sequence[NDArray[np.float32]]) -> tuple[float, float]:
    """Largest difference, and the same of the largest value of its output where that is above 1."""
    pairs = [(float(np.abs(a - b).max()), max(1.0, float(np.abs(b).max()))) for a, b in zip(found, wanted, strict=True)]
    return max(d for d, _ in pairs), max(d / size for d, size in pairs)


def export(
    make: Callable[[], nn.Module],
    *,
    name: str,
    folder: Path,
    example: Mapping[str, Tensor],
    other: Mapping[str, Tensor],
    outputs: Sequence[str],
    axes: Axes,
    precision: str,
    weights_of: str | None = None,
    inline: bool = False,
) -> Iterator[str]:
    """Load, trace, write, release and compare one network; says what it did, the largest difference last.

    ``example`` is traced and ``other``, of other sizes, compared with PyTorch in float32. ``weights_of`` names a graph
    of the folder that has the same weights, which are not written again; with ``inline`` they are part of the graph.
    Raises :class:`AnimupError`
    when they differ by more than :data:`TOLERANCES`, or numbers do not fit.
    """
    yield f"{name}: loading"
    net = make()
    net.requires_grad_(False)
    wanted = answers(net, other)
    if precision == "fp16":
        halve(net)
    yield f"{name}: tracing"
    model = trace(net, example, outputs, axes)
    weights = tidy(model, dict(net.named_parameters()) | dict(net.named_buffers()))
    yield f"{name}: writing {sum(weight.nbytes for weight in weights.values())} bytes"
    store(model, weights, folder, name, weights_of or name, inline)
    del net, model, weights
    gc.collect()
    largest, relative = difference(run(folder / f"{name}.onnx", other), wanted)
    yield f"{name}: largest difference between PyTorch in float32 and onnxruntime in {precision}: {largest:.2e}"
    if not relative <= TOLERANCES[precision]:
        remedy = (
            "with --precision fp32 it is smaller"
            if precision == "fp16"
            else "use other versions of torch or onnxruntime"
        )
        raise AnimupError(
            f"{name}: that is {relative:.1e} of the range, above the tolerance of {TOLERANCES[precision]:.0e}: nothing "
            f"was written; {remedy}"
        )
