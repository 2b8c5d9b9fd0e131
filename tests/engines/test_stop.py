"""Computations that nobody wants any more, and the cores that computations share."""

import threading
from typing import Any

import numpy as np
import pytest
from onnxruntime.capi.onnxruntime_inference_collection import InferenceSession

from vsanimup.engines import cpu
from vsanimup.engines.cpu import CpuBackend, _Cores
from vsanimup.errors import AnimupError
from vsanimup.networks.lite.inference import FLOAT, INT8, fixed
from vsanimup.networks.manifest import Model, shipped
from vsanimup.stop import Stop, current

MODELS = [model.of(task) for model in shipped() for task in (None, *model.specialists)]


def engine_of(model: Model, file: str, height: int, width: int) -> cpu.CpuEngine:
    made = CpuBackend().load(model.read(file), origin=model.name, sizes=fixed(height, width), device_id=0)
    assert isinstance(made, cpu.CpuEngine)
    return made


def inputs_of(model: Model, height: int, width: int) -> dict[str, np.ndarray]:
    rng, frames = np.random.default_rng(height), 2 * model.radius + 1
    return {
        "y": rng.random((1, frames, height, width), np.float32),
        "uv": rng.random((1, 2 * frames, height // 2, width // 2), np.float32) - np.float32(0.5),
    }


def test_listeners_are_told_once_they_are_there() -> None:
    stop, told = Stop(), []
    with stop.telling(lambda: told.append("never")):
        assert not stop
    with stop.telling(lambda: told.append("during")):
        stop.set()
        assert stop and told == ["during"]
    with stop.telling(lambda: told.append("before")):
        assert told == ["during", "before"]
    stop.set()
    assert told == ["during", "before"]


def test_each_thread_has_its_own() -> None:
    one, other, seen = Stop(), Stop(), []
    with one.of_this_thread():
        with other.of_this_thread():
            assert current() is other
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
        assert current() is one
    assert seen[0] not in (one, other) and current() is not one and not current()


class Watched:
    """A session that says when it begins."""

    def __init__(self, session: InferenceSession, begun: threading.Event) -> None:
        self.session, self.begun = session, begun

    def run(self, *arguments: Any) -> Any:
        self.begun.set()
        return self.session.run(*arguments)


@pytest.mark.parametrize("file", [FLOAT, INT8])
def test_an_engine_is_stopped_while_it_runs(file: str) -> None:
    model, begun, stop, ended = shipped()[1], threading.Event(), Stop(), []
    engine, inputs = engine_of(model, file, 768, 768), inputs_of(model, 768, 768)
    engine._single = Watched(engine._single, begun)
    whole: Any = Watched(engine._session_for_all(), begun)
    engine._whole = whole

    def compute() -> None:
        with stop.of_this_thread():
            try:
                engine.run(inputs)
            except AnimupError as error:
                ended.append(str(error))

    thread = threading.Thread(target=compute)
    thread.start()
    assert begun.wait(30)
    stop.set()
    thread.join(60)
    assert ended == ["nobody wants this frame any more"]


def test_one_that_is_stopped_already_does_not_run() -> None:
    model, stop = shipped()[1], Stop()
    engine, inputs = engine_of(model, INT8, 32, 32), inputs_of(model, 32, 32)
    stop.set()
    with stop.of_this_thread(), pytest.raises(AnimupError, match="nobody wants"):
        engine.run(inputs)
    engine.run(inputs)


@pytest.mark.parametrize("file", [FLOAT, INT8])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.folder.parent.name}/{model.folder.name}")
def test_one_thread_and_all_cores_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch, model: Model, file: str) -> None:
    monkeypatch.setattr(cpu, "usable_cores", lambda: 3)
    for height, width in ((24, 40), (40, 24), (104, 72)):
        engine, inputs = engine_of(model, file, height, width), inputs_of(model, height, width)
        results = [session.run(None, inputs) for session in (engine._single, engine._session_for_all())]
        assert [a.tobytes() for a in results[0]] == [b.tobytes() for b in results[1]]


class Computation(threading.Thread):
    """Asks for cores, and keeps them until it is told to end."""

    def __init__(self, cores: cpu._Cores) -> None:
        super().__init__(daemon=True)
        self.cores, self.given, self.end = cores, threading.Event(), threading.Event()
        self.whole: bool | None = None
        self.start()

    def run(self) -> None:
        with self.cores.share() as self.whole:
            self.given.set()
            self.end.wait(30)

    def finish(self) -> None:
        self.end.set()
        self.join(30)


def until_about(cores: cpu._Cores, count: int) -> None:
    """Wait until so many computations are there."""
    with cores._changed:
        assert cores._changed.wait_for(lambda: cores._about == count, 120)


def one_each(cores: cpu._Cores) -> list[Computation]:
    """Three computations that have one core of four each."""
    first = Computation(cores)
    assert first.given.wait(30) and first.whole
    others = [Computation(cores) for _ in range(3)]
    until_about(cores, 4)
    assert not any(other.given.is_set() for other in others), "there is none left"
    first.finish()
    assert all(other.given.wait(30) and not other.whole for other in others)
    return others


def test_a_lone_computation_has_all_cores_and_many_have_one_each() -> None:
    cores = _Cores(4)
    for other in one_each(cores):
        other.finish()
    last = Computation(cores)
    assert last.given.wait(30) and last.whole
    last.finish()


def test_who_waits_for_all_cores_does_with_one_when_more_come() -> None:
    cores = _Cores(4)
    running, *done = one_each(cores)
    for other in done:
        other.finish()
    waiting = Computation(cores)
    until_about(cores, 2)
    assert not waiting.given.is_set(), "one of the cores is taken"
    another = Computation(cores)
    for each in (waiting, another):
        assert each.given.wait(30) and not each.whole
    for each in (running, waiting, another):
        each.finish()


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_cores_are_never_given_twice(count: int) -> None:
    cores, lock, taken, most = _Cores(count), threading.Lock(), [0], [0]

    def compute() -> None:
        for _ in range(50):
            with cores.share() as whole:
                with lock:
                    taken[0] += count if whole else 1
                    most[0] = max(most[0], taken[0])
                with lock:
                    taken[0] -= count if whole else 1

    threads = [threading.Thread(target=compute) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert most[0] == count
