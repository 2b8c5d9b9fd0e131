"""What a film will be: its script looked at, its chunks laid out, and whether an earlier run's work goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from vsanimup.encoding.video_flags import Look, look_of, losses
from vsanimup.engines.cpu import usable_cores
from vsanimup.errors import AnimupError
from vsanimup.processes import find_program
from vsanimup.render import chunk_encoders, cuts, identity, mux
from vsanimup.render import source as sources
from vsanimup.render.child import Child
from vsanimup.render.chunk import Order, Script, open_script, versions_here
from vsanimup.render.chunk_encoders import ChunkEncoder
from vsanimup.render.journal import Entry, Journal
from vsanimup.sizes import count_of

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
    all_frames: bool = False
    """Whether the script is known to show all of the source."""
    chunk: int = CHUNK
    restart: bool = False
    overwrite: bool = False


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

    def versions(self, encoder: ChunkEncoder, here: dict[str, str]) -> dict[str, str]:
        """Versions of what makes frames and encodes them there; ``here`` are those of this process."""

    def run(self, orders: Sequence[Order], told: Callable[[int, int], None]) -> Iterator[Entry]:
        """Make chunks, in any order; ``told`` is told of a chunk's number and how many of its frames are done."""


@dataclass(kw_only=True)
class Plan:
    """What the film will be."""

    facts: dict[str, str]
    versions: dict[str, str]
    """Those of the machines that make it."""
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

    @property
    def nominal(self) -> Fraction:
        """The clip's own frame rate; 0 where it has none."""
        return Fraction(*self.info["rate"]) if self.info["rate"][0] else Fraction(0)

    @property
    def look(self) -> Look:
        """How the frames look."""
        return look_of(self.properties, self.info["format"])


def check(request: Request) -> None:
    if request.out.suffix.lower() != ".mkv":
        raise AnimupError(f"the film must be a Matroska file, got {request.out}; call it {request.out.stem}.mkv")
    for path in (request.source, Path(request.script.path)):
        if path is not None and path.resolve() == request.out.resolve():
            raise AnimupError(f"{path} would be overwritten by its own result; choose another name with -o")
    if request.chunk < 8:
        raise AnimupError(f"chunk must be at least 8 frames, got {request.chunk}")
    request.out.parent.mkdir(parents=True, exist_ok=True)


def planned(request: Request, journal: Journal, workers: Workers, watch: Watch) -> tuple[Plan, bool]:
    """The plan, and whether an earlier run began on it."""
    watch.stage(f"Reading {request.source or request.script.path}")
    tracks = sources.examine(request.source, request.tracks) if request.source else None
    with Child() as child:
        info = open_script(child, request.script, usable_cores())
        versions = workers.versions(request.encoder, versions_here(info, request.encoder))
        facts = _facts(request, info, versions)
        plan = Plan(facts=facts, versions=versions, info=info, tracks=tracks)
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


def asked(request: Request) -> dict[str, str]:
    """What the user asked for, as far as the film's bytes depend on it."""
    script, source = request.script, request.source
    facts = {"script": f"{Path(script.path).name}, {hashlib.sha256(script.text.encode()).hexdigest()[:16]}"}
    for name, value in sorted(script.arguments.items()):
        is_source = source is not None and name == "source" and Path(value) == source.resolve()
        facts[f"argument {name}"] = source.name if is_source and source else value
    facts["view"] = script.view
    facts["source"] = identity.fingerprint(source) if source else "none"
    facts["chunk length"] = f"{request.chunk} frames"
    return facts | request.encoder.facts() | identity.model_facts(script.arguments)


def _facts(request: Request, info: dict[str, Any], versions: dict[str, str]) -> dict[str, str]:
    """All that the film's bytes depend on."""
    clip = f"{count_of(info['frames'], 'frame')}, {info['width']}x{info['height']} {info['format']}"
    return asked(request) | {"clip": clip} | versions


def _agrees(request: Request, journal: Journal, plan: Plan) -> bool:
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
        f"{journal.folder} holds {count_of(there, 'chunk')} of another film: {'; '.join(changed[:3])}. "
        "Go on with what it was, or begin anew with --restart"
    )


def _lost(request: Request, plan: Plan) -> list[str]:
    encoder = _encoder(request.encoder, plan)
    name = {"libx264": "x264", "libx265": "x265", "libsvtav1": "svtav1"}[encoder.library]
    return [sentence for sentence in losses(name, encoder.look) if "aspect" not in sentence]


def _encoder(encoder: ChunkEncoder, plan: Plan) -> ChunkEncoder:
    return replace(encoder, look=plan.look, keyint=chunk_encoders.key_frames(plan.rate))


def sar_in_container(request: Request, plan: Plan) -> bool:
    """Whether the video's own headers cannot hold its sample aspect ratio."""
    return request.encoder.library == "libsvtav1" and plan.look.sar != (1, 1)


def _fits(request: Request, plan: Plan) -> None:
    """See that the source's sound goes with the script's film, as far as it can be seen now."""
    if sar_in_container(request, plan) and not find_program("ffmpeg"):
        raise AnimupError(mux.NO_ASPECT)
    if request.all_frames or plan.tracks is None or not plan.tracks.copied:
        return
    if not plan.nominal or not plan.tracks.duration:
        return
    own = plan.info["frames"] / plan.nominal
    most = max(LENGTHS_AGREE, plan.tracks.duration / 50)
    if abs(own - plan.tracks.duration) > most:
        raise AnimupError(
            f"the script's film lasts {float(own):.1f} s and {plan.tracks.path} {float(plan.tracks.duration):.1f} s, "
            "so its sound would not fit; keep all frames in the script, or leave the tracks out with --no-tracks"
        )


def orders(request: Request, plan: Plan, chunks: Sequence[tuple[int, int]], folder: Path) -> list[Order]:
    """Orders for chunks, given by their first frames and ends, that go into a folder."""
    encoder = _encoder(request.encoder, plan)
    rate = plan.rate
    return [
        Order(
            index=index,
            first=first,
            end=end,
            script=request.script,
            encoder=encoder,
            rate=(rate.numerator, rate.denominator),
            folder=str(folder),
            versions=plan.versions,
        )
        for index, (first, end) in enumerate(chunks)
    ]
