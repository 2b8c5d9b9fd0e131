"""TensorRT engines built without a GPU, and what is said where it does not work."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.helpers.engine_networks import PLAN, SMALL, command, lite, model_of
from vsanimup import engines
from vsanimup.engines.cache import Cache
from vsanimup.engines.shapes import CLASSES
from vsanimup.engines.tensorrt import library as libraries
from vsanimup.engines.tensorrt import plans, runner
from vsanimup.engines.tensorrt.build import Job, build
from vsanimup.engines.tensorrt.library import Library
from vsanimup.engines.tensorrt.plans import Request, Target, plan
from vsanimup.errors import AnimupError, OutOfMemory
from vsanimup.networks.image.network import of_file
from vsanimup.networks.lite.inference import fixed, ranges
from vsanimup.networks.manifest import SHIPPED


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lite-restore", "lite-upscale"])
def test_lite_builds_and_is_found_again(rtx: Library, cache: Cache, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    request = lite(name, sizes=ranges(96, 128))
    made = plan(rtx, request, Target(), cache)
    assert made.data.startswith(PLAN) and not made.refit
    (entry,) = cache.entries()
    assert entry.path.name.startswith(f"{name}_fp16_96x96..288x288_trt-rtx-")
    assert entry.key["sizes"] == {
        "height": [96, 288, 288],
        "half_height": [48, 144, 144],
        "width": [96, 288, 288],
        "half_width": [48, 144, 144],
    }
    assert {"model_sha256", "library", "library_version", "gpu", "compute_capability", "driver", "animup"} < set(
        entry.key
    )
    monkeypatch.setattr(plans, "build", None)
    assert plan(rtx, request, Target(), cache).data == made.data


@pytest.mark.slow
def test_ipt_builds_for_batches_of_patches(
    rtx: Library, cache: Cache, ipt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(network=ipt, origin=str(ipt), sizes={"patches": (1, 8, 16)})
    assert plan(rtx, request, Target(compute_capability=(8, 9)), cache).data.startswith(PLAN)
    (entry,) = cache.entries()
    assert re.match(r"ipt_fp16_patches1\.\.8\.\.16_trt-rtx-[\d.]+_sm89_", entry.path.name)
    monkeypatch.setattr(plans, "LARGE", 0)  # as if its weights needed a file of their own
    large = plan(rtx, request, Target(compute_capability=(8, 9)), Cache(cache.folder / "large"))
    assert large.data.startswith(PLAN)
    before = entry.key["model_sha256"]
    weights = bytearray(ipt.with_suffix(".weights").read_bytes())
    weights[-1] ^= 1
    ipt.with_suffix(".weights").write_bytes(weights)
    assert plans._read(request)[1] != before


@pytest.mark.parametrize("channels", [1, 3])
def test_networks_of_others_build_for_ranges(folder: Path, tmp_path: Path, channels: int) -> None:
    """As the filters would ask for them, found from the file alone."""
    weights = np.random.default_rng(2).normal(0, 0.1, (4 * channels, channels, 3, 3)).astype(np.float32)
    side: list[int | str] = [1, channels, "rows", "columns"]
    net = model_of(
        [
            helper.make_node("Conv", ["image", "w"], ["h"], pads=[1] * 4),
            helper.make_node("DepthToSpace", ["h"], ["result"], blocksize=2, mode="CRD"),
        ],
        {"w": weights},
        [("image", side)],
        [("result", [1, channels, "r2", "c2"])],
    )
    onnx.save(net, tmp_path / "double.onnx")
    code, said = command("build", tmp_path / "double.onnx", "--size", "300x200", "--compute-capability", "any")
    assert code == 0 and "1 engine is in" in said, said
    (entry,) = Cache(folder).entries()
    assert entry.path.name.startswith("double_fp16_columns96..544_rows96..288_")
    assert of_file(str(tmp_path / "double.onnx")).sizes((320, 224), False) == {"rows": 224, "columns": 320}


def test_a_node_that_cannot_be_read_is_named(rtx: libraries.Library) -> None:
    net = model_of(
        [helper.make_node("NoSuchThing", ["x"], ["y"], name="odd one")], {}, [("x", [1, 4])], [("y", [1, 4])]
    )
    with pytest.raises(AnimupError, match=r"^TensorRT-RTX \S+ cannot read the network net\.onnx: .*NoSuchThing"):
        build(rtx, Job(network=net.SerializeToString(), origin="net.onnx", sizes={}))


def test_a_dimension_without_a_size_is_named(rtx: libraries.Library, cache: Cache) -> None:
    for wanted in ("fp16", "fp32"):
        with pytest.raises(AnimupError, match="needs a size or range for dimension width of input y"):
            plan(rtx, lite(sizes={"height": 48}, precision=wanted), Target(), cache)


def test_a_file_that_is_no_network_is_named(rtx: libraries.Library, cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(AnimupError, match=r"the network some\.onnx is no ONNX file"):
        plan(rtx, Request(network=b"\xff\xfe", origin="some.onnx", sizes={}), Target(), cache)
    missing = tmp_path / "none.onnx"
    with pytest.raises(AnimupError, match=r"none\.onnx cannot be read \(No such file"):
        plan(rtx, Request(network=missing, origin=str(missing), sizes={}), Target(), cache)


def test_progress_is_told_and_rises(rtx: libraries.Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsanimup.engines.tensorrt.build.TICK", 0.01)  # an idle machine builds in a few ticks
    shares = []
    network = (SHIPPED / "lite-restore" / "network.onnx").read_bytes()
    build(rtx, Job(network=network, origin="x", sizes=SMALL), lambda share, doing: shares.append((share, doing)))
    values = [share for share, _ in shares]
    assert len(values) > 1 and values == sorted(values) and 0 < values[-1] <= 1
    assert all(doing for _, doing in shares)


def test_ctrl_c_stops_a_build(rtx: libraries.Library) -> None:
    network = (SHIPPED / "lite-restore" / "network.onnx").read_bytes()

    def interrupt(share: float, doing: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(rtx, Job(network=network, origin="x", sizes=ranges(1080, 1920)), interrupt)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("animup-build")]


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if "tensorrt" in name else real(name, *a))
    with pytest.raises(AnimupError) as caught:
        engines.choose("tensorrt")
    assert str(caught.value) == (
        "backend='tensorrt' cannot be used: neither tensorrt nor tensorrt_rtx is installed: "
        "pip install 'vsanimup[tensorrt]'"
    )


SCRIPT = """
import vapoursynth as vs
core = vs.core
core.add_log_handler(lambda kind, text: print("log:", text))
clip = core.std.BlankClip(width=64, height=64, format=vs.YUV420P8, length=1)
try:
    core.animup.Restore(clip, backend="tensorrt")
