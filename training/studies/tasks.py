"""The experiments of Instruct-IPT (arXiv 2407.00676) on a small restoring network, and what its task biases keep.

``python -m training.studies.tasks --data CLIPS --out FOLDER``

1. Task sensitivity: one group of weights at a time is tuned for one task, all else frozen; dB gained.
2. Rank: the network is tuned whole for each task; the singular values of what that changed, and the dB that are left
   when the changes are cut to a rank.
3. Comparison: one network for all tasks, one for each task, and one with low-rank task biases.

Every result goes into ``results.json`` as soon as it is there and is not made again, so that the command may be
stopped and started; at the end ``tables.md`` is written from it.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from training.lite.loop import CLIP, optimizers, save
from training.losses import distance
from training.studies.report import tables
from training.studies.weights import (
    bias_parameters,
    cut_change,
    energies,
    group_of,
    groups,
    layers,
    put_biases,
    recommend,
)
from training.studies.windows import Windows, cut_windows
from vsanimup.architectures.lite.network import Lite, LiteConfig

TASKS = ("deblock", "denoise", "dehalo", "descratch", "derain", "desnow")
"""Tasks of the study: those whose degradations a short training of a small network mends well enough to tell."""
RANKS = (1, 2, 4, 8, 16)
"""Ranks looked at."""
FORMER = ("before", "behind")
"""Groups whose layers carried the biases of the networks before this study, at :data:`FORMER_RANK`."""
FORMER_RANK = 2
BUDGET = 0.15
"""Most parameters of all biases together, as a share of the backbone's."""
LR = 0.02
"""Muon's learning rate from scratch, and that of biases put on a finished backbone."""
ADAM_GAIN = 0.1
"""Rate of what Adam trains beside Muon, as a share of Muon's. Kept here, whatever the trainer's is by now."""
DECAY_SHARE = 0.35
"""Last part of a run over which the rate falls to nothing; likewise."""
TUNING_LRS = (0.002, 0.005, 0.01)
"""Rates for tuning to choose from."""
ADAM_LR = 5e-4
"""Rate of tuning by Adam alone, for the comparison of the two optimizers' changes."""
CEILING = 1e-5
"""Least mean squared error that PSNR counts, 50 dB: a corner without any degradation would weigh most otherwise."""

Scores = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Sizes of the experiments. Results of one plan do not go together with another's."""

    size: float = 0.5
    """Channels, as a multiple of the shipped networks'."""
    clips: int = 200
    """Training clips to cut windows from."""
    each: int = 3
    """Windows of a clip for each task, in training."""
    checks: int = 2
    """The same, in validation."""
    crop: int = 96
    """Side of a window, luma samples."""
    batch: int = 6
    """Windows a step; evenly from all tasks where a network is trained for all."""
    base: int = 2000
    """Steps from scratch."""
    tune: int = 300
    """Steps of tuning that follow; in the comparison."""
    group: int = 40
    """Steps of tuning one group of weights."""
    trial: int = 80
    """Steps of each trial of a learning rate."""
    seed: int = 0


