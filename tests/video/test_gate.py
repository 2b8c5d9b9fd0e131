"""The gate: native parts against their definitions, and what it keeps networks from."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vapoursynth as vs
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.clips import drawn, inked, moving
from tests.helpers.frames import planes_of
from vsanimup.errors import AnimupError
from vsanimup.networks.lite import gate
from vsanimup.tasks import TaskMix

core = vs.core


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    core.animup.Version()  # hands the native functions over


def gray(values: np.ndarray) -> vs.VideoNode:
    """A clip of one frame."""

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        np.asarray(frame[0])[:] = values
        return frame

    blank = core.std.BlankClip(format=vs.GRAYS, width=values.shape[1], height=values.shape[0], length=1)
    return blank.std.ModifyFrame(blank, fill)


@given(st.integers(1, 40), st.integers(1, 60), st.booleans(), st.integers(0, 2**32 - 1))
def test_enlarging_is_lanczos(rows: int, columns: int, left: bool, seed: int) -> None:
    plane = np.random.default_rng(seed).random((rows, columns)).astype(np.float32)
    size = {"width": 2 * columns, "height": 2 * rows}
    # left-sited chroma lies an eighth of a sample further left in the larger picture
    wanted = np.asarray(gray(plane).resize.Lanczos(**size, src_left=0.125 * left).get_frame(0)[0])
    np.testing.assert_allclose(gate.enlarge(plane, left=left), wanted, atol=2e-6)


def passage(rng: np.random.Generator, rows: int, columns: int, scale: int, left: bool = False) -> gate.Passage:
    source = rng.random((rows, columns)).astype(np.float32)
    plain = gate.enlarge(source, left=left) if scale == 2 else source
    network = (plain + rng.normal(0, 0.05, plain.shape)).astype(np.float32)
    return gate.Passage(source, plain, network, (network + rng.normal(0, 0.01, plain.shape)).astype(np.float32))


def cells(values: np.ndarray, cell: int) -> np.ndarray:
    """Means over cells, also over those that are cut off."""
    rows, columns = (np.arange(0, side, cell) for side in values.shape)
    sums = np.add.reduceat(np.add.reduceat(values.astype(np.float64), rows, 0), columns, 1)
    counts = np.add.reduceat(np.add.reduceat(np.ones(values.shape), rows, 0), columns, 1)
    return np.asarray(sums / counts)


def upper_octave(plane: np.ndarray) -> np.ndarray:
    taps = np.array([-1, 0, 9, 16, 9, 0, -1]) / 32
    wide = np.pad(plane.astype(np.float64), 3, mode="edge")
    low = np.apply_along_axis(np.convolve, 0, wide, taps, mode="valid")
    return np.asarray(plane - np.apply_along_axis(np.convolve, 1, low, taps, mode="valid"))


def logarithm(values: np.ndarray) -> np.ndarray:
    return np.log2(values + 2.0**-12)


@given(st.integers(8, 40), st.integers(8, 40), st.sampled_from([1, 2]), st.integers(0, 2**32 - 1))
def test_measures_are_as_defined(rows: int, columns: int, scale: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    plane = passage(rng, rows, columns, scale)
    found = gate.measure([plane])
    high, change, evening = upper_octave(plane.source), plane.network - plane.plain, plane.evened - plane.network
    # what changes at the source's resolution
    coarse = change.reshape(rows, scale, columns, scale).mean((1, 3))
    step = plane.source - np.pad(plane.source, ((1, 0), (0, 0)), mode="edge")[:-1]
    across = plane.source - np.pad(plane.source, ((0, 0), (1, 0)), mode="edge")[:, :-1]
    wanted = {
        0: cells(plane.source, 8),
        1: logarithm(cells(np.abs(high), 8)),
        2: logarithm(np.sqrt(cells(high**2, 8))),
        4: logarithm((cells(np.abs(step), 8) + cells(np.abs(across), 8)) / 2),
        9: logarithm(cells(np.abs(coarse), 8)),
        10: logarithm(np.sqrt(cells(change**2, 8 * scale))),
        11: logarithm(np.abs(cells(change, 8 * scale))),
        12: cells(high * coarse, 8) / np.sqrt(cells(high**2, 8) * cells(coarse**2, 8)),
        13: logarithm(cells(np.abs(evening.reshape(rows, scale, columns, scale).mean((1, 3))), 8)),
    }
    for index, values in wanted.items():
        # what next to nothing correlates with is one of rounding errors
        sure = np.minimum(cells(high**2, 8), cells(coarse**2, 8)) > 1e-3 if index == 12 else slice(None)
        np.testing.assert_allclose(found[index][sure], values[sure], atol=2e-3, err_msg=str(index))
    assert np.all(found[[14, 15]] == -12)
    assert np.all(found[16] == 0)


def test_blocks_of_a_codec_show_at_the_edges_of_cells() -> None:
    rng = np.random.default_rng(1)
    blocks = np.kron(rng.random((5, 6)), np.ones((8, 8))).astype(np.float32)
    for moved, more in ((0, True), (3, False)):
        plane = np.roll(blocks, moved, (0, 1))
        found = gate.measure([gate.Passage(plane, plane, plane, plane)])
        assert (np.mean(found[7] - found[4]) > 2) == more


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_prediction_is_as_defined(rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    plane = passage(rng, 8 * rows, 8 * columns, 1)
    sizes = (3 * gate.MEASURES, 5, 4, gate.SHARES)
    layers = [rng.normal(0, 0.3, (a, b)).astype(np.float32) for a, b in itertools.pairwise(sizes)]
    biases = [rng.normal(0, 0.3, b).astype(np.float32) for b in sizes[1:]]
    names = {f"x_{n}": layer for n, layer in enumerate(layers)} | {f"x_b{n}": bias for n, bias in enumerate(biases)}
    tasks = rng.normal(0, 1, (11, 5)).astype(np.float32)
    found = gate.shares(
        [plane], *gate.packed({**names, "x_tasks": tasks}, "x", TaskMix({"deblock": 1.0, "denoise": 0.5}))
    )
    measures = gate.measure([plane]).astype(np.float64)
    wide = np.pad(measures, ((0, 0), (2, 2), (2, 2)), mode="edge")
    around = np.mean([wide[:, y : y + rows, x : x + columns] for y in range(5) for x in range(5)], 0)
    frame = np.broadcast_to(measures.mean((1, 2), keepdims=True), measures.shape)
    value = np.concatenate([measures, around, frame])
    biases[0] = biases[0] + tasks[0] + 0.5 * tasks[1]
    for n, (layer, bias) in enumerate(zip(layers, biases, strict=True)):
        value = np.einsum("irc,io->orc", value, layer) + bias[:, None, None]
        value = np.maximum(value, 0) if n < 2 else 1 / (1 + np.exp(-value))
    np.testing.assert_allclose(found, value, atol=1e-4)


def test_shares_are_interpolated_between_the_middles_of_cells() -> None:
    rng = np.random.default_rng(2)
    plane = passage(rng, 40, 56, 2)
    change, evening = rng.random((2, 5, 7)).astype(np.float32)
    before = plane.evened.copy()
    gate.blend(plane, change, evening, 16)

    def spread(shares: np.ndarray) -> np.ndarray:
        rows, columns = (np.clip((np.arange(n) + 0.5) / 16 - 0.5, 0, n / 16 - 1) for n in before.shape)
        lines = np.array([np.interp(columns, np.arange(7), row) for row in shares])
        return np.array([np.interp(rows, np.arange(5), column) for column in lines.T]).T

    wanted = plane.plain + spread(change) * (plane.network - plane.plain) + spread(evening) * (before - plane.network)
    np.testing.assert_allclose(plane.evened, wanted, atol=2e-6)


def test_refuses_other_arrays() -> None:
    with pytest.raises(ValueError, match="float32 planes with samples side by side"):
        gate.enlarge(np.zeros((4, 4)), left=False)  # type: ignore[arg-type]


def test_a_damaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate.predictors.cache_clear()
    monkeypatch.setattr(gate, "FILE", tmp_path / "gate.npz")
    with pytest.raises(AnimupError, match=r"gate\.npz cannot be read"):
        gate.predictors()
    gate.FILE.write_bytes(b"PK")
    with pytest.raises(AnimupError, match=r"damaged: its 2 bytes .* or take the networks' whole change by gate=0"):
        gate.predictors()
    monkeypatch.undo()
    assert gate.predictors()


def painted() -> vs.VideoNode:
    """Soft strokes of all directions, at the size of the result."""

    def plane(n: int, index: int, shape: tuple[int, int]) -> np.ndarray:
        rng = np.random.default_rng(3)
        down, across = (np.fft.fftfreq(side)[(slice(None), None)[:: 1 - 2 * k]] for k, side in enumerate(shape))
        low = np.exp(-((down**2 + across**2) / 0.06**2))
        field = np.fft.ifft2(np.fft.fft2(rng.normal(0, 1, shape)) * low).real
        return np.clip(0.5 + 0.2 * (index == 0) * field / field.std(), 0.07, 0.92)

    return drawn(core.std.BlankClip(format=vs.YUV420P8, width=384, height=192, length=1, keep=True), plane)


def psnr(clip: vs.VideoNode, truth: vs.VideoNode) -> float:
    a, b = (planes_of(c.get_frame(0))[0][8:-8, 8:-8].astype(float) for c in (clip, truth))
    return float(10 * np.log10(255**2 / np.mean((a - b) ** 2)))


def test_what_is_soft_comes_out_no_worse_than_by_interpolation() -> None:
    truth = painted()
    source = truth.resize.Bicubic(192, 96)
    plain = psnr(source.resize.Lanczos(384, 192), truth)
    assert psnr(core.animup.Upscale(source), truth) > min(plain, 48) - 0.2
    assert psnr(core.animup.Upscale(source, gate=0), truth) < plain - 4


def test_what_is_sharp_keeps_the_gain() -> None:
    truth = inked(384, 192, 1)
    source = truth.resize.Bicubic(192, 96)
    ours, bare = (psnr(core.animup.Upscale(source, gate=g), truth) for g in (1, 0))
    plain = psnr(source.resize.Lanczos(384, 192), truth)
    assert bare > plain + 3
    assert ours > plain + 0.85 * (bare - plain)


@pytest.mark.parametrize(
    ("function", "how"), [("Restore", {"task": "destream"}), ("Upscale", {}), ("Upscale", {"task": "deblock"})]
)
def test_argument(function: str, how: dict[str, str]) -> None:
    clip = inked(96, 64, 1, noise=0.02)
    make = getattr(core.animup, function)

    def result(**more: Any) -> list[np.ndarray]:
        return planes_of(make(clip, temporal_threshold=0, **how, **more).get_frame(0))

    none, half, full, ours = (result(gate=0), result(gate=0.5), result(gate=1), result())
    assert all(np.array_equal(a, b) for a, b in zip(full, ours, strict=True))
    assert np.any(none[0] != full[0])
    middle = (none[0].astype(float) + full[0]) / 2
    assert np.abs(half[0] - middle).max() <= 1


@pytest.mark.parametrize("format", [vs.GRAY8, vs.YUV444P16, vs.RGB24, vs.YUV420PS])
def test_formats_and_odd_sizes(format: int) -> None:
    side = 46 if format == vs.YUV420PS else 45
    clip = core.std.BlankClip(format=format, width=side, height=side - 10, length=1)
    for function in ("Restore", "Upscale"):
        frame = getattr(core.animup, function)(clip, task="deblock").get_frame(0)
        assert frame.format.id == format


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
@pytest.mark.parametrize("function", ["Restore", "Upscale"])
def test_wrong_argument(function: str, value: float) -> None:
    with pytest.raises(vs.Error, match=rf"{function}: gate must lie between 0 \(off\) and 1, got"):
        getattr(core.animup, function)(inked(96, 64, 1), gate=value)


def test_shares_do_not_depend_on_the_evening_out_asked_for() -> None:
    """Predictors were fitted with one threshold; by the others' pictures they would take nothing."""
    clip = moving(vs.YUV420P8, width=96, height=64, length=1, noise=0.03)
    source = planes_of(clip.get_frame(0))[0].astype(float)
    changes = [
        np.abs(
            planes_of(core.animup.Restore(clip, task="denoise", spatial_threshold=smooth).get_frame(0))[0] - source
        ).mean()
        for smooth in (0, 1, 4)
    ]
    assert min(changes) > 0.5 * max(changes) > 0.5