except vs.Error as error:
    print("error:", error)
core.animup.Restore(clip, task="deblock").get_frame(0)
core.animup.Upscale(clip).get_frame(0)
try:
    core.animup.Restore(clip, precision="fp16")
except vs.Error as error:
    print("error:", error)
"""


def test_without_a_gpu() -> None:
    """By name, one sentence with the remedy; auto goes on with what there is, and says so once."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    lines = [line for line in done.stdout.splitlines() if "message handler" not in line]
    reason = r"there is no NVIDIA (driver: install it|GPU that this process may use; see)"
    assert re.match(rf"error: Restore: backend='tensorrt' cannot be used: {reason}", lines[0]), lines
    told = [line for line in lines if "backend='auto'" in line]
    assert len(told) == 1 and re.match(rf"log: backend='auto' is cpu \(tensorrt: {reason}", told[0]), lines
    assert "error: Restore: precision='fp16' needs backend='tensorrt'" in lines[-1]


def test_sizes_share_engines() -> None:
    assert ranges(368, 648) == ranges(488, 728)
    assert ranges(368, 648) != ranges(1088, 1928)
    for side in (96, 200, *CLASSES[1:], 5000):
        size = ranges(side, side)["height"]
        assert isinstance(size, tuple)
        least, usual, most = size
        assert least <= side <= most == usual and most % 8 == 0
    assert ranges(48, 96) == fixed(48, 96)


def test_the_log_tells_of_long_builds(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from vsanimup.engines.tensorrt import build as module

    monkeypatch.setattr(module, "EVERY", 0.05)
    monkeypatch.setattr(module, "TICK", 0.02)

    def slowly(*_: object) -> bytes:
        time.sleep(0.3)
        return b"plan"

    monkeypatch.setattr(module, "_build", slowly)
    no_library: Any = None
    monkeypatch.setattr(logging.getLogger("vsanimup"), "propagate", True)
    began = time.monotonic()
    with caplog.at_level(logging.DEBUG, "vsanimup"):
        assert build(no_library, Job(network=b"", origin="net.onnx", sizes={})) == b"plan"
    lines = {id(record) for record in caplog.records}  # two loggers may have the handler
    assert 2 <= len(lines) <= 1 + (time.monotonic() - began) / module.EVERY
    assert re.fullmatch(r"net\.onnx: engine 0 % built after 0 s \(starting\)", caplog.messages[0])


def test_a_build_does_not_keep_what_an_engine_says_meanwhile(
    rtx: libraries.Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that runs out of memory while another is built must still see that it did."""
    error = rtx.module.ILogger.Severity.ERROR
    monkeypatch.setattr(libraries.threads, "runs_engines", False)
    with rtx.listen() as said, ThreadPoolExecutor(1) as runs, ThreadPoolExecutor(1) as builds:
        runs.submit(runner._said.forget).result()
        builds.submit(rtx.logger.log, error, "the network is odd").result()
        runs.submit(rtx.logger.log, error, "[x.cpp] Error Code 2: OutOfMemory").result()
        failure = runs.submit(runner._said.error, "the engine failed", "").result()
    assert isinstance(failure, OutOfMemory) and said.lines == ["the network is odd"]
