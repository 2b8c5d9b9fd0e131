"""Running a TensorRT engine: several contexts that share its weights, each with a stream and buffers of its own.

A run copies its inputs to the device, computes and copies the outputs back, and waits for the end. Runs of different
threads take different contexts, so that one's copies pass while another computes.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vsanimup.engines import device
from vsanimup.engines.base import DeviceArray, Feed, Result, Weights
from vsanimup.engines.buffers import Buffer, near
from vsanimup.engines.lane import Lane, Shapes, refuse_others
from vsanimup.engines.tensorrt.library import LOG, Library, threads
from vsanimup.errors import AnimupError, OutOfMemory

REBUILD = "delete it with 'animup engines prune' and run again"


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output of an engine."""

    name: str
    is_input: bool
    dtype: np.dtype[Any]


class _LastError(logging.Handler):
    """What TensorRT last complained of on each thread: its calls tell no more than that they failed."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._here = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Remember a message."""
        self._here.text = record.getMessage()

    def forget(self) -> None:
        """What follows is another's doing."""
        threads.runs_engines = True
        self._here.text = ""

    def error(self, what: str, remedy: str) -> AnimupError:
        """The error to raise after a call failed."""
        text = getattr(self._here, "text", "")
        self.forget()
        lowered = text.lower()
        if "outofmemory" in lowered or "out of memory" in lowered or "failed to allocate" in lowered:
            return OutOfMemory(f"{what}: {text}")
        return AnimupError(f"{what}: {text or 'TensorRT does not say why'}; {remedy}")


_said = _LastError()
LOG.addHandler(_said)


