"""Running TensorRT engines, with a CUDA and a TensorRT that are made up."""

import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.helpers.fake_cuda import FakeCuda, Status
from tests.helpers.fake_tensorrt import FakeNetwork, FakeTensorRT
from vsanimup.engines import on_host
from vsanimup.engines.tensorrt.library import LOG, Library
from vsanimup.engines.tensorrt.runner import Runner
from vsanimup.errors import AnimupError, OutOfMemory

ANY = (1, 2, -1, -1)


def never(weights: Any, **inputs: Any) -> dict[str, Any]:
    raise AssertionError("this network is not run")


NETWORKS = {
    b"twice": FakeNetwork(
        {"x": ("float32", ANY)},
        {"y": ("float32", lambda shapes: (1, 2, 2 * shapes["x"][2], 2 * shapes["x"][3])), "sum": ("float32", (1,))},
        lambda weights, x: {"y": (x * weights["w"][0]).repeat(2, 2).repeat(2, 3), "sum": x.sum()},
        weights={"w": np.array([2], np.float32)},
    ),
    b"step": FakeNetwork(
        {"latents": ("float32", ANY), "t": ("float32", (1,))},
        {"next_latents": ("float32", lambda shapes: shapes["latents"])},
        lambda weights, latents, t: {"next_latents": latents * 0.5 + t},
    ),
    b"half": FakeNetwork(
        {"x": ("float16", ANY), "n": ("int32", (2,))},
        {"y": ("float16", lambda shapes: shapes["x"])},
        lambda weights, x, n: {"y": x + n.sum()},
    ),
    b"bf16": FakeNetwork({"x": ("bfloat16", ANY)}, {"y": ("float32", ANY)}, never),
    b"large": FakeNetwork({"x": ("float32", ANY)}, {"y": ("float32", (1,))}, never, working=1 << 30),
    b"fixed": FakeNetwork({"x": ("float32", ANY)}, {"y": ("float32", (1,))}, never, refittable=False),
}


@pytest.fixture
def load(cuda: FakeCuda) -> Callable[..., tuple[Runner, FakeTensorRT]]:
    def make(plan: bytes, streams: int = 1, device_id: int = 0, rtx: bool = False) -> tuple[Runner, FakeTensorRT]:
        module = FakeTensorRT(cuda, NETWORKS, LOG)
        name = "tensorrt_rtx" if rtx else "tensorrt"
        made = Library(module=module, name=name, version="10.0.0", logger=None)
        return Runner(plan, library=made, origin="lite.plan", device_id=device_id, num_streams=streams), module

    return make


def test_fake_is_like_the_true_one() -> None:
    """What the made-up TensorRT has, TensorRT-RTX has too; the names are those that the runner uses."""
    import tensorrt_rtx as trt

    from tests.helpers.fake_tensorrt import FakeContext, FakeEngine, FakeRefitter

    for fake, true in (
        (FakeTensorRT, trt),
        (FakeEngine, trt.ICudaEngine),
        (FakeContext, trt.IExecutionContext),
        (FakeRefitter, trt.Refitter),
    ):
        names = {name for name in vars(fake) if not name.startswith("_")}
        assert len(names) >= 4 and names <= set(dir(true)), names - set(dir(true))
    assert {"num_io_tensors", "refittable"} <= set(dir(trt.ICudaEngine))
    assert trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE and trt.DynamicShapesKernelSpecializationStrategy.EAGER
    assert {"cuda_graph_strategy", "dynamic_shapes_kernel_specialization_strategy"} <= set(dir(trt.IRuntimeConfig))
    assert trt.TensorIOMode.INPUT != trt.TensorIOMode.OUTPUT and trt.Weights(np.ones(3, np.float32)).size == 3
    assert trt.nptype(trt.float16) is np.float16
    with pytest.raises(TypeError):
        trt.nptype(trt.bfloat16)


def picture(seed: int = 0, height: int = 4, width: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).random((1, 2, height, width), np.float32)


