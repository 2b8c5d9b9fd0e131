"""The CPU, by onnxruntime."""

from __future__ import annotations

import functools
import importlib.util
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vsanimup.engines.base import DeviceArray, DeviceMemory, Engine, Feed, Result, Size
from vsanimup.engines.onnx_runtime import OnnxRuntimeBackend, session_options
from vsanimup.errors import AnimupError, cut
from vsanimup.stop import current, underway

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def usable_cores() -> int:
    """CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


class _Cores:
    """The CPU's cores, on which all engines of the process draw, so that a chain of filters never has more
    threads at work than there are cores.

    While few computations are about, each gets all cores and the others wait for it; else each gets one, which is the
    better use of them: no pool to wake, no waiting for the slowest thread.
    """

    def __init__(self, count: int) -> None:
        self._count = self._free = count
        self._about = 0
        self._changed = threading.Condition()

    @contextmanager
    def share(self) -> Iterator[bool]:
        """Wait for cores; whether it was given all of them."""
        with self._changed:
            self._about += 1
            self._changed.notify_all()  # who waits for all cores may do with one now
            try:
                self._changed.wait_for(lambda: self._free > 0 and (self._crowded() or self._free == self._count))
            except BaseException:
                self._about -= 1
                raise
            taken = 1 if self._crowded() or self._count == 1 else self._count
            self._free -= taken
        try:
            yield taken > 1
        finally:
            with self._changed:
                self._free += taken
                self._about -= 1
                self._changed.notify_all()

    def _crowded(self) -> bool:
        # a thread that prepares a run, or finishes one, is about to want a core
        return 2 * max(self._about, underway()) > self._count


_cores = _Cores(usable_cores())


@functools.cache
def _shared_arena() -> bool:
    """Let all sessions of the process take their working memory from one arena: each has one of its own otherwise, as
    large as it ever needed, though no more of them compute at once than there are cores."""
    import onnxruntime as ort

    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    try:
        ort.create_and_register_allocator(memory, None)
    except Exception:  # somebody else in this process registered one, or this onnxruntime knows none
        return False
    return True


class CpuEngine:
    """One network on onnxruntime's CPU provider, as two sessions: for one thread, and for all cores.

    How work is split among threads changes no byte: integer sums are exact, and each float sum is one thread's own.
    """

    backend = "cpu"

    def __init__(self, single: InferenceSession, whole: Callable[[], InferenceSession], origin: str) -> None:
        """``whole`` opens the session for all cores when that is first wanted."""
        self._single, self._open_whole, self._whole = single, whole, None
        self._opening = threading.Lock()
        self._origin = origin
        self._outputs = [output.name for output in single.get_outputs()]

    def run(self, inputs: Mapping[str, Feed | DeviceArray], *, keep: Collection[str] = ()) -> dict[str, Result]:
        """See :class:`vsanimup.engines.base.Engine`; all outputs are arrays."""
        import onnxruntime as ort

        options, stop = ort.RunOptions(), current()

        def end() -> None:
            options.terminate = True

        try:
            with _cores.share() as all_of_them, stop.telling(end):
                session = self._session_for_all() if all_of_them else self._single
                results = session.run(self._outputs, dict(inputs), options)
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            if stop:
                raise AnimupError("nobody wants this frame any more") from error
            raise AnimupError(f"the network {self._origin} failed on the cpu backend: {cut(error)}") from error
        return dict(zip(self._outputs, results, strict=True))

    def _session_for_all(self) -> InferenceSession:
        with self._opening:
            if self._whole is None:
                self._whole = self._open_whole()
            return self._whole


class CpuBackend(OnnxRuntimeBackend):
    """onnxruntime's CPU provider."""

    name = "cpu"
    integers = True

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

        def session(threads: int) -> InferenceSession:
            options = session_options(sizes)
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            if _shared_arena():
                options.add_session_config_entry("session.use_env_allocators", "1")
            try:
                return ort.InferenceSession(network, options, providers=["CPUExecutionProvider"])
            except Exception as error:
                raise AnimupError(
                    f"onnxruntime {ort.__version__} cannot load the network {origin}: {cut(error)}; "
                    "install the model again, or a newer onnxruntime"
                ) from error

        return CpuEngine(session(1), lambda: session(usable_cores()), origin)
