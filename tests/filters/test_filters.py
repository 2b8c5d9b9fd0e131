"""Restore and Upscale on every kind of input: format, size, colours and properties of what comes out."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers.clips import core, drawn, moving
from tests.helpers.frames import digests, planes_of

FORMATS = [
    "GRAY8",
    "GRAY10",
    "GRAY16",
    "GRAYH",
    "GRAYS",
    "YUV420P8",
    "YUV420P10",
    "YUV420P16",
    "YUV420PH",
    "YUV420PS",
    "YUV422P8",
    "YUV422P10",
    "YUV444P8",
    "YUV444P16",
    "YUV444PH",
    "YUV444PS",
    "YUV410P8",
    "YUV411P8",
    "YUV440P8",
    "RGB24",
    "RGB30",
    "RGB48",
    "RGBH",
    "RGBS",
]
SCALES = [1, 2, 3, 4]


def apply(clip: vs.VideoNode, scale: int, **arguments: Any) -> vs.VideoNode:
    if scale == 1:
        return core.animup.Restore(clip, **arguments)
    return core.animup.Upscale(clip, scale=scale, **arguments)


def bars(format: int, width: int, height: int) -> vs.VideoNode:
    """Seven colour bars, 75 %, as a clip of ``format`` with its colours given through RGB."""
    colours = [
        (0.75, 0.75, 0.75),
        (0.75, 0.75, 0),
        (0, 0.75, 0.75),
        (0, 0.75, 0),
        (0.75, 0, 0.75),
        (0.75, 0, 0),
        (0, 0, 0.75),
    ]
    blank = core.std.BlankClip(format=vs.RGBS, width=width, height=height, length=2, keep=True)

    def plane(n: int, index: int, shape: tuple[int, int]) -> np.ndarray:
        which = np.minimum(np.arange(shape[1]) * 7 // shape[1], 6)
        return np.tile(np.array([colours[i][index] for i in which]), (shape[0], 1))

    clip = drawn(blank, plane)
    target = core.get_video_format(format)
    if target.color_family == vs.RGB:
        return clip.resize.Bicubic(format=format)
    return clip.resize.Bicubic(format=format, matrix_s="709")


def one_colour(luma: float, n: int, index: int, shape: tuple[int, int]) -> np.ndarray:
    return np.full(shape, luma if index == 0 else 0.5)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", FORMATS)
def test_flat_and_bar_colours_come_back(name: str, scale: int) -> None:
    format = int(getattr(vs, name))
    info = core.get_video_format(format)
    unit = 1 if info.sample_type == vs.FLOAT else (1 << info.bits_per_sample) - 1
    for colour in (0.25, 0.5, 0.8):
        clip = core.std.BlankClip(format=format, width=64, height=48, length=1, keep=True)
        clip = drawn(clip, functools.partial(one_colour, colour))
        result = apply(clip, scale).get_frame(0)
        for before, after in zip(planes_of(clip.get_frame(0)), planes_of(result), strict=True):
            off = np.abs(after.astype(np.float64) - float(before[0, 0])).max() / unit
            assert off <= 1 / 255 + 1e-9, f"{colour}: {off * 255:.2f}/255"
    clip = bars(format, 448, 48)
    result = apply(clip, scale).get_frame(0)
    for before, after in zip(planes_of(clip.get_frame(0)), planes_of(result), strict=True):
        for bar in range(7):  # the middle of each bar
            x = (2 * bar + 1) * before.shape[1] // 14
            row, row_after = before.shape[0] // 2, after.shape[0] // 2
            off = abs(float(after[row_after, x * after.shape[1] // before.shape[1]]) - float(before[row, x])) / unit
            assert off <= 1 / 255 + 1e-9, f"bar {bar}: {off * 255:.2f}/255"


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("name", "width", "height"),
    [
        ("GRAY8", 16, 16),
        ("GRAY8", 17, 31),
        ("YUV444P8", 16, 17),
        ("YUV420P8", 16, 16),
        ("YUV420P8", 18, 34),
        ("YUV422P8", 18, 17),
        ("YUV440P8", 17, 18),
        ("RGB24", 33, 21),
        ("YUV410P8", 20, 16),
        ("YUV420P8", 130, 66),
    ],
)
def test_odd_and_tiny_sizes(name: str, width: int, height: int, scale: int) -> None:
    clip = moving(int(getattr(vs, name)), width, height, 3)
    result = apply(clip, scale)
    assert (result.width, result.height, result.format.id) == (width * scale, height * scale, clip.format.id)
    frame = result.get_frame(1)
    plain = clip.resize.Bicubic(width=width * scale, height=height * scale).get_frame(1)
    for ours, theirs in zip(planes_of(frame), planes_of(plain), strict=True):
        assert ours.std() > 0
        assert np.abs(ours.astype(float) - theirs.astype(float)).mean() < 16, "it is the same picture"


PROPS = {
    "_Range": 0,
    "_Matrix": 5,
    "_Transfer": 6,
    "_Primaries": 5,
    "_ChromaLocation": 1,
    "_SARNum": 16,
    "_SARDen": 15,
    "_FieldBased": 0,
    "_DurationNum": 1001,
    "_DurationDen": 24000,
    "some_text": "kept",
}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["YUV420P8", "YUV420P16", "YUV411P8", "YUV410P8"])
@pytest.mark.parametrize("full", [0, 1])
def test_every_property_is_kept(name: str, scale: int, full: int) -> None:
    wanted = PROPS | {"_Range": full}
    clip = moving(int(getattr(vs, name)), length=2).std.SetFrameProps(**wanted)
    props = apply(clip, scale).get_frame(1).props
    assert {key: props.get(key) for key in wanted} == wanted


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["GRAY8", "YUV420P8", "YUV444P8"])
def test_nothing_is_said_that_the_source_does_not_say(name: str, scale: int) -> None:
    clip = moving(int(getattr(vs, name)), length=2).std.RemoveFrameProps()
    found = set(apply(clip, scale).get_frame(1).props)
    assert {key for key in found if key.startswith("_")} <= {"_Matrix"}


def test_matrix_is_written_down_when_it_was_only_implied() -> None:
    sd = moving(width=64, height=48, length=1).std.RemoveFrameProps("_Matrix")
    assert core.animup.Upscale(sd).get_frame(0).props["_Matrix"] == 6
    hd = moving(width=64, height=600, length=1).std.RemoveFrameProps("_Matrix")
    assert core.animup.Restore(hd).get_frame(0).props["_Matrix"] == 1
    assert core.animup.Restore(moving(vs.RGB24, length=1)).get_frame(0).props["_Matrix"] == 0


@pytest.mark.parametrize("limited", [{"_Range": 0}, {"_ColorRange": 1}, {"_Range": 1}])
@pytest.mark.parametrize("format", [vs.RGB24, vs.RGB48, vs.RGBS])
def test_rgb_keeps_its_range(format: int, limited: dict[str, int]) -> None:
    whole = 1 if format == vs.RGBS else 256 ** (1 + (format == vs.RGB48))
    colour = [share * whole for share in (0.25, 0.5, 0.75)]
    clip = core.std.BlankClip(format=format, width=48, height=32, length=1, color=colour).std.SetFrameProps(**limited)
    for result in (core.animup.Upscale(clip), core.animup.Restore(clip, task="denoise")):
        frame = result.get_frame(0)
        assert frame.props["_Range"] == (limited == {"_Range": 1})
        for plane, value in enumerate(colour):
            assert np.abs(np.asarray(frame[plane], np.float64) - value).max() <= whole / 2000


@pytest.mark.parametrize("location", [0, 1, 2, 3])
@pytest.mark.parametrize("scale", [1, 2])
def test_chroma_stays_in_place_whatever_its_siting(location: int, scale: int) -> None:
    """A coloured disc's chroma must lie where its luma lies, as after plain resizing of the same clip."""

    def plane(n: int, index: int, shape: tuple[int, int]) -> np.ndarray:
        y, x = np.mgrid[: shape[0], : shape[1]] / shape[0]
        return np.where((y - 0.5) ** 2 + (x - 0.75) ** 2 < 0.09, (0.7, 0.7, 0.35)[index], (0.3, 0.45, 0.6)[index])

    fine = drawn(core.std.BlankClip(format=vs.YUV444P16, width=384, height=256, length=1, keep=True), plane)
    clip = fine.resize.Bicubic(format=vs.YUV420P16, width=192, height=128, chromaloc=location)
    ours = planes_of(apply(clip, scale).resize.Bicubic(format=vs.YUV444P16).get_frame(0))
    size = {"width": clip.width * scale, "height": clip.height * scale}
    truth = planes_of(fine.resize.Bicubic(**size).get_frame(0))
    for index in (1, 2):
        level = (truth[index].astype(float).max() + truth[index].astype(float).min()) / 2
        for axis in (0, 1):
            centres = []
            for plane_ in (ours[index], truth[index]):
                inside = (plane_ > level) if truth[index][0, 0] < level else (plane_ < level)
                centres.append(np.nonzero(inside)[axis].mean())
            assert abs(centres[0] - centres[1]) < 0.3 * scale, f"plane {index} axis {axis}: {centres}"


