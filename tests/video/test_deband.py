"""Bands: what is taken for them, and what becomes of them."""

from __future__ import annotations

import numpy as np
import pytest
import vapoursynth as vs
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.clips import drawn, inked, moving
from vsanimup.video.deband import before_rounding, debanded, levels_of

core = vs.core
core.animup.Version()  # hands the native functions over

STEP = 6


def slope(width: int = 128, height: int = 64) -> np.ndarray:
    """A ramp in steps of 8 bits, not rounded."""
    rows, columns = np.mgrid[:height, :width].astype(float)
    return np.asarray(60 + columns / 4 + rows / 8)


def banded(format: int = vs.YUV420P8, step: int = STEP) -> vs.VideoNode:
    """The ramp, its luma and chroma, in too few levels."""
    clip = core.std.BlankClip(format=format, width=128, height=64, length=3, keep=True)
    return drawn(clip, lambda n, index, shape: step * np.rint(slope(shape[1], shape[0]) / step) / 255)


def planes(frame: vs.VideoFrame) -> list[np.ndarray]:
    return [np.asarray(frame[p], np.float64) for p in range(frame.format.num_planes)]


def error(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.square(found - truth).mean()))


@pytest.mark.parametrize("step", [2, 3, 5, 8, 12])
def test_a_ramp_comes_back(step: int) -> None:
    truth = slope()
    rounded = (step * np.rint(truth / step)).astype(np.uint8)
    found = before_rounding(rounded, 1.0)
    assert error(found, truth) < 0.6 * error(rounded, truth)
    assert np.abs(found - rounded).max() < step / 2


@pytest.mark.parametrize("format", [vs.GRAY8, vs.YUV420P8, vs.YUV444P10, vs.YUV422P16, vs.YUV444PS, vs.RGB24, vs.RGBS])
def test_any_format_is_taken(format: int) -> None:
    source = banded(format)
    found = core.animup.Restore(source, task="deband")
    assert found.format.id == source.format.id
    step = 1 / 255 if source.format.sample_type == vs.FLOAT else 1 << (source.format.bits_per_sample - 8)
    zero = 0.5 if format == vs.YUV444PS else 0.0
    for index, (before, after) in enumerate(zip(*(planes(c.get_frame(1)) for c in (source, found)), strict=True)):
        truth = slope(before.shape[1], before.shape[0]) * step - (zero if index else 0)
        assert error(after, truth) < 0.75 * error(before, truth), index


def test_deeper_samples_hold_what_lies_between() -> None:
    source = core.std.BlankClip(format=vs.GRAY8, width=128, height=64, length=1, keep=True)
    source = drawn(source, lambda n, index, shape: np.rint(slope(shape[1], shape[0])) / 255)
    same, deep = (
        core.animup.Restore(source, task="deband", **more).get_frame(0) for more in ({}, {"format": vs.GRAY16})
    )
    assert np.array_equal(np.asarray(same[0]), np.asarray(source.get_frame(0)[0])), "8 bits have no room"
    found = np.asarray(deep[0]) / 256
    assert error(found, slope()) < 0.7 * error(np.rint(slope()), slope())


def test_the_strength_is_a_share() -> None:
    source = banded()
    wide = {"format": vs.YUV420P16}
    whole, half, weighted = (
        planes(core.animup.Restore(source, **how, **wide).get_frame(0))[0]
        for how in ({"task": "deband"}, {"task": "deband", "strength": 0.5}, {"task": "0.5*deband"})
    )
    before = planes(source.get_frame(0))[0] * 256
    assert np.array_equal(half, weighted)
    assert np.abs((half - before) * 2 - (whole - before)).max() <= 2


@pytest.mark.parametrize("clip", [moving(), inked(), inked(noise=0.02)], ids=["texture", "ink", "grain"])
def test_what_has_no_bands_stays(clip: vs.VideoNode) -> None:
    for before, after in zip(
        *(planes(c.get_frame(2)) for c in (clip, core.animup.Restore(clip, task="deband"))), strict=True
    ):
        assert np.array_equal(before, after)


