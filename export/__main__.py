"""``python -m export FAMILY …``."""

import typer

from export import lite

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
app.command("lite")(lite.main)


@app.callback()
def families() -> None:
    """Turn a checkpoint into a model folder that the filters can use."""


if __name__ == "__main__":
    app()
