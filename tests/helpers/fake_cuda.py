"""CUDA's runtime and TensorRT in main memory, for what runs engines.

Work of a stream is done when it is waited for and not before, so that whoever reads too early reads old bytes. Freed
memory is overwritten. What would be an error that a GPU may or may not show is written down in ``problems``.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
import threading
from types import SimpleNamespace

import numpy as np


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorInvalidDevice = 101
    cudaErrorInvalidResourceHandle = 400
    cudaErrorLaunchFailure = 719
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


OK = (cudaError_t.cudaSuccess,)


class Handle:
    """As cuda-bindings': a number in an object."""

    def __init__(self, number):
        self.number = number

    def __int__(self):
        return self.number


class Piece:
    """Memory that was asked for."""

    def __init__(self, size, pinned, device):
        self.buffer = (ctypes.c_ubyte * size)()
        self.address, self.size, self.pinned, self.device = ctypes.addressof(self.buffer), size, pinned, device
        ctypes.memset(self.address, 0xA5, size)
        self.freed = False


class Queue:
    """A stream."""

    def __init__(self, device):
        self.device, self.pending, self.recording, self.recorder, self.broken = device, [], None, None, False


class FakeCuda:
    """What the bindings' module has, as far as it is used."""

    cudaError_t, cudaMemcpyKind, cudaStreamCaptureMode = cudaError_t, cudaMemcpyKind, cudaStreamCaptureMode
    cudaStreamNonBlocking, cudaHostAllocDefault = 1, 0

    def __init__(self, *, devices=1, total=1 << 24, driver=13020):
        self.devices, self.total, self.driver = devices, total, driver
        self.pieces, self.streams, self.graphs, self.execs = {}, {}, {}, {}
        self.problems, self.calls, self.fail = [], [], {}
        self._numbers, self._lock, self._here = itertools.count(1000), threading.RLock(), threading.local()

    def __getattribute__(self, name):
        found = object.__getattribute__(self, name)
        if not name.startswith("cuda") or not callable(found) or isinstance(found, type):
            return found

        def call(*args):
            with self._lock:
                self.calls.append(name)
                if self.fail.get(name):
                    values = name in ("cudaGetDeviceCount", "cudaGraphInstantiate", "cudaMalloc")
                    return (self.fail[name].pop(0), None) if values else (self.fail[name].pop(0),)
                return found(*args)

        return call

    @property
    def device(self):
        return getattr(self._here, "device", 0)

    @property
    def used(self):
        return sum(piece.size for piece in self.pieces.values() if not piece.pinned)

    def cudaGetDeviceCount(self):
        if not self.driver:
            return cudaError_t.cudaErrorInsufficientDriver, None
        return (*OK, self.devices) if self.devices else (cudaError_t.cudaErrorNoDevice, None)

    def cudaDriverGetVersion(self):
        return *OK, self.driver

    def cudaRuntimeGetVersion(self):
        return *OK, 13050

    def cudaGetErrorString(self, error):
        return *OK, error.name.encode()

    def cudaGetLastError(self):
        return OK

    def cudaSetDevice(self, device):
        if not 0 <= device < self.devices:
            return (cudaError_t.cudaErrorInvalidDevice,)
        self._here.device = device
        return OK

    def cudaGetDeviceProperties(self, device):
        return *OK, SimpleNamespace(name=f"Fake {device}".encode(), major=8, minor=9)

    def cudaMemGetInfo(self):
        return *OK, self.total - self.used, self.total

    def _allocate(self, size, pinned):
        for stream in self.streams.values():
            if stream.recorder == threading.get_ident():
                stream.broken = True
                return cudaError_t.cudaErrorStreamCaptureUnsupported, None
        if not pinned and self.used + size > self.total:
            return cudaError_t.cudaErrorMemoryAllocation, None
        piece = Piece(size, pinned, self.device)
        self.pieces[piece.address] = piece
        return *OK, piece.address

    def cudaMalloc(self, size):
        return self._allocate(size, False)

    def cudaHostAlloc(self, size, flags):
        return self._allocate(size, True)

    def _free(self, address, pinned):
        piece = self.pieces.pop(address, None)
        if piece is None or piece.pinned != pinned:
            self.problems.append("freed what is not there")
            return (cudaError_t.cudaErrorInvalidValue,)
        if any(piece in used for stream in self.streams.values() for used, _ in stream.pending):
            self.problems.append("freed what a stream still works on")
        piece.freed = True
        ctypes.memset(address, 0xFF, piece.size)
        return OK

    def cudaFree(self, address):
        return self._free(address, False)

    def cudaFreeHost(self, address):
        return self._free(address, True)

    def piece(self, address, size, pinned):
        """The memory at an address, which must reach far enough."""
        found = self.pieces.get(int(address))
        if found is None or found.pinned != pinned or found.size < size:
            self.problems.append(f"no {'pinned' if pinned else 'device'} memory of {size} bytes at this address")
            return None
        return found

    def submit(self, stream, used, work):
        """Ask a stream for work on pieces of memory."""
        if self.device != stream.device or any(not p.pinned and p.device != stream.device for p in used):
            self.problems.append("the thread's device is not that of what it uses")

        def checked():
            if any(piece.freed for piece in used):
                self.problems.append("worked on freed memory")
            else:
                work()

        (stream.pending if stream.recording is None else stream.recording).append((used, checked))

    def _pair(self, target, source, size, kind):
        pinned = {1: (False, True), 2: (True, False), 3: (False, False)}[int(kind)]
        return self.piece(target, size, pinned[0]), self.piece(source, size, pinned[1])

    def cudaMemcpyAsync(self, target, source, size, kind, stream):
        pair = self._pair(target, source, size, kind)
        if None in pair:
            return (cudaError_t.cudaErrorInvalidValue,)
        self.submit(self.streams[int(stream)], pair, lambda: ctypes.memmove(target, source, size))
        return OK

    def cudaMemcpy(self, target, source, size, kind):
        if self.piece(source, size, False) is None:
            return (cudaError_t.cudaErrorInvalidValue,)
        ctypes.memmove(target, source, size)
        return OK

    def cudaStreamCreateWithFlags(self, flags):
        handle = Handle(next(self._numbers))
        self.streams[int(handle)] = Queue(self.device)
        return *OK, handle

    def cudaStreamDestroy(self, stream):
        if self.streams.pop(int(stream)).pending:
            self.problems.append("destroyed a stream that has work")
        return OK

    def cudaStreamSynchronize(self, stream):
        found = self.streams[int(stream)]
        if found.recording is not None:
            found.broken = True
            return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
        while found.pending:
            found.pending.pop(0)[1]()
        return OK

    def cudaStreamBeginCapture(self, stream, mode):
        found = self.streams[int(stream)]
        found.recording, found.recorder, found.broken = [], threading.get_ident(), False
        return OK

    def cudaStreamEndCapture(self, stream):
        found = self.streams[int(stream)]
        work, found.recording, found.recorder = found.recording, None, None
        if found.broken:
            return cudaError_t.cudaErrorStreamCaptureInvalidated, None
        handle = Handle(next(self._numbers))
        self.graphs[int(handle)] = work
        return *OK, handle

    def cudaGraphInstantiate(self, graph, flags):
        handle = Handle(next(self._numbers))
        self.execs[int(handle)] = list(self.graphs[int(graph)])
        return *OK, handle

    def cudaGraphDestroy(self, graph):
        del self.graphs[int(graph)]
        return OK

    def cudaGraphExecDestroy(self, handle):
        del self.execs[int(handle)]
        return OK

    def cudaGraphLaunch(self, handle, stream):
        for used, work in self.execs[int(handle)]:
            self.streams[int(stream)].pending.append((used, work))
        return OK

    def leftovers(self):
        """What was made and not given back."""
        return len(self.pieces) + len(self.streams) + len(self.graphs) + len(self.execs)


