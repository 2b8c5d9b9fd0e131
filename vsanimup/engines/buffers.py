"""Inputs and outputs of engines in a CUDA device's memory."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

import numpy as np

from vsanimup.engines import device
from vsanimup.engines.base import Array, DeviceArray, Feed


class Kept:
    """A finished array in a device's memory, which goes back to its pool when it is let go."""

    def __init__(
        self, memory: device.Memory, pool: device.Pool, device_id: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.memory, self.device_id, self.dtype = memory, device_id, dtype
        self._pool, self._shape = pool, shape

    def __del__(self) -> None:
        # whoever reads it holds it until the device is done with it
        self._pool.give(self.memory)

    @property
    def shape(self) -> tuple[int, ...]:
        """See :class:`vsanimup.engines.base.DeviceArray`."""
        return self._shape

    def to_host(self) -> Array:
        """See :class:`vsanimup.engines.base.DeviceArray`."""
        device.use(self.device_id)
        found = np.empty(self._shape, self.dtype)
        device.copy_to_host(found, self.memory)
        return found.astype(np.float32, copy=False)


def near(value: Feed | DeviceArray, device_id: int) -> Feed | Kept:
    """What a device can take: an array in main memory, as which another device's comes, or one of its own."""
    return value if isinstance(value, np.ndarray) or _is_of(value, device_id) else value.to_host()


def _is_of(value: DeviceArray, device_id: int) -> TypeGuard[Kept]:
    return isinstance(value, Kept) and value.device_id == device_id


class Buffer:
    """Memory of an input or output on the thread's current device, and what is copied to and from it.

    It stays where it is, which graphs need. All copies are only asked for: wait for the stream.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Raises :class:`vsanimup.errors.OutOfMemory` when the device has too little memory."""
        self.shape, self.dtype = shape, dtype
        self.size = math.prod(shape) * dtype.itemsize
        self.memory = device.Memory(self.size)
        self._pinned: device.Pinned | None = None

    @property
    def pinned(self) -> device.Pinned:
        """Made when it is first needed: what always stays on the device has no use for it."""
        if self._pinned is None:
            self._pinned = device.Pinned(self.size)
        return self._pinned

    def feed(self, stream: device.Stream, value: Feed | Kept) -> None:
        """Take an array of this shape. One of main memory may be changed as soon as this returns."""
        if isinstance(value, Kept):
            if value.dtype == self.dtype:
                stream.copy_within(self.memory, value.memory, self.size)
                return
            value = value.to_host()
        np.copyto(self.pinned.view(self.shape, self.dtype), value, casting="same_kind")
        stream.copy_in(self.memory, self.pinned, self.size)

    def keep(self, stream: device.Stream, pool: device.Pool, device_id: int) -> Kept:
        """A copy that stays on the device."""
        kept = Kept(pool.take(self.size), pool, device_id, self.shape, self.dtype)
        stream.copy_within(kept.memory, self.memory, self.size)
        return kept

    def bring(self, stream: device.Stream) -> None:
        """Have it copied to main memory, for :meth:`fetch`."""
        stream.copy_out(self.pinned, self.memory, self.size)

    def fetch(self) -> Array:
        """What was brought, the caller's own."""
        return np.array(self.pinned.view(self.shape, self.dtype), np.float32)
