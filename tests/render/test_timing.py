"""When frames are shown, through an encoder that knows one rate."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path

import av
import pytest

from vsanimup.encoding import timing

SHOWN = [Fraction(n, 1000) for n in (33, 33, 100, 34, 100, 21, 250, 33, 33, 40)]


def test_durations_are_read(tmp_path: Path) -> None:
    props = tmp_path / "props.json"
    frames = [{"_DurationNum": 1, "_DurationDen": 24}, {"Name": '{"a"}'}, {"_DurationNum": 0, "_DurationDen": 1}]
    props.write_text("[\n\t" + ",\n\t".join(map(json.dumps, frames)) + "\n]")
    assert timing.read_durations(props) == [Fraction(1, 24), None, None]


def test_times() -> None:
    a, b = Fraction(1, 10), Fraction(1, 4)
    assert timing.times_of([a, b, a]) == [0, a, a + b, 2 * a + b]
    assert timing.times_of([a, b, None]) == [0, a, a + b, a + 2 * b]
    assert timing.times_of([a, None, b]) is None
    assert timing.times_of([None]) == [Fraction(0), Fraction(0)]


def test_constant_rates() -> None:
    film = Fraction(24000, 1001)
    ticks = [round(1000 * n / film) for n in range(500)]  # as Matroska has them
    shown = [Fraction(b - a, 1000) for a, b in pairwise(ticks)]
    assert timing.constant([*shown, None], film)
    assert timing.constant([*shown[:200], None, *shown[200:]], film)
    assert timing.constant([None] * 5, film)
    assert not timing.constant(SHOWN, film)
    assert not timing.constant([None, *SHOWN], film)
    assert not timing.constant([Fraction(42, 1000)] * 100, film)  # a rate that is a little off ends elsewhere
    assert not timing.constant(shown, Fraction(0))


@pytest.mark.parametrize("frames", [1, 2, len(SHOWN)])
@pytest.mark.parametrize("most", [0, 3])
def test_retimed_files_keep_frames_and_times(tmp_path: Path, frames: int, most: int) -> None:
    source, out = tmp_path / "even.mkv", tmp_path / "timed.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"bf": str(most), "x264-params": "b-adapt=0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(32, 27)
        for index in range(frames):
            frame = av.VideoFrame(64, 48, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([20 * index + 20]) * plane.buffer_size)
            frame.pts, frame.time_base = index, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    times = timing.times_of(SHOWN[:frames])
    assert times == list(accumulate(SHOWN[:frames], initial=Fraction(0)))
    timing.retime(source, times, out)
    before, after = (list(av.open(str(path)).decode(video=0)) for path in (source, out))
    assert [round(1000 * frame.time) for frame in after] == [1000 * time for time in times[:-1]]
    assert [frame.to_ndarray().tobytes() for frame in after] == [frame.to_ndarray().tobytes() for frame in before]
    with av.open(str(out)) as container:
        assert container.streams.video[0].codec_context.sample_aspect_ratio == Fraction(32, 27)


def test_frames_never_share_a_time(tmp_path: Path) -> None:
    assert timing._rising([Fraction(0), Fraction(1, 5000), Fraction(2, 5000), Fraction(1)]) == [0, 1, 2, 1000]
