"""IPT checkpoints: the original's output, and errors that name what is wrong."""

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
import vapoursynth as vs

from export.animatelcm.checkpoints import load
from export.ipt.checkpoint import read
from export.ipt.command import export
from export.ipt.tasks import TASKS
from tests.helpers import ipt_files as files
from tests.helpers.clips import core, drawn
from tests.helpers.frames import planes_of
from vsanimup.architectures.ipt import Ipt


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints: fine-tuned ones for ×1 and ×2, and the one of six tasks with a prefix."""
    folder = tmp_path_factory.mktemp("ipt")
    for name in ("x1", "x2"):
        files.write(folder / f"{name}.pt", name)
    files.write(folder / "six.pt", "six", "model.")
    return folder


@pytest.mark.parametrize("task", TASKS)
def test_the_network_gives_the_originals_output(made: Path, task: str) -> None:
    sizes, tensors = read(made / "six.pt", task, heads=12)
    net = Ipt(sizes)
    load(net, tensors, "an IPT")
    with np.load(files.GOLDEN) as golden, torch.no_grad():
        found = net(torch.from_numpy(golden["patches"]).float() / 255).numpy()[..., ::5, ::5]
        wanted = golden[f"six_{TASKS[task].index}"] / 255
    assert np.abs(found - wanted).max() < 1e-5 and wanted.std() > 0.1


@pytest.fixture(scope="module")
def folders(made: Path) -> dict[int, Path]:
    """Model folders by scale, of stride 12."""
    for name, task in (("x1", "denoise50"), ("x2", "x2")):
        list(export(made / f"{name}.pt", task, made / name, stride=12))
    return {1: made / "x1", 2: made / "x2"}


def check_corner(folder: Path, scale: int, most: float) -> None:
    """A graph's result against the original's, which has the corner from the first patch alone."""
    session = ort.InferenceSession(folder / "network.onnx", providers=["CPUExecutionProvider"])
    with np.load(files.GOLDEN) as golden:
        image, whole = golden[f"image_x{scale}"], golden[f"whole_x{scale}"]
    (found,) = session.run(None, {"image": image[None, :, :48, :48].astype(np.float32) / 255})
    difference = np.abs(found[0] - whole[:, : 48 * scale, : 48 * scale] / 255)
    assert difference[:, : 24 * scale, : 24 * scale].max() < most


@pytest.mark.parametrize("scale", [1, 2])
def test_the_exported_graph_gives_the_originals_output(folders: dict[int, Path], scale: int) -> None:
    check_corner(folders[scale], scale, 1e-5)


def test_half_precision(made: Path, folders: dict[int, Path], tmp_path: Path) -> None:
    out = tmp_path / "half"
    list(export(made / "x2.pt", "x2", out, precision="fp16"))
    check_corner(out, 2, 5e-3)
    assert (out / "network.weights").stat().st_size < 0.6 * (folders[2] / "network.weights").stat().st_size
    section = json.loads((out / "manifest.json").read_text())["image"]
    assert section["precision"] == "fp16" and section["overlap"] == 12
    clip = drawn(
        core.std.BlankClip(format=vs.YUV420P8, width=48, height=40, length=1, keep=True),
        lambda n, i, shape: (np.add.outer(np.arange(shape[0]) * 3, np.arange(shape[1])) + 40) / 255,
    )
    half, single = (planes_of(core.animup.Upscale(clip, model=str(each)).get_frame(0)) for each in (out, folders[2]))
    assert all(np.abs(a.astype(int) - b).max() <= 2 for a, b in zip(half, single, strict=True))


def test_a_network_that_doubles_reaches_3_and_4(folders: dict[int, Path]) -> None:
    clip = core.std.BlankClip(format=vs.YUV420P8, width=48, height=40, length=1, color=[90, 120, 140])
    twice = core.animup.Upscale(
        core.animup.Upscale(clip, model=str(folders[2]), format=vs.YUV420PS), overlap=12, model=str(folders[2])
    )
    for scale in (3, 4):
        frame = core.animup.Upscale(clip, scale=scale, model=str(folders[2]), overlap=12).get_frame(0)
        assert (frame.width, frame.height, frame.format.id) == (48 * scale, 40 * scale, vs.YUV420P8)
    wanted = core.resize.Point(twice, format=vs.YUV420P8).get_frame(0)
    assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(planes_of(frame), planes_of(wanted), strict=True))


@pytest.mark.parametrize("scale", [1, 2])
def test_a_whole_picture_at_stride_12_is_what_the_originals_test_path_gives(
    folders: dict[int, Path], scale: int
) -> None:
    with np.load(files.GOLDEN) as golden:
        image, whole = golden[f"image_x{scale}"], golden[f"whole_x{scale}"] / 255
    rows, columns = image.shape[1:]
    clip = drawn(
        core.std.BlankClip(format=vs.RGBS, width=columns, height=rows, length=1, keep=True),
        lambda n, i, shape: image[i] / 255,
    )
    filters = {1: core.animup.Restore, 2: lambda clip, **more: core.animup.Upscale(clip, scale=2, **more)}
    found = np.stack(planes_of(filters[scale](clip, model=str(folders[scale])).get_frame(0)))
    difference = np.abs(found - np.clip(whole, 0, 1))  # the filter keeps to the range
    # There the original has the first patch of all alone, since its left strip is written over its top strip to a
    # patch's whole width; along the other edges it has the mean of neighbours, as here.
    difference[:, : 12 * scale, 24 * scale : 48 * scale] = 0
    assert difference.max() < 1e-4
    other = np.stack(planes_of(filters[scale](clip, model=str(folders[scale]), overlap=12).get_frame(0)))
    assert np.abs(found - other).max() > 1e-3
