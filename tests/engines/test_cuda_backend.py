"""The backend ``cuda``: refused with a remedy where it cannot run; and onnxruntime's own computations behind a CUDA
that is made up, in place of those on a GPU."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import vapoursynth as vs
from onnx import TensorProto, helper
from onnxruntime.capi.onnxruntime_pybind11_state import NodeArg, RunOptions, SessionOptions

from tests.helpers.clips import core, moving
from tests.helpers.fake_cuda import FakeCuda
from vsanimup import engines
from vsanimup.engines import device, on_host
from vsanimup.engines.cuda import CudaBackend
from vsanimup.errors import AnimupError, OutOfMemory

TRUE_SESSION = ort.InferenceSession


def network(dims: tuple[str, int, str, str] = ("frames", 2, "height", "width"), kind: int = TensorProto.FLOAT) -> bytes:
    """``next = latents / 2 + t``."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["latents", "half"], ["halved"]), helper.make_node("Add", ["halved", "t"], ["next"])],
        "step",
        [helper.make_tensor_value_info("latents", kind, dims), helper.make_tensor_value_info("t", kind, [1])],
        [helper.make_tensor_value_info("next", kind, dims)],
        [helper.make_tensor("half", kind, [1], [0.5])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


class Binding:
    def __init__(self) -> None:
        self.bound: dict[str, tuple[int, np.dtype[Any], tuple[int, ...], int]] = {}

    def bind_input(
        self,
        name: str,
        device_type: str,
        device_id: int,
        element_type: type[np.float16] | type[float],
        shape: tuple[int, ...],
        buffer_ptr: int,
    ) -> None:
        assert device_type == "cuda"
        self.bound[name] = (device_id, np.dtype(element_type), shape, buffer_ptr)

    bind_output = bind_input

    def synchronize_outputs(self) -> None:
        pass


class Session:
    """As onnxruntime-gpu's, of which it is said in ``how`` what goes wrong; computes by the CPU provider."""

    def __init__(
        self,
        fake: FakeCuda,
        how: dict[str, Any],
        made: list[Session],
        network: bytes,
        options: SessionOptions,
        providers: list[tuple[str, dict[str, str]]],
    ) -> None:
        (self.provider,) = providers
        if how.get("graphs") is False and "enable_cuda_graph" in self.provider[1]:
            raise RuntimeError("This session cannot use the graph capture feature as requested by the user")
        self.true = TRUE_SESSION(network, options, providers=["CPUExecutionProvider"])
        self.fake, self.how, self.options = fake, how, options
        self.threads: set[int] = set()
        self.graphs: list[str] = []
        made.append(self)

    def get_inputs(self) -> list[NodeArg]:
        return list(self.true.get_inputs())

    def get_outputs(self) -> list[NodeArg]:
        return list(self.true.get_outputs())

    def get_providers(self) -> list[str]:
        return list(self.how.get("providers", ["CUDAExecutionProvider", "CPUExecutionProvider"]))

    def disable_fallback(self) -> None:
        pass

    def io_binding(self) -> Binding:
        return Binding()

    def run_with_iobinding(self, binding: Binding, options: RunOptions) -> None:
        import threading

        if said := self.how.get("fail"):
            raise RuntimeError(said)
        self.threads.add(threading.get_ident())
        graph = options.get_run_config_entry("gpu_graph_id") if self.how.get("dynamic") else "fixed"
        self.graphs.append(graph)
        arrays = {}
        for name, (_, dtype, shape, address) in binding.bound.items():
            size = int(np.prod(shape)) * dtype.itemsize
            piece = self.fake.piece(address, size, False)
            assert piece is not None
            arrays[name] = np.frombuffer(piece.buffer, dtype, count=int(np.prod(shape))).reshape(shape)
        names = [tensor.name for tensor in self.get_outputs()]
        inputs = {tensor.name: arrays[tensor.name] for tensor in self.get_inputs()}
        for name, value in zip(names, self.true.run(names, inputs), strict=True):
            arrays[name][...] = value


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[CudaBackend, list[Session], dict[str, Any], FakeCuda]]:
    """A backend and the sessions it made; keyword arguments say what goes wrong."""
    fake = FakeCuda()
    how: dict[str, Any] = {}
    made: list[Session] = []
    monkeypatch.setattr(device, "runtime", lambda: fake)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(
        ort, "InferenceSession", lambda data, options, providers: Session(fake, how, made, data, options, providers)
    )
    yield CudaBackend(), made, how, fake
    gc.collect()
    assert not fake.problems and not fake.leftovers()


