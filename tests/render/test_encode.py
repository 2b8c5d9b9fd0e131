"""``animup encode``: whole films, by the real command."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.helpers.render_files import (
    CUT,
    FRAMES,
    SCRIPT,
    SLOW,
    TIMES,
    decodes,
    ffmpeg,
    packets,
    probe,
    shown,
    video_hash,
)
from vsanimup.cli.main import app
from vsanimup.render import local
from vsanimup.render.child import Child
from vsanimup.render.journal import Journal

pytestmark = pytest.mark.first
COMMAND = [sys.executable, "-c", "from vsanimup.cli.main import app; app()", "encode"]


@pytest.fixture
def script(film: Path) -> Path:
    return film.with_name("script.vpy")


def run(*arguments: object, code: int = 0) -> str:
    """Run the command in this process; what it says on both streams."""
    result = CliRunner().invoke(app, ["encode", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    text = re.sub(r"\s+", " ", result.output)
    assert result.exit_code == code, text
    return text


def events(*arguments: object) -> list[dict[str, object]]:
    """What the command says with ``--json``."""
    result = CliRunner().invoke(app, ["encode", *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_properties_times_and_tracks_are_kept(film: Path, whole: Path) -> None:
    assert shown(whole) == [t / 1000 for t in TIMES]
    before, after = probe(film), probe(whole)
    kinds = [("video", "h264"), ("audio", "pcm_s16le"), ("audio", "flac"), ("subtitle", "subrip"), ("attachment", None)]
    assert [(s["codec_type"], s.get("codec_name")) for s in after["streams"]] == kinds
    video = after["streams"][0]
    assert (video["width"], video["height"], video["sample_aspect_ratio"]) == (192, 128, "32:27")
    for name in ("color_space", "color_transfer", "color_primaries", "color_range", "chroma_location", "pix_fmt"):
        assert video[name] == before["streams"][0][name]
    for index in (1, 2, 3):
        assert packets(whole, index) == packets(film, index)
    for name in ("language", "title"):
        assert after["streams"][2]["tags"][name] == before["streams"][2]["tags"][name]
    assert after["streams"][2]["disposition"] == before["streams"][2]["disposition"]
    assert after["streams"][4]["tags"]["filename"] == "font.ttf" and after["streams"][4]["extradata_size"] == 1280
    assert [(c["start_time"], c["tags"]["title"]) for c in after["chapters"]] == [
        ("0.000000", "One"),
        ("1.000000", "Two"),
    ]
    assert after["format"]["tags"]["title"] == "A film"
    assert abs(float(after["format"]["duration"]) - float(before["format"]["duration"])) < 0.01
    assert decodes(whole) == FRAMES
    assert [path.name for path in whole.parent.iterdir()] == ["whole.mkv"]


def test_workers_do_not_change_a_byte(film: Path, script: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "two.mkv"
    text = run(script, "-a", f"source={film}", "-o", out, "--chunk", 12, "--workers", 2)
    assert f"{out}: 192x128, {FRAMES} frames (0:00:03) by x264 in 5 chunks" in text
    assert out.read_bytes() == whole.read_bytes()


def test_a_chunk_begins_at_the_scene_cut(film: Path, script: Path, tmp_path: Path) -> None:
    out = tmp_path / "cut.mkv"
    journal = Journal(out)
    begun = start(script, "-a", f"source={film}", "-o", out, "--chunk", 20)
    wait_for((journal.folder / "job.json").exists, begun)
    begun.kill()
    begun.communicate()
    assert journal.read() and journal.plan["borders"] == [CUT, 40]


def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """Begin the command in a process of its own."""
    command = [*COMMAND, *map(str, arguments), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload, no-any-return]


def wait_for(found: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 250
    while not found() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert found(), process.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are Unix's")
def test_killed_and_gone_on_with(film: Path, whole: Path, tmp_path: Path) -> None:
    script = film.with_name("slow.vpy")
    out = tmp_path / "out" / "film.mkv"
    arguments = (script, "-a", f"source={film}", "-o", out, "--chunk", 12, "--workers", 2)
    chunks = Journal(out).folder
    for there in (1, 3):
        process = start(*arguments)
        wait_for(lambda there=there: len(list(chunks.glob("*/*.json"))) >= there, process)  # type: ignore[misc]
        process.kill()
        process.communicate()
        assert not out.exists()
    found = events(*arguments)
    begin = next(event for event in found if event["event"] == "begin")
    assert begin["chunks"] == 5 and int(str(begin["chunks_done"])) >= 3
    assert found[-1]["event"] == "done" and found[-1]["resumed"] == begin["chunks_done"]
    assert [path.name for path in out.parent.iterdir()] == ["film.mkv"]
    assert video_hash(out) == video_hash(whole) and shown(out) == shown(whole)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are Unix's")
def test_what_a_second_run_does_while_one_is_at_work_stopped_or_changed(
    film: Path, whole: Path, tmp_path: Path
) -> None:
    script = tmp_path / "slow.vpy"
    script.write_text(SLOW)
    out = tmp_path / "film.mkv"
    arguments = (script, "-a", f"source={film}", "-o", out, "--chunk", 12)
    process = start(*arguments)
    wait_for(lambda: list(Journal(out).folder.glob("*/*.json")), process)
    assert "another animup encode is at work on" in run(*arguments, code=1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130 and "the same command goes on" in said and "Traceback" not in said
    assert "chunk of another film: crf was 16 and is 20. Go on with what it was, or begin anew with --restart" in run(
        *arguments, "--crf", 20, code=1
    )
    script.write_text(SLOW + "# changed\n")
    assert "of another film: script was slow.vpy" in run(*arguments, code=1)
    script.write_text(SLOW)
    damaged = next(iter(Journal(out).folder.glob("*/00000.mkv")))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert "chunk 00000 is damaged, and is made again" in run(*arguments)
    assert video_hash(out) == video_hash(whole)
    assert "is there already; give another name, or --overwrite" in run(*arguments, code=1)


@pytest.mark.slow
def test_a_process_that_dies_is_replaced(
    film: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "slow.vpy"
    script.write_text(SLOW)
    killed: list[bool] = []
    ask = Child.ask

    def once(
        self: Child, do: str, progress: Callable[[int], None] | None = None, **arguments: object
    ) -> dict[str, object]:
        if do == "encode" and not killed:
            killed.append(True)
            threading.Timer(0.3, self.kill).start()
        return ask(self, do, progress, **arguments)

    monkeypatch.setattr(Child, "ask", once)
    out = tmp_path / "film.mkv"
    text = run(script, "-a", f"source={film}", "-o", out, "--chunk", 12)
    assert "ended with signal SIGKILL" in text and "it is made again" in text
    assert video_hash(out) == video_hash(whole)


def test_workers_share_the_processors() -> None:
    mine = sorted(os.sched_getaffinity(0))
    for workers in (1, 2, 3, 40):
        shares = local.shares(workers)
        lists = [share for share in shares if isinstance(share, list) and share]
        assert len(lists) == len(shares) == workers
        if workers <= len(mine):
            assert sorted(core for share in lists for core in share) == mine


@pytest.mark.skipif(sys.platform == "win32", reason="limits are Unix's")
def test_a_full_disk_leaves_no_film(film: Path, script: Path, tmp_path: Path) -> None:
    out = tmp_path / "film.mkv"
    arguments = (script, "-a", f"source={film}", "-o", out, "--chunk", 30)

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing fails, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    process = start(*arguments, preexec_fn=limit)
    _, said = process.communicate(timeout=250)
    assert process.returncode == 1 and said.startswith("animup: ") and "Traceback" not in said, said
    assert not out.exists()
    run(*arguments)
    assert decodes(out) == FRAMES


def test_a_film_of_progressive_and_interlaced_parts(tmp_path: Path) -> None:
    """As on DVDs: MPEG-2 whose second half is marked as interlaced, and is."""
    parts = [tmp_path / f"{name}.m2v" for name in ("progressive", "interlaced")]
    drawn, encoded = "testsrc2=s=96x64:r={},trim=end_frame={},format=yuv420p", ("-c:v", "mpeg2video", "-q:v", "2")
    weave = ",tinterlace=interleave_top,setfield=tff"
    ffmpeg("-f", "lavfi", "-i", drawn.format(25, 10), *encoded, parts[0])
    ffmpeg("-f", "lavfi", "-i", drawn.format(50, 20) + weave, *encoded, "-flags", "+ilme+ildct", parts[1])
    both = tmp_path / "dvd.m2v"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    source = tmp_path / "dvd.mkv"
    ffmpeg("-fflags", "+genpts", "-i", both, "-c", "copy", source)
    out = tmp_path / "film.mkv"
    run(source, "-o", out, "--scale", 1, "--task", "deblock", "--crop", "0,2,0,2", "--grain", 1, "--chunk", 10)
    assert decodes(out) == len(shown(source)) == 20 and shown(out) == shown(source)
    found = probe(out)["streams"][0]
    assert (found["width"], found["height"], found["field_order"]) == (96, 60, "progressive")
    before, after = frames_of(source), frames_of(out)
    assert [frame.interlaced_frame for frame in before] == [False] * 10 + [True] * 10
    assert not any(frame.interlaced_frame for frame in after)
    assert sum(map(combed, after[10:])) < 0.8 * sum(map(combed, before[10:]))


def frames_of(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def combed(frame: av.VideoFrame) -> float:
    """How far rows are from the mean of their neighbours."""
    luma = frame.to_ndarray()[: frame.height].astype(float)
    return float(np.abs(luma[1:-1] - (luma[:-2] + luma[2:]) / 2).mean())


def test_samples_and_comparison(film: Path, script: Path, tmp_path: Path) -> None:
    out = tmp_path / "film.mkv"
    source = ("-a", f"source={film}")
    text = run(script, *source, "-o", out, "--sample", 2)
    folder = tmp_path / "film_samples"
    assert sorted(path.name for path in folder.iterdir()) == ["sample_01.mkv", "sample_02.mkv", "sheet.png"]
    assert "left: before, right: after" in text and "the whole film would take one worker about" in text
    sheet = probe(folder / "sheet.png")["streams"][0]
    assert (sheet["width"], sheet["height"]) == (2 * 192 + 4, 2 * 128 + 4)
    assert decodes(folder / "sample_02.mkv") == 30
    assert probe(folder / "sample_01.mkv")["streams"][0]["sample_aspect_ratio"] == "32:27"
    run(script, *source, "-o", out, "--compare", "--no-tracks")
    streams = probe(out)["streams"]
    assert len(streams) == 1 and (streams[0]["width"], streams[0]["height"]) == (384, 128)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import vapoursynth as vs\nvs.core.std.BlankClip(", "SyntaxError"),
        ("raise SystemExit('no luck')", "animup: no luck"),
        ("import vapoursynth as vs", "gives no video; end it with clip.set_output()"),
        (
            "import vapoursynth as vs\nvs.core.std.BlankClip(format=vs.RGB24).set_output()",
            "gives RGB24, which encoders",
        ),
        (
            "import vapoursynth as vs\n"
            "clip = vs.core.std.BlankClip(format=vs.YUV420P8, length=9, width=64, height=64)\n"
            "def f(n, f):\n    if n == 5: raise ValueError('frame five')\n    return f\n"
            "print('out loud')\nclip.std.ModifyFrame(clip, f).set_output()",
            "frame five",
        ),
    ],
)
def test_scripts_that_fail(tmp_path: Path, text: str, said: str) -> None:
    script = tmp_path / "bad.vpy"
    script.write_text(text)
    found = run(script, "-o", tmp_path / "film.mkv", code=1)
    assert said in found and "Traceback" not in found
    assert not (tmp_path / "film.mkv").exists()


def test_a_script_that_prints_does_no_harm(tmp_path: Path) -> None:
    script = tmp_path / "loud.vpy"
    script.write_text(
        "import os, sys\nprint('out loud', flush=True)\nos.write(1, b'louder')\nimport vapoursynth as vs\n"
        "vs.core.std.BlankClip(format=vs.YUV420P10, length=9, width=64, height=64, fpsnum=24).set_output()\n"
    )
    assert [event["event"] for event in events(script, "-o", tmp_path / "film.mkv")][-1] == "done"
    assert decodes(tmp_path / "film.mkv") == 9
    assert probe(tmp_path / "film.mkv")["streams"][0]["pix_fmt"] == "yuv420p10le"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.mkv"], "there is no file nowhere.mkv"),
        (["FILM", "-o", "film.mp4"], "must be a Matroska file, got film.mp4; call it film.mkv"),
        (["FILM", "-o", "FILM"], "would be overwritten by its own result"),
        (["FILM", "--encoder", "magic"], "encoder must be one of auto, x264"),
        (["FILM", "--encoder", "x264", "--encoder-args=--bitrate 900"], "encoder-args must not hold --bitrate"),
        (["FILM", "--encoder", "x265", "--encoder-args", "pools=3"], "encoder-args must not hold pools=3"),
        (["FILM", "--crf", "60", "--encoder", "x264"], "crf must be between 0 and 51 for x264, got 60"),
        (["FILM", "--resources", "GPU=1"], "--resources goes with --dask"),
        (["FILM", "--source", "FILM"], "--source goes with a .vpy script"),
        (["SCRIPT", "--scale", "3"], "--scale goes with a video"),
        (["SCRIPT", "-a", "nothing"], "--arg must be NAME=VALUE, got 'nothing'"),
        (["SCRIPT", "--source", "none.mkv"], "--source: there is no file none.mkv"),
        (["FILM", "--task", "magic"], "task must be one of"),
        (["FILM", "--crop", "1"], "crop must be LEFT,TOP,RIGHT,BOTTOM"),
    ],
)
def test_mistakes(film: Path, script: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    given = [{"FILM": str(film), "SCRIPT": str(script)}.get(argument, argument) for argument in arguments]
    if "-o" not in given:
        given += ["-o", str(tmp_path / "film.mkv")]
    assert said in run(*given, code=1)
    assert list(tmp_path.iterdir()) == []


def test_sound_that_would_not_fit_is_refused(film: Path, tmp_path: Path) -> None:
    script = tmp_path / "short.vpy"
    script.write_text(SCRIPT.replace("clip.set_output()", "clip[:20].set_output()"))
    arguments = (script, "-a", f"source={film}", "-o", tmp_path / "film.mkv")
    assert "so its sound would not fit" in run(*arguments, code=1)
    run(*arguments, "--no-tracks", "--restart")
    assert len(probe(tmp_path / "film.mkv")["streams"]) == 1
