"""What an engine is: one loaded network with named inputs and outputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Feed = NDArray[np.float32] | NDArray[np.int32]
"""What an input takes: numbers, or whole numbers such as a text's tokens."""
Size = int | tuple[int, int, int]
"""A symbolic dimension: fixed, or one that may differ from run to run, as (least, usual, most)."""
Weights = Mapping[str, NDArray[np.float32]]
"""Values for initialisers of a network, by name, in their shapes."""


class DeviceArray(Protocol):
    """An output that stayed where it was computed, to be fed to another run. Freed when it is let go."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As numpy's."""
        ...

    def to_host(self) -> Array:
        """A copy in main memory.

        Raises :class:`vsanimup.errors.AnimupError` when the device fails.
        """
        ...


Result = Array | DeviceArray
"""An output: in main memory, unless it was to be kept on a device that has its own."""


def on_host(result: Result) -> Array:
    """An output in main memory: itself if it is there, or a copy."""
    return result if isinstance(result, np.ndarray) else result.to_host()


@dataclass(frozen=True, kw_only=True)
class DeviceMemory:
    """Memory of a device of its own, in bytes."""

    total: int
    """What it has: the same whenever it is asked."""
    free: int
    """What nobody uses at this moment."""


class Engine(Protocol):
    """A network ready to run. Safe to call from several threads at once; equal input gives equal bytes."""

    backend: str
    """Name of the backend that made it, such as ``"cpu"``."""

    def run(self, inputs: Mapping[str, Feed | DeviceArray], *, keep: Collection[str] = ()) -> dict[str, Result]:
        """Run once. ``inputs`` by name, C-contiguous, in the shapes the engine was made for; outputs by name.

        Outputs named in ``keep`` stay on the device, where it has memory of its own, and may be fed to any engine of
        the same backend and device; :func:`on_host` brings any output here. Raises
        :class:`vsanimup.errors.AnimupError` when the backend fails, which is an
        :class:`vsanimup.errors.OutOfMemory` when the device has too little memory for the run.
        """
        ...


class Backend(Protocol):
    """A way to make engines."""

    name: str
    builds: bool
    """Whether making an engine takes long, so that it is kept for later. Then ask for one that serves a range of
    sizes, and hand over ``weights`` instead of changing the network."""
    integers: bool
    """Whether networks of 8-bit integers are faster on it than those of floats."""

    def unavailable(self) -> str | None:
        """Why this backend cannot be used here, with the remedy; ``None`` when it can."""
        ...

    def streams(self) -> int:
        """How many runs at once use the whole device."""
        ...

    def memory(self, device_id: int) -> DeviceMemory | None:
        """Memory of a device; ``None`` where it shares the computer's.

        Raises :class:`vsanimup.errors.AnimupError` when there is no such device.
        """
        ...

    def load(
        self,
        network: bytes,
        *,
        origin: str,
        sizes: Mapping[str, Size],
        device_id: int,
        streams: int = 1,
        precision: str = "auto",
        weights: Weights | None = None,
    ) -> Engine:
        """Make an engine of an ONNX network.

        ``origin`` names the file in errors; ``sizes`` fixes the symbolic dimensions by name, or gives their ranges;
        ``streams`` is the number of runs at once. ``precision`` is that of the arithmetic: ``fp32``, ``fp16``,
        ``bf16``, or ``auto``, which is as the file is on backends that do not build. ``weights`` take the places of
        initialisers of those names; only backends that build know them.
        """
        ...

    def load_file(
        self, path: Path, *, sizes: Mapping[str, Size], device_id: int, streams: int = 1, precision: str = "auto"
    ) -> Engine:
        """Make an engine of an ONNX file, whose large weights may lie in other files beside it.

        As :meth:`load`; dimensions that ``sizes`` leaves out may differ from run to run, which backends that build
        refuse. Checks no hash: that is the model folder's to do.
        """
        ...
