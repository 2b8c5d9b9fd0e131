"""What is no number stays in the window of the frame that holds it."""

import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers.clips import core
from tests.helpers.frames import planes_of
from vsanimup.diagnosis import estimate
from vsanimup.video.duplicates import same_drawing
from vsanimup.video.samples import Scale
from vsanimup.video.sigma import even_out

AT = 6
TEXTURE = np.kron(np.random.default_rng(0).random((8, 12)), np.ones((4, 4))).astype(np.float32) * 0.5 + 0.2


def spoiled(value: float = np.nan, plane: int = 0, length: int = 16, moving: bool = False) -> vs.VideoNode:
    """A clip of floats, still unless ``moving``, whose frame AT holds one sample that is none."""
    blank = core.std.BlankClip(width=48, height=32, length=length, format=vs.YUV420PS, color=[0.5, 0.1, 0])

    def spoil(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        if moving:
            np.asarray(frame[0])[:] = np.roll(TEXTURE, 3 * n, 1)
        if n == AT:
            np.asarray(frame[plane])[5, 5] = value
        return frame

    return blank.std.ModifyFrame(blank, spoil)


def hit(clip: vs.VideoNode) -> list[int]:
    """Frames with what is no number."""
    return [n for n in range(clip.num_frames) if any(not np.isfinite(p).all() for p in planes_of(clip.get_frame(n)))]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("plane", [0, 1])
@pytest.mark.parametrize("task", ["denoise", "deblock", "auto"])
def test_one_frame_spoils_none_around_it(task: str, plane: int, value: float) -> None:
    for moving in (False, True):
        clip = spoiled(value, plane, moving=moving)
        found = hit(core.animup.Restore(clip, task=task))
        assert set(found) <= set(range(AT - 2, AT + 3)), found  # the networks see two frames on each side


def test_enlarging_in_one_pass_and_after() -> None:
    assert set(hit(core.animup.Upscale(spoiled()))) == {AT}
    assert set(hit(core.animup.Upscale(spoiled(), task="denoise"))) <= set(range(AT - 2, AT + 3))


def test_frames_around_have_the_pictures_that_they_have_without_it() -> None:
    whole, torn = (core.animup.Restore(spoiled(value, moving=True), task="denoise") for value in (0.5, np.nan))
    for n in (0, AT - 5, AT + 5, 15):  # beyond the network's window and what is evened out along time
        assert all(
            np.array_equal(a, b)
            for a, b in zip(planes_of(whole.get_frame(n)), planes_of(torn.get_frame(n)), strict=True)
        )


def test_it_is_no_copy_of_anything() -> None:
    plane = np.random.default_rng(0).random((40, 40)).astype(np.float32) * 200
    torn = plane.copy()
    torn[3, 3] = np.nan
    assert same_drawing([plane], [plane]) and not same_drawing([plane], [torn]) and not same_drawing([torn], [torn])


def test_it_says_nothing_of_a_source() -> None:
    rng = np.random.default_rng(1)
    frames = [(rng.random((96, 96)).astype(np.float32), *np.zeros((2, 48, 48), np.float32)) for _ in range(6)]
    torn = [tuple(plane.copy() for plane in frame) for frame in frames]
    torn[1][0][7, 7] = np.nan
    assert estimate(torn) == estimate(frames[3:])
    assert estimate(torn[:3]) == {}


def test_evening_out_leaves_it_where_it_is() -> None:
    plane = np.full((12, 40), 0.5, np.float32)
    plane[4, 9] = np.nan
    even_out(plane, 0.1)
    assert np.flatnonzero(np.isnan(plane)).tolist() == [4 * 40 + 9] and np.nanmax(np.abs(plane - 0.5)) == 0


def test_integers_have_none() -> None:
    plane = np.empty((9, 33), np.uint8)
    Scale(16, 1 / 219, 255, 1).write(np.full(plane.shape, np.nan, np.float32), plane)
    assert (plane == 0).all()
