"""What chunks and workers cost ``animup encode``.

    python -m benchmarks.render chunks              # one film in one chunk and in many: time and size
    python -m benchmarks.render workers             # the same by one process and by two
    python -m benchmarks.render scale --plot FILE   # 1 to 100 workers of a Dask cluster, with recorded chunk times

The film is the demonstration clip, repeated; the ready script restores and enlarges it. ``scale`` runs the real
scheduling on a real Dask scheduler; only the making of a chunk is replaced by sleeping a share of the time that one
took.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

COMMAND = [sys.executable, "-P", "-c", "from vsanimup.cli.main import app; app()", "encode"]
RECORDED = (16.9, 19.4)
"""Seconds between which the chunk times of ``scale`` lie, where none are given by ``--seconds``."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One encode."""

    wall: float
    processor: float
    """Seconds of all cores together."""
    size: int
    """Bytes of video."""


def film(folder: Path, frames: int, width: int) -> Path:
    """A film of the demonstration clip, as long and wide as is asked for."""
    from vsanimup.cli.demo import DEMO_CLIP

    out = folder / "film.mkv"
    command = ["ffmpeg", "-y", "-v", "error", "-stream_loop", "-1", "-i", str(DEMO_CLIP), "-frames:v", str(frames)]
    command += ["-vf", f"scale={width}:-2", "-c:v", "libx264", "-crf", "26", "-an", str(out)]
    subprocess.run(command, check=True)
    return out


def encode(source: Path, out: Path, *options: str) -> Run:
    """Run the command; what it took."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    said = subprocess.run(
        [*COMMAND, str(source), "-o", str(out), "--overwrite", "--json", *options],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall=wall, processor=spent, size=int(json.loads(said.splitlines()[-1])["size"]))


def compare(options: argparse.Namespace, one: list[str], other: list[str]) -> dict[str, Any]:
    """Two ways to encode one film, in turn; medians and the median of the ratios of neighbours."""
    with tempfile.TemporaryDirectory(prefix="animup_render_") as name:
        folder = Path(name)
        source = film(folder, options.frames, options.width)
        common = ["--task", options.task, "--scale", str(options.scale)]
        pairs = [
            (encode(source, folder / "a.mkv", *common, *one), encode(source, folder / "b.mkv", *common, *other))
            for _ in range(options.runs)
        ]

    def row(index: int) -> dict[str, float]:
        return {
            key: statistics.median(getattr(pair[index], key) for pair in pairs) for key in ("wall", "processor", "size")
        }

    ratio = {
        key: statistics.median(getattr(b, key) / getattr(a, key) for a, b in pairs)
        for key in ("wall", "processor", "size")
    }
    return {" ".join(one): row(0), " ".join(other): row(1), "ratio": ratio}


def sleeper(order: Any, place: Any) -> Any:
    """Stands in for :func:`vsanimup.render.cluster_worker.make`."""
    from vsanimup.render.cluster_worker import Delivery
    from vsanimup.render.journal import Entry

    seconds = float(order.script.arguments["seconds"])
    time.sleep(seconds)
    return Delivery(
        entry=Entry(index=order.index, first=order.first, end=order.end, size=0, sha256="", headers="", durations=[])
    )


def simulate(workers: int, seconds: list[float], share: float) -> float:
    """Times one worker's speed that so many reach, with chunks of so many seconds each, played at ``share`` of them."""
    import distributed

    from vsanimup.render import cluster, cluster_worker
    from vsanimup.render.chunk import Order, Script
    from vsanimup.render.chunk_encoders import ChunkEncoder

    local_cluster: Any = distributed.LocalCluster
    encoder = ChunkEncoder(name="x264", library="libx264", tool="x264", crf=16, preset="medium")
    with (
        tempfile.TemporaryDirectory(prefix="animup_render_") as folder,
        local_cluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=False,
            dashboard_address=":0",
            silence_logs="CRITICAL",
            memory_limit=0,
        ) as found,
    ):
        orders = [
            Order(
                index=index,
                first=index,
                end=index + 1,
                encoder=encoder,
                rate=(24, 1),
                folder=folder,
                script=Script(path="", text="", arguments={"seconds": str(each * share)}),
            )
            for index, each in enumerate(seconds)
        ]
        real, cluster_worker.make = cluster_worker.make, sleeper
        cluster.CONNECT = 60.0  # a hundred workers of one process keep it busy
        try:
            client = cluster.DaskWorkers(found.scheduler_address, source=None, root=None, resources={}, warn=print)
            began = time.monotonic()
            made = list(client.run(orders, lambda index, frames: None))
            took = time.monotonic() - began
        finally:
            cluster_worker.make = real
    assert sorted(entry.index for entry in made) == list(range(len(seconds)))
    return sum(seconds) * share / took


