"""The tile grid: covers every sample, weights add up to one, corners stay aligned."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsanimup.tiling.tiles import Blend, plan, surround

SIDES = st.integers(16, 700)
ALIGN = 32


@given(
    SIDES,
    SIDES,
    st.none() | st.tuples(st.integers(32, 300), st.integers(32, 300)),
    st.integers(0, 80),
    st.sampled_from([1, 2]),
)
def test_blending_constant_tiles_gives_the_constant(
    width: int, height: int, tile: tuple[int, int] | None, overlap: int, scale: int
) -> None:
    grid = plan(width, height, tile=tile, overlap=(overlap, overlap), align=ALIGN, most=256 * 256)
    for divide in (1, 2):
        blend = Blend(grid, 2, scale, divide)
        for row, column in grid:
            size = (2, grid.rows.tile * scale // divide, grid.columns.tile * scale // divide)
            blend.add(row, column, np.full(size, 0.75, np.float32))
        result = blend.result(0, height * scale // divide, width * scale // divide)
        assert result.shape == (2, height * scale // divide, width * scale // divide)
        np.testing.assert_allclose(result, 0.75, atol=1e-6)


@given(SIDES, SIDES, st.none() | st.integers(32, 300), st.integers(0, 80))
def test_grid_covers_the_frame_on_aligned_corners(width: int, height: int, tile: int | None, overlap: int) -> None:
    grid = plan(
        width, height, tile=(tile, tile) if tile else None, overlap=(overlap, overlap), align=ALIGN, most=128 * 128
    )
    for axis, length in ((grid.rows, height), (grid.columns, width)):
        starts = axis.starts()
        assert all(start % ALIGN == 0 for start in starts) and axis.tile % ALIGN == 0
        assert starts[-1] + axis.tile == axis.padded >= length
        assert starts[-1] < length, "the last tile holds samples of the frame"
        assert all(b - a == axis.tile - axis.overlap for a, b in itertools.pairwise(starts))


def test_without_a_tile_size_the_limit_is_kept_and_small_frames_stay_whole() -> None:
    assert len(plan(640, 360, tile=None, overlap=(32, 32), align=ALIGN, most=640 * 384)) == 1
    whole = plan(642, 364, tile=None, overlap=(32, 32), align=48, multiple=8, most=1000 * 1000)
    assert (whole.columns.padded, whole.rows.padded) == (648, 368)
    grid = plan(1920, 1080, tile=None, overlap=(32, 32), align=ALIGN, most=1280 * 736)
    assert len(grid) > 1
    assert grid.rows.tile * grid.columns.tile <= 1280 * 736


def test_a_ramp_crosses_over_smoothly() -> None:
    grid = plan(200, 64, tile=(128, 64), overlap=(32, 32), align=ALIGN, most=1)
    blend = Blend(grid, 1, 1, 1)
    for row, column in grid:
        blend.add(row, column, np.full((1, 64, 128), float(column), np.float32))
    line = blend.result(0, 64, 200)[0, 0]
    steps = np.diff(line)
    assert line[0] == 0 and line[-1] == 1
    assert steps.min() >= 0 and steps.max() <= 1 / 15


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 31), (1, 40), (33, 64)])
def test_pictures_are_continued_by_reflection(height: int, width: int) -> None:
    planes = np.arange(2 * height * width, dtype=np.float32).reshape(2, height, width)
    whole = np.full((2, 80, 72), np.nan, np.float32)
    whole[:, 4 : 4 + height, 4 : 4 + width] = planes
    surround(whole, 4, height, width)
    wanted = np.pad(planes, [(0, 0), (4, 76 - height), (0, 0)], mode="reflect" if height > 1 else "edge")
    wanted = np.pad(wanted, [(0, 0), (0, 0), (4, 68 - width)], mode="reflect")
    np.testing.assert_array_equal(whole, wanted)
