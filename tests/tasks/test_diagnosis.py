"""The blind estimate of what is wrong with a source."""

from __future__ import annotations

from itertools import batched

import cv2
import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers.clips import drawn
from training.data.media import STRENGTHS, Planes, asp, encode, halve, hevc, jpeg, mpeg2, noise, to_planes, vhs, web
from vsanimup.diagnosis import CELL, MIXES, PROPERTY, decision, estimate, graph, probe
from vsanimup.diagnosis.measures import measure, tiles
from vsanimup.errors import AnimupError
from vsanimup.tasks import CLEAN, TaskMix

core = vs.core
CODEC, STREAM, TAPE = (MIXES[state] for state in ("codec", "stream", "tape"))


def cartoon(count: int = 9, seed: int = 1, height: int = 720, width: int = 1152) -> Planes:
    """Outlined shapes that move on twos over a shaded background with hatching, at half of this size."""
    rng = np.random.default_rng(seed)
    shade = np.linspace(0, 1, height)[:, None, None] * rng.uniform(20, 60, 3) + rng.uniform(90, 160, 3)
    plate = np.repeat(shade, width, 1)
    for _ in range(60):
        start, stop = rng.integers(0, width, 2), rng.integers(0, 60, 2)
        cv2.line(plate, start.tolist(), (start + stop).tolist(), rng.uniform(30, 220, 3).tolist(), 2, cv2.LINE_AA)
    shapes = [
        (rng.uniform(0.1, 0.9, 2) * (width, height), rng.normal(0, 7, 2), rng.uniform(30, 130), rng.uniform(0, 255, 3))
        for _ in range(14)
    ]
    outlines = [rng.uniform(0.5, 1.0, int(rng.integers(5, 12))) for _ in shapes]
    frames: list[np.ndarray] = []
    for number in range(count):
        if number % 2:
            frames.append(frames[-1])
            continue
        picture = plate.copy()
        for (centre, speed, size, colour), radii in zip(shapes, outlines, strict=True):
            angle = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
            points = (centre + speed * number)[None] + size * radii[:, None] * np.stack(
                [np.cos(angle), np.sin(angle)], 1
            )
            corners = np.round(points * 16).astype(np.int32)
            cv2.fillPoly(picture, [corners], colour.tolist(), cv2.LINE_AA, 4)
            cv2.polylines(picture, [corners], True, (colour * 0.2).tolist(), 3, cv2.LINE_AA, 4)
        frames.append(np.clip(picture, 0, 255).astype(np.uint8))
    return halve(to_planes(frames))


def floats(clip: Planes) -> list[tuple[np.ndarray, ...]]:
    """Frames as the filters' working format has them."""
    y, uv = (clip.y.astype(np.float32) - 16) / 219, (clip.uv.astype(np.float32) - 128) / 224
    return [(luma, *colour) for luma, colour in zip(y, uv, strict=True)]


@pytest.fixture(scope="module", params=[1, 2])
def clean(request: pytest.FixtureRequest) -> Planes:
    return cartoon(seed=request.param)


def test_mix_text_round_trip() -> None:
    for mix in MIXES.values():
        assert TaskMix.of_property(str(mix)) == mix
    assert str(CLEAN) == ""
    assert str(CODEC) == "deblock"
    assert str(TaskMix(dict(reversed(list(TAPE.items()))))) == "0.5*deblock+denoise+dehalo+dechroma"
    assert str(TaskMix({"deblock": 0.0, "denoise": 0.25})) == "0.25*denoise"


@pytest.mark.parametrize(
    "text", ["deblock=1", "x*deblock", "2*deblock", "nan*deblock", "polish", "deblock+", "deblock+deblock"]
)
def test_mix_text_refuses(text: str) -> None:
    with pytest.raises(AnimupError):
        TaskMix.of_property(text)


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
    coloured = [(bars.astype(np.float32), *(np.sin(bars[::2, ::2] * n).astype(np.float32) / 3 for n in (5, 9)))] * 9
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


def test_never_sharpens_or_removes_grain_by_itself() -> None:
    assert not any("deblur" in mix for mix in MIXES.values())
    noisy = [mix for mix in MIXES.values() if "denoise" in mix]
    assert noisy and all(mix["deblock"] for mix in noisy)  # a tape's


def test_few_frames(clean: Planes) -> None:
    coded = floats(asp(clean, np.random.default_rng(3)))
    for count in (1, 2, 3, 5):
        assert estimate(coded[:count]) == CODEC
    assert estimate([]) == {}


def test_estimate_is_pure(clean: Planes) -> None:
    frames = floats(web(clean, np.random.default_rng(9)))
    before = [plane.copy() for frame in frames for plane in frame]
    first, again = measure(frames[:3]), measure(frames[:3])
    assert first is not None and again is not None and np.array_equal(first, again)
    assert estimate(frames) == estimate(frames)
    assert all(np.array_equal(a, b) for a, b in zip(before, (p for f in frames for p in f), strict=True))
    assert estimate(frames) in MIXES.values()


def test_large_pictures_are_sampled() -> None:
    assert len(tiles(360, 640)) == 1
    for rows, columns in ((480, 720), (1080, 1920), (2160, 4096), (40, 9000)):
        places = tiles(rows, columns)
        assert len(places) == 4
        assert all(top % 8 == left % 8 == 0 and high % 2 == wide % 2 == 0 for top, left, high, wide in places)
        assert all(top + high <= rows and left + wide <= columns for top, left, high, wide in places)
        assert sum(high * wide for *_, high, wide in places) <= 640 * 384


