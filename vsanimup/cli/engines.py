"""The commands ``animup engines …``."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from vsanimup.cli.errors import plain_errors, terminable
from vsanimup.cli.ranges import ranged
from vsanimup.errors import AnimupError, shown
from vsanimup.sizes import count_of, show_bytes

if TYPE_CHECKING:
    from rich.progress import TaskID

    from vsanimup.engines.base import DeviceMemory, Size
    from vsanimup.engines.cache import Cache, Entry
    from vsanimup.engines.tensorrt.library import Library
    from vsanimup.engines.tensorrt.plans import Request, Target

app = typer.Typer(no_args_is_help=True, help="List, build and delete the TensorRT engines that are kept.")


@app.command("list")
def list_engines() -> None:
    """List the engines that are kept, and where."""
    from rich.console import Console
    from rich.table import Table

    from vsanimup.engines.cache import Cache

    cache = Cache()
    found = cache.entries()
    table = Table("engine", "size", "built", "took")
    for entry in found:
        built = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.built)) if entry.key else "damaged"
        table.add_row(entry.path.name, show_bytes(entry.size), built, f"{entry.seconds:.0f} s")
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 220)
    if found:
        console.print(table)
    console.print(
        f"{count_of(len(found), 'engine')}, {show_bytes(sum(e.size for e in found))} in {cache.folder}", soft_wrap=True
    )


@app.command()
def prune(
    everything: Annotated[bool, typer.Option("--all", help="Also those that could be used here.")] = False,
) -> None:
    """Delete engines that cannot be used here any more, and what broken builds left."""
    from vsanimup.engines.cache import Cache

    with plain_errors():
        cache = Cache()
        gone = cache.prune(lambda entry: everything or not _usable(entry))
        for entry in gone:
            typer.echo(f"deleted {entry.path.name}")
        freed = show_bytes(sum(entry.size for entry in gone))
        typer.echo(f"{count_of(len(gone), 'engine')} deleted, {freed} of {cache.folder}")


def _usable(entry: Entry) -> bool:
    """Whether an engine goes with this animup, the TensorRT that is installed, and a GPU that is here, if any."""
    from vsanimup.engines import device
    from vsanimup.engines.tensorrt import library
    from vsanimup.engines.tensorrt.plans import Target
    from vsanimup.version import own_version

    if not entry.key or entry.key.get("animup") != own_version():
        return False
    try:
        found = library.find()
    except AnimupError:
        return True  # who knows for which one it was
    if (entry.key.get("library"), entry.key.get("library_version")) != (found.name, found.version):
        return False
    try:
        here = [Target(gpu=device.find(i)).key for i in range(device.count())]
    except AnimupError:
        return True
    return entry.key.get("gpu") == "any" or any(key.items() <= entry.key.items() for key in here)


@app.command()
def build(
    model: Annotated[str, typer.Argument(help="lite-restore, lite-upscale, a model folder, or a file.onnx.")],
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16 or bf16.")] = "auto",
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="WxH", help="Size of the frames that the filter is given; may be repeated."),
    ] = None,
    scale: Annotated[int, ranged(least=2, most=4, help="Enlargement, for AnimateLCM models.")] = 2,
    task: Annotated[str | None, typer.Option(help="Mix of tasks, for engines that TensorRT-RTX builds ahead.")] = None,
    compute_capability: Annotated[
        str | None, typer.Option(metavar="X.Y", help="Build ahead for such GPUs, or 'any', not for the one here.")
    ] = None,
    dimension: Annotated[
        list[str] | None,
        typer.Option("--dim", metavar="NAME=N", help="A dimension of a file.onnx, or its range LEAST..USUAL..MOST."),
    ] = None,
    device_memory: Annotated[
        float | None,
        ranged(metavar="GIB", least=1, help="Memory of the GPUs that engines are built ahead for, if below 8."),
    ] = None,
    num_streams: Annotated[
        int | None, ranged(least=1, most=64, help="As the filters will be given it, if they are.")
    ] = None,
    memory: Annotated[float, typer.Option(help="As Upscale will be given it, for AnimateLCM models.")] = 0.0,
    anchor: Annotated[int, typer.Option(help="As Upscale will be given it, for AnimateLCM models.")] = 4,
) -> None:
    """Build engines before they are needed; TensorRT-RTX does so without a GPU, too."""
    from vsanimup.engines.cache import Cache
    from vsanimup.engines.tensorrt import library
    from vsanimup.engines.tensorrt.backend import STREAMS
    from vsanimup.filters.arguments import checked
    from vsanimup.networks.family import Build
    from vsanimup.networks.find import find
    from vsanimup.tiling.budget import memory_of_tile

    with plain_errors(), terminable():
        own = checked("Upscale", {"memory": memory, "anchor": anchor})
        found, cache = library.find(), Cache()
        target = _target(found, compute_capability)
        sizes = [_parse_size(text) for text in size or ["1920x1080"]]
        most = memory_of_tile(_room(target, device_memory), num_streams or STREAMS)
        dimensions = dict(map(_parse_dimension, dimension or ()))
        wanted = Build(
            sizes=sizes,
            most=most,
            precision=precision,
            scale=scale,
            task=task,
            memory=own["memory"],
            anchor=own["anchor"],
        )
        requests = list(_named(model, precision, dimensions) if dimensions else find(model).requests(wanted))
        _build_all(requests, found, target, cache)


def _build_all(requests: Sequence[Request], library: Library, target: Target, cache: Cache) -> None:
    """Build engines one after the other, with a bar for each."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from vsanimup.engines.tensorrt.plans import plan

    console = Console(highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[doing]}"), console=console) as progress, _LogAbove(console):
        for request in requests:
            bar = progress.add_task(f"{request.name} {request.shape}", total=1.0, doing="")

            def report(share: float, doing: str, bar: TaskID = bar) -> None:
                progress.update(bar, completed=share, doing=doing)

            made = plan(library, request, target, cache, report)
            progress.update(bar, completed=1.0, doing=show_bytes(len(made.data)))
    verb = "is" if len(requests) == 1 else "are"
    console.print(f"{count_of(len(requests), 'engine')} {verb} in {cache.folder}", soft_wrap=True)