def test_other_output_format() -> None:
    clip = moving(length=1)
    assert core.animup.Upscale(clip, format=vs.YUV444P16).format.id == vs.YUV444P16
    assert core.animup.Restore(clip, format=vs.YUV420P10).get_frame(0).format.id == vs.YUV420P10
    assert core.animup.Restore(clip, strength=0, format=vs.YUV420P10).get_frame(0).format.id == vs.YUV420P10


def test_strength() -> None:
    clip = moving(length=3, format=vs.YUV420PS)
    assert digests(core.animup.Restore(clip, strength=0)) == digests(clip)
    none, half, whole = (
        planes_of(core.animup.Restore(clip, task="denoise", strength=s, temporal_threshold=0).get_frame(1))[0]
        for s in (0, 0.5, 1)
    )
    assert np.abs(whole - none).max() > 0.005
    np.testing.assert_allclose(half, (none + whole) / 2, atol=1e-6)


def test_upscaled_still_is_sharper_than_bicubic() -> None:
    """Ink on a flat ground, halved and doubled again: the network must come nearer to it than bicubic does."""

    def plane(n: int, index: int, shape: tuple[int, int]) -> np.ndarray:
        if index:
            return np.full(shape, 0.5)
        y, x = np.mgrid[: 4 * shape[0], : 4 * shape[1]] / 4
        picture = np.full(y.shape, 0.8)
        picture[(y - 60) ** 2 + (x - 120) ** 2 < 900] = 0.4
        picture[np.abs(y - 0.6 * x - 10) < 2] = 0.15
        return picture.reshape(shape[0], 4, shape[1], 4).mean((1, 3))

    truth = drawn(core.std.BlankClip(format=vs.YUV444PS, width=192, height=128, length=1, keep=True), plane)
    small = truth.resize.Bicubic(format=vs.YUV420P8, width=96, height=64)
    large = {"width": 192, "height": 128, "format": vs.YUV444PS}
    wanted = planes_of(truth.get_frame(0))[0]
    ours = planes_of(core.animup.Upscale(small).resize.Bicubic(**large).get_frame(0))[0]
    plain = planes_of(small.resize.Bicubic(**large).get_frame(0))[0]
    inner = (slice(8, -8), slice(8, -8))
    assert ((ours - wanted)[inner] ** 2).mean() < 0.75 * ((plain - wanted)[inner] ** 2).mean()


