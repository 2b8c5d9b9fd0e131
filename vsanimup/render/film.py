"""A film from its script to the finished file: plan, chunks, join, checks."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from vsanimup.engines.cpu import usable_cores
from vsanimup.errors import AnimupError
from vsanimup.render import chunk_encoders, cuts, identity, mux, times
from vsanimup.render import source as sources
from vsanimup.render.child import Child
from vsanimup.render.chunk import Order, Script, open_script
from vsanimup.render.chunk_encoders import ChunkEncoder
from vsanimup.render.journal import Entry, Journal, chunk_name, partial, put, put_json
from vsanimup.video_flags import look_of, losses

CHUNK = 480
"""Frames of a chunk: 20 seconds of film. Shorter ones cost key frames and windows computed twice, longer ones more of
the work that an interruption loses."""
LENGTHS_AGREE = Fraction(1)
"""Seconds by which a script's film may be longer or shorter than the source, for its sound still to fit."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A film to be made."""

    script: Script
    out: Path
    encoder: ChunkEncoder
    """Its look and key frames are found out here."""
    source: Path | None = None
    """Where sound, subtitles, chapters, attachments and the time of the first frame come from."""
    tracks: bool = True
    """Whether sound, subtitles, chapters and attachments are copied at all."""
    chunk: int = CHUNK
    restart: bool = False
    overwrite: bool = False


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


class Watch(Protocol):
    """Whoever looks on."""

    def stage(self, text: str) -> None:
        """Something that takes a while begins."""

    def warn(self, text: str) -> None:
        """Something the user should know."""

    def begin(self, frames: int, done: int, chunks: int, chunks_done: int) -> None:
        """Rendering begins, at so many frames and chunks done of so many."""

    def advance(self, frames: int, chunks: int) -> None:
        """Frames and chunks done by now."""


class Workers(Protocol):
    """Whatever makes chunks."""

    def run(self, orders: Sequence[Order], told: Callable[[int, int], None]) -> Iterator[Entry]:
        """Make them, in any order; ``told`` is told of a chunk's number and how many of its frames are done."""


@dataclass(kw_only=True)
class _Plan:
    """What the film will be."""

    facts: dict[str, str]
    info: dict[str, Any]
    tracks: sources.Tracks | None
    properties: dict[str, Any] = field(default_factory=dict)
    borders: list[int] = field(default_factory=list)

    @property
    def rate(self) -> Fraction:
        """Frames a second; where the clip has no steady rate, the mean over the source's duration."""
        if self.info["rate"][0]:
            return Fraction(*self.info["rate"])
        if self.tracks is not None and self.tracks.duration:
            return Fraction(self.info["frames"] / self.tracks.duration).limit_denominator(1001)
        return Fraction(24)


def make(request: Request, workers: Workers, watch: Watch) -> Summary:
    """Make a film, going on where an earlier run ended.

    Raises:
        AnimupError: It cannot be made, or what is there already belongs to another film, and what to do.
    """
    began = time.monotonic()
    _check(request)
    journal = Journal(request.out)
    with journal.held():
        if summary := _finished(request, journal, began):
            return summary
        if request.out.exists() and not request.overwrite:
            raise AnimupError(f"{request.out} is there already; give another name, or --overwrite")
        plan, resumed = _planned(request, journal, watch)
        orders = _orders(request, plan, journal)
        entries, damaged = journal.entries() if resumed else ({}, [])
        for sentence in damaged:
            watch.warn(sentence)
        there = len(entries)
        _render(orders, entries, workers, watch)
        film = _film(request, plan, journal, [entries[order.index] for order in orders])
        summary = Summary(
            path=request.out,
            width=plan.info["width"],
            height=plan.info["height"],
            frames=plan.info["frames"],
            duration=(film.times[-1] - film.times[0]) / times.TICKS,
            chunks=len(orders),
            resumed=there,
            seconds=time.monotonic() - began,
            size=0,
            encoder=request.encoder.name,
        )
        summary = _join(film, summary, journal, watch)
        journal.clear()
    return replace(summary, seconds=time.monotonic() - began)


