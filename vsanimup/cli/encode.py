"""The command ``animup encode``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsanimup.cli.errors import plain_errors, terminable
from vsanimup.cli.ranges import ranged
from vsanimup.errors import AnimupError
from vsanimup.sizes import count_of, show_bytes

if TYPE_CHECKING:
    from vsanimup.render.chunk import Script
    from vsanimup.render.film import Summary
    from vsanimup.render.plan import Request, Watch, Workers
    from vsanimup.render.samples import Samples

HELP = (
    "Restore and enlarge a whole film into a Matroska file, with its sound, subtitles, chapters and frame times.\n\n"
    "INPUT is a video, or a VapourSynth script (.vpy) of yours. The film is made in chunks of about 20 seconds. "
    "Interrupted in whatever way, the same command goes on where it ended, and the result is the same, byte for byte. "
    "So it is with any number of workers, here or on a Dask cluster."
)
DEFAULTS = {"task": "auto", "prompt": None, "scale": 2, "model": "lite", "deinterlace": "auto", "crop": "", "grain": 0}
"""Arguments of the ready script, as the options below have them."""
EVERY = 1.0
"""Seconds between lines of progress for programs."""


def encode(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A video, or a script that ends in .vpy.")],
    out: Annotated[Path | None, typer.Option("--output", "-o", help="The film; NAME_animup.mkv if left out.")] = None,
    task: Annotated[str, typer.Option(help="What to remove: auto, a task, or a mix of tasks.")] = "auto",
    prompt: Annotated[str | None, typer.Option(help="The same in words, instead of --task.")] = None,
    scale: Annotated[int, ranged(least=1, most=4, help="Enlargement: 2, 3 or 4; 1 only restores.")] = 2,
    model: Annotated[str, typer.Option(help="Model, as in the filters' argument.")] = "lite",
    deinterlace: Annotated[
        str, typer.Option(help="auto (bwdif where frames are marked as interlaced), bwdif, ivtc (undo 3:2), or off.")
    ] = "auto",
    crop: Annotated[str, typer.Option(help="Cut off LEFT,TOP,RIGHT,BOTTOM samples of the source.")] = "",
    grain: Annotated[float, ranged(least=0, most=1, help="Share of the fine noise taken away to give back.")] = 0,
    arguments: Annotated[
        list[str] | None, typer.Option("--arg", "-a", metavar="NAME=VALUE", help="Argument for the script.")
    ] = None,
    tracks_of: Annotated[
        Path | None,
        typer.Option("--source", help="With a .vpy: the video whose sound, subtitles and times the film gets."),
    ] = None,
    no_tracks: Annotated[bool, typer.Option("--no-tracks", help="Leave sound, subtitles and the like out.")] = False,
    encoder: Annotated[str, typer.Option(help="auto, x264, x265, svtav1, ffmpeg or pyav.")] = "auto",
    crf: Annotated[float | None, ranged(least=0, most=63, help="Quality; less is better.")] = None,
    preset: Annotated[str | None, typer.Option(help="The encoder's preset.")] = None,
    encoder_args: Annotated[
        str, typer.Option(help="More for the encoder: options for x264 and ffmpeg, key=value:… for the others.")
    ] = "",
    encoder_threads: Annotated[
        int, ranged(least=1, most=64, help="Threads of an encoder; the film's bytes depend on it.")
    ] = 4,
    chunk: Annotated[int, ranged(least=8, help="Frames of a chunk.")] = 480,
    workers: Annotated[int, ranged(least=1, most=256, help="Processes on this machine.")] = 1,
    dask: Annotated[str | None, typer.Option(metavar="tcp://HOST:8786", help="Scheduler of a Dask cluster.")] = None,
    resources: Annotated[
        str | None, typer.Option(metavar="NAME=N", help="Dask resources that a chunk takes, such as GPU=1.")
    ] = None,
    source_root: Annotated[
        Path | None, typer.Option(help="Folder of the sources, which workers have as $ANIMUP_SOURCE_ROOT.")
    ] = None,
    sample: Annotated[
        int | None, ranged(least=1, most=50, help="Only so many short samples, and a sheet before | after.")
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Source and result side by side.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away what an earlier run made.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the film if it is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Lines of JSON on standard output, for programs.")] = False,
) -> None:
    """``animup encode``; see HELP."""

    ready = {
        "task": task,
        "prompt": prompt,
        "scale": scale,
        "model": model,
        "deinterlace": deinterlace,
        "crop": crop,
        "grain": grain,
    }
    with plain_errors(), terminable():
        from vsanimup.render import chunk_encoders
        from vsanimup.render.plan import Request

        if not source.is_file():
            raise AnimupError(f"there is no file {source}")
        given = _arguments(arguments or [])
        script = _script(source, ready, given, "compare" if compare else "result")
        if source.suffix != ".vpy" and tracks_of is not None:
            raise AnimupError("--source goes with a .vpy script; the film gets the tracks of its INPUT")
        if source.suffix == ".vpy" and Path(given.get("source", "")).is_file():
            given["source"] = str(Path(given["source"]).resolve())  # scripts are run in their own folder
            tracks_of = tracks_of or Path(given["source"])
        if tracks_of is not None and not tracks_of.is_file():
            raise AnimupError(f"--source: there is no file {tracks_of}")
        if dask is not None and workers != 1:
            raise AnimupError("--workers counts processes here; with --dask, start workers by  dask worker")
        request = Request(
            script=script,
            out=out or Path(f"{source.stem}_animup.mkv"),
            encoder=chunk_encoders.choose(encoder, crf, preset, encoder_args, encoder_threads),
            source=(tracks_of if source.suffix == ".vpy" else source),
            tracks=not no_tracks,
            all_frames=source.suffix != ".vpy",
            chunk=chunk,
            restart=restart,
            overwrite=overwrite,
        )
        _run(request, _Cluster(dask, resources, source_root), workers, sample, as_json)


class _Cluster:
    """What the options say of a cluster; they make no sense without one."""

    def __init__(self, address: str | None, resources: str | None, root: Path | None) -> None:
        self.address, self.root = address, root
        if address is None and (resources is not None or root is not None):
            name = "--resources" if resources is not None else "--source-root"
            raise AnimupError(f"{name} goes with --dask, which is not given")
        self.resources: dict[str, float] = {}
        for part in (resources or "").split(",") if resources else ():
            name, _, count = part.partition("=")
            try:
                self.resources[name] = float(count)
            except ValueError:
                raise AnimupError(f"--resources must be NAME=N, such as GPU=1, got {resources!r}") from None


def _arguments(given: list[str]) -> dict[str, str]:
    for part in given:
        if "=" not in part:
            raise AnimupError(f"--arg must be NAME=VALUE, got {part!r}")
    return {name: value for name, _, value in (part.partition("=") for part in given)}


def _script(source: Path, ready: dict[str, Any], given: dict[str, str], view: str) -> Script:
    """The user's script, or the ready one with what the options say."""
    from vsanimup.cli import demo
    from vsanimup.render.chunk import Script

    said = {name: value for name, value in ready.items() if value != DEFAULTS[name]}
    if source.suffix == ".vpy":
        if said:
            raise AnimupError(f"--{next(iter(said))} goes with a video; with a script, say it in {source} or by --arg")
        path, arguments = source.resolve(), given
    else:
        path = demo.script_path()
        if "prompt" not in said:
            said = {"task": ready["task"], **said}
        if Path(model := str(said.get("model", ""))).exists() and model:
            said["model"] = str(Path(model).resolve())
        told = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in said.items()}
        arguments = {"source": str(source.resolve()), "deinterlace": ready["deinterlace"], **told, **given}
    return Script(path=str(path), text=path.read_text(encoding="utf-8"), arguments=arguments, view=view)


