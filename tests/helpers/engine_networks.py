"""Networks that engines are built of, and the command that builds them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from vsanimup.cli.main import app
from vsanimup.engines import Array, device
from vsanimup.engines.tensorrt.plans import Request
from vsanimup.networks.lite.inference import fixed
from vsanimup.networks.manifest import SHIPPED

SMALL = fixed(48, 96)
GPU = device.DeviceInfo(
    name="NVIDIA GeForce RTX 4090",
    compute_capability=(8, 9),
    driver="13.0",
    runtime="13.0",
    total_memory=1 << 34,
    free_memory=1 << 33,
)
PLAN = b"vtrt"
"""What serialised engines of TensorRT-RTX begin with."""


def lite(name: str = "lite-restore", **options: Any) -> Request:
    """What is asked for of a shipped network."""
    path = SHIPPED / name / "network.onnx"
    return Request(**{"network": path.read_bytes(), "origin": str(path), "sizes": SMALL, **options})


type Values = Sequence[tuple[str, Sequence[int | str]]]
"""Names and shapes."""


def model_of(
    nodes: Sequence[onnx.NodeProto], weights: Mapping[str, Array], inputs: Values, outputs: Values, opset: int = 17
) -> onnx.ModelProto:
    """A network of these nodes."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def answers(network: onnx.ModelProto, inputs: Mapping[str, Array]) -> list[Any]:
    """What onnxruntime makes of it as it stands."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    found: list[Any] = ort.InferenceSession(network.SerializeToString(), options).run(None, inputs)
    return found


def command(*arguments: object) -> tuple[int, str]:
    """Run ``animup engines``: its exit code, and what it said."""
    done = CliRunner().invoke(app, ["engines", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, re.sub(r"\s+", " ", done.output)
