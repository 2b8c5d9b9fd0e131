"""Do task biases on the small AnimateLCM's denoiser help? The same training with them and without.

``python -m training.studies.denoiser_tasks --data CLIPS --base RUN --out DIR --steps 400``. ``RUN`` holds the result of
the stage ``image``. For each of two seeds the stage ``tasks`` goes on from it with biases of a rank and without, on the
same pictures; then a table in Markdown is printed. What is finished is not trained again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated

import torch
import typer

from training.lcm import stages, train
from training.studies.report import mean, table
from vsanimup.architectures.lcm_tiny import TASKS, load

Scores = dict[str, dict[str, float]]


def report(results: dict[tuple[bool, int], Scores]) -> str:
    """The table: means over seeds, and behind ± half of what seeds differ by."""

    def cell(task: str, name: str, biases: bool) -> str:
        values = [scores[task][name] for (with_them, _), scores in results.items() if with_them is biases]
        digits = 3 if "ssim" in name else 2
        return f"{mean(values):.{digits}f} ± {(max(values) - min(values)) / 2:.{digits}f}"

    rows = []
    for task in TASKS:
        plain = next(iter(results.values()))[task]
        cells = [f"{cell(task, 'psnr', biases)} / {cell(task, 'ssim', biases)}" for biases in (False, True)]
        rows.append((task, f"{plain['plain psnr']:.2f} / {plain['plain ssim']:.3f}", *cells))
    return table(("PSNR / SSIM", "source, enlarged", "without biases", "with them"), rows)


def main(
    data: Annotated[Path, typer.Option(help="folder of clips")],
    base: Annotated[Path, typer.Option(help="folder of a run whose stage image is trained")],
    out: Annotated[Path, typer.Option(help="folder of the runs")],
    steps: int = 400,
    windows: Annotated[int, typer.Option(help="pictures a step")] = 8,
    side: Annotated[int, typer.Option(help="side of a crop")] = 96,
    rank: int = 4,
    seeds: int = 2,
    clips: Annotated[int, typer.Option(help="validation clips")] = 12,
    bf16: Annotated[bool, typer.Option(help="bfloat16 arithmetic, for CPUs that have it")] = True,
    threads: int = 1,
) -> None:
    """Train what is missing, and print the table."""
    results: dict[tuple[bool, int], Scores] = {}
    for seed in range(1, seeds + 1):
        for biases in (False, True):
            folder = out / f"rank{rank if biases else 0}-seed{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "image.pt").exists():
                shutil.copyfile(base / "image.pt", folder / "image.pt")
            train.main(
                data=data, out=folder, stage="tasks", steps=steps, windows=windows, side=side, lr=0.0,
                config=json.dumps({"rank": rank if biases else 0}), small_until=0.0, seed=seed, bf16=bf16,
                threads=threads, every=10**9, keep_every=2.0, val_clips=1, val_side=64, stop=None,
            )  # fmt: skip
            tiny = load(folder / "tasks.pt")
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                results[biases, seed] = stages.validate_tasks(tiny, data, clips, 192)
    print(report(results))


if __name__ == "__main__":
    typer.run(main)
