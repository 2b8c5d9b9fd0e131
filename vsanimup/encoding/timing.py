"""When frames are shown: read from a script's frame properties, written into a file that an encoder made.

A y4m pipe has one frame rate. Where the source's varies, the encoded file gets its frames' times afterwards, without
being encoded again.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from vsanimup.encoding.vspipe import SAME_TIME

_TICK = Fraction(1, 1000)
"""Matroska's unit of time in seconds."""


def read_durations(props: Path) -> list[Fraction | None]:
    """Seconds that each frame is shown, from what ``vspipe -j`` wrote; ``None`` for frames that do not say."""
    found: list[Fraction | None] = []
    with props.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.strip().startswith("{"):
                frame = json.loads(line.strip().rstrip(","))
                parts = int(frame.get("_DurationNum", 0)), int(frame.get("_DurationDen", 0))
                found.append(Fraction(*parts) if all(parts) else None)
    return found


def times_of(durations: Sequence[Fraction | None]) -> list[Fraction] | None:
    """Seconds from the first frame at which each frame is shown, and at the end those at which the last one is gone.

    The last frame often does not say how long it is shown: then as long as the one before. ``None`` where another
    one does not.
    """
    *known, last = durations
    given = [duration for duration in known if duration is not None]
    if len(given) < len(known):
        return None
    return list(itertools.accumulate([*given, last or (given or [Fraction(0)])[-1]], initial=Fraction(0)))


def constant(durations: Sequence[Fraction | None], rate: Fraction) -> bool:
    """Whether frames are shown at one rate, as far as they say so and as milliseconds can tell."""
    if not rate:
        return False
    times = times_of(durations)
    if times is None:
        return all(shown is None or abs(shown - 1 / rate) <= SAME_TIME for shown in durations)
    return all(abs(time - index / rate) <= SAME_TIME for index, time in enumerate(times[:-1]))


def packet_times(path: Path) -> list[int]:
    """Presentation times of a file's video packets, in file order and its own unit, as far as it can be read."""
    import av

    found = []
    try:
        with av.open(str(path)) as container:
            for packet in container.demux(video=0):
                if packet.size > 0:
                    found.append(packet.pts or 0)
    except (av.FFmpegError, IndexError):
        pass
    return found


def retime(encoded: Path, times: Sequence[Fraction], out: Path) -> None:
    """Copy a video file, its frames shown at ``times``, to a Matroska file.

    Args:
        encoded: A file of one video stream, ``len(times) - 1`` frames.
        times: As :func:`times_of` gives them.
        out: File to write.
    """
    import av

    order = packet_times(encoded)
    place = {pts: index for index, pts in enumerate(sorted(order))}
    late = max(index - place[pts] for index, pts in enumerate(order))
    ticks = _rising(times)
    with av.open(str(encoded)) as reader, av.open(str(out), "w", format="matroska") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        stream.time_base = _TICK
        for index, packet in enumerate(p for p in reader.demux(video=0) if p.size > 0):
            shown = place[packet.pts or 0]
            packet.stream, packet.time_base = stream, _TICK
            packet.pts, packet.duration = ticks[shown], ticks[shown + 1] - ticks[shown]
            # a frame is decoded when the one ``late`` frames before it is shown; before the first: at its rate
            packet.dts = ticks[index - late] if index >= late else (index - late) * max(ticks[1], 1)
            writer.mux(packet)


def _rising(times: Sequence[Fraction]) -> list[int]:
    """Times in whole units, each above the one before: no player shows two frames at once."""
    ticks = (round(time / _TICK) for time in times)
    return list(itertools.accumulate(ticks, lambda before, now: max(before + 1, now)))
