"""A film from its script to the finished file: plan, chunks, join, checks."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

from vsanimup.errors import AnimupError
from vsanimup.render import cuts, identity, mux, times
from vsanimup.render.chunk import Order
from vsanimup.render.journal import Entry, Journal, chunk_name, partial, put, put_json
from vsanimup.render.plan import Plan, Request, Watch, Workers, asked, check, orders, planned, sar_in_container


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What was made."""

    path: Path
    width: int
    height: int
    frames: int
    duration: float
    """Seconds of film."""
    chunks: int
    resumed: int
    """Chunks that were there already."""
    seconds: float
    """Time that it took."""
    size: int
    encoder: str


def make(request: Request, workers: Workers, watch: Watch) -> Summary:
    """Make a film, going on where an earlier run ended.

    Raises:
        AnimupError: It cannot be made, or what is there already belongs to another film, and what to do.
    """
    began = time.monotonic()
    check(request)
    journal = Journal(request.out)
    with journal.held():
        if summary := _finished(request, journal, began):
            return summary
        if request.out.exists() and not request.overwrite:
            raise AnimupError(f"{request.out} is there already; give another name, or --overwrite")
        plan, resumed = planned(request, journal, workers, watch)
        wanted = orders(request, plan, cuts.chunks(plan.info["frames"], plan.borders), journal.chunks)
        entries, damaged = journal.entries() if resumed else ({}, [])
        for sentence in damaged:
            watch.warn(sentence)
        there = len(entries)
        render(wanted, entries, workers, watch)
        film = _film(request, plan, journal, [entries[order.index] for order in wanted])
        summary = Summary(
            path=request.out,
            width=plan.info["width"],
            height=plan.info["height"],
            frames=plan.info["frames"],
            duration=(film.times[-1] - film.times[0]) / times.TICKS,
            chunks=len(wanted),
            resumed=there,
            seconds=time.monotonic() - began,
            size=0,
            encoder=request.encoder.name,
        )
        summary = _join(request, film, summary, journal, watch)
        journal.clear()
    return replace(summary, seconds=time.monotonic() - began)


def _finished(request: Request, journal: Journal, began: float) -> Summary | None:
    """The summary of a film that was put in place by a run which ended before it had tidied up."""
    try:
        done = json.loads((journal.folder / "done.json").read_text(encoding="utf-8"))
        if done["film"] != identity.fingerprint(request.out):
            return None
        journal.clear()
        if done["asked"] != identity.digest(asked(request)):
            return None  # it is another film that is in place
        return Summary(**done["summary"] | {"path": request.out, "seconds": time.monotonic() - began})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def render(orders: Sequence[Order], entries: dict[int, Entry], workers: Workers, watch: Watch) -> None:
    """Make the chunks that are not there yet."""
    missing = [order for order in orders if order.index not in entries]
    done = sum(entry.end - entry.first for entry in entries.values())
    watch.begin(orders[-1].end, done, len(orders), len(entries))
    going: dict[int, int] = {}

    def tell() -> None:
        finished = sum(entry.end - entry.first for entry in list(entries.values()))
        watch.advance(finished + sum(list(going.values())), len(entries))

    def told(index: int, frames: int) -> None:
        if index not in entries:
            going[index] = frames
            tell()

    if missing:
        for entry in workers.run(missing, told):
            going.pop(entry.index, None)
            entries[entry.index] = entry
            tell()


def _film(request: Request, plan: Plan, journal: Journal, entries: Sequence[Entry]) -> mux.Film:
    """The film that the chunks make; raises :class:`AnimupError` where they do not fit each other."""
    if len({entry.headers for entry in entries}) > 1:
        raise AnimupError("the chunks' headers differ, so they cannot be joined; begin anew with --restart")
    runs = [run for entry in entries for run in entry.durations]
    shown = times.ticks(plan.tracks.start if plan.tracks else Fraction(0), runs)
    if len(shown) != plan.info["frames"] + 1:
        raise AnimupError("the chunks are not those of the film; begin anew with --restart")
    return mux.Film(
        chunks=[journal.chunks / chunk_name(entry.index) for entry in entries],
        times=shown,
        rate=times.steady_rate(runs, plan.nominal),
        size=(plan.info["width"], plan.info["height"]),
        look=plan.look,
        sar_in_container=sar_in_container(request, plan),
        tracks=plan.tracks if request.tracks else None,
    )


def _join(request: Request, film: mux.Film, summary: Summary, journal: Journal, watch: Watch) -> Summary:
    """Join the chunks and put the film in its place, once it was read again and found right."""
    watch.stage("Joining")
    needed = sum(path.stat().st_size for path in film.chunks) * (2 if film.sar_in_container else 1)
    free = shutil.disk_usage(journal.folder).free
    if free < needed:
        raise AnimupError(
            f"the disk is full: joining takes {needed >> 20} MiB, and {journal.folder} has {free >> 20} MiB; "
            "make room and start again"
        )
    made = partial(journal.folder / "film.mkv")
    try:
        join_and_check(film, made, watch)
        summary = replace(summary, size=made.stat().st_size)
        # should this process end between the next two steps, the next start learns here that there is nothing to do
        told = asdict(summary) | {"path": str(summary.path)}
        mark = {"film": identity.fingerprint(made), "asked": identity.digest(asked(request)), "summary": told}
        put_json(mark, journal.folder / "done.json")
        put(made, summary.path)
        return summary
    finally:
        made.unlink(missing_ok=True)


def join_and_check(film: mux.Film, out: Path, watch: Watch) -> None:
    """Join chunks into ``out``, and read it again.

    Raises:
        AnimupError: They cannot be joined, or the result is not right.
    """
    written = mux.join(film, out)
    if film.sar_in_container:
        told = partial(out)
        try:
            mux.tell_aspect(film, out, told)
            os.replace(told, out)
        finally:
            told.unlink(missing_ok=True)
    watch.stage("Checking")
    mux.verify(film, written, out)
