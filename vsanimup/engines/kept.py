"""Outputs that stay on a CUDA device."""

from __future__ import annotations

from typing import Any

import numpy as np

from vsanimup.engines import device
from vsanimup.engines.base import Array


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
