"""Evening out along time: the native filter against its definition, and the argument of the filters."""

from typing import Any

import numpy as np
import pytest
import vapoursynth as vs
from hypothesis import given, settings
from hypothesis import strategies as st

from vsanimup.bridge import SPAN
from vsanimup.video.noise import GAIN, LEAST, ONSET, THRESHOLD, threshold_by_noise
from vsanimup.video.samples import Picture, Scale

core = vs.core
FORMATS = [vs.GRAY8, vs.YUV420P8, vs.YUV420P10, vs.YUV444P16, vs.GRAYS, vs.YUV420PS]


def planes_of(frame: vs.VideoFrame) -> list[np.ndarray]:
    return [np.asarray(plane).copy() for plane in frame]


def noisy(
    format: int,
    seed: int,
    length: int = 7,
    width: int = 70,
    height: int = 34,
    spread: int = 12,
    spans: dict[int, tuple[int, ...]] | None = None,
    **props: Any,
) -> vs.VideoNode:
    """Frames of noise around one value, ``spread`` 8-bit steps wide, with the properties of ``SPAN`` where given."""
    kind = core.get_video_format(format)

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        rng = np.random.default_rng((seed, n))
        for index, plane in enumerate(np.asarray(plane) for plane in frame):
            if kind.sample_type == vs.FLOAT:
                plane[:] = rng.uniform(0, spread / 219, np.shape(plane)).astype(np.float32) + (0.4 if index == 0 else 0)
            else:
                step = 1 << (kind.bits_per_sample - 8)
                plane[:] = rng.integers(100 * step, (100 + spread) * step, plane.shape)
        for name, value in zip(SPAN, (spans or {}).get(n, ()), strict=False):
            frame.props[name] = value
        for name, value in props.items():
            frame.props[name] = value
        return frame

    blank = core.std.BlankClip(format=format, width=width, height=height, length=length)
    return blank.std.ModifyFrame(blank, fill)


def defined(
    frames: list[list[np.ndarray]], span: tuple[int, int, int, int], threshold: float, kind: vs.VideoFormat, full: bool
) -> list[np.ndarray]:
    """The planes that the frame in the drawing ``span[1]..span[2]`` becomes."""
    result = []
    for index in range(len(frames[0])):
        chroma = index > 0
        if kind.sample_type == vs.FLOAT:
            unit = 1 / 219
        elif full:
            unit = ((1 << kind.bits_per_sample) - 1) / 219
        else:
            unit = (224 / 219 if chroma else 1) * (1 << (kind.bits_per_sample - 8))
        limit = threshold * unit
        centre = frames[span[1]][index].astype(np.float64)
        total, weight = np.zeros_like(centre), np.full_like(centre, limit * (span[2] - span[1] + 1))
        for n in range(span[0], span[3] + 1):
            if not span[1] <= n <= span[2]:
                difference = frames[n][index] - centre
                share = np.maximum(0, limit - np.abs(difference))
                total += share * difference
                weight += share
        result.append(centre + total / weight)
    return result


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(FORMATS),
    st.booleans(),
    st.floats(0.5, 20),
    st.integers(0, 2**31),
    st.sampled_from([(1, 3, 3, 5), (3, 3, 3, 4), (0, 3, 3, 3), (2, 3, 3, 6)]),
)
def test_equals_its_definition(
    format: int, full: bool, threshold: float, seed: int, span: tuple[int, int, int, int]
) -> None:
    clip = noisy(format, seed, spans={3: span}, _Range=int(full))
    frame = core.animup.internal_temporal(clip, threshold=threshold, reach=3).get_frame(3)
    kind = core.get_video_format(format)
    wanted = defined([planes_of(f) for f in clip.frames()], span, threshold, kind, full)
    for found, value in zip(planes_of(frame), wanted, strict=True):
        off = np.abs(found - value).max()
        assert off < (1e-6 if kind.sample_type == vs.FLOAT else 0.5 + 1e-2), off
    assert not set(SPAN) & set(frame.props)


