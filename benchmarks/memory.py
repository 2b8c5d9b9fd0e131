"""Working memory of a lite network under onnxruntime, by size of tile: ``python -m benchmarks.memory``.

Each figure is the growth of the process's peak over loading the model, measured in a process of its own.
"""

from __future__ import annotations

import itertools
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import typer

from vsanimup.engines.cpu import CpuBackend
from vsanimup.filters.inference import FLOAT, INT8
from vsanimup.models import open_model, shipped

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


def main(folder: Path | None = None, width: int = 0, height: int = 0, file: str = INT8) -> None:
    """Measure all shipped models, or one network of a model folder at one size."""
    if folder is not None:
        print(f"{measure(folder, width, height, file):.0f}")
        return
    for model, (wide, high), name in itertools.product(shipped(), SIZES, (INT8, FLOAT)):
        command = [sys.executable, "-m", "benchmarks.memory", "--folder", str(model.folder)]
        command += ["--width", str(wide), "--height", str(high), "--file", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"{model.name} {name} {wide}x{high}: {done.stdout.strip()} bytes a luma sample", flush=True)


if __name__ == "__main__":
    typer.run(main)
