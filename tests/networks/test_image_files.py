"""Networks of other projects: one picture in, one out, as ``model="file.onnx"``."""

import random
from collections.abc import Sequence
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
from vsanimup.networks.image.operators import operators


def network(
    path: Path,
    *,
    scale: int = 1,
    channels: int = 3,
    sides: tuple[int | str | None, int | str | None] = ("h", "w"),
    batch: int | str = 1,
    half: bool = False,
    multiple: int = 1,
    out: int | None = None,
    inputs: int = 1,
) -> Path:
    """A convolution, a detour at 1/multiple of the size, and a pixel shuffle."""
    rng = np.random.default_rng(scale * 10 + channels)
    kind, dtype = (T.FLOAT16, np.float16) if half else (T.FLOAT, np.float32)
    out = channels if out is None else out
    weight = rng.normal(0, 0.03, (out * scale**2, channels, 3, 3))
    for i in range(len(weight)):
        weight[i, (i // scale**2) % channels, 1, 1] += 0.8
    tensors = {"weight": weight.astype(dtype), "bias": np.full(out * scale**2, 0.05, dtype)}
    nodes = [h.make_node("Conv", ["x", "weight", "bias"], ["a"], pads=[1, 1, 1, 1])]
    last = "a"
    if multiple > 1:
        nodes += [
            h.make_node("SpaceToDepth", [last], ["deep"], blocksize=multiple),
            h.make_node("DepthToSpace", ["deep"], ["back"], blocksize=multiple),
        ]
        last = "back"
    nodes.append(h.make_node("DepthToSpace", [last], ["y"], blocksize=scale, mode="CRD"))
    given = [h.make_tensor_value_info(name, kind, [batch, channels, *sides]) for name in ("x", "sigma")[:inputs]]
    result = h.make_tensor_value_info("y", kind, [batch, out, None, None])
    graph = h.make_graph(nodes, "net", given, [result], [numpy_helper.from_array(v, k) for k, v in tensors.items()])
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def clip_of(format: int = vs.RGBS, width: int = 70, height: int = 52, length: int = 3) -> vs.VideoNode:
    return moving(format=format, width=width, height=height, length=length)


def direct(path: Path, planes: list[np.ndarray]) -> np.ndarray:
    """What the network makes of planes, without tiles."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    kind = np.float16 if "16" in given.type else np.float32
    return np.asarray(session.run(None, {given.name: np.stack(planes)[None].astype(kind)})[0][0], np.float32)


KINDS = [
    {},
    {"scale": 2},
    {"scale": 3},
    {"scale": 4},
    {"half": True, "scale": 2},
    {"multiple": 8},
    {"batch": "n"},
    {"sides": ("side", "side")},
    {"sides": (None, None), "scale": 2},
    {"sides": (32, 48)},
    {"sides": (32, 48), "scale": 2, "batch": "n"},
    {"sides": (64, 80), "batch": 2},
]


def run(clip: vs.VideoNode, path: Path, scale: int = 1, **more: Any) -> vs.VideoNode:
    if scale == 1:
        return core.animup.Restore(clip, model=str(path), **more)
    return core.animup.Upscale(clip, scale=scale, model=str(path), **more)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_kind_gives_what_onnxruntime_gives(tmp_path: Path, kind: dict[str, Any]) -> None:
    path = network(tmp_path / "net.onnx", **kind)
    whole = network(tmp_path / "whole.onnx", **{**kind, "sides": ("h", "w"), "batch": 1, "multiple": 1})
    clip = clip_of()
    for more in ({}, {"tilesize": 40, "overlap": 16}) if "sides" not in kind else ({},):
        found = run(clip, path, kind.get("scale", 1), **more).get_frame(1)
        wanted = np.clip(direct(whole, planes_of(clip.get_frame(1))), 0, 1)
        assert np.stack(planes_of(found)).shape == wanted.shape
        difference = np.abs(np.stack(planes_of(found)) - wanted)
        if more or "multiple" in kind or isinstance(kind.get("sides", ("h",))[0], int):
            # where a tile reaches beyond the frame the network sees it continued instead of zeros
            edge = 2 * kind.get("scale", 1)
            difference = difference[:, edge:-edge, edge:-edge]
        assert difference.max() < (4e-3 if kind.get("half") else 2e-4)


@pytest.mark.parametrize("format", [vs.YUV420P8, vs.YUV422P10, vs.RGB24, vs.GRAY8, vs.GRAYS, vs.YUV444PS])
@pytest.mark.parametrize("channels", [1, 3])
def test_formats_and_random_access(tmp_path: Path, format: int, channels: int) -> None:
    path = network(tmp_path / "net.onnx", scale=2, channels=channels)
    clip = clip_of(format, 64, 48, 14)
    result = run(clip, path, 2)
    assert (result.format.id, result.width, result.height) == (format, 128, 96)
    linear = digests(result)
    order = list(range(14))
    random.Random(1).shuffle(order)
    again = run(clip, path, 2, num_streams=1)
    assert [digest(again.get_frame(n)) for n in order] == [linear[n] for n in order]


def test_gray_networks_keep_chroma(tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx", channels=1)
    clip = clip_of(vs.YUV420P8, 64, 48)
    before, after = planes_of(clip.get_frame(0)), planes_of(run(clip, path).get_frame(0))
    assert np.array_equal(before[1], after[1]) and np.array_equal(before[2], after[2])
    luma = (before[0].astype(np.float32) - 16) / 219
    wanted = np.round(np.clip(direct(path, [np.clip(luma, 0, 1)])[0], 0, 1) * 219 + 16)
    assert np.abs(after[0] - wanted).max() <= 1


def test_doubling_networks_reach_3_and_4_and_strength_mixes(tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx", scale=2)
    for scale in (3, 4):
        assert run(clip_of(), path, scale).get_frame(0).width == 70 * scale
    same = network(tmp_path / "same.onnx")
    clip = clip_of()
    none, half, all_ = (planes_of(run(clip, same, strength=s).get_frame(0))[0] for s in (0.0, 0.5, 1.0))
    assert np.abs((none + all_) / 2 - half).max() < 1e-5 and np.abs(all_ - none).max() > 0.01


@pytest.mark.parametrize(
    ("kind", "scale", "more", "said"),
    [
        ({"scale": 4}, 2, {}, "enlarges by 4"),
        ({"scale": 2}, 1, {}, "enlarges by 2: give it to Upscale"),
        ({}, 2, {}, "restores: give it to Restore"),
        ({"channels": 4, "out": 3}, 1, {}, "noise map"),
        ({"out": 1}, 1, {}, "other channels"),
        ({"inputs": 2}, 1, {}, r"2 inputs \(x, sigma\) and 1 outputs"),
        ({"sides": (48, "w")}, 1, {}, "only one side"),
        ({"sides": (48, 48)}, 1, {"tilesize": 64}, "takes pictures of 48x48 alone"),
        ({"sides": (48, 48)}, 1, {"overlap": 48}, "overlap must be less"),
        ({}, 1, {"precision": "int8"}, "leave precision out"),
        ({}, 1, {"temporal_threshold": 4}, "temporal_threshold=4 goes with lite models, .* leave it out"),
        ({"scale": 2}, 2, {"tta": 1}, "tta=1 goes with lite models, .* leave it out"),
        ({}, 1, {"task": "denoise"}, "task='denoise' goes with lite models, .* leave it out"),
        ({"scale": 2}, 2, {"steps": 2}, "steps=2 goes with AnimateLCM models, .* leave it out"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_named(
    tmp_path: Path, kind: dict[str, Any], scale: int, more: dict[str, Any], said: str
) -> None:
    path = network(tmp_path / "net.onnx", **kind)
    with pytest.raises(vs.Error, match=said):
        run(clip_of(), path, scale, **more)


@pytest.mark.parametrize(("channels", "scale"), [(1, 1), (3, 1), (3, 2)])
@pytest.mark.parametrize(
    ("format", "width", "height"),
    [(vs.YUV420P8, 62, 46), (vs.YUV420P8, 18, 16), (vs.YUV422P8, 66, 45), (vs.RGB24, 53, 37), (vs.GRAY8, 17, 19)],
)
@pytest.mark.parametrize("kind", [{}, {"multiple": 8}, {"sides": (32, 48)}], ids=str)
def test_sizes_that_divide_by_nothing(
    tmp_path: Path, kind: dict[str, Any], format: int, width: int, height: int, channels: int, scale: int
) -> None:
    path = network(tmp_path / "net.onnx", channels=channels, scale=scale, **kind)
    clip = clip_of(format, width, height, 1)
    frame = run(clip, path, scale).get_frame(0)
    assert (frame.width, frame.height, frame.format.id) == (width * scale, height * scale, format)
    if kind or clip.format.color_family != vs.YUV or channels == 1:
        return
    full = clip.resize.Bicubic(format=vs.YUV444PS)
    wanted = run(full, path, scale).resize.Bicubic(format=format).get_frame(0)
    assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(planes_of(frame), planes_of(wanted), strict=True))


@pytest.mark.parametrize(("channels", "scale"), [(1, 1), (1, 2), (3, 1), (3, 2)])
@pytest.mark.parametrize(("format", "height"), [(vs.YUV420P8, 48), (vs.YUV420P8, 46), (vs.RGB24, 45)])
def test_interlaced_frames_are_refused(tmp_path: Path, channels: int, scale: int, format: int, height: int) -> None:
    path = network(tmp_path / "net.onnx", channels=channels, scale=scale)
    clip = clip_of(format, 64, height, 2).std.SetFrameProps(_FieldBased=2)
    with pytest.raises(vs.Error, match=r"frame 1 is interlaced \(_FieldBased=2\); deinterlace first"):
        run(clip, path, scale).get_frame(1)
    for whole in (clip.std.SetFrameProps(_FieldBased=0), clip.std.RemoveFrameProps("_FieldBased")):
        frame = run(whole, path, scale).get_frame(1)
        assert frame.height == height * scale and frame.props.get("_FieldBased", 0) == 0


SECTION = {"file": "net.onnx", "input": "x", "output": "y", "channels": 3, "tile": 32, "overlap": 8, "batch": 2}


def image_manifest(**more: Any) -> dict[str, Any]:
    """The manifest of a model folder, without the files."""
    return {
        "name": "net",
        "kind": "image",
        "scale": 1,
        "radius": 0,
        "align": 2,
        "value_range": "rgb",
        "tasks": [],
        "bytes_per_pixel": 100,
        "licence": "MIT",
        "source": "made up",
        "parameters": 1,
    } | more


def folder_of(path: Path, section: object, **more: Any) -> Path:
    """A model folder around a network of 32x32."""
    data = network(path.parent / "net.onnx", sides=(32, 32), batch="batch").read_bytes()
    write_model(path, {"net.onnx": data}, image_manifest(image=section, **more))
    return path


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (None, "image must be an object, got None"),
        ([1], r"image must be an object, got \[1\]"),
        ({}, "image.file must be a text, got None"),
        (SECTION | {"input": 3}, "image.input must be a text, got 3"),
        (SECTION | {"tile": "48"}, "image.tile must be a whole number from 1 to 8192, got '48'"),
        (SECTION | {"batch": True}, "image.batch must be a whole number from 1 to 64, got True"),
        (SECTION | {"batch": 0}, "image.batch must be a whole number from 1 to 64, got 0"),
        (SECTION | {"overlap": 32}, "image.overlap must be below image.tile, 32, got 32; get the model again"),
        (SECTION | {"channels": 2}, "image.channels must be 1 or 3"),
        (SECTION | {"file": "../net.onnx"}, r"the manifest names no file \.\./net\.onnx; get the model again"),
        (SECTION | {"weights": 5}, "image.weights must be a text, got 5"),
        (SECTION | {"weights": "gone"}, "the manifest names no file gone; get the model again"),
        (SECTION | {"tile": 40}, "net.onnx failed on the cpu backend: .*Got: 40 Expected: 32"),
        (SECTION | {"input": "picture"}, r"missing from input feed \(\['picture'\]\)"),
        (SECTION | {"output": "result"}, "net.onnx gives y and no result, which manifest.json names"),
    ],
    ids=str,
)
def test_a_damaged_section_of_a_manifest(tmp_path: Path, section: object, said: str) -> None:
    with pytest.raises(vs.Error, match="(?s)" + said):
        run(clip_of(), folder_of(tmp_path / "model", section)).get_frame(0)


def test_folders_and_altered_files(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "model", SECTION)
    alone = network(tmp_path / "alone.onnx", sides=(32, 32), batch="n")
    assert digest(run(clip_of(), path).get_frame(0)) == digest(run(clip_of(), alone, overlap=8).get_frame(0))
    with pytest.raises(vs.Error, match=r"gave .* where .* was wanted"):
        run(clip_of(), folder_of(tmp_path / "double", SECTION, scale=2), 2).get_frame(0)
    (path / "net.onnx").write_bytes((path / "net.onnx").read_bytes()[:-1] + b"?")
    with pytest.raises(vs.Error, match=r"net\.onnx is damaged: .* get the model again"):
        run(clip_of(), path).get_frame(0)
    (path / "net.onnx").unlink()
    with pytest.raises(vs.Error, match=r"net.onnx cannot be read \(No such file"):
        run(clip_of(), path).get_frame(0)


def test_damaged_missing_and_folders_without_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(network(tmp_path / "net.onnx").read_bytes()[:100])
    for path, said in (
        (tmp_path / "broken.onnx", "can load"),
        (tmp_path / "no.onnx", "no such file"),
        (tmp_path, "manifest"),
    ):
        with pytest.raises(vs.Error, match=said):
            run(clip_of(), path)


# --- what is no network for pictures


def enlarging(
    path: Path, nodes: list[onnx.NodeProto], *, functions: Sequence[onnx.FunctionProto] = (), **tensors: Any
) -> Path:
    """``nodes`` make ``r`` of ``x``, which is then doubled."""
    nodes = [*nodes, h.make_node("Resize", ["r", "", "sizes"], ["y"], mode="nearest")]
    tensors["sizes"] = np.array([1, 1, 2, 2], np.float32)
    graph = h.make_graph(
        nodes,
        "net",
        [h.make_tensor_value_info("x", T.FLOAT, ["n", 3, "h", "w"])],
        [h.make_tensor_value_info("y", T.FLOAT, ["n", 3, None, None])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    opsets = [h.make_opsetid("", 17), *([h.make_opsetid("own", 1)] if functions else [])]
    onnx.save(h.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions), path)
    return path


def by(factor: float) -> tuple[list[onnx.NodeProto], dict[str, np.float32]]:
    return [h.make_node("Mul", ["x", "factor"], ["r"])], {"factor": np.float32(factor)}


def in_a_branch() -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """Chance in a branch that no trial takes."""
    value = h.make_tensor_value_info("out", T.FLOAT, None)
    branches = {
        name: h.make_graph([h.make_node(kind, ["x"], ["out"])], name, [], [value])
        for name, kind in (("then_branch", "RandomNormalLike"), ("else_branch", "Identity"))
    }
    return [h.make_node("If", ["no"], ["r"], **branches)], {"no": np.array(False)}


ODD: dict[str, tuple[list[onnx.NodeProto], dict[str, Any], str]] = {
    "nan": (*by(np.nan), "gives NaN or infinity"),
    "infinity": (*by(np.inf), "gives NaN or infinity"),
    "bytes": (*by(255), "gives values from .* to 255 .*0..1 is needed"),
    "negative": (*by(-3), "gives values from -3 to "),
    "zero over zero where it is dark": ([h.make_node("Div", ["x", "x"], ["r"])], {}, "gives NaN or infinity"),
    "chance": ([h.make_node("RandomUniformLike", ["x"], ["r"])], {}, r"random operators \(RandomUniformLike\)"),
    "seeded chance": (
        [h.make_node("RandomUniformLike", ["x"], ["r"], seed=1.0)],
        {},
        r"random operators \(RandomUniformLike\)",
    ),
    "chance in a branch": (*in_a_branch(), r"random operators \(RandomNormalLike\)"),
    "a dropout that drops": (
        [h.make_node("Dropout", ["x", "ratio", "training"], ["r"])],
        {"ratio": np.float32(0.5), "training": np.array(True)},
        "another result each time it runs",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_what_makes_no_picture_is_refused(tmp_path: Path, name: str) -> None:
    nodes, tensors, said = ODD[name]
    path = enlarging(tmp_path / "odd.onnx", nodes, **tensors)
    with pytest.raises(vs.Error, match=f"^Upscale: model='.*odd.onnx' .*{said}"):
        run(clip_of(), path, 2)


def test_chance_in_a_function_is_found(tmp_path: Path) -> None:
    draw = h.make_node("RandomUniformLike", ["a"], ["b"])
    function = h.make_function("own", "Draw", ["a"], ["b"], [draw], [h.make_opsetid("", 17)])
    node = h.make_node("Draw", ["x"], ["r"], domain="own")
    path = enlarging(tmp_path / "net.onnx", [node], functions=[function])
    assert operators(path) == {"Draw", "RandomUniformLike", "Resize"}
    with pytest.raises(vs.Error, match="random operators"):
        run(clip_of(), path, 2)


def test_networks_that_overshoot_a_little_are_taken(tmp_path: Path) -> None:
    sharp = np.zeros((3, 3, 3, 3), np.float32)
    for i in range(3):
        sharp[i, i] = [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]
    path = enlarging(tmp_path / "net.onnx", [h.make_node("Conv", ["x", "w"], ["r"], pads=[1] * 4)], w=sharp)
    assert run(clip_of(), path, 2).get_frame(0).width == 140


def test_a_result_that_is_no_number_fails_its_frame(tmp_path: Path) -> None:
    """Past the trial: 1 / (x - 0.3) is one but for a single value."""
    nodes = [
        h.make_node("Sub", ["x", "level"], ["d"]),
        h.make_node("Reciprocal", ["d"], ["i"]),
        h.make_node("Clip", ["i", "least", "most"], ["c"]),
        h.make_node("Mul", ["i", "none"], ["z"]),
        h.make_node("Add", ["c", "z"], ["r"]),
    ]
    level = np.float32(0.3)
    path = enlarging(
        tmp_path / "net.onnx", nodes, level=level, least=np.float32(0), most=np.float32(1), none=np.float32(0)
    )
    blank = core.std.BlankClip(width=48, height=32, length=1, format=vs.GRAYS)
    assert run(blank, path, 2).get_frame(0)
    with pytest.raises(vs.Error, match=r"^Upscale: the network .* gave NaN or infinity"):
        run(core.std.BlankClip(blank, color=float(level)), path, 2).get_frame(0)


@pytest.mark.parametrize("shape", [{"batch": 1000, "sides": (16, 16)}, {"sides": (10**5, 10**5)}], ids=str)
def test_networks_of_absurd_sizes_are_refused_at_once(tmp_path: Path, shape: dict[str, Any]) -> None:
    path = network(tmp_path / "net.onnx", **shape)
    with pytest.raises(vs.Error, match="64 pictures with sides of 8192 at most are possible"):
        run(clip_of(), path)
