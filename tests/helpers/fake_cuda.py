"""CUDA's runtime in main memory, for what runs engines.

Work of a stream is done when it is waited for and not before, so that whoever reads too early reads old bytes. Freed
memory is overwritten. What would be an error that a GPU may or may not show is written down in ``problems``.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any


class Status(enum.IntEnum):
    """``cudaError_t``."""

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


OK = (Status.cudaSuccess,)
type Answer = tuple[Any, ...]
"""A status, and values if there are any."""


class Handle:
    """As cuda-bindings': a number in an object."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __int__(self) -> int:
        return self.number


class Piece:
    """Memory that was asked for."""

    def __init__(self, size: int, pinned: bool, device: int) -> None:
        self.buffer = (ctypes.c_ubyte * size)()
        self.address, self.size, self.pinned, self.device = ctypes.addressof(self.buffer), size, pinned, device
        ctypes.memset(self.address, 0xA5, size)
        self.freed = False


type Work = tuple[Sequence[Piece], Callable[[], None]]
"""Pieces that are used, and what is done with them."""


class Queue:
    """A stream."""

    def __init__(self, device: int) -> None:
        self.device, self.broken = device, False
        self.pending: list[Work] = []
        self.recording: list[Work] | None = None
        self.recorder: int | None = None


class FakeCuda:
    """What the bindings' module has, as far as it is used."""

    cudaError_t, cudaMemcpyKind, cudaStreamCaptureMode = Status, cudaMemcpyKind, cudaStreamCaptureMode
    cudaStreamNonBlocking, cudaHostAllocDefault = 1, 0

    def __init__(self, *, devices: int = 1, total: int = 1 << 24, driver: int = 13020) -> None:
        self.devices, self.total, self.driver = devices, total, driver
        self.pieces: dict[int, Piece] = {}
        self.streams: dict[int, Queue] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.execs: dict[int, list[Work]] = {}
        self.problems: list[str] = []
        self.calls: list[str] = []
        self.fail: dict[str, list[Status]] = {}
        self._numbers, self._lock, self._here = itertools.count(1000), threading.RLock(), threading.local()

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if not name.startswith("cuda") or not callable(found) or isinstance(found, type):
            return found

        def call(*args: Any) -> Any:
            with self._lock:
                self.calls.append(name)
                if self.fail.get(name):
                    values = name in ("cudaGetDeviceCount", "cudaGraphInstantiate", "cudaMalloc")
                    return (self.fail[name].pop(0), None) if values else (self.fail[name].pop(0),)
                return found(*args)

        return call

    @property
    def device(self) -> int:
        here: int = getattr(self._here, "device", 0)
        return here

    @property
    def used(self) -> int:
        return sum(piece.size for piece in self.pieces.values() if not piece.pinned)

    def cudaGetDeviceCount(self) -> Answer:
        if not self.driver:
            return Status.cudaErrorInsufficientDriver, None
        return (*OK, self.devices) if self.devices else (Status.cudaErrorNoDevice, None)

    def cudaDriverGetVersion(self) -> Answer:
        return *OK, self.driver

    def cudaRuntimeGetVersion(self) -> Answer:
        return *OK, 13050

    def cudaGetErrorString(self, error: Status) -> Answer:
        return *OK, error.name.encode()

    def cudaGetLastError(self) -> Answer:
        return OK

    def cudaSetDevice(self, device: int) -> Answer:
        if not 0 <= device < self.devices:
            return (Status.cudaErrorInvalidDevice,)
        self._here.device = device
        return OK

    def cudaGetDeviceProperties(self, device: int) -> Answer:
        return *OK, SimpleNamespace(name=f"Fake {device}".encode(), major=8, minor=9)

    def cudaMemGetInfo(self) -> Answer:
        return *OK, self.total - self.used, self.total

    def _allocate(self, size: int, pinned: bool) -> Answer:
        for stream in self.streams.values():
            if stream.recorder == threading.get_ident():
                stream.broken = True
                return Status.cudaErrorStreamCaptureUnsupported, None
        if not pinned and self.used + size > self.total:
            return Status.cudaErrorMemoryAllocation, None
        piece = Piece(size, pinned, self.device)
        self.pieces[piece.address] = piece
        return *OK, piece.address

    def cudaMalloc(self, size: int) -> Answer:
        return self._allocate(size, False)

    def cudaHostAlloc(self, size: int, flags: int) -> Answer:
        return self._allocate(size, True)

    def _free(self, address: int, pinned: bool) -> Answer:
        piece = self.pieces.pop(address, None)
        if piece is None or piece.pinned != pinned:
            self.problems.append("freed what is not there")
            return (Status.cudaErrorInvalidValue,)
        if any(piece in used for stream in self.streams.values() for used, _ in stream.pending):
            self.problems.append("freed what a stream still works on")
        piece.freed = True
        ctypes.memset(address, 0xFF, piece.size)
        return OK

    def cudaFree(self, address: int) -> Answer:
        return self._free(address, False)

    def cudaFreeHost(self, address: int) -> Answer:
        return self._free(address, True)

    def piece(self, address: int, size: int, pinned: bool) -> Piece | None:
        """The memory at an address, which must reach far enough."""
        found = self.pieces.get(int(address))
        if found is None or found.pinned != pinned or found.size < size:
            self.problems.append(f"no {'pinned' if pinned else 'device'} memory of {size} bytes at this address")
            return None
        return found

    def submit(self, stream: Queue, used: Sequence[Piece], work: Callable[[], Any]) -> None:
        """Ask a stream for work on pieces of memory."""
        if self.device != stream.device or any(not p.pinned and p.device != stream.device for p in used):
            self.problems.append("the thread's device is not that of what it uses")

        def checked() -> None:
            if any(piece.freed for piece in used):
                self.problems.append("worked on freed memory")
            else:
                work()

        (stream.pending if stream.recording is None else stream.recording).append((used, checked))

    def _pair(self, target: int, source: int, size: int, kind: int) -> tuple[Piece | None, Piece | None]:
        pinned = {1: (False, True), 2: (True, False), 3: (False, False)}[int(kind)]
        return self.piece(target, size, pinned[0]), self.piece(source, size, pinned[1])

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: Handle) -> Answer:
        to, of = self._pair(target, source, size, kind)
        if to is None or of is None:
            return (Status.cudaErrorInvalidValue,)
        self.submit(self.streams[int(stream)], (to, of), lambda: ctypes.memmove(target, source, size))
        return OK

    def cudaMemcpy(self, target: int, source: int, size: int, kind: int) -> Answer:
        if self.piece(source, size, False) is None:
            return (Status.cudaErrorInvalidValue,)
        ctypes.memmove(target, source, size)
        return OK

    def cudaStreamCreateWithFlags(self, flags: int) -> Answer:
        handle = Handle(next(self._numbers))
        self.streams[int(handle)] = Queue(self.device)
        return *OK, handle

    def cudaStreamDestroy(self, stream: Handle) -> Answer:
        if self.streams.pop(int(stream)).pending:
            self.problems.append("destroyed a stream that has work")
        return OK

    def cudaStreamSynchronize(self, stream: Handle) -> Answer:
        found = self.streams[int(stream)]
        if found.recording is not None:
            found.broken = True
            return (Status.cudaErrorStreamCaptureUnsupported,)
        while found.pending:
            found.pending.pop(0)[1]()
        return OK

    def cudaStreamBeginCapture(self, stream: Handle, mode: int) -> Answer:
        found = self.streams[int(stream)]
        found.recording, found.recorder, found.broken = [], threading.get_ident(), False
        return OK

    def cudaStreamEndCapture(self, stream: Handle) -> Answer:
        found = self.streams[int(stream)]
        work, found.recording, found.recorder = found.recording, None, None
        if found.broken or work is None:
            return Status.cudaErrorStreamCaptureInvalidated, None
        handle = Handle(next(self._numbers))
        self.graphs[int(handle)] = work
        return *OK, handle

    def cudaGraphInstantiate(self, graph: Handle, flags: int) -> Answer:
        handle = Handle(next(self._numbers))
        self.execs[int(handle)] = list(self.graphs[int(graph)])
        return *OK, handle

    def cudaGraphDestroy(self, graph: Handle) -> Answer:
        del self.graphs[int(graph)]
        return OK

    def cudaGraphExecDestroy(self, handle: Handle) -> Answer:
        del self.execs[int(handle)]
        return OK

    def cudaGraphLaunch(self, handle: Handle, stream: Handle) -> Answer:
        for used, work in self.execs[int(handle)]:
            self.streams[int(stream)].pending.append((used, work))
        return OK

    def leftovers(self) -> int:
        """What was made and not given back."""
        return len(self.pieces) + len(self.streams) + len(self.graphs) + len(self.execs)
