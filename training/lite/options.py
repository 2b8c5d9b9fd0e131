"""Command-line options that the trainers of the lite networks share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from vsanimup.architectures.lite.network import ALIGN

Data = Annotated[Path, typer.Option(help="folder of clip files")]
Out = Annotated[Path, typer.Option(help="folder of the run: checkpoint and log")]
Windows = Annotated[int, typer.Option(help="windows a step")]
Crop = Annotated[int, typer.Option(help=f"side of a crop, a multiple of {ALIGN}")]
Size = Annotated[float, typer.Option(help="channels, as a multiple of the shipped networks'")]
SmallUntil = Annotated[float, typer.Option(help="part of the run in which crops have half the side")]
RoundFrom = Annotated[float, typer.Option(help="part of the run after which integers are imitated")]
Bf16 = Annotated[bool, typer.Option(help="bfloat16 arithmetic: twice as fast on AVX512-BF16 and GPUs")]
Every = Annotated[int, typer.Option(help="steps between validations and checkpoints")]
Stop = Annotated[int | None, typer.Option(help="stop after this step, to go on another time")]


def prepare(threads: int, seed: int) -> None:
    """Begin chance anew, and use that many threads; 0 leaves PyTorch's own number."""
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