def scale(options: argparse.Namespace) -> dict[str, Any]:
    """Speed of 1 to 100 workers, beside what the number of chunks allows."""
    chance = random.Random(0)
    low, high = options.seconds or RECORDED
    found = {}
    for workers in options.workers:
        # one worker needs no more chunks to show its speed, and would take all day
        count = options.chunks if workers > 4 else min(options.chunks, 20 * workers)
        seconds = [chance.uniform(low, high) for _ in range(count)]
        reached = simulate(workers, seconds, options.share or min(1.0, workers / 100))
        rounds = -(-count // workers)
        found[str(workers)] = {"chunks": count, "speed": reached, "most": count / rounds}
        Console(stderr=True).print(f"{workers} workers: {reached:.1f} times one's speed, at most {count / rounds:.1f}")
    return found


def plot(found: dict[str, Any], path: Path, chunks: int) -> None:
    """Speed by workers."""
    from vsanimup.packages import need

    need("matplotlib").use("Agg")
    pyplot = need("matplotlib.pyplot")
    workers = [int(count) for count in found]
    figure, axes = pyplot.subplots(figsize=(6, 4.5), layout="constrained")
    axes.plot(workers, workers, "--", color="0.7", label="as many times as workers")
    axes.plot(
        workers, [found[str(n)]["most"] for n in workers], color="tab:green", label="most that whole chunks allow"
    )
    axes.plot(workers, [found[str(n)]["speed"] for n in workers], "o-", color="tab:blue", label="measured")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="workers",
        ylabel="times the speed of one worker",
        title=f"A film of {chunks} chunks on a Dask cluster",
    )
    axes.set_xticks(workers, [str(n) for n in workers])
    axes.set_yticks(workers, [str(n) for n in workers])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=100)


def table(found: dict[str, Any]) -> Table:
    """Results in rows."""
    shown = Table("", *next(iter(found.values())))
    for name, row in found.items():
        shown.add_row(name, *(f"{value:,.3f}" if value < 1000 else f"{value:,.0f}" for value in row.values()))
    return shown


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.render", description="What chunks and workers cost.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("chunks", "workers"):
        command = commands.add_parser(name)
        command.add_argument("--frames", type=int, default=1920)
        command.add_argument("--width", type=int, default=320)
        command.add_argument("--scale", type=int, default=2)
        command.add_argument("--task", default="deblock")
        command.add_argument("--chunk", type=int, default=480)
        command.add_argument("--runs", type=int, default=3)
    command = commands.add_parser("scale")
    command.add_argument("--chunks", type=int, default=360, help="of two hours of film")
    command.add_argument("--workers", type=int, nargs="+", default=[1, 2, 5, 10, 20, 50, 100])
    command.add_argument("--seconds", type=float, nargs=2, help="least and most that a chunk takes")
    command.add_argument("--share", type=float, help="of that time which is slept; N / 100 with N workers, at most all")
    command.add_argument("--plot", type=Path)
    for one in commands.choices.values():
        one.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.command == "chunks":
        found = compare(options, ["--chunk", str(options.frames + 1)], ["--chunk", str(options.chunk)])
    elif options.command == "workers":
        common = ["--chunk", str(options.chunk), "--workers"]
        found = compare(options, [*common, "1"], [*common, "2"])
    else:
        found = scale(options)
        if options.plot:
            plot(found, options.plot, options.chunks)
    Console().print(table(found))
    if options.json:
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        options.json.write_text(json.dumps({"load": load, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
