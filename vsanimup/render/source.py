"""What a source holds beside its pictures, and what of it Matroska can hold."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from vsanimup.errors import AnimupError


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """Streams of a source that go into the film, by index."""

    path: Path
    copied: tuple[int, ...]
    """Sound and subtitles."""
    attached: tuple[int, ...]
    """Fonts and other files, covers among them."""
    left_out: tuple[str, ...]
    """A sentence on each that cannot go."""
    start: Fraction
    """Time of the first frame, seconds."""
    duration: Fraction | None
    """Seconds that the video lasts; None where the file does not say."""


def examine(path: Path, wanted: bool = True) -> Tracks:
    """Look at a source.

    Args:
        path: The file.
        wanted: Whether sound, subtitles and attachments are to go into the film at all.

    Raises:
        AnimupError: It is no video that can be read.
    """
    import av

    copied, attached, left_out = [], [], []
    try:
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            start = _first_time(container, video)
            for stream in container.streams if wanted else ():
                if stream.type in ("audio", "subtitle"):
                    if _storable(stream):
                        copied.append(stream.index)
                    else:
                        left_out.append(_sentence(stream))
                elif stream.type == "attachment" or (stream.type == "video" and is_cover(stream)):
                    attached.append(stream.index)
                elif stream.index != video.index:
                    left_out.append(_sentence(stream))
            length = _duration(video)
    except (av.FFmpegError, IndexError) as error:
        raise AnimupError(f"{path} is no video that can be read ({error})") from None
    return Tracks(
        path=path,
        copied=tuple(copied),
        attached=tuple(attached),
        left_out=tuple(left_out),
        start=start,
        duration=length,
    )


def _duration(video: Any) -> Fraction | None:
    """Seconds that a video stream lasts, as its header or Matroska's tag says."""
    if video.duration:
        return Fraction(video.duration) * Fraction(str(video.time_base))
    hours, _, rest = video.metadata.get("DURATION", "").partition(":")
    minutes, _, seconds = rest.partition(":")
    try:
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    except ValueError:
        return None


def _first_time(container: Any, video: Any) -> Fraction:
    for frame in container.decode(video):
        return Fraction(frame.pts or 0) * Fraction(str(frame.time_base))
    raise AnimupError(f"{container.name} holds no frame")


def is_cover(stream: Any) -> bool:
    """Whether a video stream is one attached picture."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _storable(stream: Any) -> bool:
    """Whether a stream can be copied into Matroska, found out by trying."""
    import av

    try:
        with av.open(io.BytesIO(), "w", format="matroska") as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _sentence(stream: Any) -> str:
    context = stream.codec_context
    name = context.name if context is not None else "of an unknown kind"
    return f"{stream.type} track {stream.index} ({name}) cannot be copied into Matroska, and is left out"


def attachments(path: Path, tracks: Tracks) -> Iterator[tuple[str, str, bytes]]:
    """Name, MIME type and content of attached files."""
    import av

    with av.open(str(path)) as container:
        for index in tracks.attached:
            stream: Any = container.streams[index]
            if stream.type == "attachment":
                yield stream.name or f"attachment_{index}", stream.mimetype or "application/octet-stream", stream.data
                continue
            kind = {"png": "png", "mjpeg": "jpeg"}.get(stream.codec_context.name, stream.codec_context.name)
            name = stream.metadata.get("filename", f"cover.{kind.replace('jpeg', 'jpg')}")
            container.seek(0)
            data = next(bytes(packet) for packet in container.demux(stream) if packet.size)
            yield name, stream.metadata.get("mimetype", f"image/{kind}"), data
