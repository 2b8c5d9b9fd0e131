"""Memory: of the filters in a script, or of a network alone, each measured in a process of its own.

``python -m benchmarks.memory filters`` is the peak of a process that reads frames in order, with default arguments;
``python -m benchmarks.memory networks`` the growth of the peak over loading, by size of tile.
"""

from __future__ import annotations

import itertools
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import typer

from vsanimup.engines.cpu import CpuBackend, usable_cores
from vsanimup.networks.lite.inference import FLOAT, INT8
from vsanimup.networks.manifest import open_model, shipped
from vsanimup.sizes import show_bytes

FRAMES = 48
"""Frames that are read: more than all caches keep."""
VIDEO = [(640, 360), (1280, 720), (1920, 1080)]
CHAINS = ("upscale", "one-pass", "restore", "both")
SIZES = [(320, 192), (640, 384), (1280, 736), (1920, 1088)]


def peak() -> int:
    """Peak resident bytes of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(folder: Path, width: int, height: int, file: str = INT8) -> float:
    """Bytes of working memory a luma sample, of one of the model's networks."""
    model = open_model(folder)
    width, height = (n // model.align * model.align for n in (width, height))
    sizes = {"height": height, "width": width, "half_height": height // 2, "half_width": width // 2}
    frames = 2 * model.radius + 1
    inputs = {
        "y": np.zeros((1, frames, height, width), np.float32),
        "uv": np.zeros((1, 2 * frames, height // 2, width // 2), np.float32),
    }
    small = {name: model.align if "half" not in name else model.align // 2 for name in sizes}
    network = model.read(file if file in model.files else FLOAT)
    CpuBackend().load(network, origin="", sizes=small, device_id=0)  # the library itself is not what is measured
    before = peak()
    CpuBackend().load(network, origin="", sizes=sizes, device_id=0).run(inputs)
    return (peak() - before) / (width * height)


def read_chain(chain: str, width: int, height: int) -> int:
    """Peak bytes of this process after it read a moving, noisy clip through filters."""
    import vapoursynth as vs

    core = vs.core
    picture = np.random.default_rng(0).integers(16, 236, (height, width), np.uint8)
    blank = core.std.BlankClip(width=width, height=height, format=vs.YUV420P8, length=FRAMES)

    def draw(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        np.asarray(frame[0])[:] = np.roll(picture, 3 * n, 1)
        return frame

    clip = blank.std.ModifyFrame(blank, draw)
    if chain in ("restore", "both"):
        clip = core.animup.Restore(clip, task="denoise")  # the made-up clip needs nothing, says "auto"
    if chain != "restore":
        clip = core.animup.Upscale(clip, **({"task": "denoise"} if chain == "one-pass" else {}))
    for _ in clip.frames():
        pass
    return peak()


def _in_a_process(*arguments: object) -> str:
    command = [sys.executable, "-m", "benchmarks.memory", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


app = typer.Typer(no_args_is_help=True)


@app.command()
def filters(chain: str = "", width: int = 0, height: int = 0) -> None:
    """All chains of filters at all sizes, or one."""
    if chain:
        print(read_chain(chain, width, height))
        return
    for name, (wide, high) in itertools.product(CHAINS, VIDEO):
        used = int(_in_a_process("filters", "--chain", name, "--width", wide, "--height", high))
        print(f"{name} {wide}x{high}, {usable_cores()} cores: {show_bytes(used)}", flush=True)


@app.command()
def networks(folder: Path | None = None, width: int = 0, height: int = 0, file: str = INT8) -> None:
    """All shipped models, or one network of a model folder at one size."""
    if folder is not None:
        print(f"{measure(folder, width, height, file):.0f}")
        return
    for model, (wide, high), name in itertools.product(shipped(), SIZES, (INT8, FLOAT)):
        said = _in_a_process("networks", "--folder", model.folder, "--width", wide, "--height", high, "--file", name)
        print(f"{model.name} {name} {wide}x{high}: {said} bytes a luma sample", flush=True)


if __name__ == "__main__":
    app()
