"""IPT checkpoints: the original's output, and errors that name what is wrong."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
import vapoursynth as vs
from conftest import core, drawn, planes_of

from export.animatelcm.checkpoints import load
from export.ipt.checkpoint import TASKS, read
from export.ipt.command import export
from export.ipt.network import Ipt
from tests import ipt_files as files


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Checkpoints: fine-tuned ones for ×1 and ×2, and the one of six tasks with a prefix."""
    folder = tmp_path_factory.mktemp("ipt")
    for name in ("x1", "x2"):
        files.write(folder / f"{name}.pt", name)
    files.write(folder / "six.pt", "six", "model.")
    return folder


@pytest.mark.parametrize("task", TASKS)
def test_the_network_gives_the_originals_output(made, task):
    sizes, tensors = read(made / "six.pt", task, heads=12)
    net = Ipt(sizes)
    load(net, tensors, "an IPT")
    with np.load(files.GOLDEN) as golden, torch.no_grad():
        found = net(torch.from_numpy(golden["patches"]).float() / 255).numpy()[..., ::5, ::5]
        wanted = golden[f"six_{TASKS[task].index}"] / 255
    assert np.abs(found - wanted).max() < 1e-5 and wanted.std() > 0.1


@pytest.mark.parametrize(("name", "task"), [("x1", "denoise30"), ("x2", "x2")])
def test_the_exported_graph_gives_the_originals_output(made, tmp_path, name, task):
    list(export(made / f"{name}.pt", task, tmp_path / "out"))
    session = ort.InferenceSession(tmp_path / "out" / "network.onnx", providers=["CPUExecutionProvider"])
    with np.load(files.GOLDEN) as golden:
        image, whole = golden[f"image_{name}"], golden[f"whole_{name}"]
    patch = image[None, :, :48, :48].astype(np.float32) / 255
    (found,) = session.run(None, {"image": patch})
    scale = TASKS[task].scale
    # the first patch has its corner to itself
    assert np.abs(found[0, :, : 24 * scale, : 24 * scale] - whole[:, : 24 * scale, : 24 * scale] / 255).max() < 1e-5


@pytest.mark.parametrize(("name", "task"), [("x1", "denoise50"), ("x2", "x2")])
def test_a_whole_picture_at_stride_12_is_what_the_originals_test_path_gives(made, tmp_path, name, task):
    out = tmp_path / "out"
    list(export(made / f"{name}.pt", task, out, stride=12))
    with np.load(files.GOLDEN) as golden:
        image, whole = golden[f"image_{name}"], golden[f"whole_{name}"] / 255
    rows, columns = image.shape[1:]
    clip = drawn(
        core.std.BlankClip(format=vs.RGBS, width=columns, height=rows, length=1, keep=True),
        lambda n, i, shape: image[i] / 255,
    )
    scale = TASKS[task].scale
    filters = {1: core.animup.Restore, 2: lambda clip, **more: core.animup.Upscale(clip, scale=2, **more)}
    found = np.stack(planes_of(filters[scale](clip, model=str(out)).get_frame(0)))
    difference = np.abs(found - np.clip(whole, 0, 1))  # the filter keeps to the range
    # There the original has the first patch of all alone, since its left strip is written over its top strip to a
    # patch's whole width; along the other edges it has the mean of neighbours, as here.
    difference[:, : 12 * scale, 24 * scale : 48 * scale] = 0
    assert difference.max() < 1e-4
    other = np.stack(planes_of(filters[scale](clip, model=str(out), overlap=12).get_frame(0)))
    assert np.abs(found - other).max() > 1e-3
