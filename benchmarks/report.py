"""Results as tables, JSON and a picture."""

from __future__ import annotations

import json
import os
import platform
import statistics
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.contenders import CLEAN, OURS, OURS_CLEAN
from benchmarks.packages import demand, need
from benchmarks.quality import kind_order

METRICS = (("psnr", ".2f"), ("ssim", ".4f"), ("flicker", ".3f"))
PACKAGES = ("vsanimup", "VapourSynth", "ncnn", "onnxruntime", "openvino")

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
    about = results["machine"]
    busy = f", load {about['load before']} before the run" if about["load before"] is not None else ""
    caption = f"{about['cpu']}, {about['cores']} cores{busy}"
    if "speed" in results:
        console.print(_speed_table(results["speed"], caption))
    if "quality" in results:
        console.print(_quality_table(results["quality"]))


def _speed_table(speed: Results, caption: str) -> Table:
    table = Table(title="Speed, 640x360 to 1280x720", caption=caption)
    table.add_column("upscaler")
    for title in ("seconds a frame", "fastest", f"times {OURS}", "core seconds", f"times {OURS}"):
        table.add_column(title, justify="right")
    for name, row in sorted(speed["rows"].items(), key=lambda item: float(item[1]["seconds"])):
        cells = (row[key] for key in ("seconds", "fastest", "ratio", "cpu", "cpu ratio"))
        table.add_row(name, *("" if cell is None else f"{cell:.3f}" for cell in cells))
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
                for metric, _ in METRICS
            }
            for name in dict.fromkeys(row["contender"] for row in of_kind)
        }
    return table


def _quality_table(quality: Results) -> Table:
    by_kind = means(quality)
    clips = len({row["clip"] for row in quality["rows"]})
    first = f", first {quality['frames']} frames" if quality["frames"] else ""
    caption = f"mean over {clips} clips, every {quality['every']}. frame{first}"
    table = Table(title="Quality: luma PSNR / SSIM / flicker", caption=caption)
    table.add_column("upscaler")
    for kind in by_kind:
        table.add_column(kind, justify="right")
    for name in dict.fromkeys(name for row in by_kind.values() for name in row):
        cells = (row.get(name) for row in by_kind.values())
        table.add_row(
            name, *(" / ".join(f"{c[m]:{form}}" for m, form in METRICS) if c else "" for c in cells)
        )
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
    figure, panels = pyplot.subplots(1, len(by_kind), figsize=(4.2 * len(by_kind), 4.4), squeeze=False)
    for panel, (kind, scores) in zip(panels[0], by_kind.items(), strict=True):
        for name, metrics in scores.items():
            seconds = speed.get(OURS_CLEAN if name == OURS and kind == CLEAN else name)
            if seconds is None:
                continue
            point = (seconds, metrics["psnr"])
            marker, size, colour = ("*", 160, "C3") if name == OURS else ("o", 36, "C0")
            panel.scatter(*point, marker=marker, s=size, color=colour)
            panel.annotate(name, point, xytext=(4, 5), textcoords="offset points", fontsize=7)
        panel.set(xscale="log", xlabel="seconds a frame", title=kind)
        panel.margins(0.25, 0.12)
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("luma PSNR, dB")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