class FakeNetwork:
    """What a plan is of: ``compute(weights, **inputs)`` gives a dictionary of outputs.

    ``inputs`` and ``outputs`` are dtypes and shapes by name; -1 in a shape is a size between 1 and ``most``, and an
    output's ``shape`` may be a function of the inputs' shapes.
    """

    def __init__(self, inputs, outputs, compute, *, weights=(), most=64, working=1000, refittable=True):
        self.inputs, self.outputs, self.compute, self.most = inputs, outputs, compute, most
        self.weights, self.working, self.refittable = dict(weights), working, refittable


class FakeTensorRT:
    """The Python module of either flavour."""

    float32, float16, int32, bfloat16 = "float32", "float16", "int32", "bfloat16"
    TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")
    CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole", DISABLED="off")
    DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager", LAZY="lazy")

    def __init__(self, cuda, networks, log):
        self.cuda, self.networks, self.log, self.contexts = cuda, networks, log, []

    @staticmethod
    def nptype(dtype):
        if dtype == "bfloat16":
            raise TypeError("no such type")
        return getattr(np, dtype)

    def Runtime(self, logger):
        return SimpleNamespace(deserialize_cuda_engine=self._engine)

    def Weights(self, values):
        return values

    def Refitter(self, engine, logger):
        return FakeRefitter(self, engine)

    def _engine(self, plan):
        if plan not in self.networks:
            self.log.error("Serialization assertion failed: versions do not match")
            return None
        return FakeEngine(self, self.networks[plan])


