"""Short samples of a film to come, and a sheet of stills before and after."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from vsanimup.engines.cpu import usable_cores
from vsanimup.errors import AnimupError
from vsanimup.partial import partial_file, sweep
from vsanimup.render import mux, plan, times
from vsanimup.render.child import Child
from vsanimup.render.chunk import Order, open_script, versions_here
from vsanimup.render.film import join_and_check, render
from vsanimup.render.journal import Entry, chunk_name
from vsanimup.render.plan import Plan, Request, Watch, Workers
from vsanimup.sizes import count_of

FRAMES = 48
"""Frames of a sample: two seconds of film."""
WIDEST = 960
"""Width of a still, at most."""
GAP = 4
"""Samples between stills."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What was made."""

    samples: tuple[Path, ...]
    sheet: Path
    before: bool
    """Whether the sheet shows the source, too."""
    film_seconds: float
    """Time that the whole film would take one worker."""
    film_size: int
    """Bytes that it would have, without its other tracks."""

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return asdict(self) | {"samples": [str(path) for path in self.samples], "sheet": str(self.sheet)}


def places(frames: int, count: int) -> list[tuple[int, int]]:
    """First frames and ends of ``count`` samples, each in the middle of its part of the film."""
    length = min(FRAMES, max(1, frames // count))
    middles = (frames * (2 * i + 1) // (2 * count) for i in range(count))
    return [(first, first + length) for first in (min(max(0, m - length // 2), frames - length) for m in middles)]


def make(request: Request, count: int, workers: Workers, watch: Watch) -> Samples:
    """Make samples and the sheet, in the folder ``NAME_samples`` beside the film that is asked for.

    Raises:
        AnimupError: They cannot be made, and why.
    """
    plan.check(request)
    folder = request.out.absolute().with_name(f"{request.out.stem}_samples")
    folder.mkdir(exist_ok=True)
    sweep(folder)
    with Child() as child, tempfile.TemporaryDirectory(dir=folder, prefix=".") as work:
        watch.stage(f"Reading {request.source or request.script.path}")
        info = open_script(child, request.script, usable_cores())
        versions = workers.versions(request.encoder, versions_here(info, request.encoder))
        wanted = Plan(
            facts={}, versions=versions, info=info, tracks=None, properties=child.ask("properties")["properties"]
        )
        if count > info["frames"]:
            raise AnimupError(f"sample must be at most the film's {count_of(info['frames'], 'frame')}, got {count}")
        at = places(info["frames"], count)
        orders = plan.orders(request, wanted, at, Path(work))
        entries: dict[int, Entry] = {}
        render(orders, entries, workers, watch)
        watch.stage("Making the sheet")
        made = [_sample(request, wanted, order, entries[order.index], folder, watch) for order in orders]
        before, sheet = _sheet(child, info, [(first + end) // 2 for first, end in at], Path(work))
        with partial_file(folder / "sheet.png") as written:
            written.write_bytes(sheet)
    frames = sum(entry.end - entry.first for entry in entries.values())
    share = info["frames"] / frames
    return Samples(
        samples=tuple(made),
        sheet=folder / "sheet.png",
        before=before,
        film_seconds=share * sum(entry.seconds for entry in entries.values()),
        film_size=round(share * sum(entry.size for entry in entries.values())),
    )


def _sample(request: Request, wanted: Plan, order: Order, entry: Entry, folder: Path, watch: Watch) -> Path:
    """Give a chunk its frame times and shape, and a name."""
    made = mux.Film(
        chunks=[Path(order.folder, chunk_name(order.index))],
        times=times.ticks(Fraction(0), entry.durations),
        rate=times.steady_rate(entry.durations, wanted.nominal),
        size=(wanted.info["width"], wanted.info["height"]),
        look=wanted.look,
        sar_in_container=plan.sar_in_container(request, wanted),
        tracks=None,
    )
    final = folder / f"sample_{order.index + 1:02d}.mkv"
    with partial_file(final) as written:
        join_and_check(made, written, watch)
    return final


def _sheet(child: Child, info: dict[str, Any], numbers: Sequence[int], work: Path) -> tuple[bool, bytes]:
    """Whether the source could be shown, and a PNG file with a row for each frame: before and after."""
    import av
    import numpy as np

    width = min(WIDEST, info["width"])
    height = max(1, round(info["height"] * width / info["width"]))
    rows = []
    before = False
    for number in numbers:
        base = work / str(number)
        before = child.ask("still", number=number, width=width, height=height, path=str(base))["before"]
        names = ("before", "after") if before else ("after",)
        row = [np.fromfile(f"{base}.{name}", np.uint8).reshape(height, width, 3) for name in names]
        for name in names:
            os.unlink(f"{base}.{name}")
        line = np.full((height, GAP, 3), 255, np.uint8)
        rows += [np.concatenate([row[0], line, row[1]], 1) if before else row[0]]
        rows += [np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)]
    picture = np.ascontiguousarray(np.concatenate(rows[:-1], 0))
    encoder: Any = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = picture.shape[1], picture.shape[0], "rgb24"
    encoder.time_base = Fraction(1, 24)
    packets = encoder.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")) + encoder.encode(None)
    return before, b"".join(bytes(packet) for packet in packets)
