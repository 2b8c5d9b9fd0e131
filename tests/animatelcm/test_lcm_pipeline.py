"""A window through the pipeline: tiles, scenes, threads and errors, with networks that are simple formulas."""

from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.lcm_stub import StubBackend, write_stub
from vsanimup.errors import AnimupError
from vsanimup.networks.animatelcm import pipeline
from vsanimup.networks.animatelcm.model import AnimateLcm
from vsanimup.networks.animatelcm.noise import field
from vsanimup.networks.animatelcm.pipeline import Enhancer, even_grid


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> AnimateLcm:
    return AnimateLcm.open(write_stub(tmp_path_factory.mktemp("stub")))


@pytest.fixture(scope="module")
def controlled(tmp_path_factory: pytest.TempPathFactory) -> AnimateLcm:
    return AnimateLcm.open(write_stub(tmp_path_factory.mktemp("stub"), control=True))


def enhancer(model: AnimateLcm, width: int = 96, height: int = 72, **changed: Any) -> pipeline.Enhancer:
    return Enhancer(model=model, width=width, height=height, **({"backend": StubBackend()} | changed))


def window(frames: int = 3, width: int = 96, height: int = 72, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((frames, 3, height, width), np.float32)


def run(made: pipeline.Enhancer, images: np.ndarray, scenes: list[int] | None = None) -> np.ndarray:
    return made(images, np.array(scenes or [0] * len(images)), lambda: False)


@pytest.mark.parametrize(("width", "height"), [(96, 72), (64, 64), (16, 16), (17, 211), (201, 130)])
def test_every_size(model: AnimateLcm, width: int, height: int) -> None:
    images = window(2, width, height)
    before = images.copy()
    found = run(enhancer(model, width, height), images)
    assert found.shape == images.shape and found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1
    assert np.array_equal(images, before) and not np.allclose(found, images, atol=0.1)


def test_steps_are_those_of_the_contract(model: AnimateLcm) -> None:
    """Against the formulas written out, for a picture in one piece."""
    images, tokenizer = window(2, 64, 64), model.tokenizer()
    made = enhancer(model, 64, 64, colorfix="none", prompt="the cat", negative_prompt="anime", cfg=1.5, seed=3)
    found = run(made, images, [0, 1])
    positive, negative = (np.sin(tokenizer(text)[0, 1]) for text in ("the cat", "anime"))
    alpha = np.cumprod(1 - np.linspace(0.00085, 0.012, 1000))
    x = images.reshape(2, 3, 8, 8, 8, 8).mean((3, 5)) * 2 - 1
    noise = [field(3, step, (4, 8, 8))[:3] for step in range(2)]
    text = negative + 1.5 * (positive - negative)
    x = np.sqrt(alpha[299]) * x + np.sqrt(1 - alpha[299]) * noise[0]
    x = x / (np.sqrt(alpha[299]) + np.sqrt(1 - alpha[299])) + 0.1 * text
    x = np.sqrt(alpha[149]) * x + np.sqrt(1 - alpha[149]) * noise[1]
    x = x / (np.sqrt(alpha[149]) + np.sqrt(1 - alpha[149])) + 0.1 * text
    wanted = np.clip(x / 2 + 0.5, 0, 1).repeat(8, 2).repeat(8, 3)
    assert np.abs(found - wanted).max() < 1e-5


@pytest.mark.parametrize("size", [(203, 141), (256, 128), (640, 80)])
def test_tiles_change_nothing_but_rounding(
    model: AnimateLcm, controlled: AnimateLcm, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    images = window(2, *size)
    for each in (model, controlled):
        whole = run(enhancer(each, *size, tilesize=size, colorfix="none"), images)
        with monkeypatch.context() as patch:
            patch.setattr(pipeline, "TILE", 128)
            made = enhancer(each, *size, tilesize=(128, 128), overlap=(64, 64), colorfix="none")
            assert len(made.grid) > 1
            tiled = run(made, images)
        assert np.abs(whole - tiled).max() < 1e-5


def test_grid() -> None:
    assert len(even_grid(512, 512, (64, 64), 64)) == 1
    grid = even_grid(1280, 720, (64, 64), 64)
    assert (grid.columns.count, grid.rows.count) == (3, 2) and (grid.columns.tile, grid.rows.tile) == (512, 448)
    for length in range(16, 3000, 37):
        for align in (64, 128, 256):
            axis = even_grid(length, 64, (64, 64), align).columns
            assert axis.tile <= 512 and axis.padded >= length and axis.padded - length < axis.count * align


def test_a_still_scene_stays_still_and_scenes_are_apart(model: AnimateLcm, controlled: AnimateLcm) -> None:
    images = window(5)
    images[1:3] = images[0]
    for each in (model, controlled):
        made = enhancer(each)
        found = run(made, images, [4, 4, 4, 7, 7])
        assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])
        other = images.copy()
        other[3:] = window(2, seed=1)
        assert np.array_equal(run(made, other, [4, 4, 4, 7, 7])[:3], found[:3])
        assert np.allclose(run(made, images[:3]), found[:3], atol=1e-6)
        assert not np.allclose(run(made, images)[:3], found[:3], atol=1e-3)


