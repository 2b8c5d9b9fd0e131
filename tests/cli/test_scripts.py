"""The ready scripts, through the real vspipe."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vsanimup.cli import demo
from vsanimup.encoding.vspipe import explain, vspipe_path
from vsanimup.networks.manifest import SHIPPED

pytestmark = [
    pytest.mark.skipif(not list(SHIPPED.glob("lite-*/manifest.json")), reason="the trained models are not here"),
]

WIDTH, HEIGHT, COUNT = 96, 64, 5


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small MPEG-2 file."""
    path = tmp_path_factory.mktemp("source") / "small.mkv"
    make_video(path)
    return path


def make_video(
    path: Path, pixels: str = "yuv420p", codec: str = "mpeg2video", interlaced: bool = False, tagged: bool = True
) -> None:
    """A moving gradient, tagged BT.709 unless it is RGB or told otherwise."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24, options={"flags": "+ildct+ilme"} if interlaced else {})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        context = stream.codec_context
        if tagged and pixels.startswith("yuv"):
            context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1
        rows, columns = np.mgrid[:HEIGHT, :WIDTH]
        for index in range(COUNT):
            plane = ((rows * 3 + columns * 2 + index * 4) % 220 + 16).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.stack([plane, plane[::-1], plane[:, ::-1]], -1), format="rgb24")
            frame = frame.reformat(format=pixels, dst_colorspace="ITU709" if pixels.startswith("yuv") else None)
            frame.pts, frame.time_base = index, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def vspipe(
    *options: str | Path, cwd: Path | None = None, pwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [vspipe_path(), *map(str, options)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
        cwd=cwd,
        env={**os.environ, **({"PWD": str(pwd)} if pwd else {})},
    )


def info(*options: str | Path) -> dict[str, str]:
    done = vspipe("--info", *options, "-")
    assert done.returncode == 0, done.stderr.decode()
    first = done.stdout.decode().split("\n\n")[0]  # the second output is the source
    return dict(line.split(": ", 1) for line in first.splitlines())


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ([], 2),
        (["-a", "scale=3"], 3),
        (["-a", "scale=1"], 1),
        (["-a", "strength=0.5", "-a", "task=deblock"], 2),
        (["-a", "prompt=old tape"], 2),
        (["-a", "one_pass=1", "-a", "task=destream"], 2),
    ],
)
def test_main_script_keeps_format_and_enlarges(source: Path, options: list[str], size: int) -> None:
    found = info("-a", f"source={source}", *options, demo.script_path())
    assert (found["Width"], found["Height"]) == (str(size * WIDTH), str(size * HEIGHT))
    assert (found["Frames"], found["Format Name"]) == (str(COUNT), "YUV420P8")
    assert found["FPS"].startswith("24/1")


def test_the_aspect_ratio_is_the_containers(source: Path, tmp_path: Path) -> None:
    """Players obey the container, whose ratio a remuxed DVD has often got from somebody."""
    film, props = tmp_path / "film.mkv", tmp_path / "props.json"
    command = ["ffmpeg", "-v", "error", "-i", str(source), "-c", "copy", "-aspect", f"{WIDTH}:{2 * HEIGHT}", str(film)]
    subprocess.run(command, check=True)
    for path, expected in ((film, (1, 2)), (source, (1, 1))):
        done = vspipe("-a", f"source={path}", "-a", "task=deblock", "-j", props, demo.script_path(), "--")
        assert done.returncode == 0, done.stderr.decode()
        assert {(p.get("_SARNum", 1), p.get("_SARDen", 1)) for p in json.loads(props.read_text())} == {expected}


def test_main_script_pipes_y4m(source: Path) -> None:
    done = vspipe("-a", f"source={source}", "-c", "y4m", demo.script_path(), "-")
    assert done.returncode == 0, done.stderr.decode()
    header, _, rest = done.stdout.partition(b"\n")
    assert header.startswith(b"YUV4MPEG2") and f"W{2 * WIDTH} H{2 * HEIGHT} F24:1".encode() in header
    assert len(rest) == COUNT * (len(b"FRAME\n") + 4 * WIDTH * HEIGHT * 3 // 2)


def test_compare_interleaves_source_and_result(source: Path, tmp_path: Path) -> None:
    script = demo.script_path(demo.COMPARE)
    found = info("-a", f"source={source}", script)
    assert (found["Frames"], found["Width"]) == (str(2 * COUNT), str(2 * WIDTH))
    done = vspipe("-a", f"source={source}", "-j", tmp_path / "props.json", "-c", "y4m", script, "-")
    assert done.returncode == 0, done.stderr.decode()
    frames = done.stdout.split(b"\n", 1)[1].split(b"FRAME\n")[1:]
    assert len(frames) == 2 * COUNT and frames[0] != frames[1]
    props = json.loads((tmp_path / "props.json").read_text())
    assert all(p["_Matrix"] == 1 for p in props)


def test_both_pictures_of_an_untagged_source_have_one_matrix(tmp_path: Path) -> None:
    make_video(tmp_path / "untagged.mkv", tagged=False)
    options = ["-a", f"source={tmp_path / 'untagged.mkv'}", "-a", "task=deblock", "-j", str(tmp_path / "props.json")]
    assert vspipe(*options, demo.script_path(demo.COMPARE), "--").returncode == 0
    assert {p["_Matrix"] for p in json.loads((tmp_path / "props.json").read_text())} == {6}


def test_nothing_is_left_beside_the_source(source: Path) -> None:
    info("-a", f"source={source}", demo.script_path())
    assert [path.name for path in source.parent.iterdir()] == [source.name]


def test_rgb_source_can_be_piped(tmp_path: Path) -> None:
    make_video(tmp_path / "rgb.mkv", pixels="bgr0", codec="ffv1")
    found = info("-a", f"source={tmp_path / 'rgb.mkv'}", demo.script_path())
    assert found["Format Name"] == "YUV444P8"


WRONG = [
    ([], "no source was given. Call it with  vspipe -a source=FILE"),
    (["source=/nowhere/film.mkv"], "Couldn't open '/nowhere/film.mkv'"),
    (["source=FILE", "scale=two"], "scale must be a number, got 'two'"),
    (["source=FILE", "scale=7"], "Upscale: scale must be 2, 3 or 4, got 7"),
    (["source=FILE", "task=magic"], "Restore: task must be one of"),
    (["source=FILE", "prompt=qwxz"], "Restore: prompt 'qwxz' is unclear"),
    (["source=FILE", "model=none"], "Restore: model must be one of"),
    (["source=FILE", "sclae=4"], "there is no argument 'sclae'; did you mean scale? It takes source"),
    (["source=FILE", "tasks=denoise"], "there is no argument 'tasks'; did you mean task?"),
    (["source=FILE", "colour=red"], "there is no argument 'colour'; it takes source, task, prompt"),
    (["source=FILE", "one_pass=1", "strength=0.2"], "strength=0.2 is of no use beside one_pass=1"),
    (["source=FILE", "one_pass=1", "restore_model=x"], "restore_model=x is of no use beside one_pass=1"),
    (["source=FILE", "one_pass=yes"], "one_pass must be one of 0, 1, got 'yes'"),
    (["source=FILE", "scale=1", "upscale_model=x"], "upscale_model=x is of no use beside scale=1"),
    (["source=FILE", "scale=1", "restore_model=lite", "model=x"], "model=x is of no use beside"),
    (["source=FILE", "task=denoise", "prompt=deblock"], "give task or prompt, not both"),
    (["source=FILE", "scale=2.5"], "scale must be a whole number, got '2.5'"),
    (["source=FILE", "deinterlace=yes"], "deinterlace must be one of bwdif, ivtc, off, auto, got 'yes'"),
]
"""Arguments, and what a script says of them."""


@pytest.mark.parametrize("name", [demo.SCRIPT, demo.COMPARE])
@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_arguments_end_the_script(source: Path, name: str, options: list[str], message: str) -> None:
    """Run here, as vspipe runs it, but for its start."""
    given = dict(option.replace("=FILE", f"={source}").split("=", 1) for option in options)
    path = demo.script_path(name)
    code = compile(path.read_text(encoding="utf-8"), str(path), "exec")
    with pytest.raises(SystemExit, match=re.escape(message)) as stopped:
        exec(code, {"__name__": "__vapoursynth__", "__file__": str(path), **given})
    assert str(stopped.value).startswith(f"{demo.SCRIPT}: ")


@pytest.mark.parametrize("name", [demo.SCRIPT, demo.COMPARE])
@pytest.mark.parametrize(("options", "message"), [WRONG[1], WRONG[3], WRONG[7]])
def test_errors_are_one_line(source: Path, name: str, options: list[str], message: str) -> None:
    """Those of other plugins, of the filters and of the script itself."""
    arguments = [part for o in options for part in ("-a", o.replace("=FILE", f"={source}"))]
    done = vspipe(*arguments, "--info", demo.script_path(name), "-")
    assert done.returncode != 0
    text = done.stderr.decode()
    assert message in text and "Traceback" not in text
    assert message in explain(text)


@pytest.mark.parametrize("name", [demo.SCRIPT, demo.COMPARE])
def test_names_count_from_where_vspipe_was_called(source: Path, name: str, tmp_path: Path) -> None:
    shutil.copytree(demo.script_path().parent, tmp_path / "vs_scripts")
    shutil.copytree(SHIPPED / "lite-restore", tmp_path / "films" / "mine")
    shutil.copy(source, tmp_path / "films" / "small.mkv")
    given = ["-a", "source=small.mkv", "-a", "restore_model=mine", "-a", "task=deblock", "-a", "scale=1", "--info"]
    here, elsewhere = tmp_path / "films", tmp_path / "vs_scripts"
    for script, pwd in (
        (Path("..", "vs_scripts", name), here),
        (elsewhere / name, here),
    ):
        done = vspipe(*given, script, "-", cwd=here, pwd=pwd)
        assert done.returncode == 0, done.stderr.decode()
    given[1] = "source=films/small.mkv"
    given[3] = "restore_model=films/mine"
    # by the script's name alone: PWD is that of a program that has moved since
    done = vspipe(*given, Path("vs_scripts", name), "-", cwd=tmp_path, pwd=Path("/"))
    assert done.returncode == 0, done.stderr.decode()
    done = vspipe("-a", "source=none.mkv", elsewhere / name, "-", cwd=here, pwd=here)
    assert done.returncode != 0 and b"none.mkv" in done.stderr


def test_interlaced_frames_are_an_error_that_names_the_argument(tmp_path: Path) -> None:
    make_video(tmp_path / "tape.ts", interlaced=True)
    options = ["-a", f"source={tmp_path / 'tape.ts'}", "-a", "task=deblock", "-a", "scale=1"]
    done = vspipe(*options, demo.script_path(), "--")
    assert done.returncode != 0
    text = done.stderr.decode()
    assert "Traceback" not in text
    assert re.match(r"frame \d is interlaced; call it with -a deinterlace=bwdif", explain(text)), text
    for how, frames in (("off", COUNT), ("bwdif", COUNT), ("ivtc", COUNT * 4 // 5)):
        done = vspipe(*options, "-a", f"deinterlace={how}", "-j", tmp_path / "props.json", demo.script_path(), "--")
        assert done.returncode == 0, done.stderr.decode()
        props = json.loads((tmp_path / "props.json").read_text())
        assert len(props) == frames and all(p["_FieldBased"] == 0 for p in props)


def test_missing_bestsource_is_named(source: Path, tmp_path: Path) -> None:
    text = demo.script_path().read_text(encoding="utf-8").replace('"bs"', '"nothing_such"')
    script = tmp_path / "script.vpy"
    script.write_text(text, encoding="utf-8")
    done = vspipe("-a", f"source={source}", "--info", script, "-")
    assert done.returncode != 0 and b"pip install vapoursynth-bestsource" in done.stderr
