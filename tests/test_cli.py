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

from vsanimup import demo, doctor, encoders, models, vspipe
from vsanimup.cli import app
from vsanimup.errors import AnimupError
from vsanimup.sizes import show_bytes
from vsanimup.video_flags import Look
from vsanimup.vspipe import explain

runner = CliRunner()


def make_video(path: Path, count: int = 6, width: int = 96, height: int = 64, sar: Fraction | None = None) -> Path:
    """A small H.264 file without colour tags."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(24000, 1001), options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if sar:
            stream.codec_context.sample_aspect_ratio = sar
        rows, columns = np.mgrid[:height, :width]
        for index in range(count):
            plane = ((rows * 3 + columns * 2 + index * 4) % 220 + 16).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.stack([plane, plane[::-1], plane], -1), format="rgb24")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1001, 24000)
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
    source = make_video(tmp_path / "film.mkv")
    text = demo.script_path().read_text(encoding="utf-8")
    for name in (demo.SCRIPT, demo.COMPARE):
        shutil.copy(demo.script_path(name), tmp_path / name)
    place = 'if argument("one_pass"'
    assert place in text
    text = text.replace(place, f"clip = clip.std.SetFieldBased(1)\n    {place}")
    (tmp_path / demo.SCRIPT).write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "script_path", lambda name=demo.SCRIPT: tmp_path / name)
        # several frames are asked for at once; any of them may be the first to fail
        assert re.search(r"Restore: frame \d+ is interlaced", failing(tmp_path, source))


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
    command = [sys.executable, "-c", "from vsanimup.cli import app; app()", "demo", "-o", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while not list(folder.glob(".*.part.mkv")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)  # handled as Ctrl-C is
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and b"nothing unfinished was left" in said and b"Traceback" not in said
    assert list(folder.iterdir()) == []
    assert not running_on(folder)


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
    (folder / models.MANIFEST).write_text(text)
    (folder / "network.onnx").write_bytes(b"wrong")
    monkeypatch.setattr(models, "SHIPPED", tmp_path)
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


def test_models_list() -> None:
    code, text = run("models")
    assert code == 0
    for word in ("lite-restore", "lite-restore-destream", "lite-upscale", "deblock", "x2", "MiB"):
        assert word in text


def test_models_list_when_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "SHIPPED", tmp_path)
    code, text = run("models")
    assert code == 1 and "install the package again" in text


@pytest.mark.parametrize("command", [[], ["demo"], ["doctor"], ["models"]])
def test_help(command: list[str]) -> None:
    code, text = run(*command, "--help")
    assert code == 0 and "Usage" in text


def test_importing_the_command_is_light() -> None:
    heavy = ("vapoursynth", "numpy", "av", "onnxruntime", "rich.console")
    code = f"import sys, vsanimup.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_explain_names_the_cure_for_an_unconfigured_vspipe() -> None:
    text = "Failed to initialize VSScript. VSScript reported error: Python executable couldn't be determined"
    assert explain(text).endswith("vapoursynth config")
    assert "without saying why" in explain("Script evaluation done in 0.1 seconds\rFrame: 1/3\n")
    missing = "Python exit with code restore_upscale.vpy: No attribute with the name animup exists."
    assert "animup doctor" in explain(missing)


@pytest.mark.parametrize(("format", "layout", "bits"), [
    ("YUV420P8", "420", 8), ("YUV422P10", "422", 10), ("YUV444P16", "444", 10), ("GRAY8", "400", 8),
    ("GRAY16", "400", 10),
])  # fmt: skip
def test_layouts(format: str, layout: str, bits: int) -> None:
    assert (Look(format=format).layout, Look(format=format).bits) == (layout, bits)


def test_sizes_are_readable() -> None:
    assert [show_bytes(n) for n in (5, 2048, 3 << 20, 5 << 30, 4 << 40)] == [
        "5 B", "2.0 KiB", "3.0 MiB", "5.0 GiB", "4096.0 GiB",
    ]  # fmt: skip
