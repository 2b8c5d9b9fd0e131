"""benchmarks/peers.py: ONNX files of others, and pyanime4k behind a stand-in that is as strict as the package."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto
from onnx import helper as h

from benchmarks import contenders, peers
from benchmarks.anime4k import Anime4kUpscaler
from benchmarks.onnx_files import OnnxUpscaler
from benchmarks.upscaler import WEIGHTS, Image

KIND: dict[type[np.generic], int] = {
    np.float32: TensorProto.FLOAT,
    np.float16: TensorProto.FLOAT16,
    np.uint8: TensorProto.UINT8,
}

STAND_IN = '''
"""pyanime4k as far as it is used: luma or RGB, in bytes or floats, each sample four times, luma 3/255 lighter."""
import sys
import types
import numpy as np


class Processor:
    def __init__(self, processor_type, device, model):
        assert (processor_type, device) == ("cpu", 0) and model in specs.ModelNameList

    def ok(self):
        return True

    def __call__(self, src, factor):
        assert factor == 2.0 and type(src) is np.ndarray and src.flags.c_contiguous
        assert (src.ndim, src.dtype) in ((2, np.float32), (3, np.uint8)) and src.shape[2:] in ((), (3,))
        lighter = 3 if src.dtype == np.uint8 else np.float32(3 / 255)
        return (src + src.dtype.type(lighter)).repeat(2, 0).repeat(2, 1)


specs = types.SimpleNamespace(ModelNameList=("acnet-hdn0", "arnet-hdn"))
pyac = types.SimpleNamespace(specs=specs, core=types.SimpleNamespace(Processor=Processor))
'''


def nearest(
    path: Path,
    *,
    channels: int = 3,
    scale: int = 2,
    kind: type[np.generic] = np.float32,
    sides: tuple[int | str, int | str] = ("h", "w"),
    batch: int | str = "n",
    multiple: int = 1,
    inputs: int = 1,
) -> Path:
    """An ONNX file that shows each sample ``scale`` times each way, of sides that divide by ``multiple``."""
    repeat = h.make_tensor("repeat", TensorProto.FLOAT, [4], [1, 1, scale, scale])
    nodes = [
        h.make_node("SpaceToDepth", ["x"], ["deep"], blocksize=multiple),
        h.make_node("DepthToSpace", ["deep"], ["back"], blocksize=multiple),
    ]
    nodes = nodes if multiple > 1 else []
    last = nodes[-1].output[0] if nodes else "x"
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
    nodes.append(h.make_node("Resize", [last, "", "repeat"], ["y"], **how))
    given = [h.make_tensor_value_info(name, KIND[kind], [batch, channels, *sides]) for name in ("x", "sigma")[:inputs]]
    result = h.make_tensor_value_info("y", KIND[kind], [batch, channels, None, None])
    graph = h.make_graph(nodes, "net", given, [result], [repeat])
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), path)
    return path


def small_picture() -> Image:
    rows, columns = np.mgrid[:34, :50]
    planes = (40 + 3 * columns, 30 + 5 * rows, 90 + 2 * columns - rows)
    picture = np.stack(planes, axis=2).clip(0, 255).astype(np.uint8)
    picture[10:20, 15:30] = (200, 40, 60)
    return picture


def doubled(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image.repeat(2, 0).repeat(2, 1)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("multiple", [1, 8])
def test_rgb_is_what_the_network_gives(tmp_path: Path, kind: type[np.generic], multiple: int) -> None:
    image = small_picture()
    enlarged = OnnxUpscaler(nearest(tmp_path / "net.onnx", kind=kind, multiple=multiple)).enlarge(image)
    assert enlarged.dtype == np.uint8 and np.array_equal(enlarged, doubled(image))


def test_luma_is_the_networks_and_chroma_is_smooth(tmp_path: Path) -> None:
    image = small_picture()
    upscaler = OnnxUpscaler(nearest(tmp_path / "net.onnx", channels=1))
    assert upscaler.planes(image).shape == (1, 34, 50)
    enlarged = upscaler.enlarge(image).astype(np.float32)
    luma, wanted = enlarged @ WEIGHTS, doubled(image).astype(np.float32) @ WEIGHTS
    inside = (slice(30, 30 + 4), slice(40, 50))  # away from edges, where nothing overshoots
    assert np.abs(luma - wanted)[inside].max() < 0.6
    assert np.abs(luma - wanted).mean() < 0.6
    across = enlarged[20:40, :, 0] - luma[20:40]  # a colour difference where a red patch begins
    steps = np.abs(np.diff(across, axis=1))[:, 24:36].max()
    assert 10 < steps < 0.7 * np.abs(np.diff(doubled(image)[20:40, :, 0] - wanted[20:40], axis=1))[:, 24:36].max()


@pytest.mark.parametrize(
    ("made", "has"),
    [
        ({"scale": 1}, "enlarges by 1"),
        ({"scale": 4}, "enlarges by 4"),
        ({"scale": 5}, "enlarges by 5"),
        ({"channels": 9}, "other channels"),
        ({"channels": 2}, "has the shape ['n', 2, 'h', 'w']"),
        ({"sides": (48, 64)}, "takes 64x48 and no other size"),
        ({"batch": 2}, "takes 2 frames a run"),
        ({"kind": np.uint8}, "x is tensor(uint8)"),
        ({"inputs": 2}, "2 inputs (x, sigma)"),
    ],
    ids=str,
)
def test_other_networks_are_refused(tmp_path: Path, made: dict[str, object], has: str) -> None:
    path = nearest(tmp_path / "strange.onnx", **made)  # type: ignore[arg-type]
    with pytest.raises(SystemExit) as refused:
        peers.main(["--only", "speed", "--peers", "", "--onnx", str(tmp_path), "--without-ours"])
    message = str(refused.value)
    assert message.startswith(f"peers: --onnx: '{path}'") and has in message
    assert "[N, 3 (RGB) or 1 (luma), H, W]" in message and "one output of twice the size" in message


def test_folders_without_networks_and_names_that_are_taken(tmp_path: Path) -> None:
    asked = ["--only", "speed", "--peers", "", "--onnx", str(tmp_path), "--without-ours"]
    with pytest.raises(SystemExit, match=r"holds no \*\.onnx"):
        peers.main(asked)
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(SystemExit, match=r"text\.onnx' is no network that onnxruntime can load"):
        peers.main(asked)
    nearest(tmp_path / "animup.onnx")
    with pytest.raises(SystemExit, match="one more 'animup'; rename the file"):
        peers.main(asked)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "site" / "pyanime4k"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "pyac.py").write_text(STAND_IN)
    names = ("pyanime4k", "pyanime4k.pyac", "pyanime4k.pyac.pyac")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    sys.path.insert(0, str(folder.parent))
    yield
    sys.path.remove(str(folder.parent))
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("stand_in")
def test_pyanime4k_is_given_luma_on_the_clock_and_rgb_for_quality() -> None:
    image, upscaler = small_picture(), Anime4kUpscaler("arnet-hdn")
    assert np.array_equal(upscaler.enlarge(image[:, ::-1]), doubled(image[:, ::-1] + 3))
    luma = upscaler.planes(image)
    assert np.allclose(upscaler.infer(luma)[0], (luma[0] + 3 / 255).repeat(2, 0).repeat(2, 1))


@pytest.mark.usefixtures("stand_in")
def test_models_that_pyanime4k_would_not_miss_are_refused() -> None:
    with pytest.raises(SystemExit, match="no model 'acnet-hdn2'; there are acnet-hdn0, arnet-hdn"):
        Anime4kUpscaler("acnet-hdn2")


@pytest.mark.usefixtures("stand_in")
def test_another_interface_is_told(tmp_path: Path) -> None:
    (tmp_path / "site" / "pyanime4k" / "pyac.py").write_text("")
    with pytest.raises(SystemExit, match=r"has no attribute 'pyac'; run: pip install pyanime4k==3\.1\.0"):
        Anime4kUpscaler("arnet-hdn")


def test_missing_pyanime4k_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.PEERS, "arnet-hdn", "no_such_package_of_peers")
    with pytest.raises(SystemExit, match="not installed; run: pip install no_such_package_of_peers"):
        peers.main(["--only", "speed", "--peers", "arnet-hdn"])


def write(path: Path, image: Image) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "bgr0"
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="bgr0")))
        container.mux(stream.encode())


@pytest.mark.usefixtures("stand_in")
def test_both_are_timed_and_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "HEIGHT", 36)
    monkeypatch.setattr(contenders, "WIDTH", 64)
    (tmp_path / "nets").mkdir()
    nearest(tmp_path / "nets" / "rgb.onnx")
    nearest(tmp_path / "nets" / "luma.onnx", channels=1, kind=np.float16)
    (tmp_path / "lq").mkdir()
    small = small_picture()
    write(tmp_path / "lq" / "drawing_clean.mkv", small)
    write(tmp_path / "drawing.mkv", doubled(small))
    arguments = ["--peers", "arnet-hdn", "--onnx", str(tmp_path / "nets"), "--without-ours", "--runs", "1"]
    arguments += ["--eval", str(tmp_path), "--json", str(tmp_path / "all.json")]
    peers.main([*arguments, "--only", "speed"])
    results = json.loads((tmp_path / "all.json").read_text())
    timed = results["speed"]["rows"]
    assert set(timed) == {"arnet-hdn", "rgb", "luma"}
    assert all(row["seconds"] > 0 and len(row["turns"]) == 1 for row in timed.values())

    peers.main([*arguments, "--only", "quality"])
    scored = {row["contender"]: row for row in json.loads((tmp_path / "all.json").read_text())["quality"]["rows"]}
    assert set(scored) == set(timed)
    assert scored["rgb"]["psnr"] > 90 > scored["luma"]["psnr"] > 50  # luma is rounded after chroma
    assert scored["arnet-hdn"]["psnr"] == pytest.approx(20 * np.log10(255 / 3), abs=0.05)

    peers.main([*arguments, "--only", "quality", "--peers", "", "--at", "0", "--kinds", "clean"])
    at = json.loads((tmp_path / "all.json").read_text())["quality"]
    assert at["at"] == 0 and at["rows"] == [row for row in scored.values() if row["contender"] in ("rgb", "luma")]
    with pytest.raises(SystemExit, match="has 2 frames, 0 of them asked for"):
        peers.main([*arguments, "--only", "quality", "--at", "2"])
    with pytest.raises(SystemExit, match="that is wanted"):
        peers.main([*arguments, "--only", "quality", "--kinds", "mpeg2,web"])
