"""Joins chunks, and puts beside them what the source has beside its pictures; nothing is encoded again."""

from __future__ import annotations

import hashlib
import heapq
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from vsanimup.encoding.video_flags import UNSPECIFIED, Look
from vsanimup.errors import AnimupError
from vsanimup.processes import find_program
from vsanimup.render.source import Tracks, attachments
from vsanimup.render.times import TICKS
from vsanimup.sizes import count_of

TICK = Fraction(1, TICKS)
SAME_BYTES = "+bitexact"
"""FFmpeg's ``fflags`` for files that depend on what goes into them alone: without, tracks get random numbers."""
NO_ASPECT = (
    "AV1 holds no sample aspect ratio, and only ffmpeg can tell the container; install ffmpeg, or use --encoder x265"
)


@dataclass(frozen=True, kw_only=True)
class Film:
    """A film as it is to be."""

    chunks: Sequence[Path]
    times: Sequence[int]
    """Ticks of each frame, and of the end."""
    rate: Fraction | None
    """Frames a second, where it is steady."""
    size: tuple[int, int]
    """Width and height."""
    look: Look
    sar_in_container: bool
    """Whether the container has to be told the sample aspect ratio, for the video's own headers hold none."""
    tracks: Tracks | None


@dataclass(frozen=True, kw_only=True)
class Written:
    """What went into a file."""

    video: str
    """SHA-256 of the video packets' content, in the order of decoding."""
    packets: dict[int, int]
    """Packets of each other stream, by index in the file."""


def join(film: Film, out: Path, step: Callable[[int], None] = lambda _: None) -> Written:
    """Write a film's Matroska file; ``step`` is told the number of frames that are in.

    Raises:
        AnimupError: The chunks' headers differ, or a file cannot be read or written.
    """
    import av

    try:
        with ExitStack() as stack:
            return _join(film, out, step, stack)
    except av.FFmpegError as error:
        raise AnimupError(f"{error.filename or out}: {error.strerror or error}") from error


def _join(film: Film, out: Path, step: Callable[[int], None], stack: ExitStack) -> Written:
    import av

    output = stack.enter_context(av.open(str(out), "w", format="matroska", options={"fflags": SAME_BYTES}))
    first = stack.enter_context(av.open(str(film.chunks[0])))
    template: Any = first.streams.video[0]
    video: Any = output.add_stream_from_template(template, opaque=True)  # AV1 is decoded by another library
    video.time_base = TICK
    video.codec_context.sample_aspect_ratio = Fraction(*film.look.sar)
    video.codec_context.framerate = film.rate or 0
    copies: Iterator[tuple[Fraction, Any]] = iter(())
    if film.tracks is not None:
        source = stack.enter_context(av.open(str(film.tracks.path)))
        targets = {index: _copy_stream(output, source.streams[index]) for index in film.tracks.copied}
        for name, kind, data in attachments(film.tracks.path, film.tracks):
            output.add_attachment(name, kind, data)
        output.metadata.update({k: v for k, v in source.metadata.items() if k.lower() not in ("encoder", "duration")})
        video.metadata.update({k: v for k, v in source.streams.video[0].metadata.items() if k in ("language", "title")})
        video.disposition = source.streams.video[0].disposition
        if chapters := source.chapters():
            output.set_chapters(chapters)
        copies = _copied(source, targets)
    seen = hashlib.sha256()
    packets: Counter[int] = Counter()
    count = 0
    for _, packet in heapq.merge(_video(film, video), copies, key=lambda pair: pair[0]):
        if packet.stream is video:
            seen.update(bytes(packet))
            count += 1
            step(count)
        else:
            packets[packet.stream.index] += 1
        output.mux_one(packet)
    return Written(video=seen.hexdigest(), packets=dict(packets))


