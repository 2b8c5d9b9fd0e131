"""NVIDIA GPUs, by onnxruntime's CUDA provider."""

from __future__ import annotations

import importlib.util
import weakref
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from vsanimup.engines import device
from vsanimup.engines.base import DeviceArray, DeviceMemory, Engine, Feed, Result, Size
from vsanimup.engines.buffers import Buffer, near
from vsanimup.engines.lane import Lane, Shapes, refuse_others
from vsanimup.engines.onnx_runtime import OnnxRuntimeBackend, session_options
from vsanimup.errors import AnimupError, OutOfMemory

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

PROVIDER = "CUDAExecutionProvider"
INSTALL = "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'onnxruntime-gpu[cuda,cudnn]'"
"""Both packages have the files of one module, so that the one removed takes away the other's."""
TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


class CudaEngine:
    """One onnxruntime session on the CUDA provider. One run goes on at a time, on a thread of its own."""

    backend = "cuda"

    def __init__(self, session: InferenceSession, origin: str, device_id: int) -> None:
        device.use(device_id)
        self._origin, self._device = origin, device_id
        self._inputs = [tensor.name for tensor in session.get_inputs()]
        self._lane = _Lane(session, origin, device_id)
        # a session that records graphs must be run by one thread only
        self._thread = ThreadPoolExecutor(1, "animup cuda")
        weakref.finalize(self, self._thread.shutdown, wait=False)

    def run(self, inputs: Mapping[str, Feed | DeviceArray], *, keep: Collection[str] = ()) -> dict[str, Result]:
        """See :class:`vsanimup.engines.base.Engine`."""
        refuse_others(inputs, self._inputs, f"the network {self._origin}")
        return self._thread.submit(self._run, inputs, keep).result()

    def _run(self, inputs: Mapping[str, Feed | DeviceArray], keep: Collection[str]) -> dict[str, Result]:
        here = {name: near(value, self._device) for name, value in inputs.items()}
        device.use(self._device)
        return self._lane.run(here, keep)


class _Lane(Lane):
    """The session with its inputs and outputs bound to buffers."""

    def __init__(self, session: InferenceSession, origin: str, device_id: int) -> None:
        import onnxruntime as ort

        self._session, self._origin = session, origin
        self._given, self._made = session.get_inputs(), session.get_outputs()
        self._types: dict[str, np.dtype[Any]] = {}
        for tensor in (*self._given, *self._made):
            if tensor.type not in TYPES:
                raise AnimupError(f"the network {origin} has {tensor.name!r} of type {tensor.type}; use backend='cpu'")
            self._types[tensor.name] = np.dtype(TYPES[tensor.type])
        super().__init__([tensor.name for tensor in self._made], device.Pool(), device_id)
        self._options = ort.RunOptions()
        if not all(isinstance(size, int) for tensor in self._given for size in tensor.shape):
            # shapes may change from run to run, and memory with them, which a graph could not know
            self._options.add_run_config_entry("gpu_graph_id", "-1")
        self._binding: Any = None

    def _bind(self, shapes: Shapes) -> None:
        self._binding = None
        named: dict[str, int] = {}
        for tensor in self._given:
            given = shapes[tensor.name]
            fits = len(given) == len(tensor.shape)
            for size, wanted in zip(given, tensor.shape, strict=False):
                fits &= size == wanted if isinstance(wanted, int) else named.setdefault(wanted or "", size) == size
            if not fits:
                raise AnimupError(
                    f"the network {self._origin} takes {tensor.name!r} of shape {list(tensor.shape)}, got {list(given)}"
                )
        binding = self._session.io_binding()
        for tensor in (*self._given, *self._made):
            try:
                shape = tuple(size if isinstance(size, int) else named[size] for size in tensor.shape)
            except KeyError as error:
                raise AnimupError(
                    f"the network {self._origin} leaves the size {error} of {tensor.name!r} open; use backend='cpu'"
                ) from error
            self._buffers[tensor.name] = buffer = Buffer(shape, self._types[tensor.name])
            bind = binding.bind_input if tensor.name in shapes else binding.bind_output
            bind(tensor.name, "cuda", self._device, buffer.dtype.type, shape, buffer.memory.address)
        self._binding = binding

    def _compute(self) -> None:
        self._stream.wait()  # onnxruntime computes on a stream of its own
        try:
            self._session.run_with_iobinding(self._binding, self._options)
            self._binding.synchronize_outputs()
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            raise _failure(f"the network {self._origin} failed on the cuda backend: {error}") from error