class FakeEngine:
    def __init__(self, trt, network):
        self.trt, self.network, self.refittable = trt, network, network.refittable
        self.weights = dict(network.weights)
        self.names = [*network.inputs, *network.outputs]
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, i):
        return self.names[i]

    def get_tensor_dtype(self, name):
        return {**self.network.inputs, **self.network.outputs}[name][0]

    def get_tensor_mode(self, name):
        return "input" if name in self.network.inputs else "output"

    def create_runtime_config(self):
        return SimpleNamespace()

    def create_execution_context(self, config=None):
        status, address = self.trt.cuda.cudaMalloc(self.network.working)
        if status:
            self.trt.log.error("[resizingAllocator.cpp] OutOfMemory: requested %d bytes", self.network.working)
            return None
        self.trt.contexts.append(context := FakeContext(self, address, config))
        return context


class FakeContext:
    def __init__(self, engine, address, config):
        self.engine, self.address, self.config = engine, address, config
        self.shapes, self.addresses, self.warm, self.fail = {}, {}, False, None

    def __del__(self):
        self.engine.trt.cuda.cudaFree(self.address)

    def set_input_shape(self, name, shape):
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

    def infer_shapes(self):
        return [name for name in self.engine.network.inputs if name not in self.shapes]

    def get_tensor_shape(self, name):
        if name in self.shapes:
            return self.shapes[name]
        shape = self.engine.network.outputs[name][1]
        return shape(self.shapes) if callable(shape) else shape

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream):
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
        arrays, used = {}, []
        for name in self.engine.names:
            dtype, shape = np.dtype(self.engine.get_tensor_dtype(name)), self.get_tensor_shape(name)
            size = int(np.prod(shape)) * dtype.itemsize
            piece = cuda.piece(self.addresses[name], size, False)
            if piece is None:
                return False
            used.append(piece)
            arrays[name] = np.frombuffer(piece.buffer, dtype, count=int(np.prod(shape))).reshape(shape)

        def work():
            found = network.compute(weights, **{name: arrays[name] for name in network.inputs})
            for name, value in found.items():
                arrays[name][...] = value

        cuda.submit(queue, used, work)
        return True


class FakeRefitter:
    def __init__(self, trt, engine):
        self.trt, self.engine, self.new = trt, engine, {}

    def get_weights_prototype(self, name):
        known = self.engine.weights.get(name)
        return SimpleNamespace(
            size=-1 if known is None else known.size, dtype="float32" if known is None else known.dtype.name
        )

    def set_named_weights(self, name, values):
        self.new[name] = values
        return True

    def get_missing_weights(self):
        return []

    def refit_cuda_engine(self):
        if any(stream.pending for stream in self.trt.cuda.streams.values()):
            self.trt.cuda.problems.append("refitted while the engine has work")
        self.engine.weights.update(self.new)
        return True
