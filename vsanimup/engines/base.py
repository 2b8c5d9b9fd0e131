"""What an engine is: one loaded network with named inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Feed = NDArray[np.float32] | NDArray[np.int32]
"""What an input takes: numbers, or whole numbers such as a text's tokens."""


class Engine(Protocol):
    """A network ready to run. Safe to call from several threads at once; equal input gives equal bytes."""

    backend: str
    """Name of the backend that made it, such as ``"cpu"``."""

    def run(self, inputs: Mapping[str, Feed]) -> dict[str, Array]:
        """Run once. ``inputs`` by name, C-contiguous, in the shapes the engine was made for; outputs by name.

        Raises :class:`vsanimup.errors.AnimupError` when the backend fails.
        """
        ...


class Backend(Protocol):
    """A way to make engines."""

    name: str

    def unavailable(self) -> str | None:
        """Why this backend cannot be used here, with the remedy; ``None`` when it can."""
        ...

    def streams(self) -> int:
        """How many runs at once use the whole device."""
        ...

    def load(self, network: bytes, *, origin: str, sizes: Mapping[str, int], device_id: int) -> Engine:
        """Make an engine of an ONNX network.

        ``origin`` names the file in errors; ``sizes`` fixes the symbolic dimensions by name.
        """
        ...

    def load_file(self, path: Path, *, sizes: Mapping[str, int], device_id: int) -> Engine:
        """Make an engine of an ONNX file, whose large weights may lie in other files beside it.

        ``sizes`` fixes the symbolic dimensions by name; those it leaves out may differ from run to run. Checks no
        hash: that is the model folder's to do.
        """
        ...
