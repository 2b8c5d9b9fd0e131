"""``animup demo``: the real command on real files, with real encoders."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.helpers.command import run, runner
from tests.helpers.video_files import frames_of, make_video
from vsanimup.cli import demo
from vsanimup.cli.main import app
from vsanimup.encoding import encoders
from vsanimup.errors import AnimupError

pytestmark = pytest.mark.first


def failing(tmp_path: Path, *arguments: object) -> str:
    """The one line of a failed demo; sees that nothing was left behind."""
    folder = tmp_path / "out"
    result = runner.invoke(app, ["demo", *map(str, arguments), "-o", str(folder)])
    assert result.exit_code == 1 and result.stderr.startswith("animup: ") and result.stderr.count("\n") == 1
    assert not folder.exists() or not list(folder.iterdir())
    return result.stderr


def test_demo_of_the_shipped_clip(tmp_path: Path) -> None:
    code, text = run("demo", "-o", tmp_path / "new" / "out", "--frames", 3)
    assert code == 0, text
    assert "3 frames in" in text and "frames a second" in text
    made = frames_of(tmp_path / "new" / "out" / "demo.mkv")
    assert len(made) == 3 and (made[0].width, made[0].height) == (1280, 720)
    assert (made[0].colorspace, made[0].color_primaries, made[0].color_trc) == (1, 1, 1)
    (picture,) = frames_of(tmp_path / "new" / "out" / "before_after.png")
    assert (picture.width, picture.height) == (1280, 720)
    assert sorted(p.name for p in (tmp_path / "new" / "out").iterdir()) == ["before_after.png", "demo.mkv"]


@pytest.mark.parametrize("encoder", ["x264", "ffmpeg", "pyav"])
def test_demo_by_each_encoder(tmp_path: Path, encoder: str) -> None:
    if encoder != "pyav" and not shutil.which(encoder):
        pytest.skip(f"no {encoder} here")
    source = make_video(tmp_path / "a film.mkv", sar=Fraction(16, 15))
    code, text = run("demo", source, "-o", tmp_path / "out", "--encoder", encoder)
    assert code == 0 and f"6 frames by {encoder}" in text, text
    made = frames_of(tmp_path / "out" / "a film_animup.mkv")
    assert len(made) == 6 and (made[0].width, made[0].height, made[0].format.name) == (192, 128, "yuv420p")
    assert made[0].colorspace in (5, 6)  # by the source's height, as players assume
    assert made[0].color_range == 1
    with av.open(str(tmp_path / "out" / "a film_animup.mkv")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.sample_aspect_ratio == Fraction(16, 15)
        assert abs(float(stream.average_rate or 0) - 24000 / 1001) < 0.02
    before = frames_of(source)[4].reformat(width=192, height=128, format="rgb24").to_ndarray().astype(int)
    (picture,) = frames_of(tmp_path / "out" / "before_after.png")
    shown = picture.to_ndarray(format="rgb24").astype(int)
    assert np.abs(shown[:, :90] - before[:, :90]).mean() < 4  # the left half is the source, its colours right
    assert np.abs(shown[:, 100:] - before[:, 100:]).mean() < 30


def test_demo_can_only_restore(tmp_path: Path) -> None:
    source = make_video(tmp_path / "film.mkv")
    code, text = run("demo", source, "-o", tmp_path / "out", "--scale", 1, "--strength", 0.5, "--frames", 2)
    assert code == 0, text
    assert [(f.width, f.height) for f in frames_of(tmp_path / "out" / "film_animup.mkv")] == [(96, 64)] * 2


def test_missing_input(tmp_path: Path) -> None:
    assert "there is no file" in failing(tmp_path, tmp_path / "none.mkv")


def test_input_that_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mkv").write_text("not a video")
    assert "text.mkv is no video that can be read" in failing(tmp_path, tmp_path / "text.mkv")


def test_script_error_in_plain_words(tmp_path: Path) -> None:
    source = make_video(tmp_path / "film.mkv")
    assert "animup: Restore: task must be one of" in failing(tmp_path, source, "--task", "magic")


def test_frame_error_in_plain_words(tmp_path: Path) -> None:
    source = make_video(tmp_path / "tape.mkv", codec="mpeg2video", options={"flags": "+ildct+ilme"})
    # several frames are asked for at once; any of them may be the first to fail
    assert re.search(r"animup: frame \d+ is interlaced; call it with --deinterlace bwdif", failing(tmp_path, source))
    code, text = run("demo", source, "-o", tmp_path / "out", "--deinterlace", "off", "--scale", 1, "--frames", 2)
    assert code == 0, text


def test_demo_keeps_a_variable_frame_rate(tmp_path: Path) -> None:
    times = [0, 33, 67, 100, 300, 500, 533, 567, 900]
    source = make_video(tmp_path / "film.mkv", count=len(times), times=times)
    code, text = run("demo", source, "-o", tmp_path / "out", "--scale", 1, "--task", "deblock")
    assert code == 0 and "the frame rate varies: each frame is shown when it is in the source" in text, text
    assert [round(1000 * frame.time) for frame in frames_of(tmp_path / "out" / "film_animup.mkv")] == times


def cut_off(tmp_path: Path, suffix: str) -> tuple[Path, Path]:
    """A film, and nine tenths of its file."""
    options = {"movflags": "faststart"} if suffix == ".mp4" else {}
    whole = make_video(tmp_path / f"whole{suffix}", count=48, container_options=options)
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 9 // 10])
    return whole, cut


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_that_are_missing_are_counted(tmp_path: Path, suffix: str) -> None:
    for source, missing in zip(cut_off(tmp_path, suffix), (False, True), strict=True):
        plan = demo.Plan(source=source, arguments={"source": str(source), "scale": "1", "task": "deblock"})
        said = demo.missing_frames(source, demo.examine(plan)) or ""
        assert bool(re.search(r"\d+ of 4[78] frames can be decoded", said)) == missing


def test_demo_tells_of_frames_that_are_missing(tmp_path: Path) -> None:
    _, cut = cut_off(tmp_path, ".mkv")
    code, text = run("demo", cut, "-o", tmp_path / "out", "--scale", 1, "--task", "deblock", "--frames", 2)
    assert code == 0 and re.search(r"\d+ of 4[78] frames can be decoded", text) and "varies" not in text, text


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, text = run("demo", "-o", tmp_path / "file" / "out")
    assert code == 1 and "cannot be written to" in text and "-o" in text


def test_unknown_encoder(tmp_path: Path) -> None:
    assert "encoder must be auto" in failing(tmp_path, "--encoder", "magic")


def test_encoder_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert encoders.choose()[0] == "pyav"
    with pytest.raises(AnimupError, match="x264 is not on PATH"):
        encoders.choose("x264")


@pytest.mark.parametrize(
    "code", ["import sys; sys.exit('encoder: out of luck')", "import sys; sys.stdin.buffer.read()"]
)
def test_encoder_that_gives_up(tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_video(tmp_path / "film.mkv")
    monkeypatch.setattr(encoders, "choose", lambda *_: ("x264", "x264"))
    monkeypatch.setattr(encoders, "command", lambda *_, **__: [sys.executable, "-c", code])
    assert "animup: the encoder x264 failed" in failing(tmp_path, source, "--frames", 2)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are Unix's")
def test_interruption_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    command = [sys.executable, "-c", "from vsanimup.cli.main import app; app()", "demo", "-o", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 250
        while not list(folder.glob(".*.part.mkv")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)  # handled as Ctrl-C is
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130 and b"nothing unfinished was left" in said and b"Traceback" not in said
    assert list(folder.iterdir()) == []
    assert not running_on(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is Unix's")
def test_what_a_killed_demo_left_is_removed_by_the_next(tmp_path: Path) -> None:
    folder, source = tmp_path / "out", make_video(tmp_path / "film.mkv", count=400)
    command = [sys.executable, "-P", "-m", "vsanimup.cli.main", "demo", str(source), "-o", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 250
        while not list(folder.glob(".*.part.mkv")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        demo.prepare_folder(folder)  # another one beside it takes nothing away
        assert len(list(folder.glob(".*.part*"))) == 2 and process.poll() is None
        process.kill()
    while (alive := [*running_on(folder), *running_on(source)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive  # vspipe and the encoder end with it
    (folder / ".mine.part.mkv").touch()
    assert len(list(folder.glob(".film*.part*"))) == 2
    demo.prepare_folder(folder)
    assert [path.name for path in folder.iterdir()] == [".mine.part.mkv"]


def running_on(folder: Path) -> list[str]:
    """Processes whose command line names the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in text and entry.parent.name != str(os.getpid()):
            found.append(text)
    return found


def test_files_in_the_current_folder_are_not_run(tmp_path: Path) -> None:
    for name in ("av", "numpy", "vsanimup", "vapoursynth", "json"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'hit')!r}, 'w'); raise ImportError('{name} here')")
    program = Path(sys.executable).with_name("animup")
    source = make_video(tmp_path / "film.mkv", count=2)
    for rest in (["doctor"], ["demo", source, "-o", tmp_path / "out", "--encoder", "pyav", "--scale", "1"]):
        done = subprocess.run([program, *rest], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and not (tmp_path / "hit").exists(), done.stdout + done.stderr