class Results:
    """Results by name, kept in a file; networks beside it."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "results.json"
        self.all: dict[str, Any] = json.loads(self._path.read_text()) if self._path.exists() else {"plan": asdict(plan)}
        if self.all["plan"] != asdict(plan):
            raise ValueError(f"{self._path} is of another plan, {self.all['plan']}; choose another folder")

    def get(self, name: str, make: Callable[[], Any]) -> Any:
        """The result ``name``; made and written if it is not there."""
        if name not in self.all:
            began, cpu = time.monotonic(), time.process_time()
            self.all[name] = make()
            partial = self._path.with_suffix(".partial")
            partial.write_text(json.dumps(self.all, indent=1))
            partial.replace(self._path)
            seconds, cpu = time.monotonic() - began, time.process_time() - cpu
            print(f"{name}: {seconds:.0f} s, {cpu:.0f} s of the CPU: {json.dumps(self.all[name])[:200]}", flush=True)
        return self.all[name]

    def network(self, name: str, make: Callable[[], Lite]) -> dict[str, Tensor]:
        """Weights of the network ``name``; trained and written if they are not there."""
        path = self.folder / f"{name.replace('/', '_')}.pt"
        if not path.exists():
            began, cpu = time.monotonic(), time.process_time()
            save(path, make().state_dict())
            seconds, cpu = time.monotonic() - began, time.process_time() - cpu
            print(f"{name}: trained in {seconds:.0f} s, {cpu:.0f} s of the CPU", flush=True)
        state: dict[str, Tensor] = torch.load(path, weights_only=True)
        return state


def rate(step: int, steps: int, peak: float) -> float:
    """Learning rate: warm-up over a tenth of the run, 100 steps at most, plateau, linear decay."""
    return peak * min(1.0, (step + 1) / min(100, max(1, steps / 10)), (steps - step) / (DECAY_SHARE * steps))


class Bench:
    """The data, and how networks are made, trained and measured on it."""

    def __init__(self, plan: Plan, training: Mapping[str, Windows], checks: Mapping[str, Windows]) -> None:
        self.plan, self.training, self.checks = plan, training, checks
        self.tasks = list(training)

    def fresh(self, ranks: Mapping[str, int] | None = None, state: Mapping[str, Tensor] | None = None) -> Lite:
        """A network with biases of these ranks by layer; ``state`` may lack them, or be ``None`` to start anew."""
        torch.manual_seed(self.plan.seed)
        net = Lite(LiteConfig().scaled(self.plan.size))
        put_biases(net, ranks or {}, len(self.tasks))
        if state is not None:
            net.load_state_dict(state, strict=False)
        return net.to(memory_format=torch.channels_last)

    def _batch(self, tasks: Sequence[str], step: int) -> tuple[tuple[Tensor, ...], Tensor]:
        rng = np.random.default_rng((self.plan.seed, step))
        counts = np.bincount((step * self.plan.batch + np.arange(self.plan.batch)) % len(tasks), minlength=len(tasks))
        parts, mixes = [], []
        for task, count in zip(tasks, counts, strict=True):
            if count:
                windows = self.training[task]
                parts.append(windows.planes(rng.integers(len(windows), size=int(count)).tolist()))
                mixes.append(torch.eye(len(self.tasks))[[self.tasks.index(task)] * int(count)])
        return tuple(torch.cat(planes) for planes in zip(*parts, strict=True)), torch.cat(mixes)

    def train(
        self,
        net: Lite,
        tasks: Sequence[str],
        steps: int,
        lr: float,
        only: Iterable[Tensor] | None = None,
        adam: bool = False,
    ) -> Lite:
        """Train ``net`` for ``tasks``, of its weights ``only`` some, by Muon as :mod:`training.lite.train` or Adam."""
        chosen = {id(p) for p in (net.parameters() if only is None else only)}
        for p in net.parameters():
            p.requires_grad_(id(p) in chosen)
        used: list[torch.optim.Optimizer] = optimizers(torch.nn.ModuleDict({"restore": net}), lr)
        used[1].param_groups[0]["peak"] = ADAM_GAIN * lr
        if adam:
            used = [
                torch.optim.AdamW([{"params": list(net.parameters()), "peak": lr}], betas=(0.9, 0.99), weight_decay=0)
            ]
        for step in range(steps):
            (y, uv, goal_y, goal_uv), mix = self._batch(tasks, step)
            net.set_mix(mix)
            with torch.autocast("cpu", torch.bfloat16):
                restored_y, restored_uv = net(y, uv)
                loss = distance(restored_y, restored_uv, goal_y, goal_uv)
            net.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_([p for p in net.parameters() if p.grad is not None], CLIP)
            for optimizer in used:
                for group in optimizer.param_groups:
                    group["lr"] = rate(step, steps, group["peak"])
                optimizer.step()
        net.zero_grad(set_to_none=True)
        return net

    @torch.no_grad()
    def score(self, net: Lite, tasks: Iterable[str] | None = None) -> Scores:
        """Mean luma PSNR in dB over the validation windows of each task, its biases in force."""
        scores = {}
        for task in self.tasks if tasks is None else tasks:
            windows, values = self.checks[task], []
            for at in range(0, len(windows), 8):
                y, uv, goal_y, _ = windows.planes(slice(at, at + 8))
                net.set_mix(torch.eye(len(self.tasks))[[self.tasks.index(task)] * len(y)])
                with torch.autocast("cpu", torch.bfloat16):
                    restored = net(y, uv)[0]
                error = (restored.float().clamp(0, 1) - goal_y).square().mean((1, 2, 3))
                values.append(-10 * torch.log10(error.clamp_min(CEILING)))
            scores[task] = round(float(torch.cat(values).mean()), 4)
        return scores

    def inputs(self) -> Scores:
        """The same of the windows as they come."""
        scores = {}
        for task, windows in self.checks.items():
            y, _, goal_y, _ = windows.planes(slice(None))
            centre = y.shape[1] // 2
            error = (y[:, centre : centre + 1] - goal_y).square().mean((1, 2, 3))
            scores[task] = round(float((-10 * torch.log10(error.clamp_min(CEILING))).mean()), 4)
        return scores


def sensitivity(bench: Bench, results: Results, start: Mapping[str, Tensor], lr: float) -> None:
    """Experiment 1: gain in dB by group and task; as ``all`` of tuning the group for all tasks together."""
    names = list(groups(bench.fresh()))
    before = results.get("backbone", lambda: bench.score(bench.fresh(state=start)))
    for group in names:
        for task in (*bench.tasks, "all"):

            def gain(group: str = group, task: str = task) -> Scores:
                net = bench.fresh(state=start)
                wanted = bench.tasks if task == "all" else [task]
                bench.train(net, wanted, bench.plan.group, lr, only=groups(net)[group])
                return {name: round(value - before[name], 4) for name, value in bench.score(net, wanted).items()}

            results.get(f"sensitivity/{group}/{task}", gain)
    sizes = {name: sum(p.numel() for p in found) for name, found in groups(bench.fresh()).items()}
    results.get("sizes", lambda: sizes)


def whole(bench: Bench, results: Results, start: Mapping[str, Tensor], lr: float, how: str) -> None:
    """One network a task, tuned whole by ``how``: its score, and experiment 2 on what the tuning changed."""
    for task in bench.tasks:

        def tuned(task: str = task) -> Lite:
            return bench.train(bench.fresh(state=start), [task], bench.plan.tune, lr, adam=how == "adam")

        state = results.network(f"{how}/{task}", tuned)

        def score(change: Mapping[str, Tensor], task: str = task) -> float:
            return bench.score(bench.fresh(state=change), [task])[task]

        def uncut(score: Any = score, state: Mapping[str, Tensor] = state) -> float:
            return float(score(state))

        results.get(f"{how}/{task}", uncut)
        for rank in (*RANKS, None):

            def cut(rank: int | None = rank, score: Any = score, state: Mapping[str, Tensor] = state) -> float:
                return float(score(cut_change(start, state, rank)))

            results.get(f"cut/{how}/{task}/{rank or 'full'}", cut)

        def spectrum(state: Mapping[str, Tensor] = state) -> dict[str, list[float]]:
            return {
                name: [round(float(e), 5) for e in energies(state[f"{name}.weight"] - start[f"{name}.weight"])]
                for name in layers(bench.fresh())
            }

        results.get(f"energy/{how}/{task}", spectrum)


def mean_energy(results: Mapping[str, Any], how: str, tasks: Sequence[str]) -> dict[str, dict[int, float]]:
    """Energy of the changes kept by layer and rank, mean over tasks."""
    kept: dict[str, dict[int, float]] = {}
    for name in results[f"energy/{how}/{tasks[0]}"]:
        curves = [results[f"energy/{how}/{task}"][name] for task in tasks]
        kept[name] = {rank: sum(curve[min(rank, len(curve)) - 1] for curve in curves) / len(curves) for rank in RANKS}
    return kept


def recommended(bench: Bench, results: Results) -> dict[str, int]:
    """Ranks by layer after experiments 1 and 2, within the budget."""
    gains = {
        group: sum(results.all[f"sensitivity/{group}/{task}"][task] for task in bench.tasks) / len(bench.tasks)
        for group in groups(bench.fresh())
    }
    kept = mean_energy(results.all, "muon", bench.tasks)
    ranks: dict[str, int] = results.get(
        "recommended", lambda: recommend(bench.fresh(), gains, kept, len(bench.tasks), BUDGET)
    )
    return ranks


def biased(bench: Bench, results: Results, name: str, ranks: Mapping[str, int], lr: float) -> None:
    """A network whose backbone and biases are trained together from scratch, then tuned as all others are."""
    plan = bench.plan

    def extra() -> int:
        return sum(p.numel() for p in bias_parameters(bench.fresh(ranks)))

    results.get(f"extra/{name}", extra)
    base = results.network(f"{name}/base", lambda: bench.train(bench.fresh(ranks), bench.tasks, plan.base, LR))
    after(bench, results, name, ranks, base, plan.tune, lr)


def after(
    bench: Bench,
    results: Results,
    name: str,
    ranks: Mapping[str, int],
    base: Mapping[str, Tensor],
    steps: int,
    lr: float,
) -> None:
    """Score of a network tuned for all tasks together for ``steps`` steps."""
    tuned = results.network(name, lambda: bench.train(bench.fresh(ranks, base), bench.tasks, steps, lr))
    results.get(name, lambda: bench.score(bench.fresh(ranks, tuned)))


def choose_rate(bench: Bench, start: Mapping[str, Tensor]) -> dict[str, float]:
    """Mean dB of two unlike tasks after a short tuning for each, by learning rate."""
    found: dict[str, list[float]] = defaultdict(list)
    for lr in TUNING_LRS:
        for task in (bench.tasks[0], bench.tasks[-1]):
            net = bench.train(bench.fresh(state=start), [task], bench.plan.trial, lr)
            found[str(lr)].append(bench.score(net, [task])[task])
    return {lr: round(sum(values) / len(values), 4) for lr, values in found.items()}


def main(
    data: Annotated[Path, typer.Option(help="folder of clip files")],
    out: Annotated[Path, typer.Option(help="folder of the results")],
    clips: int = Plan.clips,
    base: Annotated[int, typer.Option(help="steps from scratch")] = Plan.base,
    tune: Annotated[int, typer.Option(help="steps of tuning")] = Plan.tune,
    group: Annotated[int, typer.Option(help="steps of tuning one group of weights")] = Plan.group,
    trial: Annotated[int, typer.Option(help="steps of each trial of a learning rate")] = Plan.trial,
    size: Annotated[float, typer.Option(help="channels, as a multiple of the shipped networks'")] = Plan.size,
    crop: int = Plan.crop,
    seed: int = Plan.seed,
    threads: int = 1,
) -> None:
    """Make the experiments that OUT does not hold yet, and write the tables."""
    torch.set_num_threads(threads)
    plan = Plan(clips=clips, base=base, tune=tune, group=group, trial=trial, size=size, crop=crop, seed=seed)
    results = Results(out, plan)
    radius = LiteConfig().radius
    bench = Bench(
        plan,
        cut_windows(
            sorted(data.glob("train_*.npz"))[:clips], TASKS, radius=radius, crop=crop, each=plan.each, seed=seed
        ),
        cut_windows(sorted(data.glob("val_*.npz")), TASKS, radius=radius, crop=crop, each=plan.checks, seed=seed + 1),
    )
    results.get("input", bench.inputs)
    start = results.network("backbone", lambda: bench.train(bench.fresh(), TASKS, base, LR))
    results.get("backbone", lambda: bench.score(bench.fresh(state=start)))
    rates = results.get("rates", lambda: choose_rate(bench, start))
    lr = float(max(rates, key=lambda name: rates[name]))
    sensitivity(bench, results, start, lr)
    whole(bench, results, start, lr, "muon")
    after(bench, results, "joint", {}, start, tune, lr)
    former = {name: FORMER_RANK for name in layers(bench.fresh()) if group_of(name) in FORMER}
    biased(bench, results, "biases", former, lr)
    chosen = recommended(bench, results)
    biased(bench, results, "biases recommended", chosen, lr)

    def added() -> Lite:
        net = bench.fresh(former, start)
        return bench.train(net, TASKS, tune, LR, only=bias_parameters(net))

    late = results.network("added", added)
    results.get("added", lambda: bench.score(bench.fresh(former, late)))
    # from one finished backbone, since what a network finds from scratch is partly luck
    after(bench, results, "together", former, start, tune, lr)
    after(bench, results, "together recommended", chosen, start, tune, lr)
    (out / "tables.md").write_text(tables(results.all, TASKS, RANKS))
    # as many steps as all the networks of one task together
    long = len(TASKS) * tune
    after(bench, results, "joint/long", {}, start, long, lr)
    after(bench, results, "together recommended/long", chosen, start, long, lr)
    after(bench, results, "together/long", former, start, long, lr)
    (out / "tables.md").write_text(tables(results.all, TASKS, RANKS))
    whole(bench, results, start, ADAM_LR, "adam")
    (out / "tables.md").write_text(tables(results.all, TASKS, RANKS))


if __name__ == "__main__":
    typer.run(main)