def test_copies_of_a_drawing_weigh_as_often_as_they_are_shown() -> None:
    span = (1, 2, 4, 5)
    clip = noisy(vs.GRAYS, 5)
    held = core.std.Splice([clip[:2], clip[2] * 3, clip[5:]])
    marked = held.std.SetFrameProps(**dict(zip(SPAN, span, strict=True)))
    steady = core.animup.internal_temporal(marked, threshold=12, reach=2)
    copies = [planes_of(steady.get_frame(n))[0] for n in (2, 3, 4)]
    wanted = defined([planes_of(f) for f in held.frames()], span, 12, clip.format, False)[0]
    np.testing.assert_allclose(copies[0], wanted, atol=1e-6)
    np.testing.assert_array_equal(copies[0], copies[1])
    np.testing.assert_array_equal(copies[0], copies[2])


@pytest.mark.parametrize("span", [(), (4, 3, 3, 5), (0, 4, 4, 5), (3, 3, 3, 99), (-1, 3, 3, 3), (0, 3, 2, 5)])
def test_frames_whose_properties_make_no_sense_stay_as_they_are(span: tuple[int, ...]) -> None:
    clip = noisy(vs.YUV420P8, 1, spans={3: span})
    frame = core.animup.internal_temporal(clip, threshold=10, reach=2).get_frame(3)
    for found, own in zip(planes_of(frame), planes_of(clip.get_frame(3)), strict=True):
        np.testing.assert_array_equal(found, own)


@pytest.mark.parametrize("format", [vs.RGB24, vs.GRAYH, vs.GRAY32])
def test_refuses_other_formats(format: int) -> None:
    with pytest.raises(vs.Error, match="clip must be gray or YUV"):
        core.animup.internal_temporal(core.std.BlankClip(format=format), threshold=1, reach=1)


@pytest.mark.parametrize(("own", "counts"), [(3.0, 3.0), (9.0, 9.0), (30.0, 12.0)])
def test_a_frames_own_threshold_counts_where_it_is_lower(own: float, counts: float) -> None:
    clip = noisy(vs.YUV420P8, 11, spans={3: (2, 3, 3, 4)})
    marked = clip.std.SetFrameProps(**{THRESHOLD: own})
    found = core.animup.internal_temporal(marked, threshold=12, reach=1).get_frame(3)
    wanted = core.animup.internal_temporal(clip, threshold=counts, reach=1).get_frame(3)
    for one, other in zip(planes_of(found), planes_of(wanted), strict=True):
        np.testing.assert_array_equal(one, other)
    assert THRESHOLD not in found.props


@pytest.mark.parametrize("own", [0.0, -1.0, float("nan")])
def test_a_frame_whose_own_threshold_is_nothing_stays_as_it_is(own: float) -> None:
    clip = noisy(vs.YUV420P8, 12, spans={3: (2, 3, 3, 4)}).std.SetFrameProps(**{THRESHOLD: own})
    frame = core.animup.internal_temporal(clip, threshold=12, reach=1).get_frame(3)
    for found, source in zip(planes_of(frame), planes_of(clip.get_frame(3)), strict=True):
        np.testing.assert_array_equal(found, source)


def test_the_less_is_removed_the_less_is_evened_out() -> None:
    def picture(value: int, eighths: int = 8) -> Picture:
        plane = np.full((16, 16), 100, np.uint8)
        plane[:, : 2 * eighths] = value
        return Picture([plane], [Scale(16, 1 / 219, 255, 1)])

    faint = picture(101, 1)
    found = [threshold_by_noise(picture(100), change) for change in (picture(100), faint, picture(101))]
    assert found == pytest.approx([0, ONSET / 8, max(GAIN, LEAST)], rel=1e-4)
    assert threshold_by_noise(picture(100), picture(102)) == pytest.approx(2 * GAIN)


WAYS = [
    pytest.param("Restore", {"task": "deblock"}, None, id="restore"),
    pytest.param("Upscale", {}, 0, id="upscale"),
    pytest.param("Upscale", {"task": "deblock"}, 7, id="one-pass"),
]


