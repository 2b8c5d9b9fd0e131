"""The processor, by onnxruntime."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from vsanimup.engines.base import DeviceArray, DeviceMemory, Engine, Feed, Result, Size
from vsanimup.engines.onnx_runtime import OnnxRuntimeBackend, session_options
from vsanimup.errors import AnimupError, cut

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def usable_cores() -> int:
    """Processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


# Every engine in the process draws on these places, so that a chain of filters never runs more computations
# than there are cores. Each run is single-threaded: no pool to wake, no spinning against VapourSynth's own
# threads, and the result cannot depend on how work was split.
_places = threading.BoundedSemaphore(usable_cores())


class CpuEngine:
    """One onnxruntime session on the CPU provider."""

    backend = "cpu"

    def __init__(self, session: InferenceSession, origin: str) -> None:
        self._session = session
        self._origin = origin
        self._outputs = [output.name for output in session.get_outputs()]

    def run(self, inputs: Mapping[str, Feed | DeviceArray], *, keep: Collection[str] = ()) -> dict[str, Result]:
        """See :class:`vsanimup.engines.base.Engine`; all outputs are arrays."""
        try:
            with _places:
                results = self._session.run(self._outputs, dict(inputs))
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            raise AnimupError(f"the network {self._origin} failed on the cpu backend: {cut(error)}") from error
        return dict(zip(self._outputs, results, strict=True))


class CpuBackend(OnnxRuntimeBackend):
    """onnxruntime's CPU provider."""

    name = "cpu"

    def unavailable(self) -> str | None:
        """See :class:`vsanimup.engines.base.Backend`."""
        if importlib.util.find_spec("onnxruntime") is None:
            return "onnxruntime is not installed: pip install onnxruntime"
        return None

    def streams(self) -> int:
        """One run a core."""
        return usable_cores()

    def memory(self, device_id: int) -> DeviceMemory | None:
        """None of its own."""
        if device_id != 0:
            raise AnimupError(f"device_id must be 0 on the cpu backend, got {device_id}")
        return None

    def _open(
        self, network: bytes | str, origin: str, sizes: Mapping[str, Size], device_id: int, precision: str
    ) -> Engine:
        """An engine of a network's bytes, or of the file of this name."""
        import onnxruntime as ort

        self.memory(device_id)
        if precision not in ("auto", "fp32"):
            raise ValueError(f"this backend computes as the network says, not at {precision}")
        options = session_options(sizes)
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        try:
            session = ort.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise AnimupError(
                f"onnxruntime {ort.__version__} cannot load the network {origin}: {cut(error)}; "
                "install the model again, or a newer onnxruntime"
            ) from error
        return CpuEngine(session, origin)