def _run(request: Request, cluster: _Cluster, workers: int, sample: int | None, as_json: bool) -> None:
    from vsanimup.render import film
    from vsanimup.render.local import LocalWorkers

    with _watching(request, as_json) as watch:
        executor: Workers
        if cluster.address is not None:
            from vsanimup.render.cluster import DaskWorkers

            executor = DaskWorkers(
                cluster.address, source=request.source, root=cluster.root, resources=cluster.resources, warn=watch.warn
            )
        else:
            executor = LocalWorkers(workers, watch.warn)
        if sample is not None:
            from vsanimup.render import samples

            made = samples.make(request, sample, executor, watch)
            _say_samples(made, as_json)
            return
        try:
            summary = film.make(request, executor, watch)
        except KeyboardInterrupt:
            typer.echo("animup: stopped; finished chunks are kept, and the same command goes on with them", err=True)
            raise typer.Exit(130) from None
    _say(summary, as_json)


def _say(summary: Summary, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"event": "done", **asdict(summary), "path": str(summary.path)}))
        return
    made = summary.chunks - summary.resumed
    speed = (
        f"{summary.frames / summary.seconds:.2f} fps"
        if made == summary.chunks
        else f"{count_of(summary.resumed, 'chunk')} kept"
    )
    frames, chunks = count_of(summary.frames, "frame"), count_of(summary.chunks, "chunk")
    typer.echo(
        f"{summary.path}: {summary.width}x{summary.height}, {frames} ({_clock(summary.duration)}) by "
        f"{summary.encoder} in {chunks}, {show_bytes(summary.size)}, {_clock(summary.seconds)} ({speed})"
    )


