"""What neighbouring frames bring: validation PSNR of one network with its window cut short.

``python -m training.window --checkpoint RUN/checkpoint.pt --data CLIPS``
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from export.lite import load_checkpoint
from training.train import validate


def main(
    checkpoint: Annotated[Path, typer.Option(help="checkpoint.pt of a training run")],
    data: Annotated[Path, typer.Option(help="folder of clip files")],
) -> None:
    """Print luma PSNR in dB by degradation for each reach of the window from 0 frames on."""
    net = load_checkpoint(checkpoint)
    for reach in range(net.config.radius + 1):
        scores = validate(net, data, "restore" if net.config.scale == 1 else "upscale", reach)
        print(f"{reach} frames on each side: " + "  ".join(f"{kind} {score:.2f}" for kind, score in scores.items()))


if __name__ == "__main__":
    typer.run(main)
