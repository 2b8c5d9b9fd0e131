"""``animup export FAMILY …``; in a checkout also ``python -m export FAMILY …``."""

import importlib.util
from pathlib import Path

import typer

from .animatelcm import command as animatelcm
from .ipt import command as ipt

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.command("animatelcm")(animatelcm.main)
app.command("ipt")(ipt.main)

if (Path(__file__).parents[1] / "training").is_dir() and importlib.util.find_spec("training"):
    # what training/ makes is of use beside it only
    from . import lcm_tiny, lite

    app.command("lite")(lite.main)
    app.command("lcm-tiny")(lcm_tiny.main)


@app.callback()
def families() -> None:
    """Turn a checkpoint into a model folder that the filters can use."""


if __name__ == "__main__":
    app()
