"""``animup flags``: what y4m does not carry, as arguments of encoders."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from tests.helpers.command import runner
from tests.helpers.video_files import make_video
from vsanimup.cli import demo
from vsanimup.cli.flags import flags_of
from vsanimup.cli.main import app
from vsanimup.encoding.video_flags import Look
from vsanimup.errors import AnimupError


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