class Runner:
    """A TensorRT engine that was built before, ready to run; see :class:`vsanimup.engines.base.Engine`."""

    backend = "tensorrt"

    def __init__(self, plan: bytes, *, library: Library, origin: str, device_id: int, num_streams: int) -> None:
        """``plan`` is a serialised engine, ``origin`` names it in errors; ``num_streams`` runs go on at once, and more
        wait for their turn.

        Raises :class:`AnimupError` when there is no such device or the engine does not fit it or this TensorRT, and
        :class:`OutOfMemory` when the device has too little memory for its weights and contexts.
        """
        device.use(device_id)
        _said.forget()
        self._library, self._origin, self._device = library, origin, device_id
        self._runtime = library.module.Runtime(library.logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise _said.error(f"the engine {origin} cannot be used here", REBUILD)
        self._tensors = self._describe()
        pool = device.Pool()
        self._all = [
            _Lane(self._context(), self._tensors, pool, origin, device_id, record=not library.is_rtx)
            for _ in range(num_streams)
        ]
        # the one that was used last comes first: its graph is there, and what is not needed is not made
        self._lanes: queue.LifoQueue[_Lane] = queue.LifoQueue()
        for lane in self._all:
            self._lanes.put(lane)
        self._refitting = threading.Lock()

    def _describe(self) -> list[Tensor]:
        trt, engine = self._library.module, self._engine
        found = []
        for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
            try:
                dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
            except TypeError as error:
                raise AnimupError(
                    f"the engine {self._origin} has {name!r} in a type that numpy lacks; "
                    "export it with fp32 inputs and outputs"
                ) from error
            is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            found.append(Tensor(name=name, is_input=is_input, dtype=dtype))
        return found

    def _context(self) -> Any:
        """An execution context, with its working memory for the largest shapes."""
        trt = self._library.module
        if self._library.is_rtx:
            config = self._engine.create_runtime_config()
            # it records graphs by itself, when its kernels are ready
            config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            # Lazily made kernels would take over in the middle of a clip, and round otherwise.
            config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
            context = self._engine.create_execution_context(config)
        else:
            context = self._engine.create_execution_context()
        if context is None:
            raise _said.error(f"the engine {self._origin} cannot be prepared", "see TensorRT's lines in the log")
        return context

    def run(self, inputs: Mapping[str, Feed | DeviceArray], *, keep: Collection[str] = ()) -> dict[str, Result]:
        """See :class:`vsanimup.engines.base.Engine`."""
        refuse_others(
            inputs, [tensor.name for tensor in self._tensors if tensor.is_input], f"the engine {self._origin}"
        )
        # another device's arrays come here first, for the thread can be at one device only
        here = {name: near(value, self._device) for name, value in inputs.items()}
        lane = self._lanes.get()
        try:
            device.use(self._device)
            _said.forget()
            return lane.run(here, keep)
        finally:
            self._lanes.put(lane)

    def refit(self, weights: Weights) -> None:
        """Put other values into the engine's weights, by their names, once no run goes on.

        Raises :class:`AnimupError` when the engine was not built for that, or the weights do not fit; some may have
        been changed then, and the engine must not be used further.
        """
        with self._refitting:
            taken = [self._lanes.get() for _ in self._all]
            try:
                device.use(self._device)
                _said.forget()
                self._refit(weights)
                for lane in taken:
                    lane.forget_graph()
            finally:
                for lane in taken:
                    self._lanes.put(lane)

    def _refit(self, weights: Weights) -> None:
        trt = self._library.module
        if not self._engine.refittable:
            raise AnimupError(f"the engine {self._origin} takes no other weights; {REBUILD}")
        refitter = trt.Refitter(self._engine, self._library.logger)
        held = []  # the refitter only points at them
        for name, values in weights.items():
            prototype = refitter.get_weights_prototype(name)
            if prototype.size != values.size:
                raise AnimupError(
                    f"the engine {self._origin} has no weights {name!r} of {values.size} numbers that can be changed; "
                    f"{REBUILD}"
                )
            held.append(np.ascontiguousarray(values, trt.nptype(prototype.dtype)))
            if not refitter.set_named_weights(name, trt.Weights(held[-1])):
                raise _said.error(f"the engine {self._origin} refuses weights {name!r}", REBUILD)
        if missing := refitter.get_missing_weights():
            raise AnimupError(f"the engine {self._origin} needs weights {', '.join(missing)} too; {REBUILD}")
        if not refitter.refit_cuda_engine():
            raise _said.error(f"the engine {self._origin} cannot take other weights", REBUILD)


class _Lane(Lane):
    """One execution context."""

    def __init__(
        self, context: Any, tensors: list[Tensor], pool: device.Pool, origin: str, device_id: int, *, record: bool
    ) -> None:
        super().__init__([tensor.name for tensor in tensors if not tensor.is_input], pool, device_id)
        self._context, self._tensors, self._origin, self._record = context, tensors, origin, record
        self._graph: device.Graph | None = None
        self._warm = False

    def forget_graph(self) -> None:
        """Record anew: the engine is another."""
        self._graph, self._warm = None, False

    def _bind(self, shapes: Shapes) -> None:
        self.forget_graph()
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                raise _said.error(
                    f"the engine {self._origin} takes no {name!r} of shape {list(shape)}", "choose another tilesize"
                )
        if unknown := self._context.infer_shapes():
            raise AnimupError(f"the engine {self._origin} leaves the shapes of {', '.join(unknown)} open")
        for tensor in self._tensors:
            shape = tuple(int(size) for size in self._context.get_tensor_shape(tensor.name))
            if min(shape, default=1) < 0:
                raise AnimupError(f"the engine {self._origin} leaves the shape of {tensor.name!r} open: {list(shape)}")
            self._buffers[tensor.name] = buffer = Buffer(shape, tensor.dtype)
            if not self._context.set_tensor_address(tensor.name, buffer.memory.address):
                raise _said.error(f"the engine {self._origin} refuses memory for {tensor.name!r}", REBUILD)

    def _compute(self) -> None:
        """Ask for the outputs: the first time in these shapes plainly, as TensorRT demands, then by a graph."""
        if self._graph is None and self._warm and self._record:
            try:
                self._graph = self._stream.record(self._enqueue)
            except AnimupError as error:  # some networks cannot be recorded
                self._record = False
                LOG.debug("the engine %s runs without a CUDA graph: %s", self._origin, str(error))
        if self._graph is not None:
            self._graph.launch(self._stream)
        else:
            self._enqueue()
        self._warm = True

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(int(self._stream.handle)):
            raise _said.error(f"the engine {self._origin} failed", "see TensorRT's lines in the log")
