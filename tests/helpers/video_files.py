"""Small films in files, and what such files hold."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


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
