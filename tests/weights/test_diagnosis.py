"""What the shipped decision says of sources."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers.cartoon import cartoon, floats, mixes, node
from tests.helpers.clips import core
from training.data.media import STRENGTHS, Planes, asp, encode, halve, hevc, jpeg, mpeg2, noise, vhs, web
from vsanimup.diagnosis import MIXES, estimate

pytestmark = pytest.mark.weights
CODEC, STREAM, TAPE = (MIXES[state] for state in ("codec", "stream", "tape"))


@pytest.fixture(scope="module", params=[1, 2])
def clean(request: pytest.FixtureRequest) -> Planes:
    return cartoon(seed=request.param)


def test_clean_is_clean(clean: Planes) -> None:
    assert estimate(floats(clean)) == {}


@pytest.mark.parametrize("how", ["area", "lanczos", "bilinear"])
def test_other_resizers_are_clean(how: str) -> None:
    frames = cartoon(3, height=1440, width=2304)
    assert estimate(floats(halve(frames, how))) == {}


def test_gray_and_fine_and_dithered_are_clean(clean: Planes) -> None:
    frames = floats(clean)
    assert estimate([frame[:1] for frame in frames]) == {}
    fine = [tuple(plane * np.float32(0.93) + np.float32(0.01) for plane in frame) for frame in frames]
    assert estimate(fine) == {}
    rng = np.random.default_rng(4)
    dithered = [tuple(np.floor(p * 219 + rng.random(p.shape, np.float32)) / np.float32(219) for p in f) for f in fine]
    assert estimate(dithered) == {}


@pytest.mark.parametrize("shape", [(16, 16), (18, 200), (32, 32), (34, 50), (66, 98), (130, 246)])
@pytest.mark.parametrize("depth", [255, 65535])
def test_small_ones_are_clean(shape: tuple[int, int], depth: int) -> None:
    rows, columns = shape
    frames = [
        tuple(p[: rows // s, : columns // s] for p, s in zip(f, (1, 2, 2), strict=True)) for f in floats(cartoon(9))
    ]
    assert estimate([tuple((np.round(p * depth) / depth).astype(np.float32) for p in f) for f in frames]) == {}


def test_odd_sizes(clean: Planes) -> None:
    for frames, wanted in ((clean, {}), (asp(clean, np.random.default_rng(3)), CODEC)):
        odd = [(y[:-1, :-3], *(p[:, :-1] for p in uv)) for y, *uv in floats(frames)]
        assert odd[0][0].shape[0] % 2 == odd[0][0].shape[1] % 2 == 1
        assert estimate(odd) == wanted


def test_flat_ones_are_clean() -> None:
    def planes(luma: np.ndarray, tint: float = 0.0) -> list[tuple[np.ndarray, ...]]:
        colour = np.full((luma.shape[0] // 2, luma.shape[1] // 2), tint, np.float32)
        return [(luma.astype(np.float32), colour, -colour)] * 9

    assert estimate(planes(np.zeros((360, 640)))) == {}
    assert estimate(planes(np.full((360, 640), 0.4), 0.2)) == {}
    bars = np.repeat(np.linspace(0.9, 0.1, 8), 80)[None].repeat(360, 0)
    coloured: list[tuple[np.ndarray, ...]] = [
        (bars.astype(np.float32), *(np.sin(bars[::2, ::2] * n).astype(np.float32) / 3 for n in (5, 9)))
    ] * 9
    assert estimate(coloured) == {}
    assert estimate(planes(bars)) == {}
    assert estimate(planes(np.linspace(0, 1, 640)[None].repeat(360, 0))) == {}


@pytest.mark.parametrize("codec", [mpeg2, web, asp, jpeg, hevc])
def test_codecs(clean: Planes, codec: object) -> None:
    coded = codec(clean, np.random.default_rng(3), STRENGTHS["middle"])  # type: ignore[operator]
    assert estimate(floats(coded)) == (STREAM if codec in (web, hevc) else CODEC)


def test_mild_compression_is_not_missed(clean: Planes) -> None:
    coded = encode(clean, "libx264", {"crf": "24", "preset": "medium"})
    assert estimate(floats(coded)) == STREAM


def test_grid_off_the_corner(clean: Planes) -> None:
    coded = encode(clean, "mpeg2video", {"qmin": "6", "qmax": "6"})
    assert estimate([(f[0][6:, 10:], f[1][3:, 5:], f[2][3:, 5:]) for f in floats(coded)]) == CODEC


def test_tape(clean: Planes) -> None:
    assert estimate(floats(vhs(clean, np.random.default_rng(5)))) == TAPE


def test_grain_is_left_alone(clean: Planes) -> None:
    noisy = noise(clean, 4.0, 2.0, 0.0, np.random.default_rng(6))
    assert estimate(floats(noisy)) == {}
    assert estimate([frame[:1] for frame in floats(noisy)]) == {}


@pytest.mark.parametrize("sigma", [0.7, 1.5, 3.0])
def test_softness_is_left_alone(clean: Planes, sigma: float) -> None:
    soft = [tuple(cv2.GaussianBlur(p, (0, 0), sigma) if not i else p for i, p in enumerate(f)) for f in floats(clean)]
    assert estimate(soft) == {}


def test_few_frames(clean: Planes) -> None:
    coded = floats(asp(clean, np.random.default_rng(3)))
    for count in (1, 2, 3, 5):
        assert estimate(coded[:count]) == CODEC
    assert estimate([]) == {}


def test_probe_agrees_with_estimate_on_large_clips() -> None:
    source = cartoon(3, height=1440, width=1600)
    for clip in (source, asp(source, np.random.default_rng(3))):
        assert mixes(node(clip), [2])[2] == str(estimate(floats(clip)))


@pytest.mark.parametrize("format", [vs.YUV420P8, vs.YUV420P16, vs.YUV444P10, vs.YUV420PS, vs.RGB24, vs.GRAY8])
@pytest.mark.parametrize("full", [0, 1])
def test_probe_takes_any_format(format: int, full: int) -> None:
    source = cartoon(4, height=480, width=640)
    for clip, wanted in ((source, ""), (asp(source, np.random.default_rng(3)), "deblock")):
        whole = node(clip).std.SetFrameProps(_Range=0)
        kind = core.get_video_format(format)
        matrix = {} if kind.color_family == vs.GRAY else {"matrix_in_s": "709"}
        ranged = {} if kind.color_family == vs.RGB else {"range": full}
        whole = whole.resize.Bicubic(format=format, **matrix, **ranged).std.SetFrameProps(_Matrix=1, _FieldBased=1)
        assert set(mixes(whole).values()) == {wanted}
