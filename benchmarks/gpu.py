"""Speed on a GPU, beside PyTorch on the same GPU and the least time that its arithmetic allows; and whether the picture
is right there.

    python -m benchmarks.gpu --work FOLDER --prepare
    python -m benchmarks.gpu --work FOLDER --json gpu.json --markdown gpu.md

``--device cpu --small`` tries the same on the CPU with small networks, in about a minute.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
import vapoursynth as vs

from benchmarks import gpu_cases
from benchmarks.gpu_cases import Case
from benchmarks.overhead import pan
from vsanimup import engines
from vsanimup.engines import Backend

SECTIONS = ("lite", "agreement", "order", "filters", "ipt", "animatelcm", "animatelcm-tiny")
TOLERANCE = {"lite": 2 / 255, "animatelcm": 4 / 255}
"""Largest difference between GPU and CPU that is allowed, of samples in 0..1."""
Row = dict[str, Any]


@dataclass
class Bench:
    """One run of everything."""

    device: str
    backend: Backend
    small: bool
    work: Path
    limit: float
    turns: int
    compiled: bool
    started: float = field(default_factory=time.monotonic)
    rows: list[Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    rate: float = 0
    """FLOP/s that matrix products reach."""

    def say(self, text: str) -> None:
        """Tell how far it is."""
        print(f"[{time.monotonic() - self.started:5.0f} s] {text}", file=sys.stderr, flush=True)

    def in_time(self, what: str, seconds: float) -> bool:
        """Whether there are so many seconds left; else it is noted as missing."""
        if time.monotonic() - self.started + (0 if self.small else seconds) < self.limit:
            return True
        self.missing.append(f"{what}: no time was left")
        return False

    def add(self, section: str, name: str, **figures: Any) -> None:
        """Note a row."""
        self.rows.append({"section": section, "name": name, **figures})
        self.say(f"{name}: " + ", ".join(f"{k} {v:.4g}" for k, v in figures.items() if isinstance(v, float)))

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object], least: float = 1.0) -> float:
        """Median time of a call, after warm-up; each turn takes a good part of a second."""
        for _ in range(1 if self.small else 3):
            work()
        self.synchronize()
        start = time.perf_counter()
        work()
        self.synchronize()
        once = max(time.perf_counter() - start, 1e-6)
        repeats = 1 if self.small else max(1, min(1000, round(least / self.turns / once)))
        taken = []
        for _ in range(self.turns):
            start = time.perf_counter()
            for _ in range(repeats):
                work()
            self.synchronize()
            taken.append((time.perf_counter() - start) / repeats)
        return statistics.median(taken)

    def measure_rate(self) -> None:
        """FLOP/s of large matrix products, in half precision on a GPU."""
        side = 512 if self.device == "cpu" else 8192
        dtype = torch.float32 if self.device == "cpu" else torch.float16
        a, b = (torch.randn(side, side, device=self.device, dtype=dtype) for _ in range(2))
        self.rate = 2 * side**3 / self.seconds(lambda: a @ b)
        self.add("machine", "matrix products", tflops=self.rate / 1e12)

    def case(self, section: str, case: Case, streams: int) -> float:
        """Time one network in an engine and in PyTorch; the engine's seconds a run with all streams."""
        flops = case.flops()
        loading, alone, ours = self.engine(case, streams)
        eager, compiled = self.torch(case)
        floor = flops / self.rate
        self.add(
            section,
            case.name,
            load_s=loading,
            run_s=ours,
            alone_s=alone,
            frames_per_s=case.frames / ours,
            eager_s=eager,
            compiled_s=compiled,
            eager_ratio=eager / ours,
            compiled_ratio=_over(compiled, ours),
            floor_s=floor,
            of_floor=floor / ours,
            gflop=flops / 1e9,
            stated_gflop=case.stated and case.stated / 1e9,
        )
        return ours

    def engine(self, case: Case, streams: int) -> tuple[float, float, float]:
        """Seconds to load an engine and run it once, seconds of a run alone, and of one among many, copies included."""
        start = time.perf_counter()
        engine = case.load(self.backend, 0, streams)
        engine.run(case.inputs)
        loading = time.perf_counter() - start
        alone = self.seconds(lambda: engine.run(case.inputs))
        batch = 2 * streams
        with ThreadPoolExecutor(streams) as pool:
            together = self.seconds(lambda: list(pool.map(lambda _: engine.run(case.inputs), range(batch)))) / batch
        return loading, alone, together

    def torch(self, case: Case) -> tuple[float, float | None]:
        """Seconds a run in PyTorch, eager and compiled, with inputs and results on the device."""
        half = self.device == "cuda"
        with gpu_cases.on(self.device):
            net = case.module().eval().requires_grad_(False)
        net = net.half() if half and case.converts else net
        given = [torch.from_numpy(value).to(self.device) for value in case.inputs.values()]
        narrow = torch.autocast(self.device, torch.float16, enabled=half and not case.converts)

        def run(net: Callable[..., object]) -> Callable[[], object]:
            def work() -> object:
                with torch.inference_mode(), narrow:
                    return net(*given)

            return work

        eager = self.seconds(run(net))
        if not self.compiled:
            return eager, None
        try:
            return eager, self.seconds(run(torch.compile(net)))
        except Exception as error:  # anything may fail in a compiler
            self.missing.append(f"{case.name}, compiled by PyTorch: {str(error).splitlines()[0][:200]}")
            return eager, None
        finally:
            torch.compiler.reset()