@pytest.mark.parametrize("rtx", [False, True])
def test_runs(load: Callable[..., Any], cuda: FakeCuda, rtx: bool) -> None:
    """Shapes may change from run to run, and results are the caller's own."""
    runner, _ = load(b"twice", rtx=rtx)
    results = []
    for seed, size in enumerate([(4, 6), (4, 6), (4, 6), (8, 2), (8, 2), (4, 6)]):
        x = picture(seed, *size)
        results.append((x, runner.run({"x": x})))
    for x, found in results:
        assert found["y"].dtype == np.float32 and np.array_equal(found["y"], (2 * x).repeat(2, 2).repeat(2, 3))
        assert np.allclose(found["sum"], x.sum())
    # plainly first in each shape, then recorded; TensorRT-RTX does that by itself
    assert cuda.calls.count("cudaStreamBeginCapture") == (0 if rtx else 2)
    assert cuda.calls.count("cudaGraphLaunch") == (0 if rtx else 3)


def test_settings_of_rtx(load: Callable[..., Any]) -> None:
    _, module = load(b"twice", rtx=True)
    (context,) = module.contexts
    assert vars(context.config) == {
        "cuda_graph_strategy": "whole",
        "dynamic_shapes_kernel_specialization_strategy": "eager",
    }


def test_kept_outputs(load: Callable[..., Any], cuda: FakeCuda) -> None:
    """Latents go from step to step, and from engine to engine, without coming here."""
    first, _ = load(b"step", streams=2)
    second, _ = load(b"step")
    start, t = picture(), np.ones(1, np.float32)
    kept = first.run({"latents": start, "t": t}, keep=["next_latents"])["next_latents"]
    assert kept.shape == start.shape and not isinstance(kept, np.ndarray)
    before = cuda.calls.count("cudaHostAlloc")
    for _ in range(4):
        kept = first.run({"latents": kept, "t": t}, keep=["next_latents"])["next_latents"]
    assert cuda.calls.count("cudaHostAlloc") == before
    held = on_host(kept)
    last = second.run({"latents": kept, "t": t})["next_latents"]
    wanted = start
    for _ in range(5):
        wanted = wanted * 0.5 + 1
    assert np.array_equal(held, wanted.astype(np.float32)) and np.array_equal(last, held * np.float32(0.5) + 1)
    assert cuda.calls.count("cudaMalloc") < 14  # memory of dropped latents is used again
    del first
    gc.collect()
    assert np.array_equal(on_host(kept), held)  # what is kept outlives its engine


def test_other_devices_array_comes_by_way_of_main_memory(load: Callable[..., Any]) -> None:
    here, _ = load(b"step")
    there, _ = load(b"step", device_id=1)
    t = np.ones(1, np.float32)
    kept = here.run({"latents": picture(), "t": t}, keep=["next_latents"])["next_latents"]
    found = there.run({"latents": kept, "t": t})["next_latents"]
    assert np.array_equal(found, (picture() * np.float32(0.5) + 1) * np.float32(0.5) + 1)


def test_narrow_types(load: Callable[..., Any]) -> None:
    runner, _ = load(b"half")
    x = picture()
    found = runner.run({"x": x, "n": np.array([1, 2], np.int32)})["y"]
    assert found.dtype == np.float32 and np.array_equal(found, (x.astype(np.float16) + np.int32(3)).astype(np.float16))
    kept = runner.run({"x": x, "n": np.array([1, 2], np.int32)}, keep=["y"])["y"]
    assert on_host(kept).dtype == np.float32 and np.array_equal(on_host(kept), found)


def test_threads_share_contexts(load: Callable[..., Any], cuda: FakeCuda) -> None:
    runner, module = load(b"twice", streams=3)
    assert len(module.contexts) == 3
    barrier = threading.Barrier(8)

    def work(seed: int) -> bool:
        barrier.wait()
        good = True
        for i in range(20):
            x = picture(100 * seed + i)
            good &= np.array_equal(runner.run({"x": x})["y"][..., ::2, ::2], 2 * x)
        return good

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_refit(load: Callable[..., Any], cuda: FakeCuda) -> None:
    """Other weights take hold in graphs too, and one at a time."""
    runner, _ = load(b"twice", streams=2)
    x = picture()
    stop = threading.Event()

    def run() -> set[float]:
        factors = set()
        while not stop.is_set():
            factors |= set(np.unique(np.round(runner.run({"x": x})["y"][..., ::2, ::2] / x, 3)).tolist())
        return factors

    with ThreadPoolExecutor(2) as pool:
        tasks = [pool.submit(run) for _ in range(2)]
        for factor in (3, 4, 5):
            runner.refit({"w": np.array([factor], np.float32)})
            assert np.allclose(runner.run({"x": x})["y"][..., ::2, ::2], factor * x)
        stop.set()
        assert set().union(*(task.result() for task in tasks)) <= {2, 3, 4, 5}


