"""GPUs and CPUs by onnxruntime's other execution providers: OpenVINO, DirectML, Core ML and MIGraphX."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vsanimup.engines.base import DeviceArray, DeviceMemory, Engine, Feed, Result, Size
from vsanimup.engines.onnx_runtime import OnnxRuntimeBackend, session_options
from vsanimup.errors import AnimupError, cut

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class ProviderEngine:
    """One onnxruntime session on a provider. One run goes on at a time, for it has the whole device."""

    def __init__(self, session: InferenceSession, backend: str, origin: str) -> None:
        self.backend = backend
        self._session, self._origin = session, origin
        self._outputs = [output.name for output in session.get_outputs()]
        self._running = threading.Lock()

    def run(self, inputs: Mapping[str, Feed | DeviceArray], *, keep: Collection[str] = ()) -> dict[str, Result]:
        """See :class:`vsanimup.engines.base.Engine`; all outputs are arrays."""
        try:
            with self._running:
                results = self._session.run(self._outputs, dict(inputs))
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            what = f"the network {self._origin} failed on the {self.backend} backend"
            raise AnimupError(f"{what}: {cut(error)}") from error
        return dict(zip(self._outputs, results, strict=True))


@dataclass(eq=False, kw_only=True)
class ProviderBackend(OnnxRuntimeBackend):
    """A provider that the installed onnxruntime may have or not. Taken by its name only, never by ``auto``."""

    name: str
    provider: str
    """As onnxruntime calls it."""
    package: str
    """The onnxruntime that has it."""
    systems: tuple[str, ...]
    """Where there is one, as ``sys.platform`` calls them."""
    integers: bool = False

    def unavailable(self) -> str | None:
        """See :class:`vsanimup.engines.base.Backend`."""
        if sys.platform not in self.systems:
            return f"onnxruntime has no {self.provider} for this system: use backend='auto'"
        install = f"pip uninstall onnxruntime, then pip install {self.package}"
        if importlib.util.find_spec("onnxruntime") is None:
            return f"onnxruntime is not installed: pip install {self.package}"
        try:
            import onnxruntime as ort

            there = ort.get_available_providers()
        except Exception as error:  # half an installation
            return f"onnxruntime cannot be used ({error}): {install}"
        if self.provider not in there:
            return f"the onnxruntime that is installed has no {self.provider}: {install}"
        return None

    def streams(self) -> int:
        """One that computes, and one that prepares its inputs meanwhile."""
        return 2

    def memory(self, device_id: int) -> DeviceMemory | None:
        """Not told by onnxruntime."""
        return None

    def options(self, device_id: int, precision: str) -> dict[str, str]:
        """The provider's options. Raises :class:`AnimupError` when there is no such device."""
        if self.name == "openvino":
            return _openvino(device_id, precision)
        if self.name in ("directml", "migraphx"):
            return {"device_id": str(device_id)}
        if device_id != 0:
            raise AnimupError(f"device_id must be 0 on the {self.name} backend, got {device_id}")
        return {"ModelFormat": "MLProgram"} if self.name == "coreml" else {}

    def _open(
        self, network: bytes | str, origin: str, sizes: Mapping[str, Size], device_id: int, precision: str
    ) -> Engine:
        """An engine of a network's bytes, or of the file of this name."""
        import onnxruntime as ort

        if precision not in ("auto", "fp32"):
            raise ValueError(f"this backend computes as the network says, not at {precision}")
        settings: Any = session_options(sizes)
        settings.enable_mem_pattern = self.name != "directml"  # which does not know them
        given = [(self.provider, self.options(device_id, precision)), "CPUExecutionProvider"]
        try:
            session = ort.InferenceSession(network, settings, providers=given)
        except Exception as error:
            raise AnimupError(
                f"onnxruntime {ort.__version__} cannot load the network {origin} on the {self.name} backend: "
                f"{cut(error)}; renew the device's driver, or use backend='cpu'"
            ) from error
        if self.provider not in session.get_providers():  # else it would go on without a word, on the CPU
            raise AnimupError(
                f"onnxruntime {ort.__version__} cannot use the device of the {self.name} backend: "
                "renew its driver, or use backend='cpu'"
            )
        return ProviderEngine(session, self.name, origin)


def _openvino(device_id: int, precision: str) -> dict[str, str]:
    """OpenVINO's GPUs by their numbers; where it has none, the CPU."""
    from onnxruntime.capi import _pybind_state as binding

    listed = getattr(binding, "get_available_openvino_device_ids", lambda: ["CPU"])()
    gpus = sorted(name for name in listed if name.startswith("GPU"))
    found = gpus or ["CPU"]
    if device_id >= len(found):
        raise AnimupError(f"device_id must be below {len(found)} on the openvino backend, got {device_id}")
    half = gpus and precision == "auto"
    return {"device_type": found[device_id], "precision": "FP16" if half else "FP32"}


PROVIDERS = (
    ProviderBackend(
        name="openvino",
        provider="OpenVINOExecutionProvider",
        package="onnxruntime-openvino",
        systems=("linux", "win32"),
        integers=True,
    ),
    ProviderBackend(
        name="directml", provider="DmlExecutionProvider", package="onnxruntime-directml", systems=("win32",)
    ),
    ProviderBackend(name="coreml", provider="CoreMLExecutionProvider", package="onnxruntime", systems=("darwin",)),
    ProviderBackend(
        name="migraphx", provider="MIGraphXExecutionProvider", package="onnxruntime-migraphx", systems=("linux",)
    ),
)
