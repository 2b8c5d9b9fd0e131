"""A device without enough memory: smaller tiles once, said in the log; then an error that names the argument."""

import gc
import logging
import math
import threading
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vapoursynth as vs
from onnx import TensorProto, helper

from tests.helpers.clips import core, moving
from tests.helpers.frames import digests, planes_of
from tests.helpers.lcm_stub import StubBackend, StubEngine, write_stub
from vsanimup import engines
from vsanimup.engines import DeviceMemory
from vsanimup.engines.base import DeviceArray, Engine, Feed, Result
from vsanimup.errors import AnimupError, OutOfMemory
from vsanimup.networks.animatelcm.model import AnimateLcm
from vsanimup.networks.animatelcm.pipeline import Enhancer
from vsanimup.networks.lite.inference import Inference
from vsanimup.networks.manifest import SHIPPED, open_model
from vsanimup.tiling.fallback import LOG, Fallback
from vsanimup.tiling.tiles import Grid, plan

MB = 1 << 20
Limit = Callable[[int], list[tuple[int, int]]]


class Tight:
    """An engine of a device that holds tiles of ``most`` samples and no more."""

    backend = "cpu"

    def __init__(self, engine: Engine, most: Callable[[], int]) -> None:
        self.engine, self.most = engine, most

    def run(self, inputs: Mapping[str, Feed | DeviceArray], *, keep: Collection[str] = ()) -> dict[str, Result]:
        height, width = inputs["y"].shape[2:]
        if height * width > self.most():
            raise OutOfMemory("cudaMalloc failed: out of memory")
        return self.engine.run(inputs, keep=keep)


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What was logged about memory."""
    messages: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = Handler()
    LOG.addHandler(handler)
    yield messages
    LOG.removeHandler(handler)


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> Limit:
    """Makes the cpu backend's engines refuse larger tiles; what it was asked to make."""
    cpu = engines.BACKENDS["cpu"]
    load, made, limit = cpu.load, [], {"most": 0}

    def tight_load(*args: bytes, sizes: dict[str, int], **kwargs: Any) -> Tight:
        made.append((sizes["width"], sizes["height"]))
        return Tight(load(*args, sizes=sizes, **kwargs), lambda: limit["most"])

    monkeypatch.setattr(cpu, "load", tight_load)

    def set_limit(most: int) -> list[tuple[int, int]]:
        limit["most"] = most
        return made

    return set_limit


def test_half_the_tile_once(tight: Limit, told: list[str]) -> None:
    """The frames are those of a clip that was cut into such tiles from the start, and those of one piece but for
    what tiles change."""
    clip = moving(width=190, height=130, length=4)
    tight(1 << 30)
    whole = [planes_of(f) for f in core.animup.Restore(clip, task="denoise", num_streams=2).frames()]
    made = tight(150 * 150)
    del made[:]
    found = core.animup.Restore(clip, task="denoise", num_streams=2)
    halved = [planes_of(f) for f in found.frames()]
    assert [size for size in made if size[0] * size[1] > 150 * 150] == made[:1] and len(made) == 2
    assert len(told) == 1 and "out of memory; tiles of " in told[0] and "tilesize" in told[0]
    tight(1 << 30)
    wanted = [planes_of(f) for f in core.animup.Restore(clip, task="denoise", tilesize=list(made[1])).frames()]
    for planes, same, near in zip(halved, wanted, whole, strict=True):
        for plane, exact, like in zip(planes, same, near, strict=True):
            assert np.array_equal(plane, exact)
            change = np.abs(plane.astype(int) - like)
            assert change.max() <= 8 and change.mean() < 0.6


def test_twice_is_an_error(tight: Limit) -> None:
    tight(1000)
    clip = moving(width=190, height=130, length=2)
    result = core.animup.Restore(clip, task="denoise", num_streams=1)
    for _ in range(2):
        with pytest.raises(vs.Error, match=r"^Restore: .*out of memory; tiles of \d+x\d+ do not fit: give a smaller"):
            result.get_frame(0)


def test_tiles_that_cannot_be_smaller(tight: Limit) -> None:
    tight(1000)
    with pytest.raises(vs.Error, match=r"tiles of .* do not fit: give a smaller tilesize or num_streams"):
        core.animup.Upscale(moving(width=40, height=32, length=1)).get_frame(0)


