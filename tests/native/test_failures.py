"""What goes wrong reaches the user in words, and the process goes on or ends cleanly."""

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import vapoursynth as vs

from tests.helpers.clips import core, moving
from tests.helpers.frames import digests
from tests.helpers.places import ROOT
from vsanimup import engines
from vsanimup.engines.base import DeviceArray, Engine, Feed, Result
from vsanimup.errors import AnimupError
from vsanimup.networks.lite.inference import INT8
from vsanimup.networks.manifest import SHIPPED


def run(script: str, timeout: int = 250) -> subprocess.CompletedProcess[str]:
    """Run a Python script that has ``core`` and ``moving`` at hand; its finished process."""
    head = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom tests.helpers.clips import core, moving, vs\n"
    return subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_a_source_error_passes_through() -> None:
    def fail(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        if n == 3:
            raise ValueError("tape torn here")
        return f

    clip = moving(length=18)
    torn = clip.std.ModifyFrame(clip, fail)
    # drawings are looked for in cells of twelve frames, all of which must be there, and so must two around
    bare = {"dedup": 0, "temporal_threshold": 0}
    for arguments, sound in (({}, 14), ({"dedup": 0}, 8), (bare, 0), (bare, 7)):
        broken = core.animup.Upscale(torn, **arguments)
        assert broken.get_frame(sound)
        with pytest.raises(vs.Error, match="tape torn here"):
            broken.get_frame(3)
        assert broken.get_frame(sound)


class FailingOnce:
    """An engine that fails on its first run."""

    backend = "cpu"

    def __init__(self, engine: Engine) -> None:
        self.engine, self.failed = engine, False

    def run(self, inputs: Mapping[str, Feed | DeviceArray]) -> dict[str, Result]:
        if not self.failed:
            self.failed = True
            raise AnimupError("the device is on fire")
        return self.engine.run(inputs)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = engines.BACKENDS["cpu"]
    load = cpu.load
    monkeypatch.setattr(cpu, "load", lambda *a, **k: FailingOnce(load(*a, **k)))


@pytest.mark.usefixtures("failing")
def test_an_engine_error_is_reported_and_not_remembered() -> None:
    clip = moving(length=4)
    result = core.animup.Restore(clip, task="denoise", num_streams=1)
    with pytest.raises(vs.Error, match=r"^Restore: the device is on fire"):
        result.get_frame(1)
    assert digests(result)


def test_any_other_exception_names_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*args: bytes, **kwargs: Any) -> None:
        raise KeyError("inner secret")

    monkeypatch.setattr(engines.BACKENDS["cpu"], "load", load)
    with pytest.raises(vs.Error, match=r"^Upscale: internal error: KeyError: 'inner secret'"):
        core.animup.Upscale(moving(length=1)).get_frame(0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(SHIPPED / "lite-upscale", tmp_path / "mine")


def test_a_model_folder_works(folder: Path) -> None:
    clip = moving(length=2)
    assert digests(core.animup.Upscale(clip, model=str(folder))) == digests(core.animup.Upscale(clip))


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_network_is_refused_at_create(folder: Path, damage: str) -> None:
    network = folder / INT8
    network.unlink() if damage == "missing" else network.write_bytes(network.read_bytes()[:1000])
    with pytest.raises(vs.Error, match=r"Upscale: model file .*network\.int8\.onnx.*get the model again"):
        core.animup.Upscale(moving(length=1), model=str(folder))


def test_a_network_that_is_no_network(folder: Path) -> None:
    import hashlib
    import json

    (folder / INT8).write_bytes(b"not a network")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][INT8] = hashlib.sha256(b"not a network").hexdigest()
    manifest["modulation"] = {}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    clip = core.animup.Upscale(moving(length=1), model=str(folder))
    with pytest.raises(vs.Error, match=r"Upscale: onnxruntime .* cannot load the network .*network\.int8\.onnx"):
        clip.get_frame(0)


def test_without_onnxruntime_the_remedy_is_named() -> None:
    done = run("""
        import importlib.util
        find = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *a: None if name == "onnxruntime" else find(name, *a)
        for backend in ("auto", "cpu"):
            try:
                core.animup.Restore(moving(length=1), backend=backend)
            except vs.Error as error:
                print(error)
    """)
    assert done.stdout.count("pip install onnxruntime") == 2, done
    assert done.stdout.count("Restore: backend='") == 2, done


def test_core_freed_with_frames_in_flight() -> None:
    done = run("""
        clip = core.animup.Upscale(core.animup.Restore(moving(length=30, width=320, height=240)))
        waiting = [clip.get_frame_async(n) for n in range(30)]
        waiting[0].result()
        del clip
        print("left")
    """)
    assert (done.returncode, done.stdout) == (0, "left\n"), done


def test_the_run_time_needs_no_torch() -> None:
    done = run("""
        core.animup.Upscale(core.animup.Restore(moving(length=1))).get_frame(0)
        print({"torch", "diffusers", "onnx"} & sys.modules.keys())
    """)
    assert done.stdout == "set()\n", done
