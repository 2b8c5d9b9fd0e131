"""Colour correction: details of the result, colours of the source."""

from typing import Any

import numpy as np
import pytest

from vsanimup.networks.animatelcm.colour import COLOURFIXES, correct, low_band


def pictures(frames: int = 2, height: int = 70, width: int = 90, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    flat = np.kron(rng.random((frames, 3, -(-height // 16), -(-width // 16))), np.ones((16, 16)))
    return flat[..., :height, :width].astype(np.float32)


@pytest.mark.parametrize("colorfix", COLOURFIXES)
def test_a_picture_that_equals_its_source_stays(colorfix: str) -> None:
    source = pictures()
    result = source.copy()
    correct(result, source, colorfix)
    assert np.abs(result - source).max() <= 1e-6


@pytest.mark.parametrize("colorfix", ["wavelet", "adain"])
@pytest.mark.parametrize("height", [70, 5])
def test_a_tint_is_taken_away_and_details_stay(colorfix: str, height: int) -> None:
    source = pictures(height=height)
    noise = np.random.default_rng(1).normal(0, 0.05, source.shape).astype(np.float32)
    result = source + noise + np.array([0.1, -0.07, 0.05], np.float32)[None, :, None, None]
    before = result.copy()
    correct(result, source, colorfix)
    assert np.abs(result.mean((2, 3)) - source.mean((2, 3))).max() < 1 / 255
    # one frame at a time, whatever the others are
    alone = before[1:].copy()
    correct(alone, source[1:], colorfix)
    assert np.array_equal(alone[0], result[1])
    details = np.diff(before, axis=3) - np.diff(result, axis=3)
    assert np.abs(details).max() < (0.02 if colorfix == "wavelet" else 0.12)
    assert np.abs((result - source).std() - 0.05) < 0.01


def test_flat_areas_take_the_colour_of_the_source() -> None:
    source = np.full((1, 3, 96, 96), 0.25, np.float32)
    source[..., 48:] = 0.75
    result = source + 0.1
    correct(result, source, "wavelet")
    assert np.abs(result - source).max() < 1 / 255
    result = np.full_like(source, 0.6)  # nothing of the source in it
    correct(result, np.full_like(source, 0.2), "wavelet")
    assert np.abs(result - 0.2).max() < 1e-6


def test_a_flat_result_is_not_blown_up() -> None:
    source = pictures()
    result = np.full_like(source, 0.5)
    correct(result, source, "adain")
    assert np.isfinite(result).all() and np.abs(result.mean((2, 3)) - source.mean((2, 3))).max() < 1e-5


def test_low_band_is_the_a_trous_transform() -> None:
    plane = np.random.default_rng(0).random((37, 21)).astype(np.float32)
    wanted: Any = plane.astype(np.float64)
    for level in range(5):
        distance = 1 << level
        around = np.pad(wanted, distance, mode="symmetric")
        wanted = sum(
            weight * share / 16 * around[distance * i : distance * i + 37, distance * j : distance * j + 21]
            for i, weight in enumerate((1, 2, 1))
            for j, share in enumerate((1, 2, 1))
        )
    assert np.abs(low_band(plane.copy()) - wanted).max() < 1e-6


@pytest.mark.parametrize("size", [(37, 21), (5, 90), (1, 1)])
def test_low_band_keeps_the_mean(size: tuple[int, int]) -> None:
    plane = np.random.default_rng(0).random(size).astype(np.float32)
    assert abs(low_band(plane.copy()).mean(dtype=np.float64) - plane.mean(dtype=np.float64)) < 1e-6
