"""What smaller crops save against training that is tuned and has converged.

``python -m training.studies.converged --data CLIPS --out FOLDER``

``compression.py`` finds the strategy with the least error for its cost, along short runs of one learning rate. Here the
strategy that it chose for the lite network, one window of each crop, is held against whole crops where that is hardest:
each with its own best learning rate, all runs with a rate that falls to nothing, and several lengths of each, so that
it is seen where longer runs gain no more. Smaller batches of whole crops are run beside them.

Every run goes into a file of its own as soon as it is done, and is not repeated; ``table.md`` is made of those files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from training.studies.compression import QUARTERS, Cases, Options, Study, Tapes, read
from training.studies.vit import WHOLE, Strategy

NETWORK = "lite"
RATES = (0.01, 0.02, 0.04)
"""Learning rates that are tried."""
WINDOW = Strategy(windows=1)
"""What ``compression.py`` chose: crops of half the side."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to train."""

    name: str
    strategy: Strategy
    tuned: float
    """Share of the operations at which its learning rate is looked for."""
    shares: tuple[float, ...]
    """Shares of the longest run's operations that its runs end at."""


WAYS = (
    Way(name="whole crops", strategy=WHOLE, tuned=0.25, shares=(0.25, 0.5, 1.0)),
    Way(name="smaller crops", strategy=WINDOW, tuned=0.1, shares=(0.1, 0.2, 0.4)),
)


class Ways:
    """All runs of the study; those that are done already are read."""

    def __init__(self, options: Options, batches: Tapes, cases: Cases) -> None:
        self._options, self._batches, self._cases = options, batches, cases

    def score(self, way: Way, share: float, rate: float, seed: int) -> dict[str, Any]:
        """The last point of a run that ends at a share of the operations, and what its input has."""
        options = replace(self._options, lr=rate, out=self._options.out / f"rate {rate:g}")
        study = Study(NETWORK, options, self._batches, self._cases)
        name = f"{way.name}, ends at {share:g}"
        study.run(name, seed, [way.strategy] * QUARTERS, share=share, decay=True)
        found = read(study.folder / f"{name} {seed}.json")
        last: dict[str, Any] = found["curve"][-1]
        return last | {"gain": last["psnr"] - found["input"]}

    def rate(self, way: Way) -> float:
        """Its best learning rate."""
        return max(RATES, key=lambda rate: self.score(way, way.tuned, rate, 0)["gain"])


def tuned(way: Way, ways: Ways) -> Iterator[str]:
    """Rows of what each learning rate comes to."""
    for rate in RATES:
        yield f"| {way.name} | {way.tuned:g} | {rate:g} | {ways.score(way, way.tuned, rate, 0)['gain']:.2f} |"


def compared(way: Way, ways: Ways, seeds: int) -> Iterator[str]:
    """Rows of what each length comes to, at the best rate."""
    rate = ways.rate(way)
    for share in way.shares:
        runs = [ways.score(way, share, rate, seed) for seed in range(seeds)]
        gains = ", ".join(f"{run['gain']:.2f}" for run in runs)
        yield f"| {way.name} | {share:g} | {rate:g} | {runs[0]['step']} | {runs[0]['seconds']:.0f} | {gains} |"


def main(
    data: Annotated[Path, typer.Option(help="folder of clip files")],
    out: Annotated[Path, typer.Option(help="folder of the runs and the table")],
    steps: Annotated[int, typer.Option(help="steps of the longest run on whole crops")] = 3200,
    batch: Annotated[int, typer.Option(help="crops a step")] = 12,
    clips: Annotated[int, typer.Option(help="clip files to read, 5.5 MB of memory each")] = 500,
    seeds: int = 2,
    bf16: Annotated[bool, typer.Option(help="bfloat16 arithmetic: twice as fast on AVX512-BF16")] = False,
) -> None:
    """Do the runs that OUT lacks, and write the table."""
    torch.set_num_threads(1)
    options = Options(
        data=data, out=out, steps=steps, batch=batch, clips=clips, lr=0.0, bf16=bf16, samples=0, budget=1.0
    )
    ways = Ways(options, Tapes(options), Cases(data))
    lines = ["| way | share of operations | rate | dB gained |", "| --- | --- | --- | --- |"]
    lines += [row for way in WAYS for row in tuned(way, ways)]
    lines += [
        "",
        "| way | share | rate | steps | CPU seconds | dB gained, by seed |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for count in range(1, seeds + 1):  # a second seed only when the first has been round
        rows = [row for way in WAYS for row in compared(way, ways, count)]
        (out / "table.md").write_text("\n".join([*lines, *rows]) + "\n")
    print((out / "table.md").read_text())


if __name__ == "__main__":
    typer.run(main)
