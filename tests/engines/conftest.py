"""A CUDA that is made up, TensorRT-RTX, and a folder for engines."""

import gc
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from tests.helpers.fake_cuda import FakeCuda
from vsanimup.engines import device
from vsanimup.engines.cache import VARIABLE, Cache
from vsanimup.engines.tensorrt import library as libraries


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    """A CUDA that is made up; nothing of it may be left in the end."""
    fake = FakeCuda(devices=2)
    monkeypatch.setattr(device, "runtime", lambda: fake)
    yield fake
    gc.collect()
    assert not fake.problems and not fake.leftovers()


@pytest.fixture(scope="session")
def rtx() -> libraries.Library:
    return libraries.find()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "engines")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "engines"))
    return tmp_path / "engines"


@pytest.fixture(scope="module")
def ipt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small IPT with random weights, its weights beside it."""
    torch = pytest.importorskip("torch")

    from tests.helpers.small_ipt import Ipt

    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("ipt")
    with torch.no_grad():
        torch.onnx.export(
            Ipt().eval(),
            (torch.rand(2, 3, 12, 12),),
            folder / "whole.onnx",
            input_names=["image"],
            output_names=["result"],
            dynamic_axes={"image": {0: "patches"}, "result": {0: "patches"}},
            opset_version=17,
            dynamo=False,
        )
    onnx.save(
        onnx.load(folder / "whole.onnx"),
        folder / "ipt.onnx",
        save_as_external_data=True,
        location="ipt.weights",
        size_threshold=0,
    )
    return folder / "ipt.onnx"