def test_networks_from_one_picture_to_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str]) -> None:
    """As the user's own files are; pointwise, so that tiles change nothing."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "half"], ["y"])],
        "dim",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5])],
    )
    path = tmp_path / "dim.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    clip = moving(format=vs.RGB24, width=192, height=128, length=2)
    whole = [planes_of(f) for f in core.animup.Restore(clip, model=str(path)).frames()]
    cpu = engines.BACKENDS["cpu"]
    load, areas = cpu.load_file, []

    class Small:
        def __init__(self, engine: Engine) -> None:
            self.engine = engine

        def run(self, inputs: Mapping[str, Feed], **how: Any) -> dict[str, Result]:
            (value,) = inputs.values()
            areas.append(value[0, 0].size)
            if areas[-1] > 100 * 100:
                raise OutOfMemory("cudaMalloc failed: out of memory")
            return self.engine.run(inputs, **how)

    monkeypatch.setattr(cpu, "load_file", lambda *a, **k: Small(load(*a, **k)))
    found = [planes_of(f) for f in core.animup.Restore(clip, model=str(path), num_streams=1).frames()]
    assert np.abs(np.array(found).astype(int) - np.array(whole)).max() <= 1  # seams round otherwise
    assert len(told) == 1 and sum(area > 100 * 100 for area in areas) == 1


class Device:
    """The cpu backend, said to have memory of its own."""

    name, builds, integers = "cpu", False, False

    def __init__(self, total: int, free: int) -> None:
        self.room = DeviceMemory(total=total, free=free)

    def memory(self, device_id: int) -> DeviceMemory:
        return self.room

    def unavailable(self) -> None:
        return None

    def streams(self) -> int:
        return 1

    def load(self, *args: Any, **kwargs: Any) -> Engine:
        return engines.BACKENDS["cpu"].load(*args, **kwargs)

    def load_file(self, *args: Any, **kwargs: Any) -> Engine:
        return engines.BACKENDS["cpu"].load_file(*args, **kwargs)


def inference(total: int, free: int, streams: int = 1) -> Inference:
    model = open_model(SHIPPED / "lite-restore")
    return Inference(
        model,
        width=1920,
        height=1080,
        has_chroma=True,
        tilesize=None,
        overlap=(48, 48),
        backend=Device(total, free),
        device_id=0,
        streams=streams,
    )


def test_tiles_are_chosen_by_what_the_device_has(told: list[str]) -> None:
    """And not by what happens to be free, unless that is too little."""
    large, small = inference(64 << 30, 64 << 30).grid, inference(1 << 30, 1 << 30).grid
    assert len(large) == 1 and len(small) > 1
    assert inference(1 << 30, 700 * MB).grid == small and not told
    assert len(inference(1 << 30, 1 << 30, streams=3).grid) > len(small)
    area = small.rows.tile * small.columns.tile
    bytes_of = open_model(SHIPPED / "lite-restore").bytes_per_pixel * area
    tighter = inference(1 << 30, bytes_of * 2 // 3).grid
    assert tighter.rows.tile < small.rows.tile and tighter.columns.tile < small.columns.tile
    assert "are free; tiles of" in told[0]
    with pytest.raises(AnimupError, match=r"of the device's memory, 1.* MiB are free: give a smaller tilesize"):
        inference(1 << 30, MB)


class StubOutOfMemory(StubBackend):
    """Runs one network of AnimateLCM on tiles of so many samples and no more."""

    def __init__(self, network: str, most: int) -> None:
        super().__init__()
        self.network, self.most = network, most
        self.engines: weakref.WeakSet[StubEngine] = weakref.WeakSet()

    def load_file(self, path: Path, **how: Any) -> Any:
        backend = self

        class Engine(StubEngine):
            def run(self, inputs: Mapping[str, Feed | DeviceArray], *, keep: Collection[str] = ()) -> dict[str, Result]:
                value = inputs["latents"] if "latents" in inputs else inputs.get("image")
                if self.name == backend.network and value is not None and math.prod(value.shape[2:]) > backend.most:
                    raise OutOfMemory("execution failed: OutOfMemory")
                return super().run(inputs, keep=keep)

        self.loads.append(path.name)
        self.engines.add(engine := Engine(self, path.stem, how["sizes"]))
        return engine


@pytest.mark.parametrize("network", ["encode", "denoise", "decode", "control"])
@pytest.mark.parametrize("tilesize", [None, (640, 512)])
def test_diffusion(tmp_path: Path, told: list[str], network: str, tilesize: tuple[int, int] | None) -> None:
    model = AnimateLcm.open(write_stub(tmp_path, control=True))
    images = np.random.default_rng(0).random((2, 3, 448, 576), np.float32)

    def enhance(backend: StubBackend) -> tuple[Enhancer, np.ndarray]:
        made = Enhancer(
            model=model, width=576, height=448, backend=backend, tilesize=tilesize, colorfix="none", strength=0.5
        )
        return made, made(images, np.zeros(2, int), lambda: False)

    wanted = enhance(StubBackend())[1]
    backend = StubOutOfMemory(network, 350 * 350 if network == "encode" else 45 * 45)
    made, found = enhance(backend)
    assert np.abs(found - wanted).max() < 1e-4  # noise and all
    assert len(told) == 1
    gc.collect()
    assert len(backend.engines) == 4  # those for larger tiles are gone
    backend.most = 10
    with pytest.raises(AnimupError, match=r"OutOfMemory; tiles of .* do not fit: give a smaller tilesize") as caught:
        made(images, np.zeros(2, int), lambda: False)
    assert not isinstance(caught.value, OutOfMemory)


def test_threads_go_over_together() -> None:
    """One halves; the others' work on larger tiles ends before anything is tried with smaller ones."""
    grids = [plan(256, 256, tile=(size, size), overlap=(16, 16), align=16, most=0) for size in (256, 128)]
    halving = Fallback(grids[0], lambda: grids[1], lambda grid: grid)
    large, barrier, seen = set(), threading.Barrier(4), []

    def work(grid: Grid) -> Grid:
        me = threading.get_ident()
        if grid is grids[0]:
            large.add(me)
            barrier.wait()
            if me % 2 or len(large) == 4:
                large.discard(me)
                raise OutOfMemory("out of memory")
            large.discard(me)
        else:
            seen.append(set(large))
        return grid

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: halving.run(work), range(4)))
    assert grids[1] in found and not any(seen) and halving.tiled is grids[1]


def test_whole_frames_are_the_same_in_any_order(tight: Limit) -> None:
    """With the halved tiles too."""
    tight(150 * 150)
    clip = moving(width=190, height=130, length=4)
    result = core.animup.Restore(clip)
    result.get_frame(0)
    forward = digests(result)
    again = core.animup.Restore(clip)
    again.get_frame(3)
    assert [digests(again)[n] for n in range(4)] == forward
