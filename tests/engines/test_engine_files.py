"""Networks from files, with weights beside them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vsanimup.engines import on_host
from vsanimup.engines.cpu import CpuBackend
from vsanimup.errors import AnimupError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """``y = float(numbers) + weights``, the weights in a file of their own."""
    weights = numpy_helper.from_array(np.arange(1000, dtype=np.float32), "weights")
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["numbers"], ["x"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["x", "weights"], ["y"]),
        ],
        "sum",
        [helper.make_tensor_value_info("numbers", TensorProto.INT32, ["frames", 1000])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["frames", 1000])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "sum.onnx", save_as_external_data=True, location="sum.weights", size_threshold=0)
    return tmp_path / "sum.onnx"


def test_weights_lie_beside_the_graph(path: Path) -> None:
    numbers = np.ones((2, 1000), np.int32)
    for sizes in ({}, {"frames": 2}, {"no such": 3}):
        engine = CpuBackend().load_file(path, sizes=sizes, device_id=0)
        assert np.array_equal(
            on_host(engine.run({"numbers": numbers})["y"]), numbers + np.arange(1000, dtype=np.float32)
        )
    with pytest.raises(AnimupError, match=r"the network .*sum\.onnx failed on the cpu backend"):
        engine.run({"numbers": numbers.astype(np.float32)})


@pytest.mark.parametrize("damage", ["sum.onnx", "sum.weights", "missing"])
def test_a_file_that_does_not_load_is_named(path: Path, damage: str) -> None:
    if damage == "missing":
        path.with_suffix(".weights").unlink()
    else:
        (path.parent / damage).write_bytes(b"x")
    with pytest.raises(AnimupError, match="cannot load the network") as caught:
        CpuBackend().load_file(path, sizes={}, device_id=0)
    assert str(path) in str(caught.value)


def test_device(path: Path) -> None:
    with pytest.raises(AnimupError, match="device_id must be 0 on the cpu backend, got 1"):
        CpuBackend().load_file(path, sizes={}, device_id=1)
