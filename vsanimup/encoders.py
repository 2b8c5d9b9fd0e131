"""Encoders that turn a y4m pipe into a video file: x264, ffmpeg, or the libx264 inside PyAV."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from vsanimup.errors import AnimupError

MATRIX = {0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco",
          9: "bt2020nc", 10: "bt2020c"}  # fmt: skip
"""Names of ``_Matrix`` values as encoders spell them; the next two likewise."""
TRANSFER = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear",
            9: "log100", 10: "log316", 11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10",
            15: "bt2020-12", 16: "smpte2084", 17: "smpte428", 18: "arib-std-b67"}  # fmt: skip
PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020",
             10: "smpte428", 11: "smpte431", 12: "smpte432"}  # fmt: skip
CHROMA = ("left", "center", "topleft", "top", "bottomleft", "bottom")
"""Names of ``_ChromaLocation`` values."""
CRF = 16
"""Constant rate factor: visually the same as the frames."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What an encoder must be told about the frames, since y4m does not carry it."""

    matrix: int = 2
    transfer: int = 2
    primaries: int = 2
    full_range: bool = False
    chroma: int = 0
    sar: tuple[int, int] = (1, 1)
    format: str = "YUV420P8"

    @property
    def bits(self) -> int:
        """Bits a sample to encode: 8 or 10."""
        return 8 if self.format.endswith("P8") or self.format == "GRAY8" else 10

    @property
    def layout(self) -> str:
        """Chroma layout: 400, 420, 422 or 444."""
        if self.format.upper().startswith("GRAY"):
            return "400"
        return next((name for name in ("444", "422") if name in self.format), "420")


def x264_command(program: str, out: Path, look: Look, crf: int) -> list[str]:
    """x264 from y4m on standard input to a Matroska file."""
    command = [program, "--demuxer", "y4m", "--crf", str(crf), "--tune", "animation", "--no-progress"]
    command += ["--log-level", "error", "--output-csp", f"i{look.layout}", "--output-depth", str(look.bits)]
    for option, names, value in (
        ("--colormatrix", {**MATRIX, 0: "GBR", 8: "YCgCo"}, look.matrix),
        ("--transfer", TRANSFER, look.transfer), ("--colorprim", PRIMARIES, look.primaries),
    ):  # fmt: skip
        if value in names:
            command += [option, names[value]]
    span = "pc" if look.full_range else "tv"
    command += ["--range", span, "--input-range", span]
    if look.layout == "420":
        command += ["--chromaloc", str(look.chroma)]
    if look.sar != (1, 1):
        command += ["--sar", f"{look.sar[0]}:{look.sar[1]}"]
    return [*command, "--muxer", "mkv", "-o", str(out), "-"]


def ffmpeg_command(program: str, out: Path, look: Look, crf: int) -> list[str]:
    """ffmpeg's libx264 from y4m on standard input to a Matroska file."""
    tags = ["range=" + ("pc" if look.full_range else "tv")]
    for option, names, value in (
        ("colorspace", MATRIX, look.matrix), ("color_trc", TRANSFER, look.transfer),
        ("color_primaries", PRIMARIES, look.primaries),
    ):  # fmt: skip
        if value in names:
            tags.append(f"{option}={names[value]}")
    filters = f"setparams={':'.join(tags)},setsar={look.sar[0]}/{look.sar[1]}"
    command = [program, "-y", "-v", "error", "-nostdin", "-f", "yuv4mpegpipe", "-i", "pipe:0", "-vf", filters]
    command += ["-c:v", "libx264", "-crf", str(crf), "-tune", "animation", "-pix_fmt", pixel_format(look)]
    if look.layout == "420":
        command += ["-chroma_sample_location", CHROMA[look.chroma]]
    return [*command, "-f", "matroska", str(out)]


def pixel_format(look: Look) -> str:
    """The format as ffmpeg names it."""
    name = "gray" if look.layout == "400" else f"yuv{look.layout}p"
    return name if look.bits == 8 else f"{name}10le"


def pyav_command(out: Path, look: Look, crf: int) -> list[str]:
    """This module as a program: PyAV's libx264 from y4m on standard input to a Matroska file."""
    return [sys.executable, "-m", "vsanimup.encoders", str(out), str(crf), json.dumps(asdict(look))]


def choose(wanted: str = "auto") -> tuple[str, str]:
    """Name and program of the encoder: the one wanted, or the first of x264, ffmpeg and PyAV that is there.

    Raises :class:`AnimupError` when the wanted one is missing.
    """
    if wanted not in ("auto", "x264", "ffmpeg", "pyav"):
        raise AnimupError(f"encoder must be auto, x264, ffmpeg or pyav, got {wanted!r}")
    for name in ("x264", "ffmpeg"):
        if wanted in ("auto", name) and (program := shutil.which(name)):
            return name, program
        if wanted == name:
            raise AnimupError(f"{name} is not on PATH; install it, or use --encoder pyav")
    return "pyav", sys.executable


def command(name: str, program: str, out: Path, look: Look, crf: int = CRF) -> list[str]:
    """The command line of an encoder that :func:`choose` named."""
    if name == "x264":
        return x264_command(program, out, look, crf)
    if name == "ffmpeg":
        return ffmpeg_command(program, out, look, crf)
    return pyav_command(out, look, crf)


def encode(source: Any, out: Path, look: Look, crf: int) -> int:
    """Encode y4m from a binary file object by PyAV; the number of frames."""
    import av

    count = 0
    with (
        av.open(source, "r", format="yuv4mpegpipe") as reader,
        av.open(str(out), "w", format="matroska") as writer,
    ):
        video = reader.streams.video[0]
        rate = Fraction(video.base_rate or 24)
        options = {"crf": str(crf), "tune": "animation"}
        stream = writer.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, pixel_format(look)
        context = stream.codec_context
        context.sample_aspect_ratio = Fraction(*look.sar)
        context.colorspace, context.color_trc = look.matrix, look.transfer
        context.color_primaries = look.primaries
        context.color_range = 2 if look.full_range else 1
        for frame in reader.decode(video):
            frame.color_range = context.color_range
            if frame.format.name != stream.pix_fmt:
                frame = frame.reformat(format=stream.pix_fmt)  # noqa: PLW2901
            frame.pts, frame.time_base = count, 1 / rate
            frame.pict_type = 0  # else every frame stays the intra frame that it was in the pipe
            writer.mux(stream.encode(frame))
            count += 1
        writer.mux(stream.encode(None))
    return count


def main() -> None:
    """``python -m vsanimup.encoders OUT CRF LOOK``: see :func:`pyav_command`."""
    out, crf, text = sys.argv[1:]
    values = json.loads(text)
    try:
        encode(sys.stdin.buffer, Path(out), Look(**{**values, "sar": tuple(values["sar"])}), int(crf))
    except (OSError, ValueError) as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
