"""Table and curves of :mod:`training.studies.compression`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vsanimup.packages import need

Run = dict[str, Any]
"""One run, as its file has it."""
AIM = 0.4
"""Share of the compute at which the score of the whole run is aimed for."""
COMMON = 0.7
"""Share of the compute of the whole run that the others get, if their name does not say otherwise."""


def reached(curve: Sequence[dict[str, float]], target: float, axis: str) -> float | None:
    """Compute after which a curve, of straight lines, first has a score; ``axis`` names what counts as compute."""
    before: dict[str, float] | None = None
    for point in curve:
        if point["psnr"] >= target:
            if before is None:
                return point[axis]
            share = (target - before["psnr"]) / (point["psnr"] - before["psnr"])
            return before[axis] + share * (point[axis] - before[axis])
        before = point
    return None


def gain_at(run: Run, share: float) -> float | None:
    """What is gained over the input, in dB, after a share of the compute, if that much was spent."""
    curve = run["curve"]
    flops = [point["flops"] / run["limit"] for point in curve]
    if flops[-1] < share - 0.001:
        return None
    return float(np.interp(share, flops, [point["psnr"] for point in curve])) - float(run["input"])


def summaries(runs: Sequence[Run], update: int) -> list[dict[str, Any]]:
    """What came out by name of the run; shares are of the run on whole crops with the same seed.

    ``update``: operations of the optimizer's step, without which ``gradients`` are counted.
    """
    for point in (point for run in runs for point in run["curve"]):
        point["gradients"] = point["flops"] - update * point["step"]
    whole = {run["seed"]: run for run in runs if run["name"] == "whole"}
    grouped: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run["seed"] in whole:
            grouped[run["name"]].append(run)
    rows = []
    for name, group in grouped.items():
        shares: dict[str, list[float | None]] = {"flops": [], "gradients": [], "seconds": []}
        for run in group:
            end = whole[run["seed"]]["curve"][-1]
            for axis, values in shares.items():
                value = reached(run["curve"], end["psnr"], axis)
                values.append(value and value / end[axis])
        rows.append(
            {
                "name": name,
                "seeds": [run["seed"] for run in group],
                "strategies": group[0]["strategies"],
                **shares,
                "steps": [run["curve"][-1]["step"] for run in group],
                "gain at aim": [gain_at(run, AIM) for run in group],
                "ends at": group[0]["curve"][-1]["flops"] / group[0]["limit"],
                "gain at end": [run["curve"][-1]["psnr"] - run["input"] for run in group],
            }
        )
    return rows


def listed(values: Sequence[float | None]) -> str:
    """Mean and the single seeds' values."""
    each = ", ".join("–" if v is None else f"{v:.2f}" for v in values)
    known = [v for v in values if v is not None]
    if len(known) < len(values):
        return each
    return f"**{np.mean(known):.2f}** ({each})"


def table(network: str, rows: Sequence[dict[str, Any]], measured: dict[str, Any]) -> str:
    """The results of one network in Markdown."""
    lines = [
        f"### {network}",
        "",
        f"| run | strategy by quarter | operations | gradients' | CPU seconds | dB gained at {AIM:g} | dB at its end |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        strategies = "; ".join(row["strategies"]) if len(set(row["strategies"])) > 1 else row["strategies"][0]
        lines.append(
            f"| {row['name']} | {strategies} | {listed(row['flops'])} | {listed(row['gradients'])} "
            f"| {listed(row['seconds'])} | {listed(row['gain at aim'])} "
            f"| {row['ends at']:.1f}: {listed(row['gain at end'])} |"
        )
    lines += [
        "",
        "Squared bias / variance of a step's gradient:",
        "",
        "| strategy | cost of a gradient | of a step | 0 % | 25 % | 50 % | 75 % | 100 % |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    costs = measured["costs"]
    for index, label in enumerate(measured["strategies"]):
        cells = (f"{stage[index]['bias']:.3f} / {stage[index]['variance']:.2f}" for stage in measured["stages"])
        lines.append(f"| {label} | {costs['gradient'][index]:.2f} | {costs['step'][index]:.2f} | {' | '.join(cells)} |")
    lines += ["", "| budget, cost of what | strategies chosen |", "| --- | --- |"]
    lines += [f"| {budget} | {'; '.join(chosen)} |" for budget, chosen in measured["schedules"].items()]
    return "\n".join(lines) + "\n"


def draw(networks: dict[str, list[Run]], path: Path) -> None:
    """Gain over compute, one panel a network: every seed thin, their mean thick."""
    matplotlib = need("matplotlib")
    matplotlib.use("Agg")
    pyplot = need("matplotlib.pyplot")
    figure, panels = pyplot.subplots(1, len(networks), figsize=(6.0 * len(networks), 4.4), squeeze=False)
    shares = np.linspace(0.1, 1, 37)
    for panel, (network, runs) in zip(panels[0], networks.items(), strict=True):
        names = list(dict.fromkeys(run["name"] for run in runs))
        for number, name in enumerate(names):
            these = [run for run in runs if run["name"] == name]
            spent = shares[shares < 0.001 + min(run["curve"][-1]["flops"] / run["limit"] for run in these)]
            gains = [[gain_at(run, s) for s in spent] for run in these]
            for gain in gains:
                panel.plot(spent, gain, color=f"C{number}", linewidth=0.7, alpha=0.35)
            panel.plot(spent, np.mean(np.array(gains, float), 0), color=f"C{number}", linewidth=2, label=name)
        panel.axvline(AIM, color="black", linewidth=0.7, linestyle=":")
        panel.set(title=network, xlabel="operations, as a share of the run on whole crops")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
        panel.legend(loc="lower right")
    panels[0][0].set_ylabel("luma PSNR above the input's, dB")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def report(out: Path, plot: bool) -> None:
    """Make ``results.json``, ``table.md`` and ``curves.png`` from the runs in a folder."""
    networks: dict[str, list[Run]] = {}
    results: dict[str, Any] = {}
    text = ""
    for folder in sorted((path.parent for path in out.glob("*/gradients.json")), key=lambda f: f.name != "vit"):
        runs = [json.loads(path.read_text()) for path in sorted(folder.glob("* *.json"))]
        runs.sort(key=lambda run: (run["contrast"], run["name"] != "whole", run["name"], run["seed"]))
        measured = json.loads((folder / "gradients.json").read_text())
        rows = summaries(runs, measured["update"])
        cost = measured["flops"] / next(run["limit"] for run in runs if run["name"] == "whole")
        networks[folder.name] = runs
        results[folder.name] = {"runs": rows, "gradients": measured, "choosing": cost}
        text += table(folder.name, rows, measured) + f"\nMeasuring the gradients took {cost:.2f} of a whole run.\n\n"
    (out / "results.json").write_text(json.dumps(results, indent=1))
    (out / "table.md").write_text(text)
    if plot and networks:
        draw(networks, out / "curves.png")
