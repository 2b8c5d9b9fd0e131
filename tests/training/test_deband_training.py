"""The network for posterised pictures: its data, its training, and what is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from training.deband import train
from vsanimup.architectures.bands import Bands, BandsConfig
from vsanimup.video.posterised import FILE, INPUTS, MARGIN, OUTPUT


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(2):
        levels = np.random.default_rng(number).integers(16, 235, (3, 16, 16))
        np.save(folder / f"{number}.npy", np.kron(levels, np.ones((1, 8, 8))).astype(np.uint8))
    return folder


def test_levels_lie_evenly() -> None:
    rng = np.random.default_rng(0)
    picture = np.arange(16, 236, dtype=np.uint8)[None].repeat(8, 0)
    for _ in range(200):
        plane, distance = train.posterised(picture, rng)
        gaps = np.diff(np.unique(plane))
        assert 3 <= distance <= 16 and gaps.max() - gaps.min() <= 1
        assert np.abs(plane.astype(int) - picture).max() <= distance / 2 + 1.5


def test_what_is_unknown_stays_when_training_begins() -> None:
    plane, smoothed, _, distance = train.batch([np.full((128, 128), 90, np.uint8)], 0, 0)
    with torch.no_grad():
        assert torch.equal(Bands(BandsConfig())(plane, smoothed, distance), smoothed)


def test_a_run_goes_on_where_it_was(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "EVERY", 2)
    monkeypatch.setattr(train, "CROP", 32)
    out = tmp_path / "network.onnx"
    train.main(data=pictures, work=tmp_path / "whole", out=out, steps=4)
    whole = out.read_bytes()
    found = [np.load(path) for path in sorted(pictures.glob("*.npy"))]
    run = train.Run(tmp_path / "part.pt", 4, 0.01, 0)
    run.train([picture for three in found for picture in three], until=2)
    again = train.Run(tmp_path / "part.pt", 4, 0.01, 0)
    assert again.step == 2
    again.train([picture for three in found for picture in three])
    assert train.to_onnx(again.average) == whole


def test_what_is_written_is_what_was_trained() -> None:
    torch.manual_seed(0)
    net = Bands(BandsConfig())
    torch.nn.init.normal_(net.tail.weight, std=0.1)
    session = ort.InferenceSession(train.to_onnx(net), providers=["CPUExecutionProvider"])
    inputs = [torch.rand(1, 1, 68, 44) * 5, torch.rand(1, 1, 68, 44) - 0.5, torch.rand(1, 1, 1, 1)]
    (found,) = session.run([OUTPUT], {name: x.numpy() for name, x in zip(INPUTS, inputs, strict=True)})
    with torch.no_grad():
        assert np.abs(found - net(*inputs).numpy()).max() < 1e-4


def test_the_margin_holds_all_that_the_network_sees() -> None:
    session = ort.InferenceSession(FILE, providers=["CPUExecutionProvider"])
    side = 4 * MARGIN
    plane, smoothed = np.random.default_rng(0).random((2, 1, 1, side, side), np.float32)

    def run() -> np.ndarray:
        feed = dict(zip(INPUTS, (plane, smoothed, np.full((1, 1, 1, 1), 0.5, np.float32)), strict=True))
        return np.asarray(session.run([OUTPUT], feed)[0])[0, 0, :, 2 * MARGIN :]

    before = run()
    plane[..., :MARGIN] += 3
    smoothed[..., :MARGIN] += 3
    assert np.array_equal(run(), before)
