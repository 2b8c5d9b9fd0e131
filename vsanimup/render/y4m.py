"""YUV4MPEG2, the format by which encoders take frames from a pipe."""

from __future__ import annotations

from fractions import Fraction
from typing import IO, TYPE_CHECKING

from vsanimup.errors import AnimupError

if TYPE_CHECKING:
    import vapoursynth as vs

_SUBSAMPLING = {(1, 1): "420", (1, 0): "422", (0, 0): "444", (2, 0): "411", (2, 2): "410", (0, 1): "440"}


def header(format: vs.VideoFormat, width: int, height: int, rate: Fraction) -> bytes:
    """First line of a stream.

    Raises:
        AnimupError: The format has floats or RGB, which y4m cannot carry.
    """
    import vapoursynth as vs

    if format.sample_type != vs.INTEGER or format.color_family not in (vs.YUV, vs.GRAY):
        raise AnimupError(
            f"the script gives {format.name}, which encoders cannot take; end it with "
            'clip.resize.Bicubic(format=vs.YUV420P10, matrix_s="709")'
        )
    bits = format.bits_per_sample
    if format.color_family == vs.GRAY:
        layout = "mono" + (str(bits) if bits > 8 else "")
    else:
        layout = _SUBSAMPLING[format.subsampling_w, format.subsampling_h] + (f"p{bits}" if bits > 8 else "")
    return f"YUV4MPEG2 C{layout} W{width} H{height} F{rate.numerator}:{rate.denominator} Ip A0:0\n".encode()


def write_frame(out: IO[bytes], frame: vs.VideoFrame) -> None:
    """Write the planes of a frame."""
    out.write(b"FRAME\n")
    for part in frame.readchunks():
        out.write(part)
