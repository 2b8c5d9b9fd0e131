"""Shorter weights: what a network's file weighs in a wheel, without what its pictures would show."""

from __future__ import annotations

import numpy as np
import onnx

BITS = 10
"""Of a float's mantissa of 23 that are kept: as many as TF32 has. Wheels get a quarter smaller."""
LEAST = 64
"""Values that a tensor of weights has; what has fewer is left as it is."""


def shortened(network: bytes) -> bytes:
    """An ONNX file whose float weights are rounded to :data:`BITS`, each at its place: offsets into it stay right."""
    data = bytearray(network)
    end = 0
    for tensor in onnx.load_from_string(network).graph.initializer:
        raw = tensor.raw_data
        if tensor.data_type != onnx.TensorProto.FLOAT or len(raw) < 4 * LEAST:
            continue
        begin = network.index(raw, network.index(tensor.SerializeToString(), end))
        end = begin + len(raw)
        data[begin:end] = rounded(np.frombuffer(raw, np.float32)).tobytes()
    return bytes(data)


def rounded(values: np.ndarray) -> np.ndarray:
    """The nearest floats that have :data:`BITS` bits of mantissa."""
    drop = 23 - BITS
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    half = np.uint32((1 << (drop - 1)) - 1) + ((bits >> drop) & np.uint32(1))
    return ((bits + half) >> drop << drop).astype(np.uint32).view(np.float32)
