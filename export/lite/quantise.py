"""A float network to one of 8-bit integers, by static quantisation with onnxruntime's own quantiser.

Activations get one scale a tensor, from the ranges that training rounded them in; weights get one scale an output
channel and half the range (see :data:`vsanimup.networks.modulation.LEVELS`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

Feed = Mapping[str, NDArray[np.float32]]
Ranges = dict[str, tuple[float, float]]

OPERATORS = ["Conv", "Add", "Relu", "DepthToSpace"]
"""Operators that run on integers."""
MOVES = ["DepthToSpace", "Transpose", "Reshape", "Pad", "Slice"]
"""Operators whose results are values of their input."""


def prepared(network: bytes) -> onnx.ModelProto:
    """The network with shapes inferred, as the quantiser wants it."""
    return onnx.shape_inference.infer_shapes(onnx.load_from_string(network))


def spread(network: bytes, ranges: Ranges) -> Ranges:
    """``ranges`` with those of tensors that hold the same values in other places."""
    known = dict(ranges)
    for node in prepared(network).graph.node:
        if node.op_type in MOVES and node.input[0] in known:
            known.setdefault(node.output[0], known[node.input[0]])
    return known


def quantise(network: bytes, ranges: Ranges, keep: Sequence[str] = ()) -> bytes:
    """The network with 8-bit integers; nodes whose names start with one of ``keep`` stay float."""
    model = prepared(network)
    ranges = spread(network, ranges)
    floats = [node.name for node in model.graph.node if node.name.startswith(tuple(keep))] if keep else []
    data = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    quantiser = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, data),
        nodes_to_quantize=[],
        nodes_to_exclude=floats,
        op_types_to_quantize=OPERATORS,
        extra_options={"WeightSymmetric": True},
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    result = quantiser.model.model
    for tensor in result.graph.initializer:  # so that every value has a place in the file
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    onnx.checker.check_model(result)
    return bytes(result.SerializeToString())


def corrected(
    network: bytes, ranges: Ranges, keep: Sequence[str], feeds: Sequence[Feed], sides: Sequence[int], layer: str = "out"
) -> bytes:
    """As :func:`quantise`, with the last layer's offsets moved so that the mean error on ``feeds`` vanishes.

    ``layer`` gives what is shuffled by ``sides`` into the results and added to the input. Rounding errs the same way
    over a whole flat area, which would shift its colour; everywhere else it averages out.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    exact = ort.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    wanted = [exact.run(None, dict(feed)) for feed in feeds]
    model = onnx.load_from_string(network)
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == f"{layer}.bias")
    result = network
    for _ in range(3):
        result = quantise(model.SerializeToString(), ranges, keep)
        session = ort.InferenceSession(result, options, providers=["CPUExecutionProvider"])
        errors = []
        for feed, right in zip(feeds, wanted, strict=True):
            found = session.run(None, dict(feed))
            parts = zip(found, right, sides, strict=True)
            errors.append(np.concatenate([_phases(a - b, side) for a, b, side in parts]))
        error = np.mean(errors, axis=0)
        values = onnx.numpy_helper.to_array(bias).copy()
        values[: error.size] -= error.astype(np.float32)
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    return quantise(model.SerializeToString(), ranges, keep)


def _phases(planes: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    """Mean over positions of the ``side * side`` samples that a shuffle lays side by side, ``[1, n, rows, columns]``
    in, the shuffle's ``n * side * side`` channels out. The border, where padding shows, is left out."""
    _, count, rows, columns = planes.shape
    cells = planes.reshape(count, rows // side, side, columns // side, side).astype(np.float64)
    third = (rows // side // 3, columns // side // 3)
    inner = cells[:, third[0] : 2 * third[0], :, third[1] : 2 * third[1]]
    result: NDArray[np.float64] = inner.mean((1, 3)).reshape(-1)
    return result
