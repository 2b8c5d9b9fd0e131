"""Random clips, arguments and ways of asking for frames: do the bytes stay the same, does nothing hang or crash?

    python -m benchmarks.fuzz --seconds 1200 --seed 1

A case is a clip and a chain of filters, drawn from a seed. Its frames are asked for in order by one thread and one
stream, then in other orders, by up to eight threads and streams, with small caches and with threads taken away
meanwhile; all of it has to give the same. ``--seed N --cases 1`` repeats one. Ends with status 1 where anything failed.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import vapoursynth as vs
from rich.console import Console
from rich.table import Table

from vsanimup.engines import BACKENDS, DeviceArray, Engine, Feed, Result, on_host
from vsanimup.errors import AnimupError
from vsanimup.networks.manifest import open_model
from vsanimup.stop import current

core = vs.core

FORMATS = (
    *3 * (vs.YUV420P8,),
    vs.YUV420P10,
    vs.YUV420P16,
    vs.YUV420PS,
    vs.YUV422P8,
    vs.YUV444P8,
    vs.YUV444P16,
    vs.YUV410P8,
    vs.GRAY8,
    vs.GRAY16,
    vs.GRAYS,
    vs.RGB24,
    vs.RGB48,
    vs.RGBS,
)
TASKS = "auto", "auto", "denoise", "deblock", "destream", "deblock+0.5*denoise", "deband", "deband+0.5*denoise"
CHAINS = "R", "U", "RU", "RU", "O", "RO", "UR", "RR"
"""Restore, Upscale, and Upscale in one pass, in the order that they come in."""
PATIENCE = 90.0
"""Seconds after which a frame that did not come counts as a hang."""
BATCH = 4
"""Cases a process."""


class MadeUp:
    """A backend whose networks are a mean of the window, by weights that depend on the network's bytes: fast, but what
    is given a wrong window or network shows. Ends early, as the others do, when nobody wants the result any more."""

    name = "made-up"
    builds = False
    integers = True

    def __init__(self, seconds: float = 0.002) -> None:
        """Each run takes up to ``seconds`` longer than it must, so that others overtake it."""
        self.seconds = seconds
        self.runs: list[str] = []
        """The folder of the network of each run."""

    def unavailable(self) -> str | None:
        """Never."""
        return None

    def streams(self) -> int:
        """Two at once."""
        return 2

    def memory(self, device_id: int) -> None:
        """The computer's."""

    def load(self, network: bytes, *, origin: str, **_: object) -> Engine:
        """See :class:`vsanimup.engines.base.Backend`."""
        return _Mean(self, origin, hashlib.sha256(network).digest()[0] / 512)

    def load_file(self, path: Path, **_: object) -> Engine:
        """The same."""
        return self.load(path.read_bytes(), origin=str(path))


