"""Encoders that turn a y4m pipe into a video file: x264, ffmpeg, or the libx264 inside PyAV."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

from vsanimup.encoding.video_flags import CHROMA, Look, ffmpeg_flags, x264_flags
from vsanimup.errors import AnimupError
from vsanimup.processes import find_program, module_command

CRF = 16
"""Constant rate factor: visually the same as the frames."""


def x264_command(program: str, out: Path, look: Look, crf: int) -> list[str]:
    """x264 from y4m on standard input to a Matroska file."""
    command = [program, "--demuxer", "y4m", "--crf", str(crf), "--tune", "animation", "--no-progress"]
    return [*command, "--log-level", "error", *x264_flags(look), "--muxer", "mkv", "-o", str(out), "-"]


def ffmpeg_command(program: str, out: Path, look: Look, crf: int) -> list[str]:
    """ffmpeg's libx264 from y4m on standard input to a Matroska file."""
    command = [program, "-y", "-v", "error", "-nostdin", "-f", "yuv4mpegpipe", "-i", "pipe:0", *ffmpeg_flags(look)]
    command += ["-c:v", "libx264", "-pix_fmt", pixel_format(look)]
    command += [part for name, value in libx264_options(look, crf).items() for part in (f"-{name}", value)]
    return [*command, "-f", "matroska", str(out)]


def pixel_format(look: Look) -> str:
    """The format as ffmpeg names it."""
    name = "gray" if look.layout == "400" else f"yuv{look.layout}p"
    return name if look.bits == 8 else f"{name}10le"


def libx264_options(look: Look, crf: int) -> dict[str, str]:
    """Options of the encoder that ffmpeg and PyAV share; of the colours, those that it has no other way to learn."""
    options = {"crf": str(crf), "tune": "animation"}
    told = [f"mastering-display={look.mastering.text(0.00002, 0.0001)}"] if look.mastering else []
    told += ["cll={},{}".format(*look.light)] if look.light else []
    return options | ({"x264-params": ":".join(told)} if told else {})


def pyav_command(out: Path, look: Look, options: dict[str, str], **more: str | int) -> list[str]:
    """This module as a program: PyAV's libx264 from y4m on standard input to a Matroska file.

    Args:
        out: The file.
        look: How the frames look.
        options: Options of the encoder.
        more: ``library``, another encoder of PyAV's; any attributes of its codec context.
    """
    chroma = {"chroma_sample_location": CHROMA[look.chroma]} if look.layout == "420" else {}
    settings = {
        "library": "libx264",
        "pix_fmt": pixel_format(look),
        "sample_aspect_ratio": look.sar,
        "colorspace": look.matrix,
        "color_trc": look.transfer,
        "color_primaries": look.primaries,
        "color_range": 2 if look.full_range else 1,
        "options": options | chroma,
        **more,
    }
    return module_command("vsanimup.encoding.encoders", str(out), json.dumps(settings))


def choose(wanted: str = "auto") -> tuple[str, str]:
    """Name and program of the encoder: the one wanted, or the first of x264, ffmpeg and PyAV that is there.

    Raises :class:`AnimupError` when the wanted one is missing.
    """
    if wanted not in ("auto", "x264", "ffmpeg", "pyav"):
        raise AnimupError(f"encoder must be auto, x264, ffmpeg or pyav, got {wanted!r}")
    for name in ("x264", "ffmpeg"):
        if wanted in ("auto", name) and (program := find_program(name)):
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
    return pyav_command(out, look, libx264_options(look, crf))


def encode(source: Any, out: Path, settings: dict[str, Any]) -> int:
    """Encode y4m from a binary file object by PyAV; the number of frames. For ``settings`` see :func:`pyav_command`."""
    import av

    count = 0
    with (
        av.open(source, "r", format="yuv4mpegpipe") as reader,
        av.open(str(out), "w", format="matroska") as writer,
    ):
        video = reader.streams.video[0]
        rate = Fraction(video.base_rate or 24)
        stream = writer.add_stream(settings.pop("library"), rate=rate, options=settings.pop("options"))
        stream.width, stream.height = video.width, video.height
        context = stream.codec_context
        context.sample_aspect_ratio = Fraction(*settings.pop("sample_aspect_ratio"))
        for name, value in settings.items():
            setattr(context, name, value)
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
    """``python -m vsanimup.encoding.encoders OUT SETTINGS``: see :func:`pyav_command`."""
    out, settings = sys.argv[1:]
    try:
        encode(sys.stdin.buffer, Path(out), json.loads(settings))
    except (OSError, ValueError) as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
