"""A TensorRT plan of an ONNX network."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsanimup.engines.base import Size
from vsanimup.engines.tensorrt.library import Library
from vsanimup.errors import AnimupError

LOG = logging.getLogger("vsanimup.tensorrt")
EVERY = 5.0
"""Seconds between two lines of the log about one build."""
TICK = 0.2
"""Seconds between two reports to whoever shows progress."""

Report = Callable[[float, str], None]
"""Told, several times a second, what share 0..1 of a build is done, and what is being done."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be built."""

    network: bytes | Path
    """ONNX, strongly typed as it is to run; a path where weights lie in other files."""
    origin: str
    """Name of the network in errors and logs."""
    sizes: Mapping[str, Size]
    """Symbolic dimensions."""
    refit: Collection[str] = ()
    """Initialisers that are to be changed later."""
    compute_capability: tuple[int, int] | None = None
    """The only kind of GPU that it is for; ``None``: whatever the library builds for by itself."""


def build(library: Library, job: Job, report: Report | None = None) -> bytes:
    """Build a plan; takes seconds to minutes, in which Ctrl-C works. Without ``report`` the log says how far it is.

    Raises :class:`AnimupError` naming the network, and the node where TensorRT cannot read it.
    """
    stop = threading.Event()
    state = _Progress()
    told = report or _Log(job.origin)
    # Its callbacks run in the thread that builds. In the main one, Ctrl-C would raise an exception through C++.
    with concurrent.futures.ThreadPoolExecutor(1, "animup-build") as pool:
        future = pool.submit(_build, library, job, state, stop)
        try:
            while not concurrent.futures.wait([future], TICK).done:
                told(state.share(), state.doing())
        except BaseException:
            stop.set()
            raise
        return future.result()


class _Log:
    """A line every few seconds."""

    def __init__(self, origin: str) -> None:
        self._origin, self._began, self._next = origin, time.monotonic(), EVERY

    def __call__(self, share: float, doing: str) -> None:
        spent = time.monotonic() - self._began
        if spent >= self._next:
            self._next = spent + EVERY
            LOG.debug("%s: engine %.0f %% built after %.0f s (%s)", self._origin, 100 * share, spent, doing)


class _Progress:
    """Phases of a build, which lie in each other; TensorRT tells of them from its own threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._phases: dict[str, tuple[str | None, int, int]] = {}  # parent, steps, steps done
        self._most = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._phases[name] = parent, max(1, steps), 0

    def step(self, name: str, step: int) -> None:
        with self._lock:
            if name in self._phases:
                parent, steps, _ = self._phases[name]
                self._phases[name] = parent, steps, step + 1

    def finish(self, name: str) -> None:
        with self._lock:
            self._phases.pop(name, None)

    def share(self) -> float:
        """Share that is done; never falls, though phases come as a surprise."""
        with self._lock:
            roots = [name for name, (parent, *_) in self._phases.items() if parent is None]
            self._most = max(self._most, *(self._share(name, 0) for name in roots), 0.0)
            return min(self._most, 1.0)

    def _share(self, name: str, depth: int) -> float:
        _, steps, done = self._phases[name]
        inside = [child for child, (parent, *_) in self._phases.items() if parent == name and child != name]
        part = max((self._share(child, depth + 1) for child in inside), default=0.0) if depth < 20 else 0.0
        return min(1.0, (done + part) / steps)

    def doing(self) -> str:
        """The innermost phase."""
        with self._lock:
            return next(reversed(self._phases), "starting")


def _monitor(trt: Any, state: _Progress, stop: threading.Event) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            state.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            state.step(phase_name, step)
            return not stop.is_set()

        def phase_finish(self, phase_name: str) -> None:
            state.finish(phase_name)

    return Monitor()


def _build(library: Library, job: Job, state: _Progress, stop: threading.Event) -> bytes:
    trt = library.module
    with library.listen() as said:
        builder = trt.Builder(library.logger)
        if builder is None:
            raise AnimupError(f"{library} cannot start building: {said.errors()}")
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, library.logger)
        path = job.network
        parsed = parser.parse_from_file(str(path)) if isinstance(path, Path) else parser.parse(path)
        if not parsed:
            raise AnimupError(
                f"{library} cannot read the network {job.origin}: {'; '.join(_complaints(parser)) or said.errors()}; "
                "use another backend"
            )
        config = builder.create_builder_config()
        monitor = _monitor(trt, state, stop)
        config.progress_monitor = monitor
        _target(library, config, job.compute_capability)
        _profile(builder, config, network, job)
        if job.refit:
            config.set_flag(trt.BuilderFlag.REFIT_INDIVIDUAL)
            lost = [name for name in job.refit if not network.mark_weights_refittable(name)]
            if lost:
                raise AnimupError(f"the network {job.origin}: {library} knows no weights {', '.join(lost)}")
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise AnimupError(f"{library} cannot build an engine of the network {job.origin}: {said.errors()}")
        return bytes(plan)


def _complaints(parser: Any) -> Iterator[str]:
    """What the parser says of each node that it stumbled over."""
    for i in range(parser.num_errors):
        error = parser.get_error(i)
        node = f"node {error.node_name()} ({error.node_operator()}): " if error.node_operator() else ""
        yield f"{node}{_line(error.desc())}"


def _target(library: Library, config: Any, capability: tuple[int, int] | None) -> None:
    if capability is None:
        return
    name = f"SM{capability[0]}{capability[1]}"
    kinds = getattr(library.module, "ComputeCapability", None)
    if kinds is None or not hasattr(config, "set_compute_capability"):
        raise AnimupError(f"{library} builds for the GPU that is there only: leave the compute capability out")
    if not hasattr(kinds, name):
        numbers = sorted(int(kind[2:]) for kind in dir(kinds) if kind.startswith("SM"))
        known = ", ".join(f"{number // 10}.{number % 10}" for number in numbers)
        raise AnimupError(f"{library} builds for compute capabilities {known}, not {capability[0]}.{capability[1]}")
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(kinds, name), 0)


def _profile(builder: Any, config: Any, network: Any, job: Job) -> None:
    """Fix the dimensions that are fixed, and give the ranges of the others."""
    profile, ranged = builder.create_optimization_profile(), False
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        shape: list[Size] = list(tensor.shape)
        for axis, size in enumerate(shape):
            if size == -1:
                name = tensor.get_dimension_name(axis)
                if name not in job.sizes:
                    raise AnimupError(
                        f"the network {job.origin}: TensorRT needs a size or range for dimension "
                        f"{name or axis} of input {tensor.name}"
                    )
                shape[axis] = job.sizes[name]
        tensor.shape = tuple(size if isinstance(size, int) else -1 for size in shape)
        if -1 in tuple(tensor.shape):
            ranged = True
            least, usual, most = (
                tuple(size if isinstance(size, int) else size[which] for size in shape) for which in range(3)
            )
            profile.set_shape(tensor.name, least, usual, most)
    if ranged:
        config.add_optimization_profile(profile)


def _line(text: str) -> str:
    return " ".join(text.split())
