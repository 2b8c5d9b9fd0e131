"""How fast a preview answers: a random seek beside reading on, ``python -m benchmarks.seek``.

Both filters, on a pan in which every frame is a new drawing. ``Restore`` is told a task, since ``auto`` finds nothing
to do in that clip; else arguments are the defaults, or those of ``--restore`` and ``--upscale``. A seek is one frame
asked for alone, far from the last one; its cost is also given in linear frames, so that a slow machine cancels out.
``played`` are seeks away from a clip that was being read on.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from typing import Annotated, Any

import typer
import vapoursynth as vs
from rich.console import Console
from rich.table import Table

from benchmarks.contenders import LEAD
from benchmarks.pictures import video
from benchmarks.speed import settle

SIZES = "640x360,1280x720,1920x1080"
FAR = 500
"""Frames between one seek and the next, at least."""


def chain(width: int, height: int, restore: dict[str, Any], upscale: dict[str, Any]) -> vs.VideoNode:
    """The pan at a size, through both filters."""
    clip = video(vs)
    if (width, height) != (clip.width, clip.height):
        clip = clip.resize.Bicubic(width, height)
    return vs.core.animup.Upscale(vs.core.animup.Restore(clip, **restore), **upscale)


def seconds(clip: vs.VideoNode, frames: list[int]) -> float:
    """Seconds that these frames take, one after the other."""
    start = time.perf_counter()
    for n in frames:
        clip.get_frame(n).close()
    return time.perf_counter() - start


def linear(clip: vs.VideoNode, first: int, count: int) -> float:
    """Seconds a frame, read on as an encoder reads: with several frames asked for at once."""
    frames = clip[first : first + LEAD + count].frames(close=True)
    for _ in range(LEAD):
        next(frames)
    start = time.perf_counter()
    for _ in range(count):
        next(frames)
    return (time.perf_counter() - start) / count


def measure(clip: vs.VideoNode, seeks: int, count: int) -> dict[str, float]:
    """Medians in seconds: ``linear`` a frame, ``seek``, and ``played``, a seek away from frames that are read on."""
    rng = random.Random(1)
    places = rng.sample(range(FAR, clip.num_frames - FAR, FAR), 2 * seeks + 1)
    seconds(clip, [places.pop()])  # loads the networks
    settle()
    read = linear(clip, 0, count)
    alone, played = [], []
    for place in places[:seeks]:
        settle()
        alone.append(seconds(clip, [place + rng.randrange(100)]))
    for place in places[seeks:]:
        settle()
        seconds(clip, list(range(place - 200, place - 190)))
        played.append(seconds(clip, [place + rng.randrange(100)]))
    return {"linear": read, "seek": statistics.median(alone), "played": statistics.median(played)}


def main(
    sizes: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the source, several with commas.")] = SIZES,
    seeks: Annotated[int, typer.Option(min=1, help="Seeks whose median is taken.")] = 10,
    frames: Annotated[int, typer.Option(min=1, help="Linear frames timed.")] = 48,
    restore: Annotated[str, typer.Option(help="Arguments of Restore, as JSON.")] = '{"task": "denoise"}',
    upscale: Annotated[str, typer.Option(help="Arguments of Upscale, as JSON.")] = "{}",
) -> None:
    """Print the table."""
    columns = "source", "linear s", "seek s", "in linear frames", "seek while playing s", "in linear frames"
    table = Table(*columns, title="Both filters")
    for size in sizes.split(","):
        width, height = map(int, size.split("x"))
        found = measure(chain(width, height, json.loads(restore), json.loads(upscale)), seeks, frames)
        read = found["linear"]
        table.add_row(
            size,
            f"{read:.3f}",
            f"{found['seek']:.2f}",
            f"{found['seek'] / read:.1f}",
            f"{found['played']:.2f}",
            f"{found['played'] / read:.1f}",
        )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