def test_restore_removes_noise() -> None:
    still = moving(vs.YUV420PS, 128, 96, 5, noise=0).std.FreezeFrames([0], [4], [0])
    noisy = drawn(still, lambda n, index, shape: np.zeros(shape))
    source = [planes_of(still.get_frame(n)) for n in range(5)]

    def plane(n: int, index: int, shape: tuple[int, int]) -> np.ndarray:
        return source[n][index] + (0.5 if index else 0) + np.random.default_rng((n, index)).normal(0, 0.04, shape)

    noisy = drawn(still, plane)
    before = planes_of(noisy.get_frame(2))[0] - source[2][0]
    after = planes_of(core.animup.Restore(noisy, task="denoise").get_frame(2))[0] - source[2][0]
    assert (after**2).mean() < 0.5 * (before**2).mean()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize(("tilesize", "overlap"), [(64, 32), ([96, 64], [32, 32]), (64, 16), (128, 64)])
@pytest.mark.parametrize("scale", [1, 2])
def test_tiles_leave_no_seam_on_a_smooth_clip(
    tilesize: int | list[int], overlap: int | list[int], scale: int, precision: str
) -> None:
    def plane(n: int, index: int, shape: tuple[int, int]) -> np.ndarray:
        y, x = np.mgrid[: shape[0], : shape[1]]
        wave = np.sin(3 * y / shape[0] + n) * np.cos(4 * x / shape[1])
        return np.asarray(0.5 + 0.3 * wave * (1 if index == 0 else 0.3))

    clip = drawn(core.std.BlankClip(format=vs.YUV420PS, width=224, height=160, length=2, keep=True), plane)
    arguments = {"precision": precision} | ({"task": "deblock"} if scale == 1 else {})
    whole = apply(clip, scale, **arguments)
    assert digests(apply(clip, scale, tilesize=[224, 160], **arguments))[1] == digests(whole)[1], "one piece"
    tiled = apply(clip, scale, tilesize=tilesize, overlap=overlap, **arguments)
    for a, b in zip(*(planes_of(c.get_frame(1)) for c in (whole, tiled)), strict=True):
        assert np.abs(a - b).max() <= TILE_TOLERANCE[precision]
        assert np.abs(a - b).mean() <= 0.5 / 255


