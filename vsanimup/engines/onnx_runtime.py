"""What the backends of onnxruntime have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vsanimup.engines.base import Engine, Size, Weights

if TYPE_CHECKING:
    from onnxruntime import SessionOptions


class OnnxRuntimeBackend(ABC):
    """Loads networks as they are: nothing is built, so nothing is kept and no weights are taken beside theirs."""

    builds = False

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
        """See :class:`vsanimup.engines.base.Backend`."""
        if weights:
            raise ValueError("this backend takes no weights beside the network's")
        return self._open(network, origin, sizes, device_id, precision)

    def load_file(
        self, path: Path, *, sizes: Mapping[str, Size], device_id: int, streams: int = 1, precision: str = "auto"
    ) -> Engine:
        """See :class:`vsanimup.engines.base.Backend`."""
        return self._open(str(path), str(path), sizes, device_id, precision)

    @abstractmethod
    def _open(
        self, network: bytes | str, origin: str, sizes: Mapping[str, Size], device_id: int, precision: str
    ) -> Engine:
        """An engine of a network's bytes, or of the file of this name."""


def session_options(sizes: Mapping[str, Size]) -> SessionOptions:
    """Quiet, with those dimensions fixed that have one size."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    for name, size in sizes.items():
        if isinstance(size, int):
            options.add_free_dimension_override_by_name(name, size)
    return options
