"""Networks of 16-bit floats out of networks of 32-bit ones, and how far they are from them.

TensorRT's networks are strongly typed: what type a tensor has stands in the ONNX graph, in casts. Of the libraries that
write such graphs, onnxconverter-common knows no bfloat16 and is stopped by the lite networks, and nvidia-modelopt
brings PyTorch along.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from vsanimup.engines.base import Size, Weights
from vsanimup.errors import AnimupError

TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
"""Precisions that a network can be converted to."""
LIMITS = {"fp16": 0.02, "bf16": 0.1}
"""Largest difference to 32 bits on random input that is let pass, as a share of the largest value."""
NARROW = {"Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul"}
"""Operators that take most of the time: always of 16 bits."""
WIDE = {
    "BatchNormalization",
    "CumSum",
    "Exp",
    "GlobalAveragePool",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "MeanVarianceNormalization",
    "Pow",
    "RMSNormalization",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSumExp",
    "ReduceMean",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Softmax",
    "Sqrt",
}
"""Operators that sum many values or span many magnitudes: always of 32 bits. All others are as their inputs are."""
WIDE_INPUTS = {"Resize": {1, 2}, "Upsample": {1}, "Dropout": {1, 2}}
"""Inputs that have 32 bits whatever the operator has."""
CONTROL_FLOW = {"If", "Loop", "Scan"}


def kind_of(model: onnx.ModelProto) -> str:
    """The precision that a graph has by itself: ``fp32``, ``fp16``, ``bf16`` or ``int8``."""
    if any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        return "int8"
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    return next((name for name, kind in TYPES.items() if kind in kinds), "fp32")


def merge(model: onnx.ModelProto, weights: Weights) -> None:
    """Put ``weights`` in the places of a graph's initialisers.

    Raises :class:`ValueError` when there is none of a name and shape.
    """
    known = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, values in weights.items():
        if name not in known or tuple(known[name].dims) != values.shape:
            raise ValueError(f"there is no initialiser {name} of shape {values.shape}")
        known[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))


def convert(model: onnx.ModelProto, precision: str, *, origin: str, folder: Path, rounded: bool = False) -> None:
    """Turn a graph of 32-bit floats into one of ``fp16`` or ``bf16``, in place; inputs and outputs keep 32 bits.

    ``folder`` is where external weights lie. Initialisers keep their names. With ``rounded`` all types stay as they
    are, and values are rounded wherever the converted graph would hold 16 bits: such a graph runs on any CPU.
    Raises :class:`AnimupError` for graphs with control flow.
    """
    if flow := CONTROL_FLOW & {node.op_type for node in model.graph.node}:
        raise AnimupError(f"the network {origin} has control flow ({', '.join(sorted(flow))}); use precision='fp32'")
    _Conversion(model, TYPES[precision], folder, rounded).run()


class _Conversion:
    """One walk through a graph."""

    def __init__(self, model: onnx.ModelProto, kind: int, folder: Path, rounded: bool) -> None:
        self._graph, self._kind, self._folder, self._rounded = model.graph, kind, folder, rounded
        self._nodes: list[onnx.NodeProto] = []
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:  # constants inside the graph are initialisers of another kind
            value = next((entry.t for entry in node.attribute if entry.name == "value"), None)
            if node.op_type == "Constant" and value is not None and value.data_type == TensorProto.FLOAT:
                tensor = TensorProto()
                tensor.CopyFrom(value)
                tensor.name = node.output[0]
                self._constants[tensor.name] = tensor
        self._floats = self._float_tensors(model)
        self._last = self._last_nodes()
        self._narrow: set[str] = set()  # tensors that hold 16 bits
        self._casts: dict[tuple[str, int], str] = {}
        self._used: dict[str, set[bool]] = {}  # constants, and the widths in which they are needed

    def _float_tensors(self, model: onnx.ModelProto) -> set[str]:
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = (*inferred.value_info, *inferred.input, *inferred.output)
        found = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
        return found | {name for name, tensor in self._constants.items() if tensor.data_type == TensorProto.FLOAT}

    def _last_nodes(self) -> set[str]:
        """First outputs of the nodes between the last of :data:`NARROW` and the network's end.

        They add the change to the picture, whose values 16 bits would round: with these wide, fp16 is off by 0.0007
        instead of 0.0008 (``lite-restore``) and 0.0009 (``lite-upscale``) of the largest value on random input.
        Norms, softmax and sums make no difference in such comparisons, in which only what they hand on is rounded.
        """
        makers = {name: node for node in self._graph.node for name in node.output}
        found: set[str] = set()
        waiting = [value.name for value in self._graph.output]
        while waiting:
            name = waiting.pop()
            node = makers.get(name)
            if node is None or node.op_type in NARROW or node.output[0] in found:
                continue
            found.add(node.output[0])
            waiting += node.input
        return found

    def run(self) -> None:
        outputs = {value.name for value in self._graph.output}
        for node in self._graph.node:
            if node.op_type == "Constant" and node.output[0] in self._constants:
                continue
            narrow = self._is_narrow(node)
            wide = WIDE_INPUTS.get(node.op_type, set())
            for i, name in enumerate(node.input):
                if name in self._floats and node.op_type != "Cast":
                    node.input[i] = self._as(name, narrow and i not in wide)
                elif name in self._constants:
                    self._used.setdefault(name, set()).add(False)
            self._nodes.append(node)
            if narrow:
                self._finish(node, outputs)
        for name in outputs & self._constants.keys():
            self._used.setdefault(name, set()).add(False)
        initialisers = [tensor for name in self._used for tensor in self._stored(name)]
        del self._graph.node[:], self._graph.initializer[:], self._graph.value_info[:]
        self._graph.node.extend(self._nodes)
        self._graph.initializer.extend(initialisers)

    def _is_narrow(self, node: onnx.NodeProto) -> bool:
        if node.op_type in WIDE or node.op_type == "Cast" or not any(o in self._floats for o in node.output):
            return False
        if node.output[0] in self._last:
            return False
        if node.op_type in NARROW:
            return True
        wide = WIDE_INPUTS.get(node.op_type, set())
        return any(name in self._narrow for i, name in enumerate(node.input) if i not in wide)

    def _finish(self, node: onnx.NodeProto, outputs: set[str]) -> None:
        """Note down that a node's outputs have 16 bits now, or round them."""
        for i, name in enumerate(node.output):
            if name not in self._floats:
                continue
            if not self._rounded and name not in outputs:
                self._narrow.add(name)
                continue
            inner = f"{name}@inner"
            node.output[i] = inner
            if self._rounded:
                self._narrow.add(name)
                half = f"{name}@half"
                self._nodes.append(helper.make_node("Cast", [inner], [half], to=self._kind))
                inner = half
            self._nodes.append(helper.make_node("Cast", [inner], [name], to=TensorProto.FLOAT))

    def _as(self, name: str, narrow: bool) -> str:
        """The name under which a tensor is there in a width."""
        if name in self._constants:
            self._used.setdefault(name, set()).add(narrow)
            return self._copy(name) if narrow and False in self._used[name] else name
        if narrow == (name in self._narrow) or (self._rounded and name in self._narrow):
            return name
        kind = self._kind if narrow else TensorProto.FLOAT
        if (name, kind) not in self._casts:
            self._casts[name, kind] = f"{name}@{'narrow' if narrow else 'wide'}"
            steps = [kind, TensorProto.FLOAT] if self._rounded else [kind]
            source = name
            for i, to in enumerate(steps, 1):
                target = self._casts[name, kind] if i == len(steps) else f"{name}@half"
                self._nodes.append(helper.make_node("Cast", [source], [target], to=to))
                source = target
        return self._casts[name, kind]

    def _copy(self, name: str) -> str:
        return f"{name}@narrow"

    def _stored(self, name: str) -> list[TensorProto]:
        """An initialiser in the widths in which it is used."""
        tensor, widths = self._constants[name], self._used[name]
        if onnx.external_data_helper.uses_external_data(tensor):
            onnx.external_data_helper.load_external_data_for_tensor(tensor, str(self._folder))
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]
        found = [tensor] if False in widths else []
        if True in widths:
            values = numpy_helper.to_array(tensor)
            with np.errstate(over="ignore"):  # what does not fit shows in the comparison
                half: NDArray[Any] = values.astype(helper.tensor_dtype_to_np_dtype(self._kind))
            if self._rounded:
                half = half.astype(np.float32)
            found.append(numpy_helper.from_array(half, self._copy(name) if found else name))
        return found


