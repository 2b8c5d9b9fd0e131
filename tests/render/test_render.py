"""Parts of whole films: grids, times, encoders of chunks, journal, tracks."""

from __future__ import annotations

import hashlib
import io
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import vapoursynth as vs
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.clips import moving
from tests.helpers.render_files import decodes, ffmpeg, probe, shown, video_hash
from vsanimup import ready
from vsanimup.encoding.video_flags import Look, Mastering
from vsanimup.errors import AnimupError
from vsanimup.render import chunk, chunk_encoders, cuts, identity, journal, mux, samples, times, y4m
from vsanimup.render import source as sources
from vsanimup.render.film import join_and_check
from vsanimup.render.frame_server import FrameServer
from vsanimup.render.journal import Entry, Journal

HDR = Look(
    matrix=9,
    transfer=16,
    primaries=9,
    format="YUV420P10",
    mastering=Mastering(
        red=(0.68, 0.32), green=(0.265, 0.69), blue=(0.15, 0.06), white=(0.3127, 0.329), least=0.005, most=1000
    ),
    light=(1000, 400),
)
LOOK = Look(matrix=6, transfer=6, primaries=6, sar=(32, 27))


@given(st.integers(1, 5000), st.integers(8, 700))
def test_chunks_cover_the_film(frames: int, length: int) -> None:
    found = cuts.chunks(frames, cuts.grid(frames, length))
    assert [n for first, end in found for n in range(first, end)] == list(range(frames))
    assert all(end - first <= length * 3 // 2 for first, end in found)
    assert all(end - first >= length // 2 for first, end in found) or len(found) == 1


@given(st.integers(1, 200), st.integers(1, 9))
def test_samples_lie_within_the_film(frames: int, count: int) -> None:
    found = samples.places(frames, min(count, frames))
    assert len(found) == min(count, frames) and all(0 <= first < end <= frames for first, end in found)
    assert found == sorted(found)


def test_times_do_not_drift() -> None:
    shown = times.ticks(Fraction(1, 3), [[172_800, 1001, 24_000]])
    assert len(shown) == 172_801
    assert shown[-1] == round((Fraction(1, 3) + 172_800 * Fraction(1001, 24_000)) * 1000)
    assert all(abs(t - 1000 * (1 / 3 + n * 1001 / 24_000)) < 0.501 for n, t in enumerate(shown))


@pytest.mark.parametrize(
    ("runs", "nominal", "rate"),
    [
        ([[5, 1001, 24_000]], Fraction(24_000, 1001), Fraction(24_000, 1001)),
        ([[1, 42, 1000], [1, 41, 1000], [2, 42, 1000]], Fraction(24_000, 1001), Fraction(24_000, 1001)),
        ([[3, 1, 25]], Fraction(0), Fraction(25)),
        ([[3, 1, 25]], Fraction(30), Fraction(25)),
        ([[3, 1, 25], [3, 1, 30]], Fraction(25), None),
    ],
)
def test_steady_rates(runs: list[list[int]], nominal: Fraction, rate: Fraction | None) -> None:
    assert times.steady_rate(runs, nominal) == rate


@pytest.mark.parametrize(
    ("format", "layout"),
    [
        (vs.YUV420P8, b"C420 "),
        (vs.YUV422P10, b"C422p10 "),
        (vs.YUV444P16, b"C444p16 "),
        (vs.GRAY8, b"Cmono "),
        (vs.GRAY10, b"Cmono10 "),
        (vs.YUV411P8, b"C411 "),
    ],
)
def test_y4m_is_as_vapoursynth_writes_it(format: int, layout: bytes) -> None:
    clip = moving(format, width=32, height=16, length=2)
    wanted, written = io.BytesIO(), io.BytesIO()
    clip.output(wanted, y4m=True)
    written.write(y4m.header(clip.format, clip.width, clip.height, Fraction(clip.fps)))
    for frame in clip.frames():
        y4m.write_frame(written, frame)
    assert layout in written.getvalue().split(b"\n", 1)[0]
    assert written.getvalue().split(b"\n", 1)[1] == wanted.getvalue().split(b"\n", 1)[1]


@pytest.mark.parametrize("format", [vs.RGB24, vs.YUV444PS, vs.GRAYH])
def test_what_y4m_cannot_carry(format: int) -> None:
    with pytest.raises(AnimupError, match=r"which encoders cannot take; end it with\s+clip.resize"):
        y4m.header(vs.core.get_video_format(format), 16, 16, Fraction(24))


def encoded(encoder: chunk_encoders.ChunkEncoder, clip: vs.VideoNode, out: Path) -> None:
    pipe = io.BytesIO()
    clip.output(pipe, y4m=True)
    subprocess.run(encoder.command(str(out)), input=pipe.getvalue(), capture_output=True, check=True)


@pytest.mark.parametrize("name", ["x264", "x265", "svtav1", "ffmpeg", "pyav"])
def test_encoders_make_chunks_that_join(tmp_path: Path, name: str) -> None:
    encoder = replace(chunk_encoders.choose(name, None, None, ""), look=LOOK, keyint=7)
    clip = moving(width=128, height=96, length=25, cut=12)
    parts = [clip[:13], clip[13:]]
    chunks = [tmp_path / f"{index}.mkv" for index in range(2)]
    for part, path in zip(parts, chunks, strict=True):
        encoded(encoder, part, path)
    assert len({chunk.check(path, len(part)) for path, part in zip(chunks, parts, strict=True)}) == 1
    encoded(encoder, parts[0], tmp_path / "again.mkv")
    assert video_hash(tmp_path / "again.mkv") == video_hash(chunks[0])
    with pytest.raises(AnimupError, match="holds 13 frames of 14"):
        chunk.check(chunks[0], 14)
    film = mux.Film(
        chunks=chunks,
        times=times.ticks(Fraction(1, 5), [[10, 1, 24], [15, 1, 30]]),
        rate=None,
        size=(128, 96),
        look=LOOK,
        sar_in_container=name == "svtav1",
        tracks=None,
    )
    watch = SimpleNamespace(stage=lambda text: None)
    join_and_check(film, tmp_path / "film.mkv", watch)
    assert [round(1000 * time) for time in shown(tmp_path / "film.mkv")] == list(film.times[:-1])
    assert decodes(tmp_path / "film.mkv") == 25
    video = probe(tmp_path / "film.mkv")["streams"][0]
    assert (video["width"], video["height"], video["color_space"]) == (128, 96, "smpte170m")
    num, den = map(int, video["sample_aspect_ratio"].split(":"))
    assert abs(num / den - 32 / 27) < (0.01 if name == "svtav1" else 1e-9)
    wrong = replace(film, look=replace(LOOK, matrix=1, sar=(1, 1)))
    with pytest.raises(AnimupError, match="its sample aspect ratio is"):
        mux.verify(wrong, mux.join(film, tmp_path / "x.mkv"), tmp_path / "film.mkv")


def test_chunks_of_other_headers_are_not_joined(tmp_path: Path) -> None:
    clip = moving(length=8)
    for index, crop in enumerate((0, 2)):
        encoder = replace(chunk_encoders.choose("pyav", None, None, ""), look=replace(LOOK, sar=(1 + crop, 1)))
        encoded(encoder, clip, tmp_path / f"{index}.mkv")
    film = mux.Film(
        chunks=[tmp_path / "0.mkv", tmp_path / "1.mkv"],
        times=list(range(0, 170, 10)),
        rate=None,
        size=(96, 64),
        look=Look(),
        sar_in_container=False,
        tracks=None,
    )
    with pytest.raises(AnimupError, match="has other headers than the chunks before it"):
        mux.join(film, tmp_path / "film.mkv")


def test_what_encoders_are_told() -> None:
    told = {}
    for name in ("x264", "x265", "svtav1", "ffmpeg", "pyav"):
        encoder = chunk_encoders.choose(name, 20, None, "", threads=3)
        told[name] = " ".join(replace(encoder, look=HDR, keyint=99).command("out.mkv"))
    for part in ("--threads 3", "--stitchable", "--cpu-independent", "--keyint 99", "--crf 20", "--cll 1000,400"):
        assert part in told["x264"]
    for part in ("open-gop=0", "frame-threads=3", "pools=3", "master-display=G(13250,34500)", "max-cll=1000,400"):
        assert part in told["x265"]
    for part in ("lp=3", "content-light=1000,400", "mastering-display=G(0.265,0.69)"):
        assert part in told["svtav1"]
    for name in ("ffmpeg", "pyav"):
        for part in ("stitchable=1", "open-gop=0", "cll=1000,400", "yuv420p10le"):
            assert part in told[name]


@pytest.mark.parametrize("name", ["x265", "svtav1"])
def test_hdr_metadata_arrive(tmp_path: Path, name: str) -> None:
    encoder = replace(chunk_encoders.choose(name, None, None, ""), look=HDR)
    encoded(encoder, moving(vs.YUV420P10, width=128, height=96, length=3), tmp_path / "chunk.mkv")
    with av.open(str(tmp_path / "chunk.mkv")) as container:
        frame = next(container.decode(video=0))
    kinds = {data.type.name for data in frame.side_data.values()}
    assert {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"} <= kinds
    assert (int(frame.colorspace), int(frame.color_trc), int(frame.color_primaries)) == (9, 16, 9)


@pytest.mark.parametrize("sides", ["1", "a,b,c,d", "0,0,0,64", "1,0,0,0"])
def test_borders_that_cannot_be_cut_off(sides: str) -> None:
    with pytest.raises(AnimupError, match=r"crop must be LEFT,TOP,RIGHT,BOTTOM, as 0,60,0,60, got"):
        ready.cropped(moving(length=1), sides)


def test_arguments_of_encoders() -> None:
    assert "--aq-mode 3" in " ".join(chunk_encoders.choose("x264", None, None, "--aq-mode 3").command("x"))
    x265 = " ".join(chunk_encoders.choose("x265", None, "fast", "aq-mode=3:psy-rd=1.5").command("x"))
    assert "aq-mode=3:psy-rd=1.5" in x265 and "fast" in x265
    hevc = chunk_encoders.choose("ffmpeg", None, None, "-c:v libx265 -bf 2")
    assert hevc.library == "libx265" and "-bf 2" in " ".join(hevc.command("x"))
    for name, arguments, said in (
        ("x264", "--pass 1", "must not hold --pass"),
        ("x264", "--threads=9", "must not hold --threads=9"),
        ("ffmpeg", "-b:v 9M", "must not hold -b:v"),
        ("ffmpeg", "-c:v mpeg2video", "-c:v must be one of libx264"),
        ("svtav1", "rc=1", "must not hold rc=1"),
        ("pyav", "a=1:vbv-bufsize=3", "must not hold vbv-bufsize=3"),
        ("x264", "'", "cannot be taken apart"),
    ):
        with pytest.raises(AnimupError, match=said):
            chunk_encoders.choose(name, None, None, arguments)


def test_encoders_that_are_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert chunk_encoders.choose("auto", None, None, "").tool == "pyav"
    assert chunk_encoders.choose("x265", None, None, "").tool == "pyav"
    with pytest.raises(AnimupError, match="x264 is not on PATH; install it, or use --encoder pyav"):
        chunk_encoders.choose("x264", None, None, "")
    look = Look(sar=(8, 9))
    film = mux.Film(chunks=[], times=[0], rate=None, size=(8, 8), look=look, sar_in_container=True, tracks=None)
    with pytest.raises(AnimupError, match="install ffmpeg, or use --encoder x265"):
        mux.tell_aspect(film, Path("a.mkv"), Path("b.mkv"))


def entry(folder: Path, index: int = 0) -> Entry:
    """A made-up chunk in its place."""
    data = bytes([index]) * 100
    found = Entry(
        index=index,
        first=0,
        end=9,
        size=100,
        sha256=hashlib.sha256(data).hexdigest(),
        headers="",
        durations=[[9, 1, 24]],
    )
    journal.receive(folder, found, data)
    return found


def test_the_journal_holds_what_is_whole(tmp_path: Path) -> None:
    kept = Journal(tmp_path / "film.mkv")
    with kept.held():
        assert not kept.read()
        kept.begin({"crf": "16"}, {"borders": [9]})
        wanted = [entry(kept.chunks, index) for index in range(4)]
        (kept.chunks / "00001.mkv").write_bytes(b"x")
        (kept.chunks / "00002.mkv").unlink()
        (kept.chunks / "00003.json").write_text("{")
        (kept.chunks / f"00009.mkv.abc{journal.PART}").write_bytes(b"half")
        with pytest.raises(AnimupError, match="damaged on its way"):
            journal.receive(kept.chunks, replace(wanted[0], index=7), b"other")
    again = Journal(tmp_path / "film.mkv")
    with again.held():
        assert again.read() and again.facts == {"crf": "16"} and again.plan == {"borders": [9]}
        again.sweep()
        found, damaged = again.entries()
        assert found == {0: wanted[0]} and len(damaged) == 3
        assert not list(again.chunks.glob("*.part"))
        with pytest.raises(AnimupError, match="another animup encode is at work on"), Journal(again.film).held():
            pass
        again.clear()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{}", '{"format": 99, "facts": {}, "plan": {}}', "[1]"])
def test_a_journal_that_cannot_be_understood(tmp_path: Path, text: str) -> None:
    kept = Journal(tmp_path / "film.mkv")
    kept.folder.mkdir()
    (kept.folder / "job.json").write_text(text)
    with pytest.raises(AnimupError, match="begin anew with --restart"):
        kept.read()


def test_jobs_do_not_share_chunks(tmp_path: Path) -> None:
    kept = Journal(tmp_path / "film.mkv")
    places = set()
    for facts, plan in (({"crf": "16"}, {}), ({"crf": "17"}, {}), ({"crf": "16"}, {"borders": [3]})):
        kept.facts, kept.plan = facts, plan
        places.add(kept.chunks)
    assert len(places) == 3


def test_differences_are_told() -> None:
    before = {"crf": "16", "animup": "0.1", "script": "a"}
    assert identity.differences(before, before) == []
    assert identity.differences(before, {"crf": "18", "script": "a", "new": "b" * 99}) == [
        "crf was 16 and is 18",
        "animup was 0.1 and is not there",
        f"new was not there and is {'b' * 57}…",
    ]
    refusal = identity.unlike({"animup": "0.2"}, before, "the worker")
    assert str(refusal) == "the worker has animup 0.1, the film is made with 0.2; install the same there"
    assert identity.unlike({"crf": "16"}, before, "") is None


def test_fingerprints_see_changes(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"a" * 1000)
    data = np.random.default_rng(0).integers(0, 256, 6 << 20, np.uint8)
    data.tofile(large)
    before = identity.fingerprint(small), identity.fingerprint(large)
    small.write_bytes(b"a" * 999 + b"b")
    data[-1] += 1
    data.tofile(large)
    after = identity.fingerprint(small), identity.fingerprint(large)
    assert before[0] != after[0] and before[1] != after[1] and after[1].startswith(f"{6 << 20} bytes")


def test_the_nearest_cut_is_taken() -> None:
    server = FrameServer(lambda answer: None)
    server._source = moving(length=30, cut=13)
    assert server.cuts([5, 10, 13, 16, 25], 4) == {"borders": [5, 13, 13, 13, 25]}
    plain = moving(length=30)
    marked = plain.std.FrameEval(lambda n: plain.std.SetFrameProps(_SceneChangePrev=int(n in (9, 11))))
    server._source = marked
    assert server.cuts([10, 20], 3) == {"borders": [9, 20]}
    server._source = None
    assert server.cuts([10], 3) == {"borders": [10]}


def test_covers_and_tracks_that_matroska_cannot_hold(tmp_path: Path) -> None:
    (tmp_path / "subs.srt").write_text("1\n00:00:00,000 --> 00:00:00,500\nHello\n")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=32x32:d=0.1", "-frames:v", "1", tmp_path / "cover.png")
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=64x48:d=0.5",
        "-i",
        tmp_path / "subs.srt",
        "-i",
        tmp_path / "cover.png",
        "-map",
        "0",
        "-map",
        "1",
        "-map",
        "2",
        "-c:v:0",
        "libx264",
        "-c:s",
        "mov_text",
        "-c:v:1",
        "copy",
        "-disposition:v:1",
        "attached_pic",
        tmp_path / "film.mp4",
    )
    tracks = sources.examine(tmp_path / "film.mp4")
    assert tracks.copied == () and len(tracks.attached) == 1
    assert tracks.left_out == ("subtitle track 1 (mov_text) cannot be copied into Matroska, and is left out",)
    ((name, kind, data),) = sources.attachments(tmp_path / "film.mp4", tracks)
    assert (name, kind) == ("cover.png", "image/png") and data == (tmp_path / "cover.png").read_bytes()
    (tmp_path / "text.mkv").write_text("no video")
    with pytest.raises(AnimupError, match=r"text.mkv is no video that can be read"):
        sources.examine(tmp_path / "text.mkv")