def _over(value: float | None, by: float) -> float | None:
    return None if value is None else value / by


def chain(source: vs.VideoNode, name: str, backend: str) -> vs.VideoNode:
    """The filter that a network belongs to, every frame for itself."""
    function = vs.core.animup.Restore if "restore" in name else vs.core.animup.Upscale
    extra: dict[str, Any] = {"task": "deblock"} if "restore" in name else {}
    if backend == "cpu":  # whose default is integers
        extra["precision"] = "fp32"
    clip = function(source, backend=backend, dedup=0, **extra)
    assert isinstance(clip, vs.VideoNode)
    return clip


def scaled(width: int, height: int, length: int) -> vs.VideoNode:
    """Frames in memory that all differ."""
    clip = pan(length).resize.Bilinear(width, height)
    frames = list(clip.frames())
    return clip.std.BlankClip(keep=True).std.ModifyFrame(clip.std.BlankClip(keep=True), lambda n, f: frames[n])


def lite(bench: Bench) -> None:
    """The shipped networks."""
    for case in gpu_cases.lite_cases(bench.small):
        if bench.in_time(case.name, 40):
            bench.case("networks", case, bench.backend.streams())


def filters(bench: Bench) -> None:
    """Frames a second through VapourSynth, and the share of the engine's own rate."""
    sizes = {"tiny": (96, 48)} if bench.small else gpu_cases.INPUTS
    own = {row["name"]: row["frames_per_s"] for row in bench.rows if row["section"] == "networks"}
    for name in ("lite-restore", "lite-upscale"):
        for size, (width, height) in sizes.items():
            if not bench.in_time(f"filter {name} {size}", 20):
                continue
            length = 6 if bench.small else 120
            clip = chain(scaled(width, height, length), name, bench.backend.name)
            first = length // 4
            start = 0.0
            for n, frame in enumerate(clip.frames(close=True)):
                if n == first:
                    start = time.perf_counter()
                del frame
            rate = (length - 1 - first) / (time.perf_counter() - start)
            known = own.get(f"{name} {size}")
            bench.add("filters", f"{name} {size}", frames_per_s=rate, share_of_engine=known and rate / known)


def agreement(bench: Bench) -> None:
    """The same frames here and on the CPU."""
    length = 2 if bench.small else 4
    source = scaled(*((96, 48) if bench.small else (640, 360)), length)
    for name in ("lite-restore", "lite-upscale"):
        found = _planes(chain(source, name, bench.backend.name))
        wanted = _planes(chain(source, name, "cpu"))
        largest = max(float(np.abs(a.astype(int) - b).max()) for a, b in zip(found, wanted, strict=True)) / 255
        bench.add("agreement", name, largest=largest, allowed=TOLERANCE["lite"], right=largest <= TOLERANCE["lite"])
    if not bench.in_time("agreement of AnimateLCM", 100):
        return
    from vsanimup.networks.animatelcm.model import AnimateLcm
    from vsanimup.networks.animatelcm.pipeline import Enhancer

    model = AnimateLcm.open(gpu_cases.prepare_animatelcm(True, False, bench.work, bench.say))
    images = np.random.default_rng(0).random((2, 3, 96, 128), np.float32)

    def enhanced(backend: Backend) -> Any:
        made = Enhancer(model=model, width=128, height=96, backend=backend, tilesize=(64, 64))
        return made(images, np.zeros(2, np.int64), lambda: False)

    largest = float(np.abs(enhanced(bench.backend) - enhanced(engines.BACKENDS["cpu"])).max())
    allowed = TOLERANCE["animatelcm"]
    bench.add("agreement", "small AnimateLCM", largest=largest, allowed=allowed, right=largest <= allowed)


def order(bench: Bench) -> None:
    """Every frame is the same bytes, whichever was asked for before."""
    length = 6 if bench.small else 24
    source = scaled(*((96, 48) if bench.small else (640, 360)), length)
    for name in ("lite-restore", "lite-upscale"):
        forward, other = (chain(source, name, bench.backend.name) for _ in range(2))
        wanted = [_bytes(frame) for frame in forward.frames(close=True)]
        asked = np.random.default_rng(0).permutation(length).tolist()
        right = all(_bytes(other.get_frame(n)) == wanted[n] for n in asked)
        bench.add("order", name, right=right)


