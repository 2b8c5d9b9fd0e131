"""Real encoders, told what y4m does not carry: the files they write say it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.sidedata.sidedata import Type

from vsanimup.encoding import encoders
from vsanimup.encoding.video_flags import CHROMA, Look, Mastering, flags

MASTERING = Mastering(
    red=(0.68, 0.32), green=(0.265, 0.69), blue=(0.15, 0.06), white=(0.3127, 0.329), least=0.005, most=1000
)
DVD = Look(matrix=6, transfer=6, primaries=6, sar=(32, 27))
FULL = Look(matrix=5, full_range=True, chroma=1)
HDR10 = Look(
    matrix=9,
    transfer=16,
    primaries=9,
    chroma=2,
    sar=(4, 3),
    format="YUV420P10",
    mastering=MASTERING,
    light=(1000, 400),
)
LOOKS = {"dvd": DVD, "full range": FULL, "hdr10": HDR10}


def pipe_of(look: Look) -> bytes:
    """Two gray frames as vspipe would write them."""
    deep = look.format.endswith("P10")
    sample = (512).to_bytes(2, "little") if deep else b"\x80"
    header = f"YUV4MPEG2 C420{'p10' if deep else 'jpeg'} W128 H96 F24:1 Ip A0:0 XLENGTH=2\n".encode()
    return header + 2 * (b"FRAME\n" + sample * (128 * 96 * 3 // 2))


def check(path: Path, look: Look) -> None:
    """The file's stream and its first frame are as ``look`` has them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert path.suffix != ".mkv" or stream.average_rate == 24
        frames = list(container.decode(stream))
    assert len(frames) == 2
    assert (stream.codec_context.sample_aspect_ratio or 1) == Fraction(*look.sar)
    first = frames[0]
    assert (int(first.colorspace), int(first.color_trc), int(first.color_primaries)) == (
        look.matrix,
        look.transfer,
        look.primaries,
    )
    assert int(first.color_range) == (2 if look.full_range else 1)
    assert first.format.name.startswith("yuv") and first.format.components[0].bits == look.bits
    assert (first.side_data.get(Type.MASTERING_DISPLAY_METADATA) is not None) == (look.mastering is not None)
    assert (first.side_data.get(Type.CONTENT_LIGHT_LEVEL) is not None) == (look.light is not None)


def chroma_of(path: Path) -> str:
    """Chroma location, by ffprobe: PyAV does not show it."""
    command = ["ffprobe", "-v", "error", "-show_entries", "stream=chroma_location", "-of", "csv=p=0", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize("encoder", ["x264", "ffmpeg", "pyav"])
def test_the_demo_tells_its_encoder(tmp_path: Path, encoder: str, look: Look) -> None:
    if encoder != "pyav" and not shutil.which(encoder):
        pytest.skip(f"no {encoder} here")
    name, program = encoders.choose(encoder)
    out = tmp_path / "out.mkv"
    subprocess.run(encoders.command(name, program, out, look), input=pipe_of(look), check=True)
    check(out, look)
    if shutil.which("ffprobe"):
        assert chroma_of(out) == CHROMA[look.chroma]


COMMANDS = {
    "x264": "x264 --quiet --demuxer y4m {} -o out.mkv -",
    "ffmpeg": "ffmpeg -v error -i - {} out.mkv",
}
CANNOT: dict[str, dict[str, Any]] = {"ffmpeg": {"mastering": None, "light": None}, "svtav1": {"sar": (1, 1)}}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize("encoder", COMMANDS)
def test_flags_go_through_a_shell_into_the_encoder(tmp_path: Path, encoder: str, look: Look) -> None:
    if not shutil.which(encoder):
        pytest.skip(f"no {encoder} here")
    told = " ".join(flags(encoder, look))
    command = COMMANDS[encoder].format(f"$(printf '%s\\n' '{told}')")
    subprocess.run(["sh", "-c", command], input=pipe_of(look), cwd=tmp_path, check=True, capture_output=True)
    check(tmp_path / "out.mkv", replace(look, **CANNOT.get(encoder, {})))


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize("encoder", ["x265", "svtav1"])
def test_flags_are_taken_by_the_encoders_library(tmp_path: Path, encoder: str, look: Look) -> None:
    """The programs x265 and SvtAv1EncApp are rarely there; their libraries, in PyAV, take the same names."""
    names, values = flags(encoder, look)[::2], flags(encoder, look)[1::2]
    pairs = {name.removeprefix("--"): value.replace(":", r"\:") for name, value in zip(names, values, strict=True)}
    pairs.pop("output-depth", None)  # the program's alone; the library learns it from the frames
    told = ":".join(f"{name}={value}" for name, value in pairs.items())
    out = tmp_path / "out.mkv"
    with av.open(str(out), "w") as container:
        stream = container.add_stream(f"lib{encoder}", rate=24, options={f"{encoder}-params": told})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = 128, 96
        stream.pix_fmt = "yuv420p10le" if look.bits == 10 else "yuv420p"
        for index in range(2):
            frame = av.VideoFrame(128, 96, stream.pix_fmt)
            frame.pts, frame.time_base = index, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    check(out, replace(look, **CANNOT.get(encoder, {})))
