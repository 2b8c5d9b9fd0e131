"""Finding a CUDA device, and memory and streams on it, with a CUDA that is made up; and with the true one, absent."""

import inspect
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tests.helpers.fake_cuda import FakeCuda, Status
from vsanimup.engines import device
from vsanimup.errors import AnimupError, OutOfMemory


def with_cuda(monkeypatch: pytest.MonkeyPatch, **how: Any) -> FakeCuda:
    fake = FakeCuda(**how)
    monkeypatch.setattr(device, "runtime", lambda: fake)
    return fake


def test_fake_is_like_the_true_one() -> None:
    """Every function it stands for exists, and takes as many arguments."""
    from cuda.bindings import runtime

    functions = [
        name for name in vars(FakeCuda) if name.startswith("cuda") and inspect.isfunction(vars(FakeCuda)[name])
    ]
    assert len(functions) > 20
    for name in functions:
        signature = (inspect.getdoc(getattr(runtime, name)) or "").splitlines()[0]
        arguments = signature[signature.index("(") + 1 : signature.rindex(")")]
        wanted = len(inspect.signature(vars(FakeCuda)[name]).parameters) - 1
        assert len([a for a in arguments.split(",") if a.strip()]) == wanted, signature
    for name in ("cudaError_t", "cudaMemcpyKind", "cudaStreamCaptureMode"):
        members = list(getattr(FakeCuda, name))
        assert members and all(int(getattr(getattr(runtime, name), each.name)) == each for each in members)
    assert (runtime.cudaStreamNonBlocking, runtime.cudaHostAllocDefault) == (1, 0)


def test_find(cuda: FakeCuda) -> None:
    found = device.find(1)
    assert (found.name, found.compute_capability, found.driver, found.runtime) == ("Fake 1", (8, 9), "13.2", "13.5")
    assert found.total_memory == found.free_memory == 1 << 24


def test_true_package_without_driver() -> None:
    """One clear sentence where there is no driver; where there is one, what the device is."""
    from cuda.bindings import runtime

    status, count = runtime.cudaGetDeviceCount()
    if status == 0 and count:
        assert device.find(0).total_memory > 0
    else:
        with pytest.raises(AnimupError, match=r"^(there is no NVIDIA|the NVIDIA driver)[^.]*(\.com[^.]*)?$"):
            device.find(0)


def test_package_missing() -> None:
    code = (
        "import sys; sys.modules['cuda'] = None\nfrom vsanimup.engines import device\n"
        "try: device.find(0)\nexcept ValueError as e: print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cuda-bindings cannot be imported" in done.stdout and "pip install 'vsanimup[cuda]'" in done.stdout


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"driver": 0}, "there is no NVIDIA driver: install it"),
        ({"devices": 0}, "no NVIDIA GPU that this process may use"),
        ({"devices": 1}, "device_id must be 0, for there is one GPU, got 2"),
        ({"devices": 2}, "device_id must be 0 to 1, got 2"),
    ],
)
def test_not_there(monkeypatch: pytest.MonkeyPatch, how: dict[str, Any], text: str) -> None:
    with_cuda(monkeypatch, **how)
    with pytest.raises(AnimupError, match=text):
        device.find(2)


def test_old_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = with_cuda(monkeypatch, driver=11020)
    fake.fail["cudaGetDeviceCount"] = [Status.cudaErrorInsufficientDriver]
    with pytest.raises(AnimupError, match=r"too old: it knows CUDA 11\.2, 13\.5 is needed"):
        device.find(0)


def test_round_trip(cuda: FakeCuda) -> None:
    """Copies are done when they were waited for."""
    device.use(0)
    stream, here, there = device.Stream(), device.Pinned(64), [device.Memory(64), device.Memory(64)]
    here.view((16,), np.float32)[:] = np.arange(16)
    stream.copy_in(there[0], here, 64)
    stream.copy_within(there[1], there[0], 64)
    back = device.Pinned(64)
    stream.copy_out(back, there[1], 64)
    assert not np.array_equal(back.view((16,), np.float32), np.arange(16))
    stream.wait()
    assert np.array_equal(back.view((16,), np.float32), np.arange(16))
    target = np.empty(16, np.float32)
    device.copy_to_host(target, there[0])
    assert np.array_equal(target, np.arange(16))
    with pytest.raises(ValueError, match="copy of 65 bytes"):
        stream.copy_in(there[0], here, 65)


def test_graph(cuda: FakeCuda) -> None:
    """Recorded work is done at each launch, not when it is recorded."""
    device.use(0)
    stream, here, there, back = device.Stream(), device.Pinned(4), device.Memory(4), device.Pinned(4)

    def work() -> None:
        stream.copy_in(there, here, 4)
        stream.copy_out(back, there, 4)

    graph = stream.record(work)
    stream.wait()
    for number in (1, 2):
        here.view((1,), np.int32)[:] = number
        graph.launch(stream)
        stream.wait()
        assert back.view((1,), np.int32)[0] == number
    with pytest.raises(AnimupError, match="cudaErrorStreamCaptureUnsupported"):
        stream.record(lambda: device.Memory(4))  # type: ignore[arg-type]
    stream.copy_in(there, here, 4)  # and goes on
    stream.wait()


def test_memory_is_given_back(cuda: FakeCuda) -> None:
    device.use(0)
    with pytest.raises(OutOfMemory, match="cudaMalloc failed"):
        device.Memory(cuda.total + 1)
    pool = device.Pool()
    first = pool.take(cuda.total // 2 + 1)
    address = first.address
    pool.give(first)
    del first
    assert pool.take(cuda.total // 2 + 1).address == address
    pool.give(device.Memory(100))
    whole = pool.take(cuda.total)  # what lies unused makes room
    assert cuda.used == cuda.total
    with pytest.raises(OutOfMemory):
        pool.take(1)
    del whole


def test_errors_of_others_are_told(cuda: FakeCuda) -> None:
    device.use(0)
    stream = device.Stream()
    cuda.fail["cudaStreamSynchronize"] = [Status.cudaErrorLaunchFailure]
    with pytest.raises(AnimupError, match="cudaStreamSynchronize failed: cudaErrorLaunchFailure"):
        stream.wait()