def ipt(bench: Bench) -> None:
    """IPT of the published size."""
    try:
        for case in gpu_cases.ipt_cases(bench.small, bench.work):
            bench.case("networks", case, 1)
    except LookupError as error:
        bench.missing.append(f"IPT: {error}")


def animatelcm(bench: Bench, tiny_vae: bool = False) -> None:
    """AnimateLCM's parts."""
    folder = gpu_cases.prepare_animatelcm(bench.small, tiny_vae, bench.work, bench.say)
    for case in gpu_cases.animatelcm_cases(bench.small, tiny_vae, folder):
        if bench.in_time(case.name, 90):
            bench.case("networks", case, 1)


def _planes(clip: vs.VideoNode) -> list[Any]:
    return [np.array(frame[i]) for frame in clip.frames() for i in range(frame.format.num_planes)]


def _bytes(frame: vs.VideoFrame) -> bytes:
    return b"".join(np.array(frame[i]).tobytes() for i in range(frame.format.num_planes))


def machine(bench: Bench) -> Row:
    """What it ran on."""
    packages = ("vsanimup", "torch", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx-cu13", "cuda-bindings")
    found: Row = {
        "backend": bench.backend.name,
        "python": platform.python_version(),
        "processor": platform.processor(),
        "when": time.strftime("%Y-%m-%d"),
        "packages": dict(_versions(packages)),
    }
    if bench.device == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    return found


def _versions(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def markdown(about: Row, rows: list[Row], missing: list[str]) -> str:
    """The tables."""
    lines = [", ".join(f"{key}: {value}" for key, value in about.items() if key != "packages"), ""]
    lines += [", ".join(f"{name} {number}" for name, number in about["packages"].items()), ""]
    for section in dict.fromkeys(row["section"] for row in rows):
        mine = [row for row in rows if row["section"] == section]
        columns = [key for key in mine[0] if key != "section"]
        lines += [f"## {section}", "", f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
        lines += [f"| {' | '.join(_cell(row.get(column)) for column in columns)} |" for row in mine]
        lines.append("")
    if missing:
        lines += ["## missing", "", *(f"- {what}" for what in missing), ""]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def main(
    work: Annotated[Path, typer.Option(help="folder for networks that are made, kept from run to run")],
    device: Annotated[str, typer.Option(help="cuda or cpu")] = "cuda",
    backend: Annotated[str, typer.Option(help="of the engines; auto is the best that works")] = "auto",
    small: Annotated[bool, typer.Option(help="small networks and frames, to try it")] = False,
    only: Annotated[list[str] | None, typer.Option(help=f"sections: {', '.join(SECTIONS)}; repeatable")] = None,
    prepare: Annotated[bool, typer.Option(help="only make the large networks")] = False,
    limit: Annotated[float, typer.Option(help="seconds after which nothing new is begun")] = 480,
    turns: Annotated[int, typer.Option(help="turns whose median counts")] = 5,
    compiled: Annotated[bool, typer.Option(help="with torch.compile")] = True,
    out: Annotated[Path | None, typer.Option("--json", help="file for the results")] = None,
    tables: Annotated[Path | None, typer.Option("--markdown", help="file for the tables")] = None,
) -> None:
    """Measure, print tables, and end with an error where a picture is wrong."""
    if unknown := set(only or ()) - set(SECTIONS):
        raise SystemExit(f"--only must be of {', '.join(SECTIONS)}, got {', '.join(sorted(unknown))}")
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("PyTorch finds no GPU; --device cpu --small tries the benchmark without one")
    chosen = engines.choose("cpu" if device == "cpu" else backend)
    work.mkdir(parents=True, exist_ok=True)
    bench = Bench(device, chosen, small, work, limit, turns if not small else 1, compiled and not small)
    if prepare:
        for tiny in (False, True):
            gpu_cases.prepare_animatelcm(small, tiny, work, bench.say)
        return
    bench.measure_rate()
    todo: dict[str, Callable[[Bench], None]] = {
        "lite": lite,
        "agreement": agreement,
        "order": order,
        "filters": filters,
        "ipt": ipt,
        "animatelcm": animatelcm,
        "animatelcm-tiny": lambda bench: animatelcm(bench, tiny_vae=True),
    }
    for section in [name for name in SECTIONS if not only or name in only]:
        if bench.in_time(section, 30):
            bench.say(section)
            todo[section](bench)
    about = machine(bench)
    print(text := markdown(about, bench.rows, bench.missing))
    if tables:
        tables.write_text(text, encoding="utf-8")
    if out:
        result = {"machine": about, "rows": bench.rows, "missing": bench.missing}
        out.write_text(json.dumps(result, indent=1), encoding="utf-8")
    if wrong := [row["name"] for row in bench.rows if row.get("right") is False]:
        raise SystemExit(f"wrong: {', '.join(wrong)}")


if __name__ == "__main__":
    typer.run(main)
