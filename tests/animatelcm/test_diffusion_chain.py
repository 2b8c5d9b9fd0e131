"""``core.animup.Upscale`` with a small random AnimateLCM: from arguments to frames."""

import os
import random
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers import lcm_model
from tests.helpers.clips import core, moving
from tests.helpers.frames import digest, digests, planes_of
from tests.helpers.places import ROOT


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lcm_model.export_parts(lcm_model.write_parts(tmp_path_factory.mktemp("animatelcm")))


def enlarged(clip: vs.VideoNode, model: Path, **kw: Any) -> vs.VideoNode:
    return core.animup.Upscale(clip, model=str(model), **kw)


def test_any_order_gives_the_bytes_of_the_linear_run(model: Path) -> None:
    clip = moving(width=48, height=32, length=30, cut=13)
    linear = digests(enlarged(clip, model))
    order = [29, 3, 13, 24, 0, 12, 23, 25]
    random.Random(1).shuffle(order)
    again = enlarged(clip, model, num_streams=1)
    assert [digest(again.get_frame(n)) for n in order] == [linear[n] for n in order]
    core.num_threads = 1
    assert digest(enlarged(clip, model).get_frame(20)) == linear[20]


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from tests.helpers.clips import core, moving
core.num_threads = {threads}
core.animup.Upscale(moving(width=48, height=32, length=27, cut=13), model={model!r}).set_output()
"""


def vspipe(model: Path, tmp_path: Path, *arguments: str, threads: int) -> bytes:
    script = tmp_path / f"script{threads}.vpy"
    script.write_text(SCRIPT.format(root=str(ROOT), threads=threads, model=str(model)))
    program = os.path.join(sysconfig.get_path("scripts"), "vspipe")
    command = [program, *arguments, str(script), "-"]
    return subprocess.run(command, capture_output=True, timeout=200, check=True).stdout


def test_vspipe_parts_join_to_the_whole(model: Path, tmp_path: Path) -> None:
    whole = vspipe(model, tmp_path, threads=2)
    assert len(whole) == 27 * 96 * 64 * 3 // 2
    pieces = (0, 9, 1), (10, 26, 4)  # a cut and a block's border in the second
    parts = [
        vspipe(model, tmp_path, "-s", str(first), "-e", str(last), threads=threads) for first, last, threads in pieces
    ]
    assert b"".join(parts) == whole


def test_still_pictures_stay_still(model: Path) -> None:
    still = moving(width=48, height=32, length=1, noise=0) * 50
    result = enlarged(still, model)
    assert len(set(digests(result))) == 1


def test_arguments_matter(model: Path) -> None:
    clip = moving(width=48, height=32, length=2)
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"seed": 1},
        {"steps": 1},
        {"strength": 0.5},
        {"prompt": "the cat"},
        {"prompt": "the cat", "cfg": 1.5},
        {"colorfix": "adain"},
        {"scale": 3},
    )
    assert len({digest(enlarged(clip, model, **change).get_frame(0)) for change in changes}) == len(changes)
    assert digest(enlarged(clip, model, negative_prompt="the cat").get_frame(0)) == digest(
        enlarged(clip, model).get_frame(0)
    )


def test_no_strength_is_plain_enlargement(model: Path) -> None:
    clip = moving(width=48, height=32, length=2)
    plain = clip.resize.Bicubic(96, 64, filter_param_a=0, filter_param_b=0.5)
    assert digests(enlarged(clip, model, strength=0)) == digests(plain)


def test_tiles_have_no_seams(model: Path) -> None:
    """A smooth picture in tiles and in one piece: what tiles do not see may differ, but not in steps."""
    rows = np.linspace(0.3, 0.6, 96)[:, None]
    source = core.std.BlankClip(format=vs.YUV444PS, width=160, height=96, length=1)

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        np.asarray(frame[0])[:] = rows + np.linspace(0, 0.2, 160)
        return frame

    clip = source.std.ModifyFrame(source, fill)
    tiled = planes_of(enlarged(clip, model, tilesize=96).get_frame(0))[0]
    whole = planes_of(enlarged(clip, model).get_frame(0))[0]
    jumps = [np.abs(np.diff(plane, axis=axis)).max() for plane in (tiled, whole) for axis in (0, 1)]
    assert tiled.tobytes() != whole.tobytes()
    assert max(jumps[:2]) < 1.5 * max(jumps[2:])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": 0}, "Upscale: steps must .* got 0"),
        ({"steps": 40}, "Upscale: steps must .* got 40"),
        ({"strength": 1.5}, "Upscale: strength must .* got 1.5"),
        ({"strength": -0.1}, "Upscale: strength must .* got -0.1"),
        ({"strength": float("nan")}, "Upscale: strength must .* got nan"),
        ({"strength": 0.009}, "Upscale: strength must lie between 0.01 and 1, got 0.009"),
        ({"cfg": -1.0}, "Upscale: cfg must .* got -1"),
        ({"cfg": 0.5}, r"Upscale: cfg must lie between 1 \(no negative prompt\) and 30, got 0.5"),
        ({"cfg": float("inf")}, "Upscale: cfg must .* got inf"),
        ({"colorfix": "magic"}, "Upscale: colorfix must be one of wavelet, adain, none, got 'magic'"),
        ({"control": 2.1}, "Upscale: control must lie between 0 and 2, got 2.1"),
        ({"control": float("nan")}, "Upscale: control must lie between 0 and 2, got nan"),
        ({"control": 1.0}, "Upscale: control needs a model with a ControlNet"),
        ({"precision": "int8"}, "Upscale: precision='int8': model=.* has the precision"),
        ({"memory": 0.35}, "Upscale: memory needs a model with a graph for it, which model has not: export it again"),
        ({"memory": 1.5}, r"Upscale: memory must lie between 0 \(off\) and 1 \(everything\), got 1.5"),
        ({"memory": float("nan")}, "Upscale: memory must .* got nan"),
        ({"anchor": 33}, "Upscale: anchor must .* got 33"),
        ({"anchor": 0}, "Upscale: anchor must lie between 1 and 32 blocks of 24 frames, got 0"),
        ({"scale": 5}, "Upscale: scale must be 2, 3 or 4, got 5"),
        ({"device_id": 3}, "Upscale: device_id must be 0"),
    ],
)
def test_what_cannot_work_is_said_at_create(model: Path, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(vs.Error, match=words):
        enlarged(moving(width=48, height=32, length=1), model, **arguments)


def test_what_belongs_elsewhere_is_said(model: Path) -> None:
    clip = moving(width=48, height=32, length=1)
    with pytest.raises(vs.Error, match="Upscale: steps=2 goes with AnimateLCM models, which model='lite' is not"):
        core.animup.Upscale(clip, steps=2, prompt="a cat")
    with pytest.raises(vs.Error, match=r"Restore: model=.* is an AnimateLCM model, which enlarges: give it to Upscale"):
        core.animup.Restore(clip, model=str(model), task="denoise")


@pytest.mark.parametrize("file", ["denoise.onnx", "vocab.json"])
def test_a_damaged_model_is_refused_at_create(model: Path, tmp_path: Path, file: str) -> None:
    folder = shutil.copytree(model, tmp_path / "mine")
    (folder / file).write_bytes((folder / file).read_bytes()[:-100])
    with pytest.raises(vs.Error, match=rf"Upscale: model file .*{file} is damaged.*get the model again"):
        enlarged(moving(width=48, height=32, length=1), folder)
    (folder / file).unlink()
    with pytest.raises(vs.Error, match=rf"Upscale: model file .*{file}"):
        enlarged(moving(width=48, height=32, length=1), folder)


def test_too_little_memory_is_said_at_create(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = moving(width=48, height=32, length=1)
    size = sum(path.stat().st_size for path in model.iterdir())
    monkeypatch.setattr("vsanimup.networks.animatelcm.family.total_memory", lambda: size + 128 * 64 * 12000)
    assert enlarged(clip, model, num_streams=1).width == 96
    with pytest.raises(vs.Error, match=r"Upscale: model .* needs about .* this machine has .*: use num_streams=1"):
        enlarged(clip, model, num_streams=2)
    monkeypatch.setattr("vsanimup.networks.animatelcm.family.total_memory", lambda: size + 1)
    with pytest.raises(vs.Error, match="use a smaller tilesize"):
        enlarged(clip, model, num_streams=1)
