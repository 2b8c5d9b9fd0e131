"""Tables of the results of ``training.studies.tasks``, in Markdown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from training.studies.weights import group_of

Results = Mapping[str, Any]

GOALS = (0.9, 0.95)
"""Shares of the energy for which the smallest rank is named."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean."""
    found = list(values)
    return sum(found) / len(found)


def sensitivity(results: Results, tasks: Sequence[str]) -> str:
    """Gain in dB by group of weights, the most sensitive first."""
    rows = []
    for group, size in results["sizes"].items():
        gains = [results[f"sensitivity/{group}/{task}"][task] for task in tasks]
        together = mean(results[f"sensitivity/{group}/all"].values())
        rows.append((mean(gains), group, size, together, gains))
    rows.sort(reverse=True)
    return table(
        ("group", "parameters", *tasks, "mean", "a 1000 parameters", "tuned for all tasks"),
        [
            (
                group,
                f"{size:,}",
                *(f"{gain:+.3f}" for gain in gains),
                f"{total:+.3f}",
                f"{1000 * total / size:+.4f}",
                f"{together:+.3f}",
            )
            for total, group, size, together, gains in rows
        ],
    )


def _row(curves: Sequence[Sequence[float]], ranks: Sequence[int]) -> list[str]:
    """Energy kept at each rank, and the mean of the smallest ranks that reach each goal."""
    shares = [mean(curve[min(rank, len(curve)) - 1] for curve in curves) for rank in ranks]
    needed = [mean(1 + next(i for i, e in enumerate(curve) if e >= goal) for curve in curves) for goal in GOALS]
    return [f"{100 * share:.0f}" for share in shares] + [f"{rank:.1f}" for rank in needed]


def energy(results: Results, how: str, tasks: Sequence[str], ranks: Sequence[int], by_layer: bool) -> str:
    """Energy of the weight changes in per cent by layer or group, mean over the tasks."""
    curves: dict[str, list[Sequence[float]]] = defaultdict(list)
    full: dict[str, set[int]] = defaultdict(set)
    for task in tasks:
        for name, curve in results[f"energy/{how}/{task}"].items():
            key = name if by_layer else group_of(name)
            curves[key].append(curve)
            full[key].add(len(curve))
    heads = (f"rank {rank}" for rank in ranks)
    goals = (f"rank for {100 * goal:.0f} %" for goal in GOALS)
    rows = [(key, "/".join(map(str, sorted(full[key]))), *_row(found, ranks)) for key, found in curves.items()]
    return table(("layer" if by_layer else "group", "full rank", *heads, *goals), rows)


def cuts(results: Results, how: str, tasks: Sequence[str], ranks: Sequence[int]) -> str:
    """Gain over the backbone in dB when the changes are cut to a rank, and its share of the uncut changes' gain."""
    steps = [*map(str, ranks), "full"]
    rows = []
    gains: dict[str, list[float]] = defaultdict(list)
    for task in tasks:
        before = results["backbone"][task]
        found = [results[f"cut/{how}/{task}/{step}"] - before for step in steps]
        found.append(results[f"{how}/{task}"] - before)
        for step, gain in zip([*steps, "whole"], found, strict=True):
            gains[step].append(gain)
        rows.append((task, *(f"{gain:+.3f}" for gain in found)))
    totals = [mean(gain) for gain in gains.values()]
    rows.append(("mean", *(f"{gain:+.3f}" for gain in totals)))
    rows.append(("share of the gain", *(f"{100 * gain / totals[-1]:.0f} %" for gain in totals)))
    heads = (f"rank {rank}" for rank in ranks)
    return table(("task", *heads, "full rank", "with attention's position biases"), rows)


NAMES = {
    "input": "input",
    "backbone": "backbone as it was before tuning",
    "joint": "(a) backbone alone",
    "muon": "(b) one network a task",
    "biases": "(c) biases of rank 2 at a quarter resolution, from scratch",
    "biases recommended": "(c') biases where the experiments put them, from scratch",
    "added": "(c), put on the finished backbone, which stays",
    "together": "(c), put on the finished backbone, tuned with it",
    "together recommended": "(c'), put on the finished backbone, tuned with it",
    "joint/long": "(a), tuned for the steps of all networks of (b)",
    "together/long": "(c), put on the finished backbone, likewise",
    "together recommended/long": "(c'), put on the finished backbone, likewise",
}


def comparison(results: Results, tasks: Sequence[str]) -> str:
    """PSNR in dB by way of training, extra parameters, and share of the gain of one network a task over one for all.

    The one for all is the one that was trained for as many steps.
    """
    scores = {name: results[name] for name in NAMES if name in results}
    if f"muon/{tasks[-1]}" in results:
        scores["muon"] = {task: results[f"muon/{task}"] for task in tasks}
    size = sum(results["sizes"].values())
    totals = {name: mean(found.values()) for name, found in scores.items()}
    rows = []
    for name, words in NAMES.items():
        if name not in scores:
            continue
        biases = "biases recommended" if "recommended" in name else "biases"
        extra = results[f"extra/{biases}"] if any(word in name for word in ("biases", "added", "together")) else 0
        share = ""
        alone = "joint/long" if name.endswith("/long") else "joint"
        if name not in ("input", "backbone", alone) and {alone, "muon"} <= totals.keys():
            share = f"{100 * (totals[name] - totals[alone]) / (totals['muon'] - totals[alone]):.0f} %"
        more = f"{100 * (len(tasks) - 1)} %" if name == "muon" else f"{100 * extra / size:.1f} %"
        rows.append((words, more, *(f"{scores[name][task]:.2f}" for task in tasks), f"{totals[name]:.3f}", share))
    return table(("", "extra parameters", *tasks, "mean", "share of (b)'s gain over (a)"), rows)


def tables(results: Results, tasks: Sequence[str], ranks: Sequence[int]) -> str:
    """All tables for which there are results."""
    text = ["# Tables\n", "## Sensitivity: dB gained by tuning one group\n", sensitivity(results, tasks)]
    for how in ("muon", "adam"):
        if f"energy/{how}/{tasks[-1]}" in results:
            text += [
                f"## Rank: energy of the changes by {how}, per cent\n",
                energy(results, how, tasks, ranks, False),
                energy(results, how, tasks, ranks, True),
                f"## Rank: dB gained with the changes by {how} cut\n",
                cuts(results, how, tasks, ranks),
            ]
    text += ["## Comparison: dB\n", comparison(results, tasks)]
    if "recommended" in results:
        chosen = ((name, str(rank)) for name, rank in results["recommended"].items())
        text += ["## Layers and ranks that the experiments recommend\n", table(("layer", "rank"), chosen)]
    return "\n".join(text)
