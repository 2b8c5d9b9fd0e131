"""What surrounds the diffusion network - windows, drawings, cross-fades, colours - with a stand-in for it."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers.clips import core, drawn, moving
from tests.helpers.frames import digest, digests, planes_of
from tests.helpers.ways import settings
from vsanimup.networks.animatelcm.node import diffusion_clip
from vsanimup.networks.animatelcm.windows import BLOCK


class Standin:
    """Mixes each picture with the mean of its scene in the window: shows what a window held."""

    def __init__(self, share: float = 0.3) -> None:
        self.share = share
        self.windows: list[int] = []

    def __call__(
        self, images: np.ndarray, scenes: np.ndarray, cancelled: Callable[[], bool], memory: object = None
    ) -> np.ndarray:
        self.windows.append(len(images))
        mixed = np.empty_like(images)
        for scene in set(scenes.tolist()):
            mine = scenes == scene
            mixed[mine] = (1 - self.share) * images[mine] + self.share * images[mine].mean(0)
        return mixed


def through(
    clip: vs.VideoNode, enhance: Standin | None = None, scale: int = 2, target: int | None = None, **kw: Any
) -> vs.VideoNode:
    format = clip.format if target is None else core.get_video_format(target)
    return diffusion_clip(clip, scale, format, settings(**kw), enhance or Standin())


@pytest.mark.parametrize("length", [1, 2, 15, 17, 100])
def test_any_order_gives_the_bytes_of_the_linear_run(length: int) -> None:
    clip = moving(width=48, height=32, length=length, cut=40 if length > 40 else None)
    linear = digests(through(clip))
    order = list(range(length)) * 2
    random.Random(length).shuffle(order)
    again = through(clip, num_streams=1)
    assert [digest(again.get_frame(n)) for n in order] == [linear[n] for n in order]
    core.num_threads = 1
    waiting = [(n, through(clip).get_frame_async(n)) for n in order[:6]]
    assert all(digest(future.result(timeout=60)) == linear[n] for n, future in waiting)


def test_a_static_clip_stays_static() -> None:
    still = moving(width=48, height=32, length=1) * 100
    result = digests(through(still))
    assert len(set(result)) == 1
    enhance = Standin()
    digests(through(still, enhance))
    assert set(enhance.windows) == {1}


def test_animation_on_twos_takes_half_the_work() -> None:
    ones = moving(width=48, height=32, length=96)
    twos = core.std.Interleave([ones[:48], ones[:48]])
    counts = []
    for clip, dedup in ((ones, 1), (twos, 1), (twos, 0)):
        enhance = Standin()
        digests(through(clip, enhance, dedup=dedup))
        counts.append(sum(enhance.windows))
    assert counts[0] == counts[2] and counts[1] < 0.6 * counts[0]
    copies = digests(through(twos))
    assert copies[::2] == copies[1::2]


def test_no_window_shows_what_is_behind_a_cut() -> None:
    whole = moving(width=48, height=32, length=80, cut=30)
    parts = digests(through(whole[:30]))
    assert digests(through(whole))[:30] == parts
    assert digests(through(whole, scenecut=0))[:30] != parts


def test_neighbouring_windows_meet_without_a_step() -> None:
    """A slow change of brightness is pulled to each window's mean; cross-fading leaves no jump."""

    def plane(n: int, index: int, shape: tuple[int, int]) -> np.ndarray:
        return np.full(shape, 0.5 if index else 0.2 + 0.004 * n)

    clip = drawn(core.std.BlankClip(format=vs.YUV444P16, width=32, height=32, length=96, keep=True), plane)
    result = through(clip, Standin(0.5), dedup=0)
    level = [planes_of(result.get_frame(n))[0].mean() / 65535 for n in range(96)]
    steps = np.diff(level)
    assert steps.max() < 0.009 and steps[: BLOCK // 3].mean() > 0


@pytest.mark.parametrize("props", [{}, {"_Matrix": 1, "_Range": 1}, {"_Matrix": 6, "_Range": 0}, {"_Matrix": 9}])
@pytest.mark.parametrize(
    "format", [vs.YUV420P8, vs.YUV422P10, vs.YUV444PS, vs.RGB24, vs.RGBS, vs.GRAY8, vs.GRAYS, vs.YUV410P8]
)
def test_formats_keep_their_colours(format: int, props: dict[str, Any]) -> None:
    kind = core.get_video_format(format)
    if kind.color_family == vs.RGB and "_Matrix" in props:
        props = {}
    whole = 1 if kind.sample_type == vs.FLOAT else (1 << kind.bits_per_sample) - 1
    colour = [0.4 * whole, 0.55 * whole, 0.45 * whole][: kind.num_planes]
    if kind.sample_type == vs.FLOAT and kind.color_family == vs.YUV:
        colour[1:] = [0.05, -0.05]
    clip = core.std.BlankClip(format=format, width=48, height=32, length=3, color=colour).std.SetFrameProps(**props)
    result = through(clip)
    assert (result.format.id, result.width, result.height) == (format, 96, 64)
    for plane, before in zip(planes_of(result.get_frame(1)), planes_of(clip.get_frame(1)), strict=True):
        assert np.abs(plane - float(before.flat[0])).max() <= (1 if whole > 1 else 2e-4)
    after = result.get_frame(1).props
    assert all(after[name] == value for name, value in props.items())


def test_copies_are_averaged() -> None:
    still = moving(width=64, height=48, length=1, noise=0)
    truth = planes_of(core.resize.Bicubic(still, 128, 96, filter_param_a=0, filter_param_b=0.5).get_frame(0))[0]
    rows = [planes_of(still.get_frame(0))[i] / 255 for i in range(3)]
    noisy = drawn(still * 24, lambda n, i, s: np.clip(rows[i] + np.random.default_rng(n).normal(0, 0.015, s), 0, 1))
    error = [
        np.square(planes_of(through(noisy, dedup=drawings).get_frame(5))[0] - truth.astype(float)).mean()
        for drawings in (0, 1)
    ]
    assert error[1] < 0.8 * error[0]


def test_an_unknown_matrix_is_an_error() -> None:
    clip = moving(width=48, height=32, length=1).std.SetFrameProps(_Matrix=8)
    with pytest.raises(vs.Error, match=r"Upscale: frame 0 has _Matrix=8, .*matrix_s='709'"):
        through(clip).get_frame(0)


@pytest.mark.parametrize(("format", "height"), [(vs.YUV420P8, 32), (vs.YUV420P8, 34), (vs.GRAY8, 33)])
def test_interlaced_frames_are_refused(format: int, height: int) -> None:
    clip = moving(format=format, width=48, height=height, length=3)
    with pytest.raises(vs.Error, match=r"frame 0 is interlaced \(_FieldBased=1\); deinterlace first"):
        through(clip.std.SetFrameProps(_FieldBased=1)).get_frame(0)
    assert through(clip.std.SetFrameProps(_FieldBased=0)).get_frame(2).height == 2 * height
