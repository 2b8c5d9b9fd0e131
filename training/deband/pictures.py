"""Pictures to posterise: ``python -m training.deband.pictures --corpus CORPUS --out DIR --count 600``.

Luma of the half-size frames 0, 6 and 12 of composed clips, ``N.npy``, uint8 [3, rows, columns]. Picture N depends on N
and the corpus alone; what is there is not made again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from training.data.compose import compose
from training.data.corpus import Library
from training.data.media import halve, to_planes

SEED = 500_000
"""Of the first clip: no other training data has these."""
FRAMES = 0, 6, 12


def main(
    corpus: Annotated[Path, typer.Option(help="folder of training.data.corpus")],
    out: Annotated[Path, typer.Option(help="folder of the pictures")],
    count: int = 600,
) -> None:
    """Write the pictures that OUT lacks."""
    cv2.setNumThreads(1)
    library = Library(corpus, "train")
    out.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = out / f"{number}.npy"
        if path.exists():
            continue
        frames = compose(library, SEED + number).frames
        partial = path.with_name(f".{number}.part.npy")
        np.save(partial, halve(to_planes([frames[n] for n in FRAMES])).y)
        os.replace(partial, path)


if __name__ == "__main__":
    typer.run(main)
