"""Results as tables, JSON and a picture."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.contenders import CLEAN, OURS, OURS_CLEAN
from benchmarks.quality import kind_order
from vsanimup.packages import demand, need

METRICS = ("psnr", "ssim", "flicker")
PACKAGES = ("vsanimup", "VapourSynth", "ncnn", "onnxruntime", "openvino", "pyanime4k")

Results = dict[str, Any]


def machine(cores: int) -> Results:
    """What the figures were taken on, and how busy it was."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    python = platform.python_version()
    return {"cpu": _cpu(), "cores": cores, "load before": load, "python": python, "versions": versions}


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def load(path: Path) -> Results:
    """Results that an earlier run wrote."""
    try:
        results: Results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"peers: --with {path}: {error}") from None
    return results


def save(results: Results, path: Path) -> None:
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def show(results: Results, console: Console) -> None:
    if "speed" in results:
        console.print(_speed_table(results["speed"]))
    if "quality" in results:
        quality = results["quality"]
        console.print(_quality_table(quality, "luma PSNR/SSIM", lambda c: f"{c['psnr']:.2f}/{c['ssim']:.4f}"))
        console.print(_quality_table(quality, "flicker", lambda c: f"{c['flicker']:.3f}"))


def _speed_table(speed: Results) -> Table:
    about, rows = speed["machine"], speed["rows"]
    busy = f", load {about['load before']} before the run" if about["load before"] is not None else ""
    table = Table(title="Speed, 640x360 to 1280x720", caption=f"{about['cpu']}, {about['cores']} cores{busy}")
    columns = {"seconds": "s/frame", "fastest": "fastest", "cpu": "core s"}
    if OURS in rows:
        columns |= {"ratio": f"× {OURS}", "cpu ratio": "× (core s)"}
    table.add_column("upscaler", no_wrap=True)
    for title in columns.values():
        table.add_column(title, justify="right")
    for name, row in sorted(rows.items(), key=lambda item: float(item[1]["seconds"])):
        table.add_row(name, *(f"{row[key]:.3f}" for key in columns))
    return table


def means(quality: Results) -> dict[str, dict[str, dict[str, float]]]:
    """Mean over clips: kind, then contender, then metric."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    rows = quality["rows"]
    for kind in sorted({row["kind"] for row in rows}, key=kind_order):
        of_kind = [row for row in rows if row["kind"] == kind]
        table[kind] = {
            name: {
                metric: statistics.mean(row[metric] for row in of_kind if row["contender"] == name)
                for metric in METRICS
            }
            for name in dict.fromkeys(row["contender"] for row in of_kind)
        }
    return table


def _quality_table(quality: Results, title: str, cell: Callable[[dict[str, float]], str]) -> Table:
    by_kind = means(quality)
    clips = len({row["clip"] for row in quality["rows"]})
    if "at" in quality:
        sampled = f"frame {quality['at']}"
    else:
        sampled = "all frames" if quality["every"] == 1 else f"one frame in {quality['every']}"
        sampled += f" of the first {quality['frames']}" if quality["frames"] else ""
    table = Table(title=f"Quality: {title}", caption=f"mean over {clips} clips, {sampled}")
    table.add_column("upscaler", no_wrap=True)
    for kind in by_kind:
        table.add_column(kind, justify="right", no_wrap=True)
    for name in dict.fromkeys(name for row in by_kind.values() for name in row):
        table.add_row(name, *(cell(row[name]) if name in row else "" for row in by_kind.values()))
    return table


def check_plot() -> None:
    """Exit before a long run if its plot could not be drawn."""
    demand("matplotlib")


def plot(results: Results, path: Path) -> None:
    """PSNR against seconds a frame, one panel a kind of degradation."""
    if "speed" not in results or "quality" not in results:
        raise SystemExit("peers: --plot needs speed and quality: measure both, or bring one by --with FILE")
    matplotlib = need("matplotlib")
    matplotlib.use("Agg")
    speed = {name: row["seconds"] for name, row in results["speed"]["rows"].items()}
    by_kind = means(results["quality"])
    pyplot = need("matplotlib.pyplot")
    figure, panels = pyplot.subplots(1, len(by_kind), figsize=(4.2 * len(by_kind), 4.8), squeeze=False)
    colours: dict[str, str] = {}
    labels: dict[str, Any] = {}
    for panel, (kind, scores) in zip(panels[0], by_kind.items(), strict=True):
        for name, metrics in scores.items():
            colours.setdefault(name, f"C{len(colours)}")
            seconds = speed.get(OURS_CLEAN if name == OURS and kind == CLEAN else name)
            if seconds is None:
                continue
            marker, size, colour = ("*", 170, "black") if name == OURS else ("o", 40, colours[name])
            labels[name] = panel.scatter(seconds, metrics["psnr"], marker=marker, s=size, color=colour)
        panel.set(xscale="log", xlabel="seconds a frame", title=kind)
        panel.margins(0.1)
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("luma PSNR, dB")
    figure.legend(labels.values(), labels.keys(), loc="lower center", ncol=5, frameon=False)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    figure.savefig(path, dpi=120)