@pytest.mark.parametrize(("function", "arguments", "default"), WAYS)
def test_argument(function: str, arguments: dict[str, str], default: int | None) -> None:
    clip = noisy(vs.YUV420P8, 2, spread=6)
    make = getattr(core.animup, function)

    def result(**more: Any) -> list[list[np.ndarray]]:
        return [planes_of(f) for f in make(clip, dedup=0, spatial_threshold=0, **arguments, **more).frames()]

    off, ours, more = result(temporal_threshold=0), result(), result(temporal_threshold=20)
    if default is None:
        source = np.asarray(clip.get_frame(3)[0], np.float64)
        removed = np.abs(source - off[3][0]).mean()
        assert removed > LEAST / GAIN
        wanted = defined(off, (2, 3, 3, 4), GAIN * removed, clip.format, False)
        assert all(np.abs(found - value).max() <= 0.51 for found, value in zip(ours[3], wanted, strict=True))
    else:
        for a, b in zip(ours, result(temporal_threshold=default), strict=True):
            for found, own in zip(a, b, strict=True):
                np.testing.assert_array_equal(found, own)

    def flicker(frames: list[list[np.ndarray]]) -> float:
        return float(np.abs(np.diff([f[0].astype(float) for f in frames], axis=0)).mean())

    assert (flicker(off) > flicker(ours)) == (default != 0)
    assert flicker(off) > flicker(more)
    span = (2, 3, 3, 4)
    for found, value in zip(more[3], defined(off, span, 20, clip.format, False), strict=True):
        assert np.abs(found - value).max() <= 0.51


@pytest.mark.parametrize(("function", "arguments", "default"), WAYS)
def test_stays_within_the_scene(function: str, arguments: dict[str, str], default: int | None) -> None:
    """With a cut before frame 3 that properties tell, frames 3 to 6 are what they are as a clip of their own."""
    clip = noisy(vs.YUV420P8, 3)
    marked = clip[:3] + clip[3].std.SetFrameProps(_SceneChangePrev=1) + clip[4:]
    make = getattr(core.animup, function)
    how = {"dedup": 0, "temporal_threshold": 7, **arguments}
    whole, part = make(marked, **how)[3:], make(marked[3:], **how)
    for a, b in zip(whole.frames(), part.frames(), strict=True):
        np.testing.assert_array_equal(planes_of(a)[0], planes_of(b)[0])
    through = make(marked, scenecut=0, **how)[3]
    assert np.any(planes_of(through.get_frame(0))[0] != planes_of(whole.get_frame(0))[0])


def test_copies_of_a_drawing_stay_equal() -> None:
    clip = noisy(vs.YUV420P8, 4, length=4, spread=5)
    held = core.std.Interleave([clip, clip])
    for result in (core.animup.Restore(held, task="deblock"), core.animup.Upscale(held)):
        frames = [planes_of(f) for f in result.frames()]
        for one, other in zip(frames[::2], frames[1::2], strict=True):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_array_equal(a, b)


def test_reach_limits_it() -> None:
    clip = noisy(vs.GRAYS, 8, spans={3: (1, 3, 3, 5)})
    frame = planes_of(core.animup.internal_temporal(clip, threshold=9, reach=1).get_frame(3))[0]
    wanted = defined([planes_of(f) for f in clip.frames()], (2, 3, 3, 4), 9, clip.format, False)[0]
    np.testing.assert_allclose(frame, wanted, atol=1e-6)


def test_strength_takes_a_share_of_what_is_evened_out() -> None:
    clip = noisy(vs.YUV420PS, 6)
    whole, half = (
        planes_of(core.animup.Restore(clip, task="deblock", strength=strength, dedup=0).get_frame(3))
        for strength in (1, 0.5)
    )
    for found, full, source in zip(half, whole, planes_of(clip.get_frame(3)), strict=True):
        np.testing.assert_allclose(found, (source + full) / 2, atol=1e-6)


def test_upscale_evens_out_what_restore_gives_only_when_told() -> None:
    restored = core.animup.Restore(noisy(vs.YUV420P8, 9, spread=6), task="deblock", dedup=0)
    ours, off, told = (
        planes_of(core.animup.Upscale(restored, dedup=0, **arguments).get_frame(3))[0]
        for arguments in ({}, {"temporal_threshold": 0}, {"temporal_threshold": 4})
    )
    np.testing.assert_array_equal(ours, off)
    assert np.any(told != off)


@pytest.mark.parametrize("format", [vs.YUV420PH, vs.YUV420P16, vs.YUV444P10])
def test_output_formats(format: int) -> None:
    result = core.animup.Upscale(noisy(vs.YUV420P8, 7), format=format)
    assert result.get_frame(2).format.id == format


@pytest.mark.parametrize("value", [-1, 65, float("nan")])
@pytest.mark.parametrize("function", ["Restore", "Upscale"])
def test_wrong_argument(function: str, value: float) -> None:
    with pytest.raises(vs.Error, match=rf"{function}: temporal_threshold must lie between 0 \(off\) and 64, got"):
        getattr(core.animup, function)(noisy(vs.GRAY8, 0), temporal_threshold=value)