def test_what_is_asked_for_is_used(controlled: AnimateLcm) -> None:
    images = window(2)

    def result(**changed: Any) -> np.ndarray:
        given: dict[str, Any] = {"prompt": "the cat", "seed": 1, "colorfix": "none"}
        return run(enhancer(controlled, **(given | changed)), images)

    first = result()
    assert np.array_equal(first, result(control=1.0, cfg=1.0, steps=2, strength=0.3, negative_prompt="anime"))
    for changed in (
        {"prompt": "anime"},
        {"seed": 2},
        {"control": 0.5},
        {"cfg": 2.0},
        {"steps": 3},
        {"strength": 0.5},
        {"colorfix": "adain"},
        {"colorfix": "wavelet"},
    ):
        assert np.abs(result(**changed) - first).max() > 1e-3, changed
    assert np.abs(result(cfg=2.0, negative_prompt="anime") - result(cfg=2.0)).max() > 1e-3


def test_runs_of_networks(model: AnimateLcm, controlled: AnimateLcm) -> None:
    backend = StubBackend()
    made = enhancer(controlled, backend=backend, steps=3, cfg=2.0)
    assert backend.runs == ["text", "text"] and backend.loads == ["text.onnx"]
    run(made, window())
    once = ["encode"] * 3 + ["control", "denoise"] * 6 + ["decode"] * 3
    assert backend.runs[2:] == once
    run(made, window())
    assert backend.runs[2:] == 2 * once and len(backend.loads) == len(set(backend.loads)) == 5
    backend = StubBackend()
    run(enhancer(model, backend=backend, steps=1), window(1))
    assert backend.runs == ["text", "encode", "denoise", "decode"]


def test_any_number_of_threads(model: AnimateLcm) -> None:
    backend = StubBackend()
    made = enhancer(model, backend=backend, tilesize=(64, 64), overlap=(0, 0))
    images = [window(seed=i) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: run(made, images[i % 4]), range(12)))
    again = [run(enhancer(model, tilesize=(64, 64), overlap=(0, 0)), each) for each in images]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(found, cycle(again), strict=False))
    assert len(backend.loads) == 4


@pytest.mark.parametrize("after", [0, 1, 4, 6])
def test_a_closed_clip_ends_the_work(model: AnimateLcm, after: int) -> None:
    backend = StubBackend()
    made = enhancer(model, backend=backend)
    before = len(backend.runs)
    with pytest.raises(AnimupError, match="the clip was closed"):
        made(window(), np.zeros(3, int), lambda: len(backend.runs) - before >= after)
    assert len(backend.runs) - before == after


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"width": 15}, "pictures must be 16x16 at least, got 15x72"),
        ({"steps": 31}, r"steps must be 1 to 30 at strength=0\.3, got 31"),
        ({"strength": 0.009}, "strength must lie between 0.01 and 1, got 0.009"),
        ({"control": 1.0}, "control needs a model with a ControlNet, which stub has not; leave it out"),
    ],
)
def test_wrong_arguments(model: AnimateLcm, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(AnimupError, match=said):
        enhancer(model, **changed)


def test_wrong_windows(model: AnimateLcm) -> None:
    made = enhancer(model)
    with pytest.raises(AnimupError, match="a window must have 1 to 32 frames, got 33"):
        run(made, window(33))
    with pytest.raises(ValueError, match="do not fit"):
        run(made, window(3, 64, 64))
    with pytest.raises(ValueError, match="do not fit"):
        made(window(3), np.zeros(2, int), lambda: False)


def test_damaged_weights_are_reported_where_they_are_needed(tmp_path: Path) -> None:
    folder = write_stub(tmp_path)
    made = enhancer(AnimateLcm.open(folder))
    (folder / "denoise.weights").write_bytes(b"")
    for _ in range(2):  # and again, not remembered
        with pytest.raises(AnimupError, match=r"denoise\.weights is damaged: its 0 bytes .*get the model again"):
            run(made, window())


def test_what_is_no_number_is_no_picture(model: AnimateLcm, monkeypatch: pytest.MonkeyPatch) -> None:
    made = enhancer(model)
    monkeypatch.setattr(
        "tests.helpers.lcm_stub.StubEngine.encode", lambda self, image: {"latents": np.full((1, 4, 16, 16), np.nan)}
    )
    with pytest.raises(AnimupError, match="values that are no numbers at fp32; export it with --precision fp32"):
        run(made, window())
