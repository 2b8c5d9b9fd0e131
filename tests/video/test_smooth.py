"""Evening out: the native filter against its definition, and the argument of the filters."""

import numpy as np
import pytest
import vapoursynth as vs
from hypothesis import given
from hypothesis import strategies as st

from vsanimup.video.sigma import even_out

core = vs.core


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    core.animup.Version()  # hands the native functions over


def defined(plane: np.ndarray, threshold: float, radius: int) -> np.ndarray:
    """The definition, in numpy: rows first, then columns."""
    least = np.float32(threshold)
    for axis in (1, 0):
        wide = np.pad(plane, [(radius, radius) if a == axis else (0, 0) for a in range(2)], mode="edge")
        total, weight = np.zeros_like(plane), np.full_like(plane, least)
        for k in range(2 * radius + 1):
            if k != radius:
                tap = wide[k : k + len(plane)] if axis == 0 else wide[:, k : k + plane.shape[1]]
                share = np.maximum(0, least - np.abs(tap - plane))
                total += share * (tap - plane)
                weight += share
        plane = plane + total / weight
    return plane


@given(st.integers(1, 40), st.integers(1, 600), st.integers(1, 6), st.floats(0.01, 2), st.integers(0, 2**32 - 1))
def test_equals_its_definition_bit_for_bit(rows: int, columns: int, radius: int, threshold: float, seed: int) -> None:
    around = np.random.default_rng(seed).random((rows + 2, columns + 7)).astype(np.float32)
    before, plane = around.copy(), around[1:-1, 3:-4]
    wanted = defined(plane.copy(), threshold, radius)
    even_out(plane, threshold, radius)
    np.testing.assert_array_equal(plane, wanted)
    around[1:-1, 3:-4] = before[1:-1, 3:-4]
    np.testing.assert_array_equal(around, before)  # nothing beside the plane is touched


def test_edges_stay_and_faint_noise_goes() -> None:
    rng = np.random.default_rng(1)
    clean = np.where(np.arange(64) < 30, 0.2, 0.8).astype(np.float32) * np.ones((48, 1), np.float32)
    noisy = clean + rng.normal(0, 0.005, clean.shape).astype(np.float32)
    result = noisy.copy()
    even_out(result, 8 / 219)
    assert np.abs(result - clean).std() < 0.3 * np.abs(noisy - clean).std()
    assert (result[:, 30] - result[:, 29]).min() > 0.58


@pytest.mark.parametrize(
    "plane", [np.zeros((4, 4)), np.zeros((4, 8), np.float32)[:, ::2], np.broadcast_to(np.float32(0), (4, 4))]
)
def test_refuses_other_arrays(plane: np.ndarray) -> None:
    with pytest.raises(ValueError, match="writable float32 plane"):
        even_out(plane, 0.1)


def noise() -> vs.VideoNode:
    """Gray frames of faint noise around one colour, a little different in each."""

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        rng = np.random.default_rng(n)
        np.asarray(frame[0])[:] = rng.integers(118, 123, (frame.height, frame.width), np.uint8)
        return frame

    blank = core.std.BlankClip(format=vs.GRAY8, width=96, height=64, length=3)
    return blank.std.ModifyFrame(blank, fill)


@pytest.mark.parametrize("function", ["Restore", "Upscale"])
def test_more_of_it_leaves_less_noise(function: str) -> None:
    arguments = {"task": "deblock"} if function == "Restore" else {}
    left = []
    for smooth in (0, 1, 4):
        frame = getattr(core.animup, function)(noise(), spatial_threshold=smooth, gate=0, **arguments).get_frame(1)
        left.append(float(np.asarray(frame[0]).astype(float).std()))
    assert left[0] > left[1] > left[2]


def test_every_filter_has_its_own_default() -> None:
    assert (
        core.animup.Upscale(noise()).get_frame(1)[0]
        == core.animup.Upscale(noise(), spatial_threshold=8).get_frame(1)[0]
    )
    ours = {"task": "deblock"}
    assert (
        core.animup.Restore(noise(), **ours).get_frame(1)[0]
        == core.animup.Restore(noise(), spatial_threshold=4, **ours).get_frame(1)[0]
    )


@pytest.mark.parametrize("value", [-1, 65, float("nan")])
@pytest.mark.parametrize("function", ["Restore", "Upscale"])
def test_wrong_argument(function: str, value: float) -> None:
    with pytest.raises(vs.Error, match=rf"{function}: spatial_threshold must lie between 0 \(off\) and 64, got"):
        getattr(core.animup, function)(noise(), spatial_threshold=value)
