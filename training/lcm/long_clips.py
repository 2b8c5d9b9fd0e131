"""Long clips whose background leaves the picture and comes back, for training and judging memory over windows.

``python -m training.lcm.long_clips --corpus DIR --out DIR --train 160 --val 6``. The files are those of
``training.data.clips`` but for their length and size: ``train_N.npz`` have 28 frames, ``val_N.npz`` 240, of 256x256.
Those for validation have besides ``away`` int16 [frames], how far the camera is from where it began, in pixels.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from training.data import textures
from training.data.compose import SIZE, Layer, background, view
from training.data.corpus import Library
from training.data.drawing import U8, Rng
from training.data.media import degrade, to_planes

SIDE = 256
ROOM = 400
"""Pixels that a plate is longer than the picture."""
TRAINED, JUDGED = 28, 240
"""Frames of a clip."""
KINDS = "clean", "mpeg2", "web", "vhs"
HELD = 12
"""Frames that the camera stays at each end, at most."""


def path_of(count: int, rng: Rng) -> NDArray[np.int16]:
    """Pixels between the camera and where it began: it stays, goes away, stays and comes back, again and again."""
    long = count > TRAINED
    speed = int(rng.integers(5, 9) if long else rng.integers(2, 11))
    way = int(rng.integers(SIDE + 10, ROOM)) // speed if long else int(rng.integers(5, 11))
    stays = int(rng.integers(6, HELD + 1) if long else rng.integers(0, 5))
    out = speed * np.arange(1, way + 1)
    once = np.concatenate([np.zeros(stays + 1), out, np.full(stays, out[-1]), out[::-1][1:]])
    first = 0 if long else int(rng.integers(len(once)))
    return np.asarray(np.resize(np.roll(once, -first), count), np.int16)


def plate_of(library: Library, rng: Rng, names: list[str]) -> U8:
    """What the camera goes over."""
    side = SIZE + ROOM
    folders = [folder for folder in ("painted", "photos") if getattr(library, folder)]
    if folders and rng.random() < 0.5:
        return textures.plate_of(library, str(rng.choice(folders)), side, rng, names)
    return background(library, side, side, rng, names)


def compose(library: Library, count: int, rng: Rng, names: list[str]) -> tuple[list[U8], NDArray[np.int16]]:
    """RGB frames ``[256, 256, 3]`` and the camera's distance in each; one figure moves to and fro in front."""
    plate, away = plate_of(library, rng, names), path_of(count, rng)
    layer = Layer(library, rng, names, 0.4)
    layer.speed, layer.place = np.round(rng.normal(0, 2, 2)), rng.uniform(160, SIZE - 160, 2)
    swing = int(rng.integers(8, 17))
    edge = (SIZE - SIDE) // 2
    frames: list[U8] = []
    for t, x in enumerate(away):
        frame = view(plate, float(x), 0.0)
        layer.render(frame, abs(t % (2 * swing) - swing), (float(x), 0.0, 1.0), (0.0, 0.0))
        frames.append(np.ascontiguousarray(frame[edge : edge + SIDE, edge : edge + SIDE]))
    for t in range(1, count):
        if np.array_equal(frames[t], frames[t - 1]):
            frames[t] = frames[t - 1]
    return frames, away


def write(library: Library, path: Path, count: int, seed: int) -> None:
    """One clip, which the seed and the corpus decide; left as it is where it is there already."""
    if path.exists():
        return
    rng, names = np.random.default_rng([seed, 23]), []  # type: ignore[var-annotated]
    frames, away = compose(library, count, rng, names)
    sharp = to_planes(frames)
    variants = [degrade(sharp, kind, rng) for kind in KINDS]
    partial = path.with_name(f".{path.stem}.part.npz")
    np.savez(
        partial,
        hr_y=sharp.y,
        hr_uv=sharp.uv,
        lr_y=np.stack([v.y for v in variants]),
        lr_uv=np.stack([v.uv for v in variants]),
        kinds=np.array(KINDS),
        cut=np.zeros(count, np.int8),
        away=away,
        sources=np.array(names),
    )
    os.replace(partial, path)


def main(
    corpus: Annotated[Path, typer.Option(help="folder of training.corpus")],
    out: Annotated[Path, typer.Option(help="folder of clips; those that are there are kept")],
    train: Annotated[int, typer.Option(help="clips to train on")] = 160,
    val: Annotated[int, typer.Option(help="clips to judge by")] = 6,
    seed: int = 0,
) -> None:
    """Write long clips."""
    cv2.setNumThreads(1)
    out.mkdir(parents=True, exist_ok=True)
    for split, number, count in (("val", val, JUDGED), ("train", train, TRAINED)):
        library = Library(corpus, split)
        for i in range(number):
            write(
                library, out / f"{split}_{i:03d}.npz", count, seed * 1_000_003 + i + (500_000 if split == "val" else 0)
            )


if __name__ == "__main__":
    typer.run(main)