def test_refusals_of_refit(load: Callable[..., Any]) -> None:
    runner, _ = load(b"twice")
    with pytest.raises(AnimupError, match=r"lite\.plan has no weights 'v' of 1 numbers"):
        runner.refit({"v": np.ones(1, np.float32)})
    with pytest.raises(AnimupError, match="has no weights 'w' of 2 numbers"):
        runner.refit({"w": np.ones(2, np.float32)})
    fixed, _ = load(b"fixed")
    with pytest.raises(AnimupError, match="takes no other weights; delete it with"):
        fixed.refit({"w": np.ones(1, np.float32)})


@pytest.mark.parametrize(
    ("plan", "kind", "text"),
    [
        (b"?", AnimupError, r"the engine lite\.plan cannot be used here: .*versions do not match; delete it with"),
        (b"bf16", AnimupError, "has 'x' in a type that numpy lacks"),
        (b"large", OutOfMemory, r"the engine lite\.plan cannot be prepared: .*OutOfMemory"),
    ],
)
def test_engines_that_cannot_be_used(
    load: Callable[..., Any], plan: bytes, kind: type[AnimupError] | type[OutOfMemory], text: str
) -> None:
    with pytest.raises(kind, match=text):
        load(plan)


def test_wrong_inputs(load: Callable[..., Any]) -> None:
    runner, _ = load(b"twice")
    with pytest.raises(AnimupError, match=r"lite\.plan takes x, got z"):
        runner.run({"z": picture()})
    with pytest.raises(AnimupError, match=r"takes no 'x' of shape \[1, 2, 4, 100\]: .*profile's range"):
        runner.run({"x": picture(0, 4, 100)})
    assert runner.run({"x": picture()})["y"].shape == (1, 2, 8, 12)


def test_out_of_memory(load: Callable[..., Any], cuda: FakeCuda) -> None:
    """In buffers or inside TensorRT; after that the engine still works."""
    runner, module = load(b"twice")
    runner.run({"x": picture()})
    free, cuda.total = cuda.total, cuda.used + 1000
    for _ in range(2):
        with pytest.raises(OutOfMemory, match="cudaMalloc failed"):
            runner.run({"x": picture(0, 60, 60)})
    cuda.total = free
    module.contexts[0].fail = "[executionContext.cpp] Error Code 2: OutOfMemory"
    with pytest.raises(OutOfMemory):
        runner.run({"x": picture()})
    module.contexts[0].fail = "Error Code 1: Cuda Runtime (an illegal instruction)"
    with pytest.raises(AnimupError, match="failed: Error Code 1: Cuda Runtime") as caught:
        runner.run({"x": picture()})
    assert not isinstance(caught.value, OutOfMemory)
    module.contexts[0].fail = None
    assert np.array_equal(runner.run({"x": picture()})["y"][..., ::2, ::2], 2 * picture())


def test_networks_that_cannot_be_recorded(load: Callable[..., Any], cuda: FakeCuda) -> None:
    runner, _ = load(b"twice")
    cuda.fail["cudaGraphInstantiate"] = [Status.cudaErrorInvalidValue]
    for seed in range(4):
        assert np.array_equal(runner.run({"x": picture(seed)})["y"][..., ::2, ::2], 2 * picture(seed))
    assert cuda.calls.count("cudaStreamBeginCapture") == 1 and not cuda.calls.count("cudaGraphLaunch")


def test_failure_while_waiting(load: Callable[..., Any], cuda: FakeCuda) -> None:
    runner, _ = load(b"twice")
    cuda.fail["cudaStreamSynchronize"] = [Status.cudaErrorLaunchFailure]
    with pytest.raises(AnimupError, match="cudaErrorLaunchFailure"):
        runner.run({"x": picture()})
    assert runner.run({"x": picture()})["sum"].shape == (1,)
