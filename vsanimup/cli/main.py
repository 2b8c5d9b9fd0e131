"""The command ``animup``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vsanimup.cli import encode as encode_command
from vsanimup.cli import engines
from vsanimup.cli.errors import plain_errors, terminable
from vsanimup.cli.ranges import ranged
from vsanimup.errors import AnimupError
from vsanimup.sizes import count_of, show_bytes

app = typer.Typer(
    help="Restore and enlarge animation with VapourSynth: try it, check the installation, list the models.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

app.command(help=encode_command.HELP)(encode_command.encode)
app.add_typer(engines.app, name="engines")


@app.command(
    help="Restore and enlarge a video, and picture the difference.\n\n"
    "Runs the ready script restore_upscale.vpy through vspipe into x264 (or ffmpeg, or PyAV), and writes "
    "[b]demo.mkv[/b] (for INPUT, [b]NAME_animup.mkv[/b]; no sound) and [b]before_after.png[/b]: its left "
    "half is plain bicubic enlargement, its right half animup's."
)
def demo(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="[INPUT]", help="A video; if none is given, the clip that ships with animup."),
    ] = None,
    folder: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("animup_demo"),
    task: Annotated[str, typer.Option(help="What to remove: auto, a task, or a mix of tasks.")] = "auto",
    strength: Annotated[float, ranged(least=0, most=1, help="Share of the restoration that is applied.")] = 1.0,
    scale: Annotated[int, ranged(least=1, most=4, help="Enlargement: 2, 3 or 4; 1 only restores.")] = 2,
    model: Annotated[str, typer.Option(help="Model, as in the filters' argument.")] = "lite",
    deinterlace: Annotated[
        str | None, typer.Option(help="For interlaced video: bwdif, ivtc (telecined film), or off (it is not).")
    ] = None,
    frames: Annotated[int | None, ranged(least=1, help="Stop after so many frames.")] = None,
    encoder: Annotated[str, typer.Option(help="x264, ffmpeg or pyav; auto takes the first that is there.")] = "auto",
    crf: Annotated[int, ranged(least=0, most=51, help="Quality of the encode; less is better.")] = 16,
) -> None:
    """``animup demo``."""
    with plain_errors(), terminable():
        arguments = {"task": task, "strength": f"{strength:g}", "scale": str(scale), "model": model}
        _demo(source, folder, frames, encoder, crf, arguments | ({"deinterlace": deinterlace} if deinterlace else {}))


def _demo(
    source: Path | None, folder: Path, frames: int | None, encoder: str, crf: int, arguments: dict[str, str]
) -> None:
    from dataclasses import replace

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from vsanimup.cli import demo as work
    from vsanimup.encoding import encoders

    console = Console(highlight=False)
    given = source if source is not None else work.DEMO_CLIP
    if not given.is_file():
        raise AnimupError(f"there is no file {given}")
    name = "demo.mkv" if source is None else f"{given.stem}_animup.mkv"
    video, image = folder / name, folder / "before_after.png"
    if video.resolve() == given.resolve():
        raise AnimupError(f"{given} would be overwritten by its own result; choose another folder with -o")
    chosen = encoders.choose(encoder)[0]
    work.prepare_folder(folder)
    plan = work.Plan(source=given, arguments={"source": str(given.resolve()), **arguments})
    with console.status(f"Reading {given.name}"):
        output = work.examine(plan)
    missing = work.missing_frames(given, output)
    if frames is not None:
        output = replace(output, frames=min(frames, output.frames))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(given.name, total=output.frames, rate="")

        def step(done: int) -> None:
            speed = progress.tasks[0].speed
            progress.update(bar, completed=done, rate=f"{speed:.2f} fps" if speed else "")

        rendered = work.render(plan, output, video, encoder, crf, step)
        seconds = rendered.seconds
        progress.update(bar, completed=output.frames, rate=f"{output.frames / seconds:.2f} fps")
    work.picture(given, video, image, output.frames)
    facts = f"{output.width}x{output.height}, {count_of(output.frames, 'frame')} by {chosen}"
    console.print(f"{video}  ({facts}, {show_bytes(video.stat().st_size)})", soft_wrap=True)
    console.print(f"{image}  (left: bicubic, right: animup)", soft_wrap=True)
    for said in filter(None, (missing, rendered.rate_note)):
        console.print(said, soft_wrap=True)
    console.print(
        f"{count_of(output.frames, 'frame')} in {seconds:.1f} s: {output.frames / seconds:.2f} frames a second"
    )


@app.command(
    help="Print what an encoder must be told about a script's video.\n\n"
    "y4m carries neither sample aspect ratio nor matrix, transfer, primaries, range and chroma location. They are read "
    "from the script's first frame and printed as the encoder's arguments, so that they can stand in its command:\n\n"
    "[b]vspipe -c y4m script.vpy - | x264 --demuxer y4m $(animup flags script.vpy --for x264) -o out.264 -[/b]\n\n"
    "What the encoder cannot be told goes to standard error. Those for ffmpeg hold -vf, which it takes once."
)
def flags(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT", help="A VapourSynth script.")],
    encoder: Annotated[str, typer.Option("--for", metavar="ENCODER", help="x264, x265, svtav1 or ffmpeg.")],
    arguments: Annotated[
        list[str] | None,
        typer.Option("--arg", "-a", metavar="NAME=VALUE", help="Argument for the script, as vspipe has it."),
    ] = None,
    index: Annotated[int, ranged("--outputindex", "-o", least=0, help="Which of the script's outputs.")] = 0,
) -> None:
    """``animup flags``."""
    from vsanimup.cli.flags import flags_of

    with plain_errors():
        found, lost = flags_of(script, encoder, arguments or (), index)
        for said in lost:
            typer.echo(f"animup: {said}", err=True)
        typer.echo(" ".join(found))


@app.command()
def scripts(
    folder: Annotated[
        Path | None, typer.Option("--output", "-o", help="Copy them into this folder, to be changed there.")
    ] = None,
) -> None:
    """Say where the ready scripts lie, or copy them; an existing file is never overwritten."""
    from vsanimup.cli.scripts import copy_scripts, script_paths

    with plain_errors():
        for path in script_paths() if folder is None else copy_scripts(folder):
            typer.echo(f"{path}")


@app.command(
    "export",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    help="Make a model folder of a checkpoint; needs  pip install 'vsanimup\\[export]'.",
)
def export_model(context: typer.Context) -> None:
    """``animup export``, which ``export/`` takes over."""
    import importlib

    with plain_errors():
        try:
            importlib.import_module("vsanimup.export.__main__").app(context.args, prog_name="animup export")
        except ModuleNotFoundError as error:
            raise AnimupError(f"export needs {error.name}; get it with  pip install 'vsanimup[export]'") from error


@app.command()
def doctor(
    report: Annotated[
        bool, typer.Option("--report", help="Write plain text for an issue, without personal paths.")
    ] = False,
) -> None:
    """Check the installation by using it; exit code 1 when the filters cannot work here."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from vsanimup.cli import doctor as work

    marks = {"ok": Text("ok", "green"), "note": Text("note", "yellow"), "fail": Text("FAIL", "bold red")}
    with plain_errors():
        console = Console(highlight=False)
        with console.status("Trying things out"):
            checks = work.examine()
        if report:
            typer.echo(work.report(checks), nl=False)
            raise typer.Exit(1 if any(check.state == "fail" for check in checks) else 0)
        table = Table("what", "", "found", title="animup doctor", title_justify="left")
        for check in checks:
            table.add_row(check.name, marks[check.state], Text(check.found, overflow="fold"))
        console.print(table)
        remedies = [check for check in checks if check.remedy]
        for check in remedies:
            console.print(Text(f"{check.name}: {check.remedy}"), soft_wrap=True)
        if any(check.state == "fail" for check in checks):
            console.print("Restoring and enlarging cannot work here yet, see above.", style="bold red")
            raise typer.Exit(1)
        console.print("Restoring and enlarging work here.", style="green")


@app.command()
def models() -> None:
    """List the models that come with animup."""
    from rich.console import Console
    from rich.table import Table

    from vsanimup.networks.manifest import shipped

    with plain_errors():
        found = shipped()
        if not found:
            raise AnimupError("no model came with this installation; install the package again")
        table = Table("name", "scale", "tasks", "licence", "size", "parameters", "folder")
        for model in (part for one in found for part in one.family()):
            table.add_row(
                model.name,
                f"x{model.scale}",
                ", ".join(model.tasks) or "enlarging",
                model.licence,
                show_bytes(model.size()),
                f"{model.parameters:,}",
                str(model.folder),
            )
        width = None if sys.stdout.isatty() else 200
        Console(highlight=False, width=width).print(table)


if __name__ == "__main__":
    app()
