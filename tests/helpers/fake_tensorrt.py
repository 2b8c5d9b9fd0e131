"""TensorRT in main memory, on the made-up CUDA."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.helpers.fake_cuda import FakeCuda, Piece
from vsanimup.engines import Array

type Shape = tuple[int, ...]
type Input = tuple[str, Shape]
type Output = tuple[str, Shape | Callable[[Mapping[str, Shape]], Shape]]


class FakeNetwork:
    """What a plan is of: ``compute(weights, **inputs)`` gives a dictionary of outputs.

    ``inputs`` and ``outputs`` are dtypes and shapes by name; -1 in a shape is a size between 1 and ``most``, and an
    output's ``shape`` may be a function of the inputs' shapes.
    """

    def __init__(
        self,
        inputs: Mapping[str, Input],
        outputs: Mapping[str, Output],
        compute: Callable[..., Mapping[str, Array]],
        *,
        weights: Mapping[str, Array] | None = None,
        most: int = 64,
        working: int = 1000,
        refittable: bool = True,
    ) -> None:
        self.inputs, self.outputs, self.compute, self.most = inputs, outputs, compute, most
        self.weights, self.working, self.refittable = dict(weights or {}), working, refittable


class FakeTensorRT:
    """The Python module of either flavour."""

    float32, float16, int32, bfloat16 = "float32", "float16", "int32", "bfloat16"
    TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")
    CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole", DISABLED="off")
    DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager", LAZY="lazy")

    def __init__(self, cuda: FakeCuda, networks: Mapping[bytes, FakeNetwork], log: Any) -> None:
        self.cuda, self.networks, self.log = cuda, networks, log
        self.contexts: list[FakeContext] = []

    @staticmethod
    def nptype(dtype: str) -> Any:
        if dtype == "bfloat16":
            raise TypeError("no such type")
        return getattr(np, dtype)

    def Runtime(self, logger: Any) -> Any:
        return SimpleNamespace(deserialize_cuda_engine=self._engine)

    def Weights(self, values: Array) -> Array:
        return values

    def Refitter(self, engine: FakeEngine, logger: Any) -> FakeRefitter:
        return FakeRefitter(self, engine)

    def _engine(self, plan: bytes) -> FakeEngine | None:
        if plan not in self.networks:
            self.log.error("Serialization assertion failed: versions do not match")
            return None
        return FakeEngine(self, self.networks[plan])


class FakeEngine:
    """A plan that was read."""

    def __init__(self, trt: FakeTensorRT, network: FakeNetwork) -> None:
        self.trt, self.network, self.refittable = trt, network, network.refittable
        self.weights = dict(network.weights)
        self.names = [*network.inputs, *network.outputs]
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, i: int) -> str:
        return self.names[i]

    def get_tensor_dtype(self, name: str) -> str:
        return (self.network.inputs.get(name) or self.network.outputs[name])[0]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name in self.network.inputs else "output"

    def create_runtime_config(self) -> SimpleNamespace:
        return SimpleNamespace()

    def create_execution_context(self, config: SimpleNamespace | None = None) -> FakeContext | None:
        status, address = self.trt.cuda.cudaMalloc(self.network.working)
        if status:
            self.trt.log.error("[resizingAllocator.cpp] OutOfMemory: requested %d bytes", self.network.working)
            return None
        self.trt.contexts.append(context := FakeContext(self, address, config))
        return context


class FakeContext:
    """An engine with working memory."""

    def __init__(self, engine: FakeEngine, address: int, config: SimpleNamespace | None) -> None:
        self.engine, self.address, self.config = engine, address, config
        self.shapes: dict[str, Shape] = {}
        self.addresses: dict[str, int] = {}
        self.warm = False
        self.fail: str | None = None

    def __del__(self) -> None:
        self.engine.trt.cuda.cudaFree(self.address)

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        wanted = self.engine.network.inputs[name][1]
        fits = len(shape) == len(wanted) and all(
            size == fixed or (fixed == -1 and 1 <= size <= self.engine.network.most)
            for size, fixed in zip(shape, wanted, strict=False)
        )
        if not fits:
            self.engine.trt.log.error("IExecutionContext::setInputShape: dimensions are out of the profile's range")
            return False
        self.shapes[name], self.warm = shape, False
        return True

    def infer_shapes(self) -> list[str]:
        return [name for name in self.engine.network.inputs if name not in self.shapes]

    def get_tensor_shape(self, name: str) -> Shape:
        if name in self.shapes:
            return self.shapes[name]
        shape = self.engine.network.outputs[name][1]
        return shape(self.shapes) if callable(shape) else shape

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        cuda, network, weights = self.engine.trt.cuda, self.engine.network, self.engine.weights
        queue = cuda.streams[stream]
        if self.fail:
            self.engine.trt.log.error("%s", self.fail)
            return False
        if queue.recording is not None and not self.warm:
            queue.broken = True
            self.engine.trt.log.error("enqueueV3: first after a change of shapes, cannot be captured")
            return False
        self.warm = True
        arrays: dict[str, Array] = {}
        used: list[Piece] = []
        for name in self.engine.names:
            dtype, shape = np.dtype(self.engine.get_tensor_dtype(name)), self.get_tensor_shape(name)
            size = int(np.prod(shape)) * dtype.itemsize
            piece = cuda.piece(self.addresses[name], size, False)
            if piece is None:
                return False
            used.append(piece)
            arrays[name] = np.frombuffer(piece.buffer, dtype, count=int(np.prod(shape))).reshape(shape)

        def work() -> None:
            found = network.compute(weights, **{name: arrays[name] for name in network.inputs})
            for name, value in found.items():
                arrays[name][...] = value

        cuda.submit(queue, used, work)
        return True


class FakeRefitter:
    """Puts other weights into an engine."""

    def __init__(self, trt: FakeTensorRT, engine: FakeEngine) -> None:
        self.trt, self.engine = trt, engine
        self.new: dict[str, Array] = {}

    def get_weights_prototype(self, name: str) -> SimpleNamespace:
        known = self.engine.weights.get(name)
        return SimpleNamespace(
            size=-1 if known is None else known.size, dtype="float32" if known is None else known.dtype.name
        )

    def set_named_weights(self, name: str, values: Array) -> bool:
        self.new[name] = values
        return True

    def get_missing_weights(self) -> list[str]:
        return []

    def refit_cuda_engine(self) -> bool:
        if any(stream.pending for stream in self.trt.cuda.streams.values()):
            self.trt.cuda.problems.append("refitted while the engine has work")
        self.engine.weights.update(self.new)
        return True