def test_without_gpu_package_the_remedy_is_named() -> None:
    """As here, where onnxruntime for CPUs is installed."""
    assert "CUDAExecutionProvider" not in ort.get_available_providers()
    with pytest.raises(
        AnimupError, match=r"^backend='cuda' cannot be used: the onnxruntime .* knows no GPU: pip uninstall"
    ):
        engines.choose("cuda")
    with pytest.raises(vs.Error, match=r"^Restore: backend='cuda' cannot be used: .*pip uninstall onnxruntime"):
        core.animup.Restore(moving(length=1), backend="cuda")


@pytest.mark.parametrize("is_there", [False, True])
def test_auto_falls_back_and_says_so(monkeypatch: pytest.MonkeyPatch, is_there: bool) -> None:
    """Why is for who looks for it; that a GPU goes unused is for everybody."""
    said = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append((record.levelno, record.getMessage()))

    handler = Handler()
    monkeypatch.setattr(device, "is_there", lambda: is_there)
    monkeypatch.setattr(engines.LOG, "level", logging.DEBUG)
    engines._tell.cache_clear()
    engines.LOG.addHandler(handler)
    try:
        assert engines.choose("auto").name == engines.choose("auto").name == "cpu"
    finally:
        engines.LOG.removeHandler(handler)
    told = [text for level, text in said if level == logging.INFO]
    assert told == ["backend='auto' is cpu though there is an NVIDIA GPU; 'animup doctor' says why"] * is_there
    ((level, reasons),) = said[: len(said) - len(told)]
    assert level == logging.DEBUG and reasons.startswith("backend='auto' is cpu") and "cuda: the onnxruntime" in reasons


def test_without_driver(gpu: tuple[CudaBackend, list[Any], dict[Any, Any], FakeCuda]) -> None:
    backend, _, _, fake = gpu
    assert backend.unavailable() is None
    fake.driver = 0
    assert str(backend.unavailable()).startswith("there is no NVIDIA driver")


def test_settings_do_not_let_results_depend_on_the_moment(
    gpu: tuple[CudaBackend, list[Any], dict[Any, Any], FakeCuda],
) -> None:
    backend, made, _, _ = gpu
    for precision, tf32 in (("auto", "1"), ("fp32", "0")):
        backend.load(network(), origin="n", sizes={}, device_id=0, precision=precision)
        name, options = made[-1].provider
        assert (name, options["cudnn_conv_algo_search"]) == ("CUDAExecutionProvider", "HEURISTIC")
        assert options["use_tf32"] == tf32 and options["device_id"] == "0"
        assert made[-1].options.use_deterministic_compute


def test_runs(gpu: tuple[CudaBackend, list[Any], dict[Any, Any], FakeCuda]) -> None:
    """Shapes may change where they are open, and then no graph is recorded."""
    backend, made, how, _ = gpu
    how["dynamic"] = True
    engine = backend.load(network(), origin="n", sizes={"height": 4, "width": 6}, device_id=0)
    t = np.ones(1, np.float32)
    for frames in (3, 3, 2, 5):
        x = np.random.default_rng(frames).random((frames, 2, 4, 6), np.float32)
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(lambda _, x=x: engine.run({"latents": x, "t": t})["next"], range(8)):
                assert np.array_equal(on_host(found), x * np.float32(0.5) + 1)
    assert set(made[0].graphs) == {"-1"} and len(made[0].threads) == 1
    with pytest.raises(AnimupError, match=r"the network n takes 'latents' of shape .*, got \[1, 2, 4, 7\]"):
        engine.run({"latents": np.zeros((1, 2, 4, 7), np.float32), "t": t})
    with pytest.raises(AnimupError, match="the network n takes latents, t, got t"):
        engine.run({"t": t})


def test_fixed_shapes_are_recorded(gpu: tuple[CudaBackend, list[Any], dict[Any, Any], FakeCuda]) -> None:
    backend, made, _, _ = gpu
    sizes = {"frames": 3, "height": 4, "width": 6}
    engine = backend.load(network(), origin="n", sizes=sizes, device_id=0)
    assert made[0].provider[1]["enable_cuda_graph"] == "1"
    x, t = np.ones((3, 2, 4, 6), np.float32), np.ones(1, np.float32)
    assert (on_host(engine.run({"latents": x, "t": t})["next"]) == 1.5).all() and made[0].graphs == ["fixed"]