def tell_aspect(film: Film, joined: Path, out: Path) -> None:
    """Copy a joined file into one whose container knows the sample aspect ratio, which PyAV cannot tell it.

    Matroska holds it as a size in whole samples. H.264 and HEVC hold it exactly, among their parameters.

    Raises:
        AnimupError: ffmpeg is missing, or failed.
    """
    import av

    program = find_program("ffmpeg")
    if program is None:
        raise AnimupError(NO_ASPECT)
    with av.open(str(joined)) as container:
        video = container.streams.video[0]
        shape = Fraction(video.width * film.look.sar[0], video.height * film.look.sar[1])
    command = [program, "-y", "-v", "error", "-nostdin", "-copyts", "-i", str(joined), "-map", "0", "-c", "copy"]
    command += [
        "-aspect:v:0",
        f"{shape.numerator}:{shape.denominator}",
        "-fflags",
        SAME_BYTES,
        "-f",
        "matroska",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise AnimupError(f"ffmpeg could not write {out}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")


def _copy_stream(output: Any, stream: Any) -> Any:
    target = output.add_stream_from_template(stream)
    target.metadata.update(
        {k: v for k, v in stream.metadata.items() if not k.upper().startswith(("_STATISTICS", "BPS"))}
    )
    target.disposition = stream.disposition
    return target


def _video(film: Film, video: Any) -> Iterator[tuple[Fraction, Any]]:
    """Packets of all chunks, with the film's times, and when they are decoded.

    The encoder's own times only give the order in which frames are shown. Decoding runs ahead of showing by as many
    frames as the chunks' reordering needs, the same number all through.
    """
    import av

    delay = max(_delay(path) for path in film.chunks)
    headers = None
    before = 0
    for path in film.chunks:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            own = bytes(stream.codec_context.extradata or b"")
            if headers not in (None, own):
                raise AnimupError(f"{path} has other headers than the chunks before it; begin anew with --restart")
            headers = own
            packets = [packet for packet in container.demux(stream) if packet.size]
            shown = {pts: n for n, pts in enumerate(sorted(packet.pts or 0 for packet in packets), before)}
            for position, packet in enumerate(packets, before):
                number = shown[packet.pts or 0]
                decoded = position - delay
                packet.stream, packet.time_base = video, TICK
                packet.pts, packet.duration = film.times[number], film.times[number + 1] - film.times[number]
                # frames before the first are as far apart as a tick: they only have to be in order
                packet.dts = film.times[decoded] if decoded >= 0 else film.times[0] + decoded
                yield packet.dts * TICK, packet
            before += len(packets)


def _delay(path: Path) -> int:
    """Frames by which decoding must run ahead of showing."""
    import av

    with av.open(str(path)) as container:
        times = [packet.pts or 0 for packet in container.demux(video=0) if packet.size]
    shown = {pts: n for n, pts in enumerate(sorted(times))}
    return max(position - shown[pts] for position, pts in enumerate(times))


def _copied(source: Any, targets: dict[int, Any]) -> Iterator[tuple[Fraction, Any]]:
    """Packets of the source's other streams and their times."""
    if not targets:
        return
    ends: dict[int, int] = {}
    for packet in source.demux([source.streams[index] for index in targets]):
        if not packet.size:
            continue
        index, base = packet.stream.index, Fraction(packet.time_base)
        if packet.pts is None:  # old containers leave out what can be counted
            packet.pts = packet.dts if packet.dts is not None else ends.get(index, 0)
        if packet.dts is None:
            packet.dts = packet.pts
        ends[index] = packet.pts + (packet.duration or 0)
        packet.stream = targets[index]
        yield packet.dts * base, packet


def verify(film: Film, written: Written, path: Path) -> None:
    """Read a joined file again and see that it is what went in, with the right times.

    Raises:
        AnimupError: It is not.
    """
    import av

    seen = hashlib.sha256()
    times: list[int] = []
    packets: Counter[int] = Counter()
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        base, size = Fraction(str(video.time_base)), (video.width, video.height)
        sar = Fraction(str(video.sample_aspect_ratio or 1)) or Fraction(1)
        colours = (int(video.colorspace), int(video.color_trc), int(video.color_primaries))
        for packet in container.demux([s for s in container.streams if s.type in ("video", "audio", "subtitle")]):
            if not packet.size:
                continue
            if packet.stream_index == video.index:
                seen.update(bytes(packet))
                times.append(round((packet.pts or 0) * base / TICK))
            elif packet.stream.type != "video":
                packets[packet.stream_index] += 1
    times.sort()
    shift = times[0] - film.times[0] if times else 0  # where sound begins before zero, all is moved
    told = (film.look.matrix, film.look.transfer, film.look.primaries)
    problem = None
    if len(times) != len(film.times) - 1:
        problem = f"it holds {count_of(len(times), 'frame')} of {len(film.times) - 1}"
    elif any(a - b != shift for a, b in zip(times, film.times, strict=False)):
        problem = "its frame times are not those of the frames"
    elif seen.hexdigest() != written.video:
        problem = "its video is not that of the chunks"
    elif dict(packets) != written.packets:
        problem = f"its tracks hold {dict(packets)} packets of {written.packets}"
    elif abs(sar - Fraction(*film.look.sar)) * size[0] > 1:  # a container counts in whole samples
        problem = f"its sample aspect ratio is {sar}, the film's {film.look.sar[0]}:{film.look.sar[1]}"
    elif size != film.size:
        problem = f"it is {size[0]}x{size[1]}, the film {film.size[0]}x{film.size[1]}"
    elif any(UNSPECIFIED not in pair and pair[0] != pair[1] for pair in zip(colours, told, strict=True)):
        problem = f"its matrix, transfer and primaries are {colours}, the film's {told}"
    if problem is not None:
        raise AnimupError(f"the joined film is not right: {problem}; start again, and report it if it stays")
