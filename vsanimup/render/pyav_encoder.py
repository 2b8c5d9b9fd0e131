"""PyAV as an encoder of chunks: ``python -P -m vsanimup.render.pyav_encoder OUT JSON``, y4m on standard input."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from typing import Any, BinaryIO


def encode(source: BinaryIO, out: str, told: dict[str, Any]) -> int:
    """Encode y4m to a Matroska file as :class:`vsanimup.render.chunk_encoders.ChunkEncoder` says; the frames' number."""
    import av

    count = 0
    with av.open(source, "r", format="yuv4mpegpipe") as reader, av.open(out, "w", format="matroska") as writer:
        video = reader.streams.video[0]
        rate = Fraction(video.base_rate or 24)
        stream = writer.add_stream(told["library"], rate=rate, options=told["options"])
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, told["pixels"]
        context = stream.codec_context
        context.thread_count, context.gop_size = told["threads"], told["keyint"]
        context.sample_aspect_ratio = Fraction(*told["sar"])
        context.colorspace, context.color_trc = told["matrix"], told["transfer"]
        context.color_primaries = told["primaries"]
        context.color_range = 2 if told["full_range"] else 1
        if told["chroma"] is not None:
            context.chroma_sample_location = told["chroma"] + 1  # libavcodec's numbers are VapourSynth's plus one
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
    """See the module."""
    out, text = sys.argv[1:]
    try:
        encode(sys.stdin.buffer, out, json.loads(text))
    except (OSError, ValueError) as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
