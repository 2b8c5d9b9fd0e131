"""Cheaper training by sequence compression: what it saves, measured.

``python -m training.studies.compression --data CLIPS --out FOLDER --bf16``

After *Accelerating Augmentation Invariance Pretraining* (arXiv 2410.22364). A transformer is trained on whole crops;
at 0, 25, 50, 75 and 100 % of that run the gradient of every way to compute less (``Strategy`` of ``vit.py``) is held
against the uncompressed one; each quarter of a second run then uses the strategy with the least error for its cost.
A third run spends as much a step on a smaller batch instead. IPT's contrastive loss (arXiv 2012.00364) is tried beside
both. The restoring lite network, half as wide, gets the same treatment; as it is made of convolutions, parts of crops
are all that it can leave out.

Every run goes into a file of its own as soon as it is done, and is not repeated; ``results.json``, ``table.md`` and
``curves.png`` are made of those files.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from training.data.dataset import TAPE, Batch, Batches, validation
from training.lite.loop import ADAM_GAIN, CLIP, DECAY_SHARE, OUTPUT_GAIN
from training.lite.train import CONFIGS
from training.losses import psnr
from training.muon import Muon
from training.studies.compression_gradients import apply, choose, gradients, matrices, measure
from training.studies.compression_report import AIM, COMMON, report
from training.studies.vit import CROP, WHOLE, Strategy, Vit, VitConfig
from vsanimup.architectures.lite.network import Lite
from vsanimup.packages import demand

RADIUS = CONFIGS["restore"].radius
"""Frames seen on each side of the centre frame."""
QUARTERS = 4
"""Stages of a run, each with a strategy of its own."""
WARM_UP = 20
"""Steps over which the learning rate rises."""
AVERAGED = 0.1
"""Share of the steps so far that the averaged weights look back over: scores of any step can be compared."""
BUDGETS = (1.0, 5.0, 20.0, 100.0)
"""Budgets of a gradient estimate for which the report has schedules too, in gradients of whole crops."""
SCORES = 20
"""Validations in a run."""

MENUS: dict[str, tuple[Strategy, ...]] = {
    "vit": (
        WHOLE,
        *(Strategy(drop=drop) for drop in (0.25, 0.5, 0.75, 0.9)),
        *(Strategy(patch=patch) for patch in (12, 16, 24)),
        *(Strategy(windows=windows) for windows in (2, 1)),
        Strategy(windows=2, drop=0.5),
        Strategy(windows=1, drop=0.5),
        Strategy(windows=2, patch=12),
    ),
    "lite": (WHOLE, Strategy(windows=2), Strategy(windows=1)),
}
"""Strategies that are measured, by network."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What all runs share."""

    data: Path
    out: Path
    steps: int
    """Steps of the run on whole crops; the others may spend :data:`COMMON` of its operations."""
    batch: int
    """Crops a step."""
    clips: int
    """Clip files that are read."""
    lr: float
    bf16: bool
    samples: int
    """Batches from which a gradient's bias and variance are estimated."""
    budget: float
    """Gradients of whole crops whose cost a gradient estimate may spend."""


def build(network: str) -> nn.Module:
    """A fresh network."""
    return Vit(VitConfig()) if network == "vit" else Lite(CONFIGS["restore"].scaled(0.5))


