"""``animup``: the real command on real files, with real encoders."""

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
from typer.testing import CliRunner

from vsanimup import processes
from vsanimup.cli import demo, doctor
from vsanimup.cli.flags import flags_of
from vsanimup.cli.main import app
from vsanimup.encoding import encoders, vspipe
from vsanimup.encoding.video_flags import Look
from vsanimup.encoding.vspipe import explain
from vsanimup.errors import AnimupError
from vsanimup.networks import manifest
from vsanimup.partial import partial_file
from vsanimup.sizes import show_bytes

runner = CliRunner()


def make_video(
    path: Path,
    count: int = 6,
    width: int = 96,
    height: int = 64,
    sar: Fraction | None = None,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    times: list[int] | None = None,
) -> Path:
    """A small file without colour tags; ``times`` are those of its frames in milliseconds."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=Fraction(24000, 1001), options=options or {"crf": "20"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        if sar:
            stream.codec_context.sample_aspect_ratio = sar
        rows, columns = np.mgrid[:height, :width]
        for index in range(count):
            plane = ((rows * 3 + columns * 2 + index * 4) % 220 + 16).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.stack([plane, plane[::-1], plane], -1), format="rgb24")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = (times[index], Fraction(1, 1000)) if times else (index, Fraction(1001, 24000))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def frames_of(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def run(*arguments: object) -> tuple[int, str]:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, re.sub(r"\s+", " ", result.output)


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


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_demo_tells_of_frames_that_are_missing(tmp_path: Path, suffix: str) -> None:
    options = {"movflags": "faststart"} if suffix == ".mp4" else {}
    whole = make_video(tmp_path / f"whole{suffix}", count=48, container_options=options)
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 9 // 10])
    for source, missing in ((whole, False), (cut, True)):
        code, text = run("demo", source, "-o", tmp_path / "out", "--scale", 1, "--task", "deblock", "--frames", 2)
        assert code == 0, text
        assert bool(re.search(r"\d+ of 4[78] frames can be decoded", text)) == missing
        assert "varies" not in text


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


def test_doctor_finds_all_well() -> None:
    code, text = run("doctor")
    assert code == 0, text
    for word in ("VapourSynth", "animup plugin", "backend cpu", "model lite-restore", "vspipe", "CPU cores"):
        assert word in text
    assert "FAIL" not in text and "64x64 to 128x128" in text


def test_doctor_finds_damaged_and_missing_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "lite-restore"
    folder.mkdir()
    text = (
        '{"format": 1, "name": "lite-restore", "kind": "lite", "scale": 1, "radius": 1, "align": 32, "parameters": 1,'
        '"value_range": "unit", "tasks": ["deblock"], "bytes_per_pixel": 1, "licence": "MIT", "source": "-",'
        '"files": {"network.onnx": "00"}}'
    )
    (folder / manifest.MANIFEST).write_text(text)
    (folder / "network.onnx").write_bytes(b"wrong")
    monkeypatch.setattr(manifest, "SHIPPED", tmp_path)
    monkeypatch.setattr(doctor, "_look", lambda: {"crash": "Segmentation fault"})
    monkeypatch.setattr(doctor, "_try_vspipe", lambda: doctor.Check(name="vspipe", state="ok", found="-"))
    states = {check.name: check for check in doctor.examine()}
    assert "SHA-256" in states["model lite-restore"].found and states["model lite-restore"].state == "fail"
    assert states["model lite-upscale"].state == "fail" and "missing" in states["model lite-upscale"].found
    assert states["VapourSynth"].state == "fail" and "Segmentation fault" in states["VapourSynth"].found
    code, shown = run("doctor")
    assert code == 1 and "FAIL" in shown and "pip install" in shown


def test_doctor_without_vspipe(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise AnimupError("vspipe is nowhere; get it with  pip install vapoursynth")

    monkeypatch.setattr(vspipe, "vspipe_path", none)
    check = doctor._try_vspipe()
    assert check.state == "fail" and "pip install vapoursynth" in check.remedy


def test_files_in_the_current_folder_are_not_run(tmp_path: Path) -> None:
    for name in ("av", "numpy", "vsanimup", "vapoursynth", "json"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'hit')!r}, 'w'); raise ImportError('{name} here')")
    program = Path(sys.executable).with_name("animup")
    source = make_video(tmp_path / "film.mkv", count=2)
    for rest in (["doctor"], ["demo", source, "-o", tmp_path / "out", "--encoder", "pyav", "--scale", "1"]):
        done = subprocess.run([program, *rest], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and not (tmp_path / "hit").exists(), done.stdout + done.stderr


def test_programs_are_not_looked_for_in_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "NoDefaultCurrentDirectoryInExePath"  # which Windows and Python heed
    monkeypatch.delenv(name, raising=False)
    assert processes.find_program("nothing-of-that-name") is None
    assert os.environ[name] == "1"


def test_a_file_system_without_locks_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr("filelock.FileLock.acquire", none)
    with partial_file(tmp_path / "out.mkv") as partial:
        partial.write_text("whole")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]


def test_flags_of_the_ready_script(tmp_path: Path) -> None:
    """By the real program: what it prints must be fit for a shell, and nothing else."""
    source = make_video(tmp_path / "film.mkv", sar=Fraction(32, 27))
    script = os.path.relpath(demo.script_path(), tmp_path)
    given = ["-a", "source=film.mkv", "-a", "task=deblock", "-a", "scale=1"]
    program = Path(sys.executable).with_name("animup")
    done = subprocess.run(
        [program, "flags", script, *given, "--for", "x264"],
        cwd=source.parent,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PWD": "/"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "--colormatrix smpte170m --range tv --input-range tv --chromaloc 0 --sar 32:27 --output-csp i420 "
        "--output-depth 8\n"
    )
    assert done.stderr == ""


def test_flags_of_a_video_names_the_script_to_use(tmp_path: Path) -> None:
    source = make_video(tmp_path / "film.mkv")
    with pytest.raises(AnimupError, match=r"film\.mkv is no script; .*restore_upscale\.vpy -a source=.*film\.mkv"):
        flags_of(source, "x264")


SCRIPT = """
import sys
import vapoursynth as vs
print("chatter")
print("more of it", file=sys.stderr)
clip = vs.core.std.BlankClip(width=64, height=48, length=3, format=getattr(vs, globals().get("format", "YUV420P8")))
clip = clip.std.SetFrameProps(_Matrix=9, _Range=1, _SARNum=4, _SARDen=3)
clip.set_output()
clip.std.AssumeFPS(fpsnum=30).std.SetFrameProps(_DurationNum=1, _DurationDen=10).set_output(1)
vs.core.std.BlankAudio().set_output(2)
vs.core.std.Splice([clip, clip.std.AddBorders(left=2)], mismatch=True).set_output(3)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script with arguments and outputs of several kinds, which prints things."""
    path = tmp_path / "script.vpy"
    path.write_text(SCRIPT)
    return path


def test_flags_print_flags_alone(script: Path) -> None:
    done = runner.invoke(app, ["flags", str(script), "--for", "svtav1"])
    assert done.exit_code == 0
    assert done.stdout == "--matrix-coefficients 9 --color-range 1 --chroma-sample-position left\n"
    assert done.stderr.count("\n") == 1 and "--aspect-ratio-factor 0:4/3" in done.stderr
    done = runner.invoke(app, ["flags", str(script), "--for", "x265", "-o", "1", "-a", "format=YUV422P10"])
    assert done.stdout == "--colormatrix bt2020nc --range full --sar 4:3 --output-depth 10\n"
    assert done.stderr.startswith("animup: the frame rate varies, and y4m carries") and "timecodes" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--for", "xvid"], "--for must be one of x264, x265, svtav1, ffmpeg, got 'xvid'"),
        (["--for", "x264", "-a", "format"], "--arg must be NAME=VALUE, got 'format'"),
        (["--for", "x264", "-a", "format=RGB24"], "RGB24, which y4m cannot carry; end it with clip.resize"),
        (["--for", "x264", "-a", "format=NONE"], "BlankClip: invalid format"),
        (["--for", "x264", "-o", "2"], "--outputindex 2: that output is sound"),
        (["--for", "x264", "-o", "3"], "varies in format or size"),
        (["--for", "x264", "-o", "7"], "no such output; it sets 0, 1, 2, 3"),
    ],
)
def test_flags_that_cannot_be_had(script: Path, options: list[str], words: str) -> None:
    done = runner.invoke(app, ["flags", str(script), *options])
    assert done.exit_code == 1 and done.stdout == ""
    assert done.stderr.startswith("animup: ") and done.stderr.count("\n") == 1 and words in done.stderr


def test_models_list() -> None:
    code, text = run("models")
    assert code == 0
    assert text.count("lite-restore-codecs") == 1, "it serves two tasks"
    for word in ("lite-restore", "lite-upscale-codecs", "lite-one-pass-destream", "deblock", "x2", "MiB"):
        assert word in text


def test_models_list_when_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "SHIPPED", tmp_path)
    code, text = run("models")
    assert code == 1 and "install the package again" in text


@pytest.mark.parametrize("command", [[], ["demo"], ["flags"], ["doctor"], ["models"]])
def test_help(command: list[str]) -> None:
    code, text = run(*command, "--help")
    assert code == 0 and "Usage" in text


def test_importing_the_command_is_light() -> None:
    heavy = ("vapoursynth", "numpy", "av", "onnxruntime", "rich.console")
    code = f"import sys, vsanimup.cli.main; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_explain_names_the_cure_for_an_unconfigured_vspipe() -> None:
    text = "Failed to initialize VSScript. VSScript reported error: Python executable couldn't be determined"
    assert explain(text).endswith("vapoursynth config")
    assert "without saying why" in explain("Script evaluation done in 0.1 seconds\rFrame: 1/3\n")
    missing = "Python exit with code restore_upscale.vpy: No attribute with the name animup exists."
    assert "animup doctor" in explain(missing)


@pytest.mark.parametrize(
    ("format", "layout", "bits"),
    [
        ("YUV420P8", "420", 8),
        ("YUV422P10", "422", 10),
        ("YUV444P16", "444", 10),
        ("GRAY8", "400", 8),
        ("GRAY16", "400", 10),
    ],
)
def test_layouts(format: str, layout: str, bits: int) -> None:
    assert (Look(format=format).layout, Look(format=format).bits) == (layout, bits)


def test_sizes_are_readable() -> None:
    assert [show_bytes(n) for n in (5, 2048, 3 << 20, 5 << 30, 4 << 40)] == [
        "5 B",
        "2.0 KiB",
        "3.0 MiB",
        "5.0 GiB",
        "4096.0 GiB",
    ]