def _check(request: Request) -> None:
    if request.out.suffix.lower() != ".mkv":
        raise AnimupError(f"the film must be a Matroska file, got {request.out}; call it {request.out.stem}.mkv")
    for path in (request.source, Path(request.script.path)):
        if path is not None and path.resolve() == request.out.resolve():
            raise AnimupError(f"{path} would be overwritten by its own result; choose another name with -o")
    if request.chunk < 8:
        raise AnimupError(f"chunk must be at least 8 frames, got {request.chunk}")
    request.out.parent.mkdir(parents=True, exist_ok=True)


def _finished(request: Request, journal: Journal, began: float) -> Summary | None:
    """The summary of a film that was put in place by a run which ended before it had tidied up."""
    import json

    mark = journal.folder / "done.json"
    try:
        done = json.loads(mark.read_text(encoding="utf-8"))
        if done["film"] != identity.fingerprint(request.out):
            return None
        summary = Summary(**done["summary"] | {"path": request.out, "seconds": time.monotonic() - began})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    journal.clear()
    return summary


def _planned(request: Request, journal: Journal, watch: Watch) -> tuple[_Plan, bool]:
    """The plan, and whether an earlier run began on it."""
    watch.stage(f"Reading {request.source or request.script.path}")
    tracks = sources.examine(request.source, request.tracks) if request.source else None
    with Child() as child:
        info = open_script(child, request.script, usable_cores())
        plan = _Plan(facts=_facts(request, info), info=info, tracks=tracks)
        resumed = _agrees(request, journal, plan)
        if resumed:
            plan.properties, plan.borders = journal.plan["properties"], journal.plan["borders"]
        else:
            plan.properties = child.ask("properties")["properties"]
            watch.stage("Looking for scene cuts")
            grid = cuts.grid(info["frames"], request.chunk)
            reach = min(cuts.REACH, request.chunk // 4)
            plan.borders = child.ask("cuts", near=grid, reach=reach)["borders"]
            journal.begin(plan.facts, {"properties": plan.properties, "borders": plan.borders})
    journal.sweep()
    for sentence in (*(tracks.left_out if tracks else ()), *_lost(request, plan)):
        watch.warn(sentence)
    _fits(request, plan)
    return plan, resumed


def _facts(request: Request, info: dict[str, Any]) -> dict[str, str]:
    """All that the film's bytes depend on."""
    import hashlib

    script, source = request.script, request.source
    facts = {"script": f"{Path(script.path).name}, {hashlib.sha256(script.text.encode()).hexdigest()[:16]}"}
    for name, value in sorted(script.arguments.items()):
        is_source = source is not None and name == "source" and Path(value) == source.resolve()
        facts[f"argument {name}"] = source.name if is_source and source else value
    facts["view"] = script.view
    facts["source"] = identity.fingerprint(source) if source else "none"
    facts["clip"] = f"{info['frames']} frames, {info['width']}x{info['height']} {info['format']}"
    facts["chunk length"] = f"{request.chunk} frames"
    facts |= {name: fact for name, fact in request.encoder.facts().items() if name not in ("look", "key frames every")}
    facts |= identity.model_facts(script.arguments)
    return facts | identity.versions(info["core"], info["plugins"])


def _agrees(request: Request, journal: Journal, plan: _Plan) -> bool:
    """Whether there is an earlier run's work to go on with; what cannot be used is deleted if that is wanted."""
    if request.restart:
        return False
    if not journal.read():
        return False
    changed = identity.differences(journal.facts, plan.facts)
    if not changed:
        journal.chunks.mkdir(parents=True, exist_ok=True)
        return True
    there = len(list(journal.chunks.glob("*.json")))
    raise AnimupError(
        f"{journal.folder} holds {there} chunks of another film: {'; '.join(changed[:3])}. "
        "Go on with what it was, or begin anew with --restart"
    )


def _lost(request: Request, plan: _Plan) -> list[str]:
    encoder = _told(request.encoder, plan)
    name = {"libx264": "x264", "libx265": "x265", "libsvtav1": "svtav1"}[encoder.library]
    return [sentence for sentence in losses(name, encoder.look) if "aspect" not in sentence]


def _told(encoder: ChunkEncoder, plan: _Plan) -> ChunkEncoder:
    look = look_of(plan.properties, plan.info["format"])
    return replace(encoder, look=look, keyint=chunk_encoders.key_frames(plan.rate))


def _fits(request: Request, plan: _Plan) -> None:
    """See that the source's sound goes with the script's film, as far as it can be seen now."""
    look = look_of(plan.properties, plan.info["format"])
    if request.encoder.library == "libsvtav1" and look.sar != (1, 1) and not shutil.which("ffmpeg"):
        raise AnimupError(
            "AV1 holds no sample aspect ratio, and only ffmpeg can tell the container; install ffmpeg, "
            "or use --encoder x265"
        )
    if plan.tracks is None or not plan.tracks.copied or not plan.info["rate"][0] or not plan.tracks.duration:
        return
    own = plan.info["frames"] / plan.rate
    most = max(LENGTHS_AGREE, plan.tracks.duration / 50)
    if own < plan.tracks.duration - most and plan.info["has_source"]:
        return  # the pictures of the source end before its sound
    if abs(own - plan.tracks.duration) > most:
        raise AnimupError(
            f"the script's film lasts {float(own):.1f} s and {plan.tracks.path} {float(plan.tracks.duration):.1f} s, "
            "so its sound would not fit; keep all frames in the script, or leave the tracks out with --no-tracks"
        )


def _orders(request: Request, plan: _Plan, journal: Journal) -> list[Order]:
    encoder = _told(request.encoder, plan)
    versions = identity.versions(plan.info["core"], plan.info["plugins"]) | {"encoder version": encoder.version}
    rate = plan.rate
    return [
        Order(
            index=index,
            first=first,
            end=end,
            script=request.script,
            encoder=encoder,
            rate=(rate.numerator, rate.denominator),
            folder=str(journal.chunks),
            versions=versions,
        )
        for index, (first, end) in enumerate(cuts.chunks(plan.info["frames"], plan.borders))
    ]


def _render(orders: Sequence[Order], entries: dict[int, Entry], workers: Workers, watch: Watch) -> None:
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


def _film(request: Request, plan: _Plan, journal: Journal, entries: Sequence[Entry]) -> mux.Film:
    """The film that the chunks make; raises :class:`AnimupError` where they do not fit each other."""
    if len({entry.headers for entry in entries}) > 1:
        raise AnimupError("the chunks' headers differ, so they cannot be joined; begin anew with --restart")
    runs = [run for entry in entries for run in entry.durations]
    shown = times.ticks(plan.tracks.start if plan.tracks else Fraction(0), runs)
    if len(shown) != plan.info["frames"] + 1:
        raise AnimupError("the chunks are not those of the film; begin anew with --restart")
    look = look_of(plan.properties, plan.info["format"])
    nominal = Fraction(*plan.info["rate"]) if plan.info["rate"][0] else Fraction(0)
    return mux.Film(
        chunks=[journal.chunks / chunk_name(entry.index) for entry in entries],
        times=shown,
        rate=times.steady_rate(runs, nominal),
        sar=look.sar,
        tracks=plan.tracks if request.tracks else None,
    )


def _join(film: mux.Film, summary: Summary, journal: Journal, watch: Watch) -> Summary:
    """Join the chunks and put the film in its place, once it was read again and found right."""
    watch.stage("Joining")
    needed = sum(path.stat().st_size for path in film.chunks) * (1 if film.sar == (1, 1) else 2)
    free = shutil.disk_usage(journal.folder).free
    if free < needed:
        raise AnimupError(
            f"the disk is full: joining takes {needed >> 20} MiB, and {journal.folder} has {free >> 20} MiB; "
            "make room and start again"
        )
    joined = partial(journal.folder / "film.mkv")
    try:
        written = mux.join(film, joined)
        if film.sar != (1, 1):
            told = partial(journal.folder / "film.mkv")
            if mux.tell_aspect(film, joined, told):
                os.replace(told, joined)
        watch.stage("Checking")
        mux.verify(film, written, joined)
        summary = replace(summary, size=joined.stat().st_size)
        # should this process end between the next two steps, the next start learns here that there is nothing to do
        told_of = asdict(summary) | {"path": str(summary.path)}
        put_json({"film": identity.fingerprint(joined), "summary": told_of}, journal.folder / "done.json")
        put(joined, summary.path)
        return summary
    finally:
        joined.unlink(missing_ok=True)