def optimizers(net: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the weights of layers, Adam for all else, as :func:`training.lite.loop.optimizers`."""
    assert isinstance(net, Vit | Lite)
    layers, outputs = list(matrices(net).values()), net.output_parameters()
    known = {id(p) for p in (*layers, *outputs)}
    others = [p for p in net.parameters() if id(p) not in known]
    groups = [{"params": others, "peak": ADAM_GAIN * lr}, {"params": outputs, "peak": OUTPUT_GAIN * lr}]
    muon = Muon(layers, lr)
    muon.param_groups[0]["peak"] = lr
    return [muon, torch.optim.AdamW(groups, lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True)]


def count(network: str, batch: Batch, strategy: Strategy, *, contrast: bool) -> tuple[int, int]:
    """Floating-point operations of a training step: forward and backward, and Muon's products of matrices."""
    net = build(network)
    both = optimizers(net, 0.01)
    with FlopCounterMode(display=False) as gradient:
        gradients(net, batch, strategy, torch.Generator().manual_seed(0), contrast=contrast, bf16=False)
    with FlopCounterMode(display=False) as update:
        for optimizer in both:
            optimizer.step()
    return int(gradient.get_total_flops()), int(update.get_total_flops())


class Tapes(Batches):
    """Training batches of captured tapes only: what a short run can learn; codecs take thousands of steps."""

    def __init__(self, options: Options) -> None:
        super().__init__(
            options.data, radius=RADIUS, crop=CROP, batch=options.batch, plain=1, steps=0, keep=options.clips
        )
        self.files = self.files[: options.clips]

    def _degradation(self, rng: np.random.Generator) -> tuple[str, list[str], dict[str, float]]:
        return "vhs", [], TAPE


class Cases:
    """The four quarters nearest the middle, 96x96 each, of the validation windows of captured tapes."""

    def __init__(self, data: Path) -> None:
        parts: dict[str, list[Tensor]] = defaultdict(list)
        for case in validation(data, RADIUS, CROP):
            if case.kind != "vhs":
                continue
            start = (case.y.shape[-1] - 2 * CROP) // 4 * 2
            for top, left in product((start, start + CROP), repeat=2):
                for name, plane in (("y", case.y), ("uv", case.uv), ("goal", case.goal_y)):
                    by = case.y.shape[-1] // plane.shape[-1]
                    rows, columns = (slice(at // by, (at + CROP) // by) for at in (top, left))
                    parts[name].append(plane[..., rows, columns])
                parts["mix"].append(case.mix)
        self.y, self.uv, self.goal, self.mix = (torch.cat(parts[name]) for name in ("y", "uv", "goal", "mix"))
        self.input = self._score(self.y[:, RADIUS : RADIUS + 1])

    def _score(self, restored: Tensor) -> float:
        return float(np.mean([psnr(a, b) for a, b in zip(restored, self.goal, strict=True)]))

    @torch.no_grad()
    def score(self, net: nn.Module, bf16: bool) -> float:
        """Mean luma PSNR in dB."""
        restored = []
        for first in range(0, len(self.y), 16):
            y, uv, mix = (part[first : first + 16] for part in (self.y, self.uv, self.mix))
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                out = apply(net, y, uv, mix, torch.zeros(len(y), 2, dtype=torch.long), WHOLE, torch.Generator())
            restored.append(out.y)
        return self._score(torch.cat(restored))


def write(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1))
    partial.replace(path)


def read(path: Path) -> Any:
    """JSON of a file."""
    return json.loads(path.read_text())


class Study:
    """One network's runs."""

    def __init__(self, network: str, options: Options, batches: Tapes, cases: Cases) -> None:
        self.network, self.options, self.batches, self.cases = network, options, batches, cases
        self.folder = options.out / network
        self.folder.mkdir(parents=True, exist_ok=True)
        self._counts: dict[tuple[Strategy, bool], tuple[int, int]] = {}

    def data(self, seed: int, step: int) -> Batch:
        """The batch of a step."""
        self.batches.seed = seed
        return self.batches[step]

    def counts(self, strategy: Strategy, contrast: bool = False) -> tuple[int, int]:
        """Operations of a step: the gradient's and the optimizer's."""
        key = (strategy, contrast)
        if key not in self._counts:
            self._counts[key] = count(self.network, self.data(0, 0), strategy, contrast=contrast)
        return self._counts[key]

    def flops(self, strategy: Strategy, contrast: bool = False) -> int:
        """Operations of a step."""
        return sum(self.counts(strategy, contrast))

    def run(
        self,
        name: str,
        seed: int,
        schedule: Sequence[Strategy],
        *,
        share: float = COMMON,
        contrast: bool = False,
        decay: bool = False,
    ) -> None:
        """Train with a strategy for each quarter of ``steps``, and on with the last until ``share`` is spent.

        ``share`` is of the operations that ``steps`` on whole crops take; ``decay`` lets the learning rate fall to
        nothing over the last part of it, as real training does.
        """
        path = self.folder / f"{name} {seed}.json"
        if path.exists():
            return
        o = self.options
        limit = o.steps * self.flops(WHOLE, contrast)
        last = share * limit
        torch.manual_seed(seed)
        net, average = build(self.network), build(self.network)
        average.load_state_dict(net.state_dict())
        both = optimizers(net, o.lr)
        generator = torch.Generator().manual_seed(seed)
        keep = self._states() if name == "whole" and not seed else {}
        curve: list[dict[str, Any]] = []
        step = spent = 0
        seconds = 0.0
        while spent < last:
            if step in keep:
                torch.save(net.state_dict(), keep[step])
            strategy = schedule[min(QUARTERS - 1, QUARTERS * step // o.steps)]
            batch = self.data(seed + 1, step)
            began = time.process_time()
            left = (1 - spent / last) / DECAY_SHARE if decay else 1.0
            for group in (group for optimizer in both for group in optimizer.param_groups):
                group["lr"] = group["peak"] * min(1.0, (step + 1) / WARM_UP, left)
            loss = gradients(net, batch, strategy, generator, contrast=contrast, bf16=o.bf16)
            nn.utils.clip_grad_norm_(net.parameters(), CLIP)
            for optimizer in both:
                optimizer.step()
            seconds += time.process_time() - began
            step += 1
            spent += self.flops(strategy, contrast)
            with torch.no_grad():
                share = 1 / (1 + AVERAGED * step)
                torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), share)
            if spent >= limit * (len(curve) + 1) / SCORES or spent >= last:
                score = self.cases.score(average, o.bf16)
                curve.append({"step": step, "flops": spent, "seconds": seconds, "loss": loss, "psnr": score})
                print(f"{self.network} {name} {seed} {step} {spent / limit:.2f} {score:.3f} dB", flush=True)
        if o.steps in keep:
            torch.save(net.state_dict(), keep[o.steps])
        write(
            path,
            {
                "name": name,
                "seed": seed,
                "contrast": contrast,
                "limit": limit,
                "input": self.cases.input,
                "strategies": [s.label for s in schedule],
                "costs": [self.flops(s, contrast) for s in schedule],
                "curve": curve,
            },
        )

    def _states(self) -> dict[int, Path]:
        return {self.options.steps * i // QUARTERS: self.folder / f"state {i}.pt" for i in range(QUARTERS + 1)}

    def schedule(self, *, whole_steps: bool = False) -> list[Strategy]:
        """The strategies for the quarters, by gradients measured along the run on whole crops with seed 0.

        The cost is that of a gradient, as several can be averaged for one step of the optimizer; with ``whole_steps``
        it holds the optimizer's step too.
        """
        menu, path = MENUS[self.network], self.folder / "gradients.json"
        o = self.options
        content: dict[str, Any] = read(path) if path.exists() else {"stages": []}
        done: list[list[dict[str, float]]] = content["stages"]
        batches = [self.data(1_000_000, step) for step in range(o.samples if len(done) <= QUARTERS else 0)]
        for state in list(self._states().values())[len(done) :]:
            net = build(self.network)
            net.load_state_dict(torch.load(state, weights_only=True))
            done.append(measure(net, batches, menu, o.bf16))
            write(path, content)
        costs = {
            "gradient": [self.counts(s)[0] / self.counts(WHOLE)[0] for s in menu],
            "step": [self.flops(s) / self.flops(WHOLE) for s in menu],
        }
        chosen = {
            f"{budget:g} {name}": choose(done, cost, budget)
            for name, cost in costs.items()
            for budget in sorted({*BUDGETS, o.budget})
        }
        content |= {
            "strategies": [s.label for s in menu],
            "costs": costs,
            "update": self.counts(WHOLE)[1],
            "flops": len(done) * o.samples * sum(self.counts(s)[0] for s in menu),
            "schedules": {key: [menu[i].label for i in numbers] for key, numbers in chosen.items()},
        }
        write(path, content)
        return [menu[i] for i in chosen[f"{o.budget:g} {'step' if whole_steps else 'gradient'}"]]

    def smaller_batches(self, schedule: Sequence[Strategy]) -> list[Strategy]:
        """Batches of whole crops, few enough to cost what a schedule's steps do."""
        n = self.options.batch
        one = self.flops(Strategy(crops=1))
        each = (self.flops(WHOLE) - one) / (n - 1)
        return [Strategy(crops=min(n, max(1, 1 + round((self.flops(s) - one) / each)))) for s in schedule]


def main(
    data: Annotated[Path, typer.Option(help="folder of clip files")],
    out: Annotated[Path, typer.Option(help="folder of the runs and the report")],
    steps: Annotated[int, typer.Option(help="steps of the run on whole crops")] = 300,
    batch: Annotated[int, typer.Option(help="crops a step")] = 12,
    clips: Annotated[int, typer.Option(help="clip files to read, 5.5 MB of memory each")] = 200,
    seeds: int = 2,
    lr: float = 0.02,
    samples: Annotated[int, typer.Option(help="batches from which a gradient's error is estimated")] = 8,
    budget: Annotated[float, typer.Option(help="gradients of whole crops that an estimate may cost")] = 1.0,
    networks: Annotated[str, typer.Option(help="vit, lite, or both with a comma")] = "vit,lite",
    bf16: Annotated[bool, typer.Option(help="bfloat16 arithmetic: twice as fast on AVX512-BF16")] = False,
    plot: Annotated[bool, typer.Option(help="draw the curves; needs matplotlib")] = True,
) -> None:
    """Do the runs that OUT lacks, and write the report."""
    if plot:
        demand("matplotlib")
    torch.set_num_threads(1)
    options = Options(
        data=data, out=out, steps=steps, batch=batch, clips=clips, lr=lr, bf16=bf16, samples=samples, budget=budget
    )
    batches, cases = Tapes(options), Cases(data)
    studies = [Study(network, options, batches, cases) for network in networks.split(",")]
    for seed in range(seeds):
        for study in studies:
            study.run("whole", seed, [WHOLE] * QUARTERS, share=1.0)
            schedule = study.schedule()
            study.run("schedule", seed, schedule)
            study.run("smaller batch", seed, study.smaller_batches(schedule))
            report(out, plot)
        for study in studies:
            if study.network == "vit":
                study.run("schedule, contrast", seed, study.schedule(), contrast=True)
            else:
                study.run("whole, decay", seed, [WHOLE] * QUARTERS, share=1.0, decay=True)
                study.run(f"schedule, decay at {AIM:g}", seed, study.schedule(), share=AIM, decay=True)
            report(out, plot)
    for seed in range(seeds):
        for study in studies:
            by_steps = study.schedule(whole_steps=True)
            if by_steps != study.schedule():
                study.run("schedule by step cost", seed, by_steps)
                report(out, plot)


if __name__ == "__main__":
    typer.run(main)