def test_networks_that_cannot_be_recorded(gpu: tuple[CudaBackend, list[Any], dict[Any, Any], FakeCuda]) -> None:
    backend, made, how, _ = gpu
    how["graphs"] = False
    backend.load(network(), origin="n", sizes={}, device_id=0)
    assert [session.provider[1].get("enable_cuda_graph") for session in made] == [None]


def test_kept_outputs(gpu: tuple[CudaBackend, list[Any], dict[Any, Any], FakeCuda]) -> None:
    backend, _, _, fake = gpu
    engine, other = (backend.load(network(), origin="n", sizes={}, device_id=0) for _ in range(2))
    start, t = np.random.default_rng(0).random((2, 2, 4, 6), np.float32), np.ones(1, np.float32)
    kept = engine.run({"latents": start, "t": t}, keep=["next"])["next"]
    pinned = fake.calls.count("cudaHostAlloc")
    for _ in range(3):
        kept = engine.run({"latents": kept, "t": t}, keep=["next"])["next"]
    assert fake.calls.count("cudaHostAlloc") == pinned and kept.shape == start.shape
    wanted = start
    for _ in range(4):
        wanted = wanted * np.float32(0.5) + 1
    assert np.array_equal(on_host(kept), wanted)
    assert np.array_equal(on_host(other.run({"latents": kept, "t": t})["next"]), wanted * np.float32(0.5) + 1)


def test_half_precision_networks(gpu: tuple[CudaBackend, list[Any], dict[Any, Any], FakeCuda]) -> None:
    backend, _, _, _ = gpu
    engine = backend.load(network(kind=TensorProto.FLOAT16), origin="n", sizes={}, device_id=0)
    x = np.random.default_rng(0).random((1, 2, 4, 6), np.float32)
    found = engine.run({"latents": x, "t": np.ones(1, np.float32)})["next"]
    found = on_host(found)
    assert found.dtype == np.float32 and np.abs(found - (x / 2 + 1)).max() < 2e-3


def test_never_the_processor_instead(gpu: tuple[CudaBackend, list[Any], dict[Any, Any], FakeCuda]) -> None:
    backend, _, how, _ = gpu
    how["providers"] = ["CPUExecutionProvider"]
    with pytest.raises(AnimupError, match="cannot use the GPU, CUDA's or cuDNN's files are missing: pip uninstall"):
        backend.load(network(), origin="n", sizes={}, device_id=0)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("[ONNXRuntimeError] : bfc_arena.cc Failed to allocate memory for requested buffer of size 99", OutOfMemory),
        ("CUDNN failure 4: CUDNN_STATUS_EXECUTION_FAILED", AnimupError),
    ],
)
def test_failures(
    gpu: tuple[CudaBackend, list[Any], dict[Any, Any], FakeCuda], said: str, kind: type[AnimupError] | type[OutOfMemory]
) -> None:
    backend, _, how, _ = gpu
    engine = backend.load(network(), origin="n", sizes={}, device_id=0)
    inputs = {"latents": np.zeros((1, 2, 4, 6), np.float32), "t": np.ones(1, np.float32)}
    how["fail"] = said
    with pytest.raises(AnimupError, match="the network n failed on the cuda backend") as caught:
        engine.run(inputs)
    assert type(caught.value) is kind
    how.clear()
    assert engine.run(inputs)["next"].shape == (1, 2, 4, 6)


def test_refusals(gpu: tuple[CudaBackend, list[Any], dict[Any, Any], FakeCuda]) -> None:
    backend, _, _, _ = gpu
    with pytest.raises(AnimupError, match="precision='fp16' needs backend='tensorrt'; on cuda leave precision out"):
        backend.load(network(), origin="n", sizes={}, device_id=0, precision="fp16")
    with pytest.raises(AnimupError, match="precision='int8' needs backend='cpu'"):
        backend.load(network(), origin="n", sizes={}, device_id=0, precision="int8")
    with pytest.raises(AnimupError, match="device_id must be 0, for there is one GPU, got 3"):
        backend.load(network(), origin="n", sizes={}, device_id=3)
    with pytest.raises(AnimupError, match="cannot load the network n"):
        backend.load(b"no network", origin="n", sizes={}, device_id=0)
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["places"])],
        "places",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("places", TensorProto.INT64, [1, "found"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    places = backend.load(model.SerializeToString(), origin="n", sizes={}, device_id=0)
    with pytest.raises(AnimupError, match="leaves the size 'found' of 'places' open; use backend='cpu'"):
        places.run({"x": np.ones(3, np.float32)})
