"""Networks of others that take a few frames in a row: 3·k channels in, the middle one of k pictures out."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import vapoursynth as vs
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

from export.folder import write_model
from tests.helpers.clips import core, moving
from tests.helpers.frames import digest, digests, planes_of
from tests.networks.test_image_files import SECTION, clip_of, image_manifest, run


def network(
    path: Path,
    frames: int,
    *,
    scale: int = 1,
    sides: tuple[int | str, int | str] = ("h", "w"),
    batch: int | str = 1,
    out: int = 3,
    channels: int | None = None,
) -> Path:
    """A convolution that takes unlike shares of k frames of RGB, and a pixel shuffle."""
    rng = np.random.default_rng(frames)
    channels = 3 * frames if channels is None else channels
    weight = rng.normal(0, 0.02, (out * scale**2, channels, 3, 3))
    for i in range(len(weight)):
        for frame in range(frames):
            weight[i, 3 * frame + (i // scale**2) % 3, 1, 1] += 0.9 * (frame + 1) / (frames * (frames + 1) / 2)
    nodes = [
        h.make_node("Conv", ["x", "weight"], ["a"], pads=[1, 1, 1, 1]),
        h.make_node("DepthToSpace", ["a"], ["y"], blocksize=scale, mode="CRD"),
    ]
    graph = h.make_graph(
        nodes,
        "net",
        [h.make_tensor_value_info("x", T.FLOAT, [batch, channels, *sides])],
        [h.make_tensor_value_info("y", T.FLOAT, [batch, out, None, None])],
        [numpy_helper.from_array(weight.astype(np.float32), "weight")],
    )
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), path)
    return path


def direct(path: Path, frames: list[vs.VideoFrame]) -> np.ndarray:
    """What the network makes of pictures in a row."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    row = np.concatenate([np.stack(planes_of(frame)) for frame in frames])
    return np.asarray(np.clip(session.run(None, {"x": row[None]})[0][0], 0, 1))


@pytest.mark.parametrize(("frames", "scale"), [(3, 1), (7, 1), (5, 2)])
@pytest.mark.parametrize("marked", [True, False])
def test_the_window_stays_in_its_scene_and_clip(tmp_path: Path, frames: int, scale: int, marked: bool) -> None:
    path = network(tmp_path / "net.onnx", frames, scale=scale)
    clip = moving(format=vs.RGBS, width=48, height=40, length=10, cut=6, noise=0.05)
    if marked:  # properties rule over what is seen: here a scene starts at frame 4
        parts = clip[:4], clip[4].std.SetFrameProps(_SceneChangePrev=1), clip[5:]
        clip = core.std.Splice([part.std.SetFrameProps(_SceneChangeNext=0) for part in parts])
    cut = 4 if marked else 6
    result = run(clip, path, scale, dedup=0)
    for n in range(10):
        first, last = (0, cut - 1) if n < cut else (cut, 9)
        around = [clip.get_frame(min(max(i, first), last)) for i in range(n - frames // 2, n + frames // 2 + 1)]
        found = np.stack(planes_of(result.get_frame(n)))
        # colours went to YUV and back
        assert np.abs(found - direct(path, around)).max() < 2e-4, n
    without = run(clip, path, scale, dedup=0, scenecut=0).get_frame(cut)
    around = [clip.get_frame(min(max(i, 0), 9)) for i in range(cut - frames // 2, cut + frames // 2 + 1)]
    assert np.abs(np.stack(planes_of(without)) - direct(path, around)).max() < 2e-4


def test_drawings_stand_in_the_middle(tmp_path: Path) -> None:
    """A run of frames that show one drawing is averaged and computed once; around it are its neighbours."""
    path = network(tmp_path / "net.onnx", 3)
    clip = moving(format=vs.RGBS, width=64, height=48, length=4, noise=0)
    held = core.std.Interleave([clip, clip])
    result = run(held, path)
    for n in (2, 3):
        around = [clip.get_frame(0), clip.get_frame(1), clip.get_frame(1)]  # the middle one of frames 2 and 3 is 2
        assert np.abs(np.stack(planes_of(result.get_frame(n))) - direct(path, around)).max() < 2e-4
    assert digest(result.get_frame(2)) == digest(result.get_frame(3))


@pytest.mark.parametrize("format", [vs.YUV420P8, vs.RGB24, vs.GRAY8])
@pytest.mark.parametrize("kind", [{}, {"sides": (32, 32), "batch": "n"}, {"scale": 2}], ids=str)
def test_formats_tiles_and_random_access(tmp_path: Path, format: int, kind: dict[str, Any]) -> None:
    path = network(tmp_path / "net.onnx", 5, **kind)
    scale = kind.get("scale", 1)
    clip = moving(format=format, width=64, height=48, length=14, cut=8)
    more = {} if "sides" in kind else {"tilesize": 48, "overlap": 16}
    result = run(clip, path, scale, **more)
    assert (result.format.id, result.width, result.height) == (format, 64 * scale, 48 * scale)
    linear = digests(result)
    order = list(range(14))
    random.Random(1).shuffle(order)
    again = run(clip, path, scale, num_streams=1, **more)
    assert [digest(again.get_frame(n)) for n in order] == [linear[n] for n in order]
    late = run(clip, path, scale, **more).std.Trim(9, 11)
    assert digests(late) == linear[9:12]


def test_behind_restore_and_doubled_twice(tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx", 3, scale=2)
    clip = moving(width=48, height=32, length=5)
    result = core.animup.Upscale(core.animup.Restore(clip, task="denoise"), scale=4, model=str(path))
    linear = digests(result)
    assert digest(result.get_frame(2)) == linear[2] and len(set(linear)) == 5


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ({"frames": 2}, "has 6 channels, 2 pictures of RGB in a row; an odd number up to 31 is needed"),
        ({"frames": 33}, "has 99 channels, 33 pictures of RGB in a row; an odd number up to 31"),
        ({"frames": 1, "channels": 5}, r"has the shape .*or 3·k channels for k frames of RGB$"),
        ({"frames": 1, "channels": 4}, "noise map, as DPIR has it, cannot be given"),
        ({"frames": 3, "out": 9}, "is no multiple of that, or has other channels"),
    ],
    ids=str,
)
def test_what_is_no_window_is_refused(tmp_path: Path, kind: dict[str, Any], said: str) -> None:
    path = network(tmp_path / "net.onnx", **kind)
    with pytest.raises(vs.Error, match=said):
        run(clip_of(), path)


def test_folders_may_say_so_too(tmp_path: Path) -> None:
    data = network(tmp_path / "net.onnx", 3, sides=(32, 32), batch="n").read_bytes()
    manifest = image_manifest(radius=1, image=SECTION | {"frames": 3})
    write_model(tmp_path / "model", {"net.onnx": data}, manifest)
    alone = run(clip_of(), tmp_path / "net.onnx", overlap=8)
    assert digests(run(clip_of(), tmp_path / "model")) == digests(alone)
    for frames, channels in ((2, 3), (0, 3), (True, 3), ("3", 3), (33, 3), (3, 1)):
        section = SECTION | {"frames": frames, "channels": channels}
        write_model(tmp_path / "model", {"net.onnx": data}, manifest | {"image": section})
        with pytest.raises(
            vs.Error, match=r"image\.frames must be an odd number up to 31, and 1 with one channel, got"
        ):
            run(clip_of(), tmp_path / "model")