class CudaBackend(OnnxRuntimeBackend):
    """onnxruntime's CUDA provider."""

    name = "cuda"
    integers = False

    def unavailable(self) -> str | None:
        """See :class:`vsanimup.engines.base.Backend`."""
        if importlib.util.find_spec("onnxruntime") is None:
            return "onnxruntime-gpu is not installed: pip install 'onnxruntime-gpu[cuda,cudnn]'"
        try:
            import onnxruntime as ort

            if PROVIDER not in ort.get_available_providers():
                return f"the onnxruntime that is installed knows no GPU: {INSTALL}"
            device.count()
        except AnimupError as error:
            return str(error)
        except Exception as error:  # half an installation
            return f"onnxruntime cannot be used ({error}): {INSTALL}"
        return None

    def streams(self) -> int:
        """One that computes, and one that prepares its inputs meanwhile."""
        return 2

    def memory(self, device_id: int) -> DeviceMemory | None:
        """See :class:`vsanimup.engines.base.Backend`."""
        return device.memory(device_id)

    def _open(
        self, network: bytes | str, origin: str, sizes: Mapping[str, Size], device_id: int, precision: str
    ) -> Engine:
        """An engine of a network's bytes, or of the file of this name."""
        import onnxruntime as ort

        if precision not in ("auto", "fp32"):
            better = "cpu" if precision == "int8" else "tensorrt"
            raise AnimupError(f"precision={precision!r} needs backend={better!r}; on cuda leave precision out")
        device.use(device_id)
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()  # those of the nvidia-* packages
        options = session_options(sizes)
        options.use_deterministic_compute = True
        provider = {
            "device_id": str(device_id),
            # measuring which algorithm is fastest would let the result depend on the moment
            "cudnn_conv_algo_search": "HEURISTIC",
            "arena_extend_strategy": "kSameAsRequested",
            "use_tf32": "0" if precision == "fp32" else "1",
        }
        session = self._session(network, origin, options, {**provider, "enable_cuda_graph": "1"})
        return CudaEngine(session, origin, device_id)

    def _session(self, network: bytes | str, origin: str, options: Any, provider: Mapping[str, str]) -> Any:
        """A session on this provider and no other."""
        import onnxruntime as ort

        try:
            session = ort.InferenceSession(network, options, providers=[(PROVIDER, dict(provider))])
        except Exception as error:
            if "enable_cuda_graph" in provider:  # not every network can be recorded
                return self._session(
                    network, origin, options, {k: v for k, v in provider.items() if k != "enable_cuda_graph"}
                )
            raise _failure(
                f"onnxruntime-gpu {ort.__version__} cannot load the network {origin}: {error}; "
                "install the model again, or a newer onnxruntime-gpu"
            ) from error
        session.disable_fallback()
        if PROVIDER not in session.get_providers():
            raise AnimupError(
                f"onnxruntime-gpu {ort.__version__} cannot use the GPU, CUDA's or cuDNN's files are missing: {INSTALL}"
            )
        return session


def _failure(text: str) -> AnimupError:
    """The error for what onnxruntime says."""
    lowered = text.lower()
    full = "failed to allocate memory" in lowered or "out of memory" in lowered or "cuda failure 2:" in lowered
    return OutOfMemory(text) if full else AnimupError(text)