@pytest.mark.parametrize("tones", [1, 2, 3])
def test_a_few_tones_are_no_ramp(tones: int) -> None:
    flat = (80 + 8 * (np.arange(64) * tones // 64)).astype(np.uint8)[:, None].repeat(64, 1)
    assert np.array_equal(before_rounding(flat, 1.0), flat)


@pytest.mark.parametrize("value", [0, 1, 16, 128, 235, 250, 255])
@pytest.mark.parametrize("props", [{}, {"_Range": 0}, {"_Range": 1}])
def test_the_range_of_rgb_is_kept(value: int, props: dict[str, int]) -> None:
    flat = core.std.BlankClip(format=vs.RGB24, width=32, height=32, length=1, color=[value] * 3).std.SetFrameProps(
        **props
    )
    for plane in planes(core.animup.Restore(flat, task="deband").get_frame(0)):
        assert (plane == value).all()


def test_the_matrix_is_written_down() -> None:
    for more in ({}, {"format": vs.YUV420P16}):
        frame = core.animup.Restore(banded().std.RemoveFrameProps("_Matrix"), task="deband", **more).get_frame(0)
        assert frame.props["_Matrix"] == 6


def test_an_edge_across_a_ramp_stays() -> None:
    truth = slope()
    truth[:, 64:] += 60
    rounded = (STEP * np.rint(truth / STEP)).astype(np.uint8)
    found = before_rounding(rounded, 1.0)
    assert error(found, truth) < 0.7 * error(rounded, truth)
    assert (found[:, 64] - found[:, 63]).min() > 50


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 24), st.integers(0, 2**32 - 1), st.booleans())
def test_no_sample_leaves_what_rounds_to_it(rows: int, columns: int, levels: int, seed: int, floats: bool) -> None:
    rng = np.random.default_rng(seed)
    values = np.sort(rng.choice(256, levels, replace=False))
    plane = values[np.sort(rng.integers(0, levels, (rows, columns)), 1)].astype(np.uint8)
    found = before_rounding(plane / np.float32(219) if floats else plane, 219.0 if floats else 1.0)
    found = found * (219 if floats else 1)
    away = np.abs(found - plane)
    others = np.abs(values - plane[..., None]).astype(float)
    others[others == 0] = 1000
    assert (away <= others.min(-1) / 2).all() or away.max() < 8.01
    assert np.isfinite(found).all()


def test_levels_of_a_ramp_lie_evenly() -> None:
    known = levels_of(np.array([16, 24, 32, 39, 47, 120, 150, 180]), 1.0)
    assert known is not None and known.joined.tolist() == [1, 1, 1, 1, 0, 0, 0]
    assert levels_of(np.array([16, 90, 200]), 1.0) is None
    assert levels_of(np.array([16, 17, 18]), 1.0) is None
    assert levels_of(np.array([16, 17, 18, 19]), 1.0) is not None


def test_floats_that_are_no_numbers_stay() -> None:
    plane = np.full((8, 8), np.nan, np.float32)
    assert np.isnan(before_rounding(plane, 219.0)).all()


def test_interlaced_frames_are_refused() -> None:
    with pytest.raises(vs.Error, match="interlaced"):
        core.animup.Restore(banded().std.SetFrameProps(_FieldBased=1), task="deband").get_frame(0)


@pytest.mark.parametrize("full", [0, 1])
def test_ranges_are_kept(full: int) -> None:
    source = banded(vs.YUV444P8).std.SetFrameProps(_Range=full)
    fine = debanded(source, "Restore", 1.0)
    assert fine.format.bits_per_sample == 16
    back = core.animup.Restore(source, task="deband").get_frame(0)
    for before, after in zip(planes(source.get_frame(0)), planes(back), strict=True):
        assert np.abs(before - after).max() <= STEP / 2


def test_a_network_follows_for_what_else_is_named() -> None:
    source = banded()
    alone, both, other = (
        planes(core.animup.Restore(source, task=task).get_frame(1))[0]
        for task in ("deband", "deband+denoise", "denoise")
    )
    truth = slope()
    assert error(both, truth) < error(other, truth)
    assert core.animup.Restore(source, task="deband+denoise").get_frame(0).props["AnimupMix"] == "denoise+deband"
    assert error(alone, truth) < error(planes(source.get_frame(1))[0], truth)


def test_one_pass_enlarges_what_has_no_bands_left() -> None:
    source = banded()
    found = core.animup.Upscale(source, scale=2, task="deband").get_frame(1)
    two = core.animup.Upscale(
        core.animup.Restore(source, task="deband", format=vs.YUV420P16), scale=2, format=vs.YUV420P8
    )
    for one, other in zip(planes(found), planes(two.get_frame(1)), strict=True):
        assert np.abs(one - other).max() <= 1