def random_inputs(model: onnx.ModelProto, sizes: Mapping[str, Size], origin: str) -> dict[str, NDArray[Any]]:
    """Input for a graph, of the least sizes: floats evenly spread over 0..1, whole numbers 0 or 1.

    Raises :class:`AnimupError` for a dimension without a size.
    """
    rng = np.random.default_rng(0)
    found: dict[str, NDArray[Any]] = {}
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name in constants:
            continue
        shape: list[int] = []
        for dimension in value.type.tensor_type.shape.dim:
            size: Size = dimension.dim_value
            if not size:
                if dimension.dim_param not in sizes:
                    raise AnimupError(
                        f"the network {origin}: TensorRT needs a size or range for dimension "
                        f"{dimension.dim_param or len(shape)} of input {value.name}"
                    )
                size = sizes[dimension.dim_param]
            shape.append(size if isinstance(size, int) else size[0])
        kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        spread = rng.random(shape, np.float32) if np.issubdtype(kind, np.floating) else rng.integers(0, 2, shape)
        found[value.name] = spread.astype(kind)
    return found


def compare(
    exact: bytes | Path, rounded: bytes | Path, inputs: Mapping[str, NDArray[Any]], precision: str, origin: str
) -> float:
    """Largest difference of two graphs' outputs, as a share of the largest value of each.

    Raises :class:`AnimupError` when ``rounded`` gives what is no number, or is further off than :data:`LIMITS`.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    # optimised, casts there and back could be taken out
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL

    def answers(network: bytes | Path) -> list[NDArray[np.float32]]:
        given = network if isinstance(network, bytes) else str(network)
        try:
            session = ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
            return [np.asarray(result, np.float32) for result in session.run(None, dict(inputs))]
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            raise AnimupError(
                f"the network {origin} cannot be compared at {precision} ({error}); use precision='fp32'"
            ) from error

    remedy = f"use precision={'bf16' if precision == 'fp16' else 'fp32'!r}"
    worst = 0.0
    for wanted, got in zip(answers(exact), answers(rounded), strict=True):
        if not np.isfinite(got).all():
            raise AnimupError(f"the network {origin} gives values that are no numbers at {precision}; {remedy}")
        scale = max(float(np.abs(wanted).max(initial=0)), 1e-6)
        worst = max(worst, float(np.abs(got - wanted).max(initial=0)) / scale)
    if worst > LIMITS[precision]:
        raise AnimupError(
            f"the network {origin} is off by {worst:.1%} of its largest value at {precision}, more than the "
            f"{LIMITS[precision]:.0%} let pass; {remedy}"
        )
    return worst
