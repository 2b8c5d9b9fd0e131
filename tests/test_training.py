"""The network, the trainer and the export, small."""

import json

import numpy as np
import onnxruntime as ort
import pytest
import torch

from export import lite as export_lite
from export.folder import write_model
from training.dataset import Clips, window_indices
from training.network import ALIGN, Head, Lite, LiteConfig
from training.train import main as train
from vsanimup.errors import AnimupError
from vsanimup.models import open_model

SMALL = {"dim": 16, "depth": 1, "heads": 2, "width": 8}


@pytest.fixture
def clips(tmp_path):
    """Two training clips and one for validation, random but smooth, in the clip files' layout."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("train_00000", "train_00001", "val_000"):
        rng = np.random.default_rng(sum(map(ord, name)))
        hr = np.kron(rng.integers(16, 235, (7, 16, 16)), np.ones((8, 8))).astype(np.uint8)
        hr_uv = np.full((7, 2, 64, 64), 128, np.uint8)
        clean = hr.reshape(7, 64, 2, 64, 2).mean((2, 4)).astype(np.uint8)
        noisy = np.clip(clean + rng.normal(0, 12, (3, *clean.shape)), 0, 255).astype(np.uint8)
        np.savez(
            folder / f"{name}.npz", hr_y=hr, hr_uv=hr_uv, lr_y=np.stack([clean, *noisy]),
            lr_uv=np.full((4, 7, 2, 32, 32), 128, np.uint8), kinds=np.array(["clean", "vhs", "web", "mpeg2"]),
            cut=np.array([0, 0, 0, 1, 0, 0, 0], np.int8), sources=np.array(["x"]),
        )  # fmt: skip
    return folder


def weights(out):
    return torch.load(out / "checkpoint.pt", weights_only=True)


def run(clips, out, steps, task="restore", **kw):
    train(task=task, data=clips, out=out, steps=steps, batch=2, crop=32, radius=1, every=4, threads=1, **SMALL, **kw)


@pytest.mark.parametrize("task", ["restore", "upscale"])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(clips, tmp_path, task):
    run(clips, tmp_path / "whole", 8, task)
    part = tmp_path / "part"
    run(clips, part, 8, task, stop=4)
    assert weights(part)["step"] == 4
    run(clips, part, 8, task)
    a, b = weights(tmp_path / "whole"), weights(part)
    assert a["step"] == b["step"] == 8
    for name, value in a["average"].items():
        torch.testing.assert_close(value, b["average"][name], rtol=0, atol=1e-6)
    log = [json.loads(line) for line in (part / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [4, 8]
    assert {"vhs", "web", "mpeg2", "clean", "mean"} == log[0]["psnr"].keys()


def test_it_learns_to_denoise(clips, tmp_path):
    run(clips, tmp_path / "run", 160, lr=2e-3)
    log = [json.loads(line)["psnr"]["vhs"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert log[-1] > log[0] + 1


def test_batches_depend_on_the_step_alone(clips):
    a, b = (Clips(clips, "upscale", radius=1, crop=32, seed=3) for _ in range(2))
    a.batch(0, 2)
    for x, y in zip(vars(a.batch(5, 2)).values(), vars(b.batch(5, 2)).values(), strict=True):
        assert torch.equal(x, y)


def test_windows_in_training_stop_at_cuts_as_in_the_filter():
    cut = np.array([0, 0, 0, 1, 0, 0, 0], np.int8)
    assert window_indices(cut, 3, 2) == [3, 3, 3, 4, 5]
    assert window_indices(cut, 2, 2) == [0, 1, 2, 2, 2]
    assert window_indices(cut, 5, 2) == [3, 4, 5, 6, 6]
    assert window_indices(cut, 5, 2, reach=1) == [4, 4, 5, 6, 6]


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("radius", [0, 1, 2])
def test_network_starts_as_interpolation_and_keeps_shapes(scale, radius):
    net = Lite(LiteConfig(scale=scale, radius=radius, **SMALL))
    frames = 2 * radius + 1
    y, uv = torch.full((2, frames, 32, 64), 0.3), torch.full((2, 2 * frames, 16, 32), -0.2)
    out_y, out_uv = net(y, uv)
    assert out_y.shape == (2, 1, 32 * scale, 64 * scale) and out_uv.shape == (2, 2, 16 * scale, 32 * scale)
    torch.testing.assert_close(out_y, torch.full_like(out_y, 0.3))
    torch.testing.assert_close(out_uv, torch.full_like(out_uv, -0.2))


def test_the_heads_change_of_basis_folds_away():
    head = Head(3, 8)
    x = torch.randn(1, 18, 16, 16)
    torch.testing.assert_close(head(x), head.folded()(x), atol=1e-5, rtol=1e-5)
    assert torch.linalg.matrix_rank(head.basis) == 18


def randomised(scale):
    torch.manual_seed(scale)
    net = Lite(LiteConfig(scale=scale, radius=1, **SMALL)).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    return net


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("size", [(ALIGN, ALIGN), (2 * ALIGN, 5 * ALIGN)])
def test_export_agrees_with_torch_at_any_size(scale, size):
    net = randomised(scale)
    assert export_lite.largest_difference(net, export_lite.to_onnx(net), *size) < 1e-4


def test_export_writes_a_whole_model_folder(clips, tmp_path):
    run(clips, tmp_path / "run", 4)
    out = tmp_path / "models" / "mine"
    for _ in range(2):  # the second replaces the first
        export_lite.main(checkpoint=tmp_path / "run" / "checkpoint.pt", out=out)
    model = open_model(out)
    assert (model.scale, model.radius, model.tasks) == (1, 1, ("deblock",))
    session = ort.InferenceSession(model.read("network.onnx"), providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["y", "uv"]
    assert [path.name for path in out.parent.iterdir()] == ["mine"], "nothing temporary is left"


def test_a_bad_export_is_refused(clips, tmp_path, monkeypatch):
    run(clips, tmp_path / "run", 4)
    monkeypatch.setattr(export_lite, "largest_difference", lambda *a: 0.5)
    with pytest.raises(SystemExit, match="nothing was written"):
        export_lite.main(checkpoint=tmp_path / "run" / "checkpoint.pt", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(AnimupError):
        write_model(tmp_path / "out", {"network.onnx": b"1"}, {"name": "incomplete"})
    assert list(tmp_path.iterdir()) == []
