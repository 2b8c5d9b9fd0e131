"""All use of CUDA: which device there is, and memory, streams and graphs on it, through cuda-python's bindings.

CUDA's calls belong to the thread's current device, so whoever makes several begins with :func:`use`.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import math
import os
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vsanimup.engines.base import DeviceMemory
from vsanimup.errors import AnimupError, OutOfMemory

LOG = logging.getLogger("vsanimup.device")
PACKAGE = "pip install 'vsanimup[cuda]'"


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """What a CUDA device is."""

    name: str
    """Such as ``NVIDIA GeForce RTX 4090``."""
    compute_capability: tuple[int, int]
    """Such as (8, 9)."""
    driver: str
    """The newest CUDA that the driver knows, such as ``13.0``."""
    runtime: str
    """The CUDA of the bindings."""
    total_memory: int
    """Bytes that it has."""
    free_memory: int
    """Bytes that nobody uses at this moment."""


@functools.cache
def runtime() -> ModuleType:
    """The bindings of CUDA's runtime.

    Raises :class:`AnimupError` with the remedy when they are missing.
    """
    try:
        from cuda.bindings import runtime as found
    except ImportError as error:
        raise AnimupError(f"cuda-bindings cannot be imported ({error}): {PACKAGE}") from error
    assert isinstance(found, ModuleType)
    return found


def call(function: str, *args: object) -> Any:
    """What a function of the runtime returns beside its status: nothing, one thing or a tuple.

    Raises :class:`OutOfMemory` when the device has too little memory, :class:`AnimupError` for other failures.
    """
    cuda = runtime()
    status, *values = getattr(cuda, function)(*args)
    if status == cuda.cudaError_t.cudaSuccess:
        return tuple(values) if len(values) > 1 else values[0] if values else None
    cuda.cudaGetLastError()  # or the next call of anyone on this thread may report it once more
    text = f"{function} failed: {_meaning(status)}"
    if status == cuda.cudaError_t.cudaErrorMemoryAllocation:
        raise OutOfMemory(text)
    raise AnimupError(text)


def count() -> int:
    """Devices that can be used, one at least.

    Raises :class:`AnimupError` with the remedy when there is none.
    """
    cuda = runtime()
    status, number = cuda.cudaGetDeviceCount()
    if status == cuda.cudaError_t.cudaSuccess and number > 0:
        return int(number)
    _, known = cuda.cudaDriverGetVersion()
    if not known:
        raise AnimupError("there is no NVIDIA driver: install it from nvidia.com or your system's packages")
    if status == cuda.cudaError_t.cudaErrorInsufficientDriver:
        needed = _version(cuda.cudaRuntimeGetVersion()[1])
        raise AnimupError(
            f"the NVIDIA driver is too old: it knows CUDA {_version(known)}, {needed} is needed; renew it"
        )
    if status in (cuda.cudaError_t.cudaSuccess, cuda.cudaError_t.cudaErrorNoDevice):
        raise AnimupError("there is no NVIDIA GPU that this process may use; see whether nvidia-smi lists one")
    raise AnimupError(
        f"the NVIDIA driver does not work ({_meaning(status)}); see whether nvidia-smi does, then restart"
    )


def is_there() -> bool:
    """Whether the system has a driver for NVIDIA's devices, without asking the bindings, which may be missing."""
    if sys.platform == "win32":
        return Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvcuda.dll").exists()
    return any(map(os.path.exists, ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/usr/lib/wsl/lib/libcuda.so.1")))


def use(device_id: int) -> None:
    """Make a device the calling thread's current one.

    Raises :class:`AnimupError` when there is no such device.
    """
    number = count()
    if not 0 <= device_id < number:
        wanted = "0, for there is one GPU" if number == 1 else f"0 to {number - 1}"
        raise AnimupError(f"device_id must be {wanted}, got {device_id}")
    call("cudaSetDevice", device_id)


def memory(device_id: int) -> DeviceMemory:
    """Memory of a device.

    Raises :class:`AnimupError` when there is no such device.
    """
    use(device_id)
    free, total = call("cudaMemGetInfo")
    return DeviceMemory(total=int(total), free=int(free))


def find(device_id: int) -> DeviceInfo:
    """What a device is.

    Raises :class:`AnimupError`, one sentence with the remedy, when the bindings, the driver or the device are missing.
    """
    room = memory(device_id)
    properties = call("cudaGetDeviceProperties", device_id)
    name = properties.name
    return DeviceInfo(
        name=(name.decode() if isinstance(name, bytes) else str(name)).rstrip("\0"),
        compute_capability=(int(properties.major), int(properties.minor)),
        driver=_version(call("cudaDriverGetVersion")),
        runtime=_version(call("cudaRuntimeGetVersion")),
        total_memory=room.total,
        free_memory=room.free,
    )


def _meaning(status: Any) -> str:
    _, text = runtime().cudaGetErrorString(status)
    return text.decode() if isinstance(text, bytes) else str(text)


def _version(number: int) -> str:
    """CUDA writes 13.2 as 13020."""
    return f"{number // 1000}.{number % 1000 // 10}"


class Memory:
    """Memory of the thread's current device, freed when it is let go."""

    def __init__(self, size: int) -> None:
        """Raises :class:`OutOfMemory` when there are no ``size`` bytes left."""
        self.size = size
        self.address = int(call("cudaMalloc", max(1, size)))
        # at the end of the process the driver does it, and may itself be gone
        weakref.finalize(self, _release, "cudaFree", self.address).atexit = False


class Pinned:
    """Page-locked main memory, from and to which a device copies by itself; freed when it is let go.

    Views of it must not outlive it.
    """

    def __init__(self, size: int) -> None:
        """Raises :class:`OutOfMemory` when ``size`` bytes cannot be locked."""
        self.size = size
        self.address = int(call("cudaHostAlloc", max(1, size), runtime().cudaHostAllocDefault))
        weakref.finalize(self, _release, "cudaFreeHost", self.address).atexit = False

    def view(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Its first bytes as an array."""
        raw = (ctypes.c_ubyte * self.size).from_address(self.address)
        return np.frombuffer(raw, dtype, count=math.prod(shape)).reshape(shape)


class Pool:
    """Pieces of device memory that are used again: to free one makes the whole device wait."""

    def __init__(self) -> None:
        self._spare: list[Memory] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> Memory:
        """A piece of ``size`` bytes, with whatever it holds.

        Raises :class:`OutOfMemory` as :class:`Memory` does, after what lies here unused was freed.
        """
        with self._lock:
            place = next((i for i, spare in enumerate(self._spare) if spare.size == size), None)
            if place is not None:
                return self._spare.pop(place)
        try:
            return Memory(size)
        except OutOfMemory:
            if not self._spare:
                raise
        self._spare = []
        return Memory(size)

    def give(self, piece: Memory) -> None:
        """Take back a piece that no work on the device uses any more. Needs no lock, so that finalizers may call it."""
        self._spare.append(piece)


class Graph:
    """Work of a stream, recorded to be started at once; freed when it is let go."""

    def __init__(self, recorded: Any) -> None:
        """``recorded`` is a ``cudaGraph_t``, which this frees."""
        try:
            self._handle = call("cudaGraphInstantiate", recorded, 0)
        finally:
            call("cudaGraphDestroy", recorded)
        weakref.finalize(self, _release, "cudaGraphExecDestroy", self._handle).atexit = False

    def launch(self, stream: Stream) -> None:
        """Start it after what the stream has to do."""
        call("cudaGraphLaunch", self._handle, stream.handle)


class Stream:
    """A queue of work on the thread's current device; what is asked of it is done in order, later.

    Memory that it works on must be kept until :meth:`wait` returned.
    """

    def __init__(self) -> None:
        # it shall not wait for the default stream, which others in the process may use
        self.handle = call("cudaStreamCreateWithFlags", runtime().cudaStreamNonBlocking)
        weakref.finalize(self, _release, "cudaStreamDestroy", self.handle).atexit = False

    def copy_in(self, target: Memory, source: Pinned, size: int) -> None:
        """Main memory to device."""
        self._copy(target, source, size, runtime().cudaMemcpyKind.cudaMemcpyHostToDevice)

    def copy_out(self, target: Pinned, source: Memory, size: int) -> None:
        """Device to main memory."""
        self._copy(target, source, size, runtime().cudaMemcpyKind.cudaMemcpyDeviceToHost)

    def copy_within(self, target: Memory, source: Memory, size: int) -> None:
        """Device to device."""
        self._copy(target, source, size, runtime().cudaMemcpyKind.cudaMemcpyDeviceToDevice)

    def _copy(self, target: Memory | Pinned, source: Memory | Pinned, size: int, kind: Any) -> None:
        if size > min(target.size, source.size):
            raise ValueError(f"copy of {size} bytes from {source.size} to {target.size}")
        call("cudaMemcpyAsync", target.address, source.address, size, kind, self.handle)

    def record(self, work: Callable[[], None]) -> Graph:
        """What ``work`` asks of this stream, as a graph; none of it is done.

        Raises :class:`AnimupError` when it cannot be recorded; the stream can be used after that, too.
        """
        call("cudaStreamBeginCapture", self.handle, runtime().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        try:
            work()
        except BaseException:
            # a stream goes on recording until it is told to stop
            status, recorded = runtime().cudaStreamEndCapture(self.handle)
            if status == runtime().cudaError_t.cudaSuccess:
                call("cudaGraphDestroy", recorded)
            runtime().cudaGetLastError()
            raise
        return Graph(call("cudaStreamEndCapture", self.handle))

    def wait(self) -> None:
        """Until all is done.

        Raises :class:`AnimupError` when some of it failed.
        """
        call("cudaStreamSynchronize", self.handle)


def copy_to_host(target: NDArray[Any], source: Memory) -> None:
    """Fill an array, C-contiguous and no larger than the memory, and wait until that is done."""
    kind = runtime().cudaMemcpyKind.cudaMemcpyDeviceToHost
    call("cudaMemcpy", target.ctypes.data, source.address, target.nbytes, kind)


def _release(function: str, handle: Any) -> None:
    """Give something back. What went wrong before would only be told once more, so nothing is raised."""
    cuda = runtime()
    (status,) = getattr(cuda, function)(handle)
    if status != cuda.cudaError_t.cudaSuccess:
        cuda.cudaGetLastError()
        LOG.debug("%s: %s", function, _meaning(status))
