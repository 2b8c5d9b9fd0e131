"""The backend ``tensorrt``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vsanimup.engines import device
from vsanimup.engines.base import DeviceMemory, Engine, Size, Weights
from vsanimup.engines.cache import Cache
from vsanimup.engines.tensorrt import library
from vsanimup.errors import AnimupError

STREAMS = 2
"""Runs at once: while one computes, another's input and output are copied."""


class TensorRtBackend:
    """TensorRT or TensorRT-RTX, whichever is installed; engines are built on first use and kept."""

    name = "tensorrt"
    builds = True
    integers = False

    def unavailable(self) -> str | None:
        """See :class:`vsanimup.engines.base.Backend`."""
        if reason := library.missing():
            return reason
        try:
            device.find(0)
        except AnimupError as error:
            return str(error)
        return None

    def streams(self) -> int:
        """See :data:`STREAMS`."""
        return STREAMS

    def memory(self, device_id: int) -> DeviceMemory | None:
        """See :class:`vsanimup.engines.base.Backend`."""
        return device.memory(device_id)

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
        return self._open(network, origin, sizes, device_id, streams, precision, weights)

    def load_file(
        self, path: Path, *, sizes: Mapping[str, Size], device_id: int, streams: int = 1, precision: str = "auto"
    ) -> Engine:
        """See :class:`vsanimup.engines.base.Backend`."""
        return self._open(path, str(path), sizes, device_id, streams, precision, None)

    def _open(
        self,
        network: bytes | Path,
        origin: str,
        sizes: Mapping[str, Size],
        device_id: int,
        streams: int,
        precision: str,
        weights: Weights | None,
    ) -> Engine:
        from vsanimup.engines.tensorrt.plans import Request, Target, plan
        from vsanimup.engines.tensorrt.runner import Runner

        gpu = device.find(device_id)
        found = library.find()
        device.use(device_id)
        request = Request(network=network, origin=origin, sizes=sizes, precision=precision, weights=weights)
        made = plan(found, request, Target(gpu=gpu), Cache())
        runner = Runner(made.data, library=found, origin=origin, device_id=device_id, num_streams=streams)
        if made.refit:
            assert weights is not None
            runner.refit(weights)
        return runner
