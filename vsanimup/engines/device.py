"""All use of CUDA: which device there is, and memory, streams and graphs on it, through cuda-python's bindings.

CUDA's calls belong to the thread's current device, so whoever makes several begins with :func:`use`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from vsanimup.engines.base import DeviceMemory
from vsanimup.errors import AnimupError, OutOfMemory

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