def _say_samples(made: Samples, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"event": "done", **made.as_json()}))
        return
    for path in made.samples:
        typer.echo(path)
    shown = "left: before, right: after" if made.before else "the script tells no source, so it shows the result alone"
    typer.echo(f"{made.sheet}  ({shown})")
    took, size = _clock(made.film_seconds), show_bytes(made.film_size)
    typer.echo(f"the whole film would take one worker about {took}, and {size}")


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


@contextmanager
def _watching(request: Request, as_json: bool) -> Iterator[Watch]:
    if as_json:
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TextColumn("{task.fields[chunks]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    console = Console(highlight=False, stderr=True)
    with Progress(*columns, console=console) as progress:
        yield _Bar(progress, request.out.name)


class _Bar:
    """Progress for a person."""

    def __init__(self, progress: Any, name: str) -> None:
        self._progress, self._name = progress, name
        self._task = progress.add_task(name, total=None, chunks="", rate="")
        self._total = 0

    def stage(self, text: str) -> None:
        """Say what is going on."""
        self._progress.update(self._task, description=text)

    def warn(self, text: str) -> None:
        """Say it above the bar."""
        self._progress.console.print(f"animup: {text}", soft_wrap=True, markup=False)

    def begin(self, frames: int, done: int, chunks: int, chunks_done: int) -> None:
        """Start the bar."""
        if chunks_done:
            self.warn(
                f"going on: {chunks_done} of {count_of(chunks, 'chunk')} done, {count_of(frames - done, 'frame')} left"
            )
        self._total = chunks
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(
            self._name, total=frames, completed=done, rate="", chunks=f"{chunks_done}/{count_of(chunks, 'chunk')}"
        )

    def advance(self, frames: int, chunks: int) -> None:
        """Move the bar."""
        speed = self._progress.tasks[-1].speed
        self._progress.update(
            self._task,
            completed=frames,
            chunks=f"{chunks}/{count_of(self._total, 'chunk')}",
            rate=f"{speed:.2f} fps" if speed else "",
        )


class _Lines:
    """Progress for a program: one JSON object a line."""

    def __init__(self) -> None:
        self._told = 0.0
        self._total = (0, 0)

    def _say(self, event: str, **fields: Any) -> None:
        sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
        sys.stdout.flush()

    def stage(self, text: str) -> None:
        """A line of its own."""
        self._say("stage", text=text)

    def warn(self, text: str) -> None:
        """A line of its own."""
        self._say("warning", text=text)

    def begin(self, frames: int, done: int, chunks: int, chunks_done: int) -> None:
        """A line of its own."""
        self._total = frames, chunks
        self._say("begin", frames=frames, frames_done=done, chunks=chunks, chunks_done=chunks_done)

    def advance(self, frames: int, chunks: int) -> None:
        """At most one line a second, and the last."""
        now = time.monotonic()
        if now > self._told + EVERY or (frames, chunks) == self._total:
            self._told = now
            self._say("progress", frames_done=frames, chunks_done=chunks)
