"""The blind estimate of what is wrong with a source."""

from __future__ import annotations

from itertools import batched
from pathlib import Path

import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers.cartoon import cartoon, floats, mixes, node
from tests.helpers.clips import drawn
from training.data.media import Planes, asp, web
from vsanimup.diagnosis import CELL, MIXES, PROPERTY, decision, estimate, graph, probe
from vsanimup.diagnosis.measures import measure, tiles
from vsanimup.errors import AnimupError
from vsanimup.tasks import CLEAN, TaskMix

core = vs.core
CODEC, STREAM, TAPE = (MIXES[state] for state in ("codec", "stream", "tape"))


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


def test_never_sharpens_or_removes_grain_by_itself() -> None:
    assert not any("deblur" in mix for mix in MIXES.values())
    noisy = [mix for mix in MIXES.values() if "denoise" in mix]
    assert noisy and all(mix["deblock"] for mix in noisy)  # a tape's


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

    def note(run: list[tuple[np.ndarray, ...]]) -> None:
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


def test_probe_of_gray_and_tiny_clips() -> None:
    for size in (16, 64):
        clip = core.std.BlankClip(format=vs.GRAYS, width=size, height=size, length=5, color=0.3)
        assert set(mixes(clip.std.SetFrameProps(Mine="kept", _Matrix=1)).values()) == {""}


def test_probe_refuses_variable_clips() -> None:
    clips = [core.std.BlankClip(width=width, height=64, length=2) for width in (64, 96)]
    with pytest.raises(AnimupError, match="one format and size"):
        probe(core.std.Splice(clips, mismatch=True))


def test_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