TILE_TOLERANCE = {"fp32": 0.5 / 255, "int8": 4 / 255}
"""Largest difference between tiled and untiled on a smooth clip that the README states."""


BAD = [
    ("Restore", {"task": "cook"}, "Restore: task must be one of deblock.*'cook'"),
    ("Restore", {"strength": 1.5}, "Restore: strength must lie between 0 and 1, got 1.5"),
    ("Restore", {"strength": float("nan")}, "Restore: strength must"),
    ("Restore", {"model": "nosuch"}, "Restore: model must be one of .*lite.*'nosuch'"),
    ("Restore", {"model": "lite-upscale"}, "Restore: model='lite-upscale' enlarges by 2"),
    ("Upscale", {"scale": 5}, "Upscale: scale must be 2, 3 or 4, got 5"),
    ("Upscale", {"tilesize": 8}, "Upscale: tilesize must be one or two numbers .* got 8"),
    ("Upscale", {"tilesize": [64, 64, 64]}, "Upscale: tilesize must be one or two"),
    ("Upscale", {"overlap": -1}, "Upscale: overlap must be .* got -1"),
    ("Upscale", {"backend": "abacus"}, "Upscale: backend must be one of auto, .*cpu.*'abacus'"),
    ("Upscale", {"num_streams": 0}, "Upscale: num_streams must lie between 1 and 64, got 0"),
    ("Upscale", {"device_id": -1}, "Upscale: device_id must be at least 0, got -1"),
    ("Upscale", {"scenecut": 2}, r"Upscale: scenecut must be 0 \(off\) or 1 \(on\), got 2"),
    ("Upscale", {"format": int(vs.RGB24)}, "Upscale: format=RGB24 is of another colour family"),
    ("Upscale", {"format": 12345}, "Upscale: format must be a VapourSynth format"),
]


@pytest.mark.parametrize(("function", "arguments", "said"), BAD, ids=lambda value: str(value)[:40])
def test_wrong_arguments_are_named_with_value_and_remedy(function: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(vs.Error, match=said):
        getattr(core.animup, function)(moving(length=1), **arguments)


@pytest.mark.parametrize(("function", "size"), [("Restore", "33x17"), ("Upscale", "99x51")])
def test_formats_that_cannot_hold_the_size(function: str, size: str) -> None:
    clip, more = blank(width=33, height=17, format=vs.YUV444P8), {"scale": 3} if function == "Upscale" else {}
    with pytest.raises(vs.Error, match=f"{function}: format=YUV420P8 cannot hold a picture of {size}; choose another"):
        getattr(core.animup, function)(clip, format=int(vs.YUV420P8), **more)


def blank(**kw: Any) -> vs.VideoNode:
    return core.std.BlankClip(**({"width": 64, "height": 64, "length": 2, "format": vs.YUV420P8} | kw))


@pytest.mark.parametrize("function", ["Restore", "Upscale"])
@pytest.mark.parametrize(
    ("clip", "said"),
    [
        (lambda: core.std.Splice([blank(), blank(width=80)], mismatch=True), "one format and size"),
        (lambda: core.std.Splice([blank(), blank(format=vs.GRAY8)], mismatch=True), "one format and size"),
        (lambda: blank(width=8, height=8), "at least 16x16, got 8x8"),
        (lambda: blank(format=vs.GRAY32), "8 to 16 bits.*Gray32"),
        (lambda: blank(length=1), None),
    ],
)
def test_unusable_clips_are_refused_at_create(
    function: str, clip: Callable[[], vs.VideoNode], said: str | None
) -> None:
    create = getattr(core.animup, function)
    if said is None:
        assert create(clip()).get_frame(0)
    else:
        with pytest.raises(vs.Error, match=f"{function}: clip must .*{said}"):
            create(clip())


@pytest.mark.parametrize("function", ["Restore", "Upscale"])
@pytest.mark.parametrize(
    ("order", "format", "height", "location"),
    [
        (1, vs.YUV420P8, 64, 0),
        (2, vs.YUV420P8, 46, 0),
        (2, vs.YUV420P8, 46, 1),
        (1, vs.YUV422P8, 45, 0),
        (2, vs.RGB24, 45, 0),
    ],
)
def test_interlaced_frames_are_refused(function: str, order: int, format: int, height: int, location: int) -> None:
    source = moving(format=format, height=height, length=2)
    clip = getattr(core.animup, function)(source.std.SetFrameProps(_FieldBased=order, _ChromaLocation=location))
    with pytest.raises(vs.Error, match=f"{function}: frame 0 is interlaced .*deinterlace first"):
        clip.get_frame(0)
