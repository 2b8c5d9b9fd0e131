"""Writes the training set: ``python -m training.data.clips --corpus DIR --out DIR --count 2400``.

With ``--validation`` it writes what ``training.lite.validate`` measures on instead: ``CLASS_N.npz``, five clips of each
class of content from sources that no training clip has, each with every strength of degradation.

One uncompressed ``.npz`` a clip, W = 7 frames:

``hr_y`` uint8 [7, 512, 512], ``hr_uv`` uint8 [7, 2, 256, 256]: the sharp clip
``lr_y`` uint8 [V, 7, 256, 256], ``lr_uv`` uint8 [V, 7, 2, 128, 128]: V half-size variants of it
``kinds`` V strings, the first ``clean``; ``history`` V strings, what was done to each; ``cut`` int8 [7], 1 where a
scene starts; ``sources`` strings, the first the kind of content; ``look`` a string, what belongs to the picture;
``strengths`` V strings, of validation clips

A file appears under its name only when it is whole, and clip i depends on (seed, i) and the corpus alone: the
command may be stopped and run again, and a trainer may start on a part of the folder.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from training.data.compose import FRAMES, KIND_SHARES, compose
from training.data.corpus import Library
from training.data.looks import LOOK_SHARES
from training.data.media import CODEC_KINDS, STRENGTHS, TASK_CODECS, Planes, degrade, encoded, pick_kinds, to_planes

WINDOW = 7
DAMAGE = "damage.npz"
"""Shapes of film damage, beside the clips."""
VAL_COUNT = 24
CLASSES: dict[str, tuple[tuple[str, ...], str]] = {
    **{kind: ((kind,), "plain") for kind in ("cutout", "lineart", "lines", "film", "painted", "photo", "fur", "type")},
    "soft": (("painted", "cutout", "film", "lineart", "photo"), "soft"),
    "focus": (("cutout", "lineart", "painted", "photo", "lines"), "focus"),
    "glow": (("painted", "lineart", "cutout", "film", "type"), "glow"),
    "paper": (("lineart", "cutout", "painted", "lines", "static"), "paper"),
    "grain": (("lineart", "painted", "film", "cutout", "photo"), "grain"),
    "dither": (("cutout", "painted", "lineart", "static", "type"), "dither"),
}
"""Classes of content of the validation: the kinds it is made of, and the look."""
EACH = 5
"""Validation clips of each class."""
_libraries: dict[tuple[Path, str], Library] = {}


def write_clip(
    library: Library,
    path: Path,
    seed: int,
    kind: str | None = None,
    task: str | None = None,
    look: str | None = None,
    cases: tuple[tuple[str, str], ...] = (),
) -> bool:
    """Makes one clip and writes it; False where it was there already.

    ``kind`` and ``look`` as ``compose`` takes them, ``task`` as ``pick_kinds`` does; ``cases`` are kinds of
    degradations by strength, in place of those that are drawn.
    """
    if path.exists():
        return False
    clip = compose(library, seed, kind=kind, look=look)
    rng = np.random.default_rng([seed, 99])
    full = to_planes(clip.frames)
    start = int(rng.integers(0, FRAMES - WINDOW + 1))
    kinds = tuple(kind for kind, _ in cases) or pick_kinds(rng, task)
    strengths = [strength for _, strength in cases] or [""] * len(kinds)
    halves: dict[str, Planes] = {}
    variants = [
        (
            degrade(full, kind, rng, halves)
            if strength not in STRENGTHS
            else encoded(full, kind, rng, STRENGTHS[strength])
        ).window(start, WINDOW)
        for kind, strength in zip(kinds, strengths, strict=True)
    ]
    sharp = full.window(start, WINDOW)
    cut = clip.cut[start : start + WINDOW].copy()
    cut[0] = 0
    partial = path.with_name(f".{path.stem}.part.npz")
    np.savez(
        partial,
        hr_y=sharp.y,
        hr_uv=sharp.uv,
        lr_y=np.stack([v.y for v in variants]),
        lr_uv=np.stack([v.uv for v in variants]),
        kinds=np.array(kinds),
        strengths=np.array(strengths),
        history=np.array(["; ".join(v.history) for v in variants]),
        look=np.array(clip.look),
        cut=cut,
        sources=np.array((clip.kind, *clip.sources)),
    )
    os.replace(partial, path)
    return True


def _job(corpus: Path, kind: str | None, task: str | None, look: str | None, split: str, path: Path, seed: int) -> bool:
    cv2.setNumThreads(1)
    if (corpus, split) not in _libraries:
        _libraries[corpus, split] = Library(corpus, split)
    return write_clip(_libraries[corpus, split], path, seed, kind, task, look)


def write_damage(library: Library, path: Path, most: int = 3000) -> None:
    """Packs shapes of film damage for training: ``shape_N`` uint8 [rows, columns]."""
    paths = library.damage[:: max(1, len(library.damage) // most)]
    shapes = {f"shape_{n}": cv2.imread(str(p), cv2.IMREAD_GRAYSCALE) for n, p in enumerate(paths)}
    partial = path.with_name(f".{path.stem}.part.npz")
    np.savez_compressed(partial, **shapes)  # type: ignore[arg-type]
    os.replace(partial, path)


def cases_of(number: int) -> tuple[tuple[str, str], ...]:
    """Kinds of degradations of a validation clip by strength; the encoders go round."""
    codecs = [CODEC_KINDS[(number + shift) % len(CODEC_KINDS)] for shift in (0, 1, 3)]
    coded = zip(codecs, STRENGTHS, strict=True)
    return ("clean", "none"), *coded, ("vhs", "tape"), ("composite", "composite")


def _validation_job(corpus: Path, number: int, path: Path, seed: int) -> bool:
    cv2.setNumThreads(1)
    if (corpus, "val") not in _libraries:
        _libraries[corpus, "val"] = Library(corpus, "val")
    kinds, look = CLASSES[path.stem.rpartition("_")[0]]
    kind = kinds[number % EACH % len(kinds)]
    return write_clip(_libraries[corpus, "val"], path, seed, kind, look=look, cases=cases_of(number))


def build_validation(corpus: Path, out: Path, workers: int, seed: int) -> int:
    """Writes ``CLASS_0.npz`` ... ``CLASS_4.npz`` of every class; returns how many files there were to make."""
    out.mkdir(parents=True, exist_ok=True)
    names = [(f"{name}_{n}", n + EACH * at) for n in range(EACH) for at, name in enumerate(CLASSES)]
    jobs = [(number, out / f"{name}.npz", seed * 10_000_019 + 7_000_000 + number) for name, number in names]
    with ProcessPoolExecutor(workers) as pool:
        for job in [pool.submit(_validation_job, corpus, *job) for job in jobs]:
            job.result()
    return len(jobs)


def build(
    corpus: Path,
    out: Path,
    count: int,
    workers: int,
    seed: int,
    kind: str | None = None,
    task: str | None = None,
    look: str | None = None,
) -> int:
    """Writes ``val_000.npz`` ... (24) and ``train_00000.npz`` ... (``count``); returns how many it made."""
    out.mkdir(parents=True, exist_ok=True)
    for left in out.glob(".*.part.npz"):
        left.unlink()
    jobs = [("val", out / f"val_{i:03d}.npz", seed * 10_000_019 + 5_000_000 + i) for i in range(VAL_COUNT)]
    jobs += [("train", out / f"train_{i:05d}.npz", seed * 10_000_019 + i) for i in range(count)]
    jobs = [job for job in jobs if not job[1].exists()]
    library = Library(corpus, "train")
    if library.damage and not (out / DAMAGE).exists():
        write_damage(library, out / DAMAGE)
    began = time.monotonic()
    with ProcessPoolExecutor(workers) as pool:
        for done, job in enumerate([pool.submit(_job, corpus, kind, task, look, *job) for job in jobs], 1):
            job.result()
            if done % 50 == 0:
                rate = done / (time.monotonic() - began)
                print(f"{done} of {len(jobs)} clips, {rate:.2f} a second", flush=True)
    return len(jobs)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Write the training clips.")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=2400)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=tuple(KIND_SHARES), help="this kind alone")
    parser.add_argument("--task", choices=tuple(TASK_CODECS), help="the degradations of this task's codecs alone")
    parser.add_argument("--look", choices=tuple(LOOK_SHARES), help="this look alone")
    parser.add_argument("--validation", action="store_true", help="write the validation clips instead")
    arguments = parser.parse_args()
    if arguments.validation:
        build_validation(arguments.corpus, arguments.out, arguments.workers, arguments.seed)
        return
    build(
        arguments.corpus,
        arguments.out,
        arguments.count,
        arguments.workers,
        arguments.seed,
        arguments.kind,
        arguments.task,
        arguments.look,
    )


if __name__ == "__main__":
    main()