class _LogAbove(logging.Handler):
    """What the cache says of its doings, above the bar."""

    def __init__(self, console: object) -> None:
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(self.format(record), soft_wrap=True, style="dim")  # type: ignore[attr-defined]

    def __enter__(self) -> None:
        logger = logging.getLogger("vsanimup")
        logger.addHandler(self)
        logger.setLevel(logging.INFO)
        logger.propagate = False

    def __exit__(self, *_: object) -> None:
        logging.getLogger("vsanimup").removeHandler(self)


def _target(library: Library, wanted: str | None) -> Target:
    """The GPU that is here, unless a kind is given."""
    from vsanimup.engines import device
    from vsanimup.engines.tensorrt.plans import Target

    if wanted is None:
        try:
            return Target(gpu=device.find(0))
        except AnimupError as error:
            if library.is_rtx:
                typer.echo(f"{error}; building for any GPU", err=True)
                return Target()
            raise AnimupError(f"{library} builds only where the GPU is: {error}") from error
    if wanted == "any":
        return Target()
    if not (parts := re.fullmatch(r"(\d+)\.(\d)", wanted)):
        raise AnimupError(f"--compute-capability must be such as 8.9, or any, got {shown(wanted)}")
    return Target(compute_capability=(int(parts[1]), int(parts[2])))


def _room(target: Target, gibibytes: float | None) -> DeviceMemory | None:
    """Memory of the GPU that is built for; ``None`` for one that has plenty."""
    from vsanimup.engines.base import DeviceMemory

    if gibibytes is not None:
        return DeviceMemory(total=int(gibibytes * (1 << 30)), free=0)
    gpu = target.gpu
    return None if gpu is None else DeviceMemory(total=gpu.total_memory, free=gpu.free_memory)


def _parse_size(text: str) -> tuple[int, int]:
    parts = re.fullmatch(r"(\d+)x(\d+)", text)
    if not parts or min(int(parts[1]), int(parts[2])) < 16:
        raise AnimupError(f"--size must be WIDTHxHEIGHT of at least 16x16, such as 1920x1080, got {shown(text)}")
    return int(parts[1]), int(parts[2])


def _parse_dimension(text: str) -> tuple[str, Size]:
    parts = re.fullmatch(r"([^=]+)=(\d+)(?:\.\.(\d+)\.\.(\d+))?", text)
    if not parts:
        raise AnimupError(f"--dim must be NAME=N or NAME=LEAST..USUAL..MOST, got {shown(text)}")
    least, *others = (int(number) for number in parts.groups()[1:] if number is not None)
    if others and not least <= others[0] <= others[1]:
        raise AnimupError(f"--dim {text}: the numbers must not fall")
    return parts[1], (least, others[0], others[1]) if others else least


def _named(model: str, precision: str, dimensions: Mapping[str, Size]) -> Iterator[Request]:
    """A network of no family, whose dimensions are given."""
    from vsanimup.engines.tensorrt.plans import Request
    from vsanimup.networks.manifest import path_of

    path = path_of(model)
    if path is None:
        raise AnimupError(f"model={shown(model)}: there is no such file")
    yield Request(network=path, origin=str(path), sizes=dimensions, precision=precision)
