"""``python -m export FAMILY …``."""

import typer

from export import lcm_tiny, lite
from export.animatelcm import command as animatelcm
from export.ipt import command as ipt

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
app.command("lite")(lite.main)
app.command("animatelcm")(animatelcm.main)
app.command("ipt")(ipt.main)
app.command("lcm-tiny")(lcm_tiny.main)


@app.callback()
def families() -> None:
    """Turn a checkpoint into a model folder that the filters can use."""


if __name__ == "__main__":
    app()
