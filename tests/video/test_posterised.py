"""Texture that was rounded to few levels: what the network behind the smoothing of ramps makes of it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers.clips import drawn
from vsanimup.errors import AnimupError
from vsanimup.video import posterised
from vsanimup.video.deband import before_rounding
from vsanimup.video.posterised import Network

core = vs.core
core.animup.Version()  # hands the native functions over


def painted(rows: int = 160, columns: int = 192) -> np.ndarray:
    """Soft blobs of two sizes under a little grain, in steps of 8 bits."""
    rng = np.random.default_rng(3)
    blobs = sum(cv2.GaussianBlur(rng.normal(0, 1, (rows, columns)), (0, 0), s) * s * 16 for s in (2.0, 9.0))
    return np.clip(120 + blobs + rng.normal(0, 0.7, (rows, columns)), 20, 230)


def rounded(truth: np.ndarray, step: int) -> np.ndarray:
    return (step * np.rint(truth / step)).astype(np.uint8)


def decibels(found: np.ndarray, truth: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(found - truth).mean()))


@pytest.mark.parametrize("step", [4, 8, 12])
def test_texture_comes_back(step: int) -> None:
    truth = painted()
    plane = rounded(truth, step)
    found = before_rounding(plane, 1.0, network=Network(1))
    assert decibels(found, truth) > decibels(plane, truth) + 1
    assert np.abs(found - plane).max() < step / 2


def test_strips_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = rounded(painted(), 8)
    whole = before_rounding(plane, 1.0, network=Network(1))
    monkeypatch.setattr(posterised, "ROWS", 48)
    assert np.abs(before_rounding(plane, 1.0, network=Network(1)) - whole).max() < 1e-3


@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (65, 5), (258, 34)])
def test_planes_of_any_size(shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(0).integers(10, 20, shape).astype(np.float32) * 5
    found = Network(1)(plane, plane, 5.0, 1.0)
    assert found.shape == shape and np.isfinite(found).all()


@pytest.mark.parametrize("step", [3, 8, 16])
def test_a_sample_is_the_same_in_any_depth(step: int) -> None:
    plane = rounded(painted(), step)
    eight, sixteen, floats = (
        before_rounding(values, level, network=Network(1)) * level
        for values, level in (
            (plane, 1.0),
            (plane.astype(np.uint16) * 256, 1 / 256),
            (plane.astype(np.float32) / 219, 219.0),
        )
    )
    assert np.abs(eight - sixteen).max() < 0.01 and np.abs(eight - floats).max() < 0.01


def posterised_clip(step: int) -> vs.VideoNode:
    plane = rounded(painted(), step)
    clip = core.std.BlankClip(format=vs.GRAY8, width=plane.shape[1], height=plane.shape[0], length=1, keep=True)
    return drawn(clip, lambda n, index, shape: plane / 255)


@pytest.mark.parametrize("full", [0, 1])
@pytest.mark.parametrize("step", [3, 8, 16])
def test_formats_of_equal_content_come_out_equal(step: int, full: int) -> None:
    eight = posterised_clip(step).std.SetFrameProps(_Range=full)
    expected = None
    for format in (vs.GRAY16, vs.GRAYS):
        for source in (eight, eight.resize.Point(format=format)):
            result = core.animup.Restore(source, task="deband", format=vs.GRAYS if format == vs.GRAYS else vs.GRAY16)
            found = np.asarray(result.resize.Point(format=vs.GRAYS).get_frame(0)[0]) * (255 if full else 219)
            expected = found if expected is None else expected
            assert np.abs(found - expected).max() < 0.02, (format, source.format.name)


def test_floats_may_be_of_any_size() -> None:
    plane = rounded(painted(), 8).astype(np.float32) / 219
    plane[50, 60] = 3e38
    with np.errstate(all="raise"):
        found = before_rounding(plane, 219.0, network=Network(1))
    assert np.isfinite(found).all()
    assert not np.array_equal(found[100:], plane[100:])


def test_a_few_tones_are_left_to_smoothing() -> None:
    """Those of drawings pixel by pixel, of dithers and of type, whatever the distance."""
    tones = (40 + 16 * np.random.default_rng(0).integers(0, 6, (64, 64))).astype(np.uint8)
    assert np.array_equal(before_rounding(tones, 1.0, network=Network(1)), before_rounding(tones, 1.0))


def test_flat_tones_stay_about_where_they_are() -> None:
    rows, columns = np.mgrid[:6, :8]
    tones = (40 + 8 * ((3 * rows + 5 * columns) % 12)).astype(np.uint8)  # no two beside each other are a ramp
    flat = np.kron(tones, np.ones((24, 24), np.uint8))
    found = before_rounding(flat, 1.0, network=Network(1))
    assert np.sqrt(np.square(found - flat).mean()) < 0.6


def test_ordinary_levels_are_no_matter_for_it() -> None:
    def fails(*_: object) -> np.ndarray:
        raise AssertionError

    plane = rounded(painted(), 2)
    assert np.array_equal(before_rounding(plane, 1.0, network=fails), before_rounding(plane, 1.0))  # type: ignore[arg-type]


def test_a_damaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "deband.onnx"
    copy.write_bytes(posterised.FILE.read_bytes()[:-1])
    monkeypatch.setattr(posterised, "FILE", copy)
    posterised._shipped.cache_clear()
    try:
        with pytest.raises(AnimupError, match=r"damaged.*leave out deband"):
            Network(1)
        with pytest.raises(vs.Error, match=r"Restore: .*damaged"):
            core.std.BlankClip(format=vs.GRAY8, length=1).animup.Restore(task="deband")
    finally:
        posterised._shipped.cache_clear()