def test_cells_and_probe_frames() -> None:
    for length in (*range(1, 130), 1000):
        layout = [graph.cell(number, length) for number in range(graph.cell_count(length))]
        assert [n for first, size in layout for n in range(first, first + size)] == list(range(length))
        assert all(first == i * CELL and size < 2 * CELL for i, (first, size) in enumerate(layout))
        for first, size in layout:
            wanted = graph.probe_frames(first, size)
            assert len(wanted) == graph.RUNS * decision.RUN
            assert all(first <= n < first + size for n in wanted)
            for run in batched(wanted, decision.RUN):
                assert size < decision.RUN or [n - run[0] for n in run] == [0, 1, 2]


def node(clip: Planes, length: int | None = None, format: int = vs.YUV420PS) -> vs.VideoNode:
    """A clip of floats that repeats the frames of ``clip`` up to ``length``."""
    frames = floats(clip)
    rows, columns = frames[0][0].shape
    blank = core.std.BlankClip(format=format, width=columns, height=rows, length=length or len(frames), keep=True)
    blank = blank.std.SetFrameProps(Mine="kept", _Matrix=1)
    return drawn(blank, lambda n, i, _: frames[n % len(frames)][i] + (0.5 if i else 0))


def mixes(clip: vs.VideoNode, order: list[int] | None = None) -> dict[int, str]:
    tagged = clip.std.CopyFrameProps(probe(clip), props=[PROPERTY])
    found = {}
    for n in range(clip.num_frames) if order is None else order:
        with tagged.get_frame(n) as frame:
            assert frame.props["Mine"] == "kept" and frame.props["_Matrix"] == 1
            found[n] = str(frame.props[PROPERTY])
    return found


def test_probe_decides_by_cell_whoever_asks() -> None:
    source = cartoon(10, height=384, width=512)
    coded = asp(source, np.random.default_rng(3))
    clip = node(source, CELL) + node(coded, CELL + 10)
    wanted = dict.fromkeys(range(CELL), "") | dict.fromkeys(range(CELL, 2 * CELL + 10), "deblock")
    assert mixes(clip) == wanted
    order = np.random.default_rng(1).permutation(clip.num_frames).tolist()
    assert mixes(clip, order) == wanted
    assert mixes(clip, [CELL + 1, 0]) == {CELL + 1: "deblock", 0: ""}


@pytest.mark.parametrize("length", [1, 2, 5, CELL - 1, CELL, CELL + 1])
def test_probe_of_short_clips(length: int) -> None:
    coded = asp(cartoon(9, height=384, width=512), np.random.default_rng(3))
    found = mixes(node(coded, length))
    assert len(found) == length and set(found.values()) == {"deblock"}


@pytest.mark.parametrize("length", [2 * CELL + CELL // 2 - 1, 2 * CELL + CELL // 2, 5 * CELL + 7, 2**31 - 1])
def test_probe_looks_at_the_frames_of_its_cell(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which frames decide about which, whatever the length: their number stands in their samples."""
    seen: list[list[int]] = []

    def note(run: list[Planes]) -> None:
        seen.append([round(float(planes[0][0, 0, 0]) * 255) for planes in run])

    monkeypatch.setattr(graph, "state_probabilities", note)
    blank = core.std.BlankClip(format=vs.GRAY8, width=16, height=16, length=1, keep=True)
    clip = drawn(blank.std.SetFrameProps(_Range=1).std.Loop(length), lambda n, *_: n % 251 / 255)
    probed = probe(clip)
    assert probed.num_frames == length
    for number in {0, 1, graph.cell_count(length) // 2, graph.cell_count(length) - 1}:
        first, size = graph.cell(number, length)
        seen.clear()
        for n in (first + size - 1, first):
            with probed.get_frame(n) as frame:
                assert frame.props[PROPERTY] == ""
        assert [n for run in seen for n in run] == [n % 251 for n in graph.probe_frames(first, size)]


def test_probe_agrees_with_estimate_on_large_clips() -> None:
    source = cartoon(3, height=1440, width=1600)
    for clip in (source, asp(source, np.random.default_rng(3))):
        assert mixes(node(clip), [2])[2] == str(estimate(floats(clip)))


def test_probe_of_gray_and_tiny_clips() -> None:
    for size in (16, 64):
        clip = core.std.BlankClip(format=vs.GRAYS, width=size, height=size, length=5, color=0.3)
        assert set(mixes(clip.std.SetFrameProps(Mine="kept", _Matrix=1)).values()) == {""}


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


def test_probe_refuses_variable_clips() -> None:
    clips = [core.std.BlankClip(width=width, height=64, length=2) for width in (64, 96)]
    with pytest.raises(AnimupError, match="one format and size"):
        probe(core.std.Splice(clips, mismatch=True))


def test_damaged_file(tmp_path, monkeypatch) -> None:
    copy = tmp_path / "decision.npz"
    copy.write_bytes(decision.FILE.read_bytes()[:-1] + b"x")
    with pytest.raises(AnimupError, match=r"damaged.*install the package again"):
        decision.load(copy, decision.DIGEST)
    with pytest.raises(AnimupError, match=r"cannot be read.*install the package again"):
        decision.load(tmp_path / "none.npz", decision.DIGEST)
    monkeypatch.setattr(decision, "_model", lambda: decision.load(copy, decision.DIGEST))
    clip = node(cartoon(3, height=256, width=256))
    with pytest.raises(vs.Error, match=r"Restore: .*damaged"):
        probe(clip).get_frame(0)


def test_shipped_file() -> None:
    arrays = decision.load(decision.FILE, decision.DIGEST)
    assert decision.FILE.stat().st_size < 200_000
    assert arrays["last"].shape[2] == len(MIXES)
    assert all(array.dtype == np.float32 for array in arrays.values())
    assert abs(decision.classify(arrays["centre"]).sum() - 1) < 1e-9