class _Mean:
    backend = MadeUp.name

    def __init__(self, owner: MadeUp, origin: str, share: float) -> None:
        self._owner, self._share = owner, np.float32(share)
        self._folder = next(part for part in Path(origin).parts if part.startswith("lite-"))
        self._frames = 2 * open_model(Path(origin).parent).radius + 1

    def run(self, inputs: Mapping[str, Feed | DeviceArray], *, keep: Collection[str] = ()) -> dict[str, Result]:
        """See :class:`vsanimup.engines.base.Engine`."""
        self._owner.runs.append(self._folder)
        stop, told = current(), threading.Event()
        with stop.telling(told.set):
            told.wait(random.uniform(0, self._owner.seconds))
        if stop:
            raise AnimupError("nobody wants this frame any more")
        results: dict[str, Result] = {}
        for name, planes in (("y", 1), ("uv", 2)):
            given = inputs[name]
            values = given if isinstance(given, np.ndarray) else on_host(given)
            window = values.reshape(-1, planes, *values.shape[2:]).astype(np.float32)
            if len(window) != self._frames:
                raise AnimupError(f"the network takes {self._frames} frames, not {len(window)}")
            centre = window[len(window) // 2]
            result = centre + self._share * (window.mean(0) - centre)
            scale = 1 if self._folder == "lite-restore" else 2
            if scale == 2:  # what is restored may be equal for several networks, and what they enlarge is not
                result += self._share / 4
            results[f"result_{name}"] = result.repeat(scale, 1).repeat(scale, 2)[None]
        return results


@dataclass(frozen=True, kw_only=True)
class Case:
    """A clip and what is done to it."""

    seed: int
    format: int
    width: int
    height: int
    length: int
    motion: str
    marks: str
    between: str
    steps: tuple[tuple[str, dict[str, Any]], ...]


def draw(seed: int, backend: str = "auto") -> Case:
    """The case of a seed; its filters run on ``backend``."""
    rng = random.Random(seed)
    format = rng.choice(FORMATS)
    kind = core.get_video_format(format)
    sides = [rng.choice((16, 17, 48, rng.randrange(16, 80))) for _ in "wh"]
    width, height = (
        -(-side >> shift) << shift for side, shift in zip(sides, (kind.subsampling_w, kind.subsampling_h), strict=True)
    )
    steps = []
    for step in rng.choice(CHAINS):
        chosen: dict[str, Any] = {"backend": backend}
        for name, chance, values in (
            ("temporal_threshold", 0.5, (0, 1, 7, 20)),
            ("spatial_threshold", 0.3, (0, 4, 12)),
            ("dedup", 0.3, (0, 1)),
            ("tta", 0.1, (1,)),
            ("scenecut", 0.3, (0, 1)),
            ("tilesize", 0.3, ([32], [48, 64])),
            ("overlap", 0.3, ([0], [16])),
            ("precision", 0.3, ("int8", "fp32")),
        ):
            if rng.random() < chance:
                chosen[name] = rng.choice(values)
        if step == "R" and rng.random() < 0.2:
            chosen["strength"] = 0.4
        if step == "O" or (step == "R" and rng.random() < 0.8):
            chosen["task"] = rng.choice(TASKS)
        if step != "R":
            chosen["scale"] = rng.choice((2, 2, 2, 3, 4))
        steps.append(("Restore" if step == "R" else "Upscale", chosen))
    return Case(
        seed=seed,
        format=format,
        width=width,
        height=height,
        length=rng.choice((1, 2, 3, 7, 12, 13, 18, 25, 30)),
        motion=rng.choice(("pan", "twos", "noisy threes", "still", "black", "mixed")),
        marks=rng.choice(("", "", "full", "changing range", "scenes", "lone frames", "chroma", "changing chroma")),
        between=rng.choice(("", "eval", "reversed", "trimmed", "half", "half", "two halves")),
        steps=tuple(steps),
    )


def source(case: Case) -> vs.VideoNode:
    """The clip of a case."""
    blank = core.std.BlankClip(format=case.format, width=case.width, height=case.height, length=case.length, keep=True)
    kind = blank.format
    hold = {"twos": 2, "noisy threes": 3, "still": case.length, "black": case.length}.get(case.motion, 1)
    cut = random.Random(case.seed).randrange(2 * case.length)
    banded = any("deband" in arguments.get("task", "") for _, arguments in case.steps)

    def plane(n: int, index: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        scene = int(n >= cut)
        rng = np.random.default_rng((case.seed, scene, index))
        picture = np.kron(rng.random((-(-shape[0] // 8), -(-shape[1] // 8))), np.ones((8, 8)))[: shape[0], : shape[1]]
        picture = np.zeros(shape) if case.motion == "black" else picture / 2 + 0.2 * scene
        moved = n // (hold if case.motion != "mixed" or n % 12 >= 6 else 3)
        picture = np.roll(picture, moved, 1)
        if case.motion in ("pan", "noisy threes", "mixed"):
            picture = picture + np.random.default_rng((case.seed, n, index)).normal(0, 0.02, shape)
        picture = np.clip(picture, 0.05, 0.95)
        return np.round(picture * 32) / 32 if banded else picture

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        for index in range(kind.num_planes):
            target = np.asarray(frame[index])
            values = plane(n, index, target.shape)
            if kind.sample_type == vs.INTEGER:
                target[:] = np.round(values * ((1 << kind.bits_per_sample) - 1))
            else:
                target[:] = values - (0.5 if index and kind.color_family == vs.YUV else 0)
        props: dict[str, dict[str, int]] = {
            "full": {"_Range": 1},
            "changing range": {"_Range": n // 4 % 2},
            "chroma": {"_ChromaLocation": 1},
            "changing chroma": {"_ChromaLocation": n // 5 % 3},
            "scenes": {"_SceneChangePrev": int(n % 4 == 0), "_SceneChangeNext": int(n % 4 == 3)},
            "lone frames": {"_SceneChangePrev": 1},
        }
        for name, value in props.get(case.marks, {}).items():
            frame.props[name] = value
        return frame

    return blank.std.ModifyFrame(blank, fill)


def build(case: Case, clip: vs.VideoNode, streams: int) -> vs.VideoNode:
    """The chain of a case after ``clip``, its source; raises :class:`vapoursynth.Error` where a filter refuses it."""
    for position, (name, arguments) in enumerate(case.steps):
        before = clip
        clip = getattr(core.animup, name)(clip, num_streams=streams, **arguments)
        if position + 1 == len(case.steps):
            break
        if case.between == "eval":
            held = clip
            clip = held.std.FrameEval(lambda n, held=held: held)
        elif case.between == "reversed":
            clip = clip[::-1]
        elif case.between == "trimmed":
            clip = clip[clip.num_frames // 3 :]
        elif "hal" in case.between and clip.num_frames > 1 and name == "Restore":
            other = before if case.between == "half" else core.animup.Restore(before, **arguments | {"task": "deblock"})
            middle = clip.num_frames // 2
            clip = clip[:middle] + other[middle:]
    return clip


def digest(frame: vs.VideoFrame) -> str:
    """Hash of all that a frame is: its format, samples and properties."""
    with frame:
        found = hashlib.sha256(f"{frame.format.name} {frame.width} {sorted(frame.props.items())}".encode())
        for plane in frame:
            found.update(np.ascontiguousarray(plane))
    return found.hexdigest()


def outcome(future: Future[vs.VideoFrame]) -> str:
    """The frame's digest, or the text of its error. Raises :class:`TimeoutError` where neither comes."""
    try:
        return digest(future.result(timeout=PATIENCE))
    except vs.Error as error:
        return f"error: {error}"


def in_order(clip: vs.VideoNode) -> list[str]:
    """What each frame is, asked for one after the other by one thread."""
    core.num_threads = 1
    return [outcome(clip.get_frame_async(n)) for n in range(clip.num_frames)]


def order(length: int, rng: random.Random) -> list[int]:
    """Numbers of frames, as somebody may ask for them."""
    frames = range(length)
    jumps = [n for _ in range(4) for start in [rng.randrange(length)] for n in range(start, min(start + 4, length))]
    first, step = rng.randrange(length), rng.randint(1, 4)
    ways = (
        list(frames),
        list(reversed(frames)),
        rng.sample(frames, length),
        rng.choices(frames, k=12),
        jumps,
        list(frames)[first::step],
    )
    return rng.choice(ways)


def at_random(clip: vs.VideoNode, rng: random.Random) -> Iterator[tuple[int, str]]:
    """Frames asked for in some way; number, and what came."""
    numbers, at_once = order(clip.num_frames, rng), rng.choice((1, 1, 2, 5, 1000))
    fewer_threads, clear = rng.random() < 0.3, rng.random() < 0.1
    before = core.max_cache_size
    if rng.random() < 0.2:
        core.max_cache_size = 1
    core.num_threads = rng.randint(1, 8)
    try:
        waiting: list[tuple[int, Future[vs.VideoFrame]]] = []
        for n in numbers:
            waiting.append((n, clip.get_frame_async(n)))
            if fewer_threads and rng.random() < 0.3:
                core.num_threads = rng.randint(1, 8)
            if clear and rng.random() < 0.2:
                core.clear_cache()
            if len(waiting) >= at_once:
                first = waiting.pop(0)
                yield first[0], outcome(first[1])
        for n, future in waiting:
            yield n, outcome(future)
    finally:
        core.max_cache_size = before


@dataclass
class Tally:
    """What came of some cases."""

    cases: int = 0
    refused: int = 0
    runs: int = 0
    frames: int = 0
    errors: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count another's as well."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


def check(case: Case, runs: int) -> Tally:
    """Run a case in order, and ``runs`` times in some other way."""
    tally = Tally(cases=1)
    clip = source(case)
    try:
        wanted = in_order(build(case, clip, 1))
    except vs.Error as error:
        told = str(error)
        if "internal error" in told:
            tally.faults.append(f"{case}: {told}")
        tally.refused = 1
        return tally
    tally.faults += [f"{case}: frame {n}: {found}" for n, found in enumerate(wanted) if found.startswith("error: ")]
    rng = random.Random(case.seed)
    left: list[vs.VideoNode] = []
    for run in range(runs):
        tally.runs += 1
        result = build(case, clip, rng.randint(1, 6))
        try:
            got = list(at_random(result, rng))
        except TimeoutError:
            tally.faults.append(f"{case}: run {run} hangs")
            return tally
        tally.frames += len(got)
        wrong = sorted({n for n, found in got if found != wanted[n]})
        if wrong:
            tally.faults.append(f"{case}: run {run}: frames {wrong} differ")
        if rng.random() < 0.2:  # a graph that is freed, now or later, while frames are on their way
            left.append(build(case, clip, 2))
            for n in range(left[-1].num_frames):
                left[-1].get_frame_async(n)
            if rng.random() < 0.5:
                left.clear()
    return tally


def _child(seed: int, cases: int, runs: int, backend: str) -> None:
    """One process's cases; a line of JSON for each."""
    BACKENDS[MadeUp.name] = MadeUp()
    faulthandler.enable()
    for each in range(seed, seed + cases):
        faulthandler.dump_traceback_later(2 * PATIENCE, exit=True)
        print(json.dumps({"seed": each} | asdict(check(draw(each, backend), runs))), flush=True)
    faulthandler.cancel_dump_traceback_later()
    try:  # the process ends with frames on their way
        last = draw(seed, backend)
        clip = build(last, source(last), 3)
        for n in range(clip.num_frames):
            clip.get_frame_async(n)
    except vs.Error:
        pass


def batch(seed: int, cases: int, runs: int, backend: str) -> Tally:
    """Cases in a process of their own."""
    options = {"seed": seed, "cases": cases, "runs": runs, "backend": backend}
    command = [
        sys.executable,
        "-m",
        "benchmarks.fuzz",
        "--child",
        *(f"--{name}={value}" for name, value in options.items()),
    ]
    tally = Tally()
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=4 * PATIENCE * cases)
        status, out, err = str(done.returncode), done.stdout, done.stderr
    except subprocess.TimeoutExpired as hung:
        status, out, err = "none, it hangs", *(bytes(part or b"").decode() for part in (hung.stdout, hung.stderr))
    for line in out.splitlines():
        found = json.loads(line)
        del found["seed"]
        tally.add(Tally(**found))
    if status != "0" or "Traceback" in err:
        tally.faults.append(f"seeds {seed} to {seed + cases - 1}: exit status {status}\n{err[-3000:]}")
    return tally


def main(
    seconds: Annotated[float, typer.Option(help="How long new cases are begun.")] = 1200,
    seed: Annotated[int, typer.Option(help="The first case.")] = 1,
    cases: Annotated[int, typer.Option(help="Cases at most.")] = 1_000_000,
    runs: Annotated[int, typer.Option(help="Ways of asking tried on each case.")] = 4,
    backend: Annotated[str, typer.Option(help="Of the filters; made-up: without networks.")] = "auto",
    child: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Try cases until the time is over, and tell what failed."""
    if child:
        return _child(seed, cases, runs, backend)
    total, begin = Tally(), time.monotonic()
    console = Console()
    while total.cases < cases and time.monotonic() - begin < seconds:
        found = batch(seed, min(BATCH, cases - total.cases), runs, backend)
        for fault in found.faults:
            console.print(fault, markup=False, highlight=False)
        total.add(found)
        seed += BATCH
        if not found.cases:
            break
    table = Table("cases", "refused", "runs", "frames", "faults")
    table.add_row(*(str(n) for n in (total.cases, total.refused, total.runs, total.frames, len(total.faults))))
    console.print(table)
    if total.faults:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
