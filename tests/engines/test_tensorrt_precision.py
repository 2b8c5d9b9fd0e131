"""Networks for TensorRT at half precision: what is converted, what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.helpers.engine_networks import PLAN, SMALL, answers, lite, model_of
from vsanimup.engines.cache import Cache
from vsanimup.engines.tensorrt import precision
from vsanimup.engines.tensorrt.library import Library
from vsanimup.engines.tensorrt.plans import Request, Target, plan
from vsanimup.errors import AnimupError
from vsanimup.networks.manifest import SHIPPED


@pytest.mark.parametrize("name", ["lite-restore", "lite-upscale"])
def test_half_precision_is_what_the_comparison_says(name: str) -> None:
    """The graph that is compared gives what the converted one gives, and both are near the original."""
    path = SHIPPED / name / "network.onnx"
    exact, converted, rounded = (onnx.load(path) for _ in range(3))
    inputs = precision.random_inputs(exact, SMALL, name)
    precision.convert(converted, "fp16", origin=name, folder=path.parent)
    precision.convert(rounded, "fp16", origin=name, folder=path.parent, rounded=True)
    onnx.checker.check_model(converted, full_check=True)
    for wanted, narrow, same in zip(*(answers(net, inputs) for net in (exact, converted, rounded)), strict=True):
        assert narrow.dtype == np.float32
        assert 1e-6 < np.abs(narrow - wanted).max() < 2e-3
        assert np.abs(narrow - same).max() < 1.5e-3  # onnxruntime sums at 16 bits here and there
    off = precision.compare(exact.SerializeToString(), rounded.SerializeToString(), inputs, "fp16", name)
    assert 1e-5 < off < 1e-3
    widths = {tensor.name: tensor.data_type for tensor in converted.graph.initializer}
    assert {widths[weight] for weight in widths if weight.endswith("conv.weight")} == {TensorProto.FLOAT16}


@pytest.mark.slow
def test_bf16_builds(rtx: Library, cache: Cache) -> None:
    assert plan(rtx, lite(precision="bf16"), Target(), cache).data.startswith(PLAN)
    assert cache.entries()[0].path.name.startswith("lite-restore_bf16_96x48_trt-rtx-")


def test_sensitive_operators_keep_their_width(ipt: Path) -> None:
    model = onnx.load(ipt)
    precision.convert(model, "fp16", origin="ipt", folder=ipt.parent)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}
    found: dict[str, Any] = {}
    for node in model.graph.node:
        found.setdefault(node.op_type, set()).add(kinds[node.output[0]])
    assert found["Softmax"] == found["LayerNormalization"] == {TensorProto.FLOAT}
    assert found["Conv"] == found["MatMul"] == found["DepthToSpace"] == {TensorProto.FLOAT16}


def test_shapes_and_whole_numbers_are_left_alone() -> None:
    """Numbers that sizes are computed from, in floats, are no picture: 2049 would become 2048."""
    net = model_of(
        [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Cast", ["shape"], ["sizes"], to=1),
            helper.make_node("Add", ["sizes", "zero"], ["same"]),
            helper.make_node("Cast", ["same"], ["whole"], to=7),
            helper.make_node("MatMul", ["x", "w"], ["z"]),
            helper.make_node("Reshape", ["z", "whole"], ["flat"]),
            helper.make_node("Relu", ["flat"], ["y"]),
        ],
        {"zero": np.zeros(2, np.float32), "w": np.eye(3, dtype=np.float32)},
        [("x", [2049, 3])],
        [("y", [2049, 3])],
    )
    x = np.random.default_rng(1).random((2049, 3), np.float32)
    precision.convert(net, "fp16", origin="net", folder=Path())
    (y,) = answers(net, {"x": x})
    assert y.shape == x.shape and np.abs(y - x).max() < 1e-3


@pytest.mark.parametrize(
    ("gain", "message"),
    [(1e6, "values that are no numbers at fp16; use precision='bf16'"), (0.5, None)],
)
def test_a_network_that_overflows_is_refused(rtx: Library, cache: Cache, gain: float, message: str | None) -> None:
    net = model_of(
        [
            helper.make_node("Conv", ["x", "w"], ["h"], pads=[1] * 4),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("Conv", ["r", "v"], ["y"], pads=[1] * 4),
        ],
        {"w": np.full((4, 3, 3, 3), gain, np.float32), "v": np.full((3, 4, 3, 3), 0.01 / gain, np.float32)},
        [("x", [1, 3, 16, 16])],
        [("y", [1, 3, 16, 16])],
    )
    request = Request(network=net.SerializeToString(), origin="net.onnx", sizes={})
    if message is None:
        assert plan(rtx, request, Target(), cache).data.startswith(PLAN)
        return
    with pytest.raises(AnimupError, match=re.escape(message)):
        plan(rtx, request, Target(), cache)
    assert cache.entries() == []


def test_a_network_that_loses_too_much_is_refused() -> None:
    net = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "v"], ["y"])],
        {"w": np.array([[1, 1], [1, 1.0001]], np.float32), "v": np.array([[1e4], [-1e4]], np.float32)},
        [("x", [1, 2])],
        [("y", [1, 1])],
    )
    rounded = type(net)()
    rounded.CopyFrom(net)
    precision.convert(rounded, "fp16", origin="net", folder=Path(), rounded=True)
    inputs = precision.random_inputs(net, {}, "net")
    with pytest.raises(AnimupError, match=r"net is off by \d+\.\d% of its largest value at fp16"):
        precision.compare(net.SerializeToString(), rounded.SerializeToString(), inputs, "fp16", "net")


def test_precisions_that_do_not_fit_are_refused(rtx: Library, cache: Cache, ipt: Path) -> None:
    half = onnx.load(ipt)
    precision.convert(half, "fp16", origin="ipt", folder=ipt.parent)
    request = Request(network=half.SerializeToString(), origin="half.onnx", sizes={"patches": 1}, precision="fp32")
    with pytest.raises(AnimupError, match=r"half\.onnx is fp16 already: precision='fp32' needs another export"):
        plan(rtx, request, Target(), cache)
    whole = SHIPPED / "lite-restore" / "network.int8.onnx"
    with pytest.raises(AnimupError, match=r"is quantised, which is for backend='cpu'"):
        plan(rtx, Request(network=whole.read_bytes(), origin=str(whole), sizes=SMALL), Target(), cache)
    with pytest.raises(AnimupError, match="precision must be one of auto, fp32, fp16, bf16"):
        plan(rtx, lite(precision="fp8"), Target(), cache)
