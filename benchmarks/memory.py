"""Working memory of a lite network under onnxruntime, by size of tile: ``python -m benchmarks.memory``.

Each figure is the growth of the process's peak over loading the model, measured in a process of its own.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import typer

from vsanimup.engines.cpu import CpuBackend
from vsanimup.models import open_model, shipped

SIZES = [(320, 192), (640, 384), (1280, 736), (1920, 1088)]


def peak() -> int:
    """Peak resident bytes of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(folder: Path, width: int, height: int) -> float:
    """Bytes of working memory a luma sample."""
    model = open_model(folder)
    sizes = {"height": height, "width": width, "half_height": height // 2, "half_width": width // 2}
    frames = 2 * model.radius + 1
    inputs = {
        "y": np.zeros((1, frames, height, width), np.float32),
        "uv": np.zeros((1, 2 * frames, height // 2, width // 2), np.float32),
    }
    small = {name: 64 if "half" not in name else 32 for name in sizes}
    network = model.read("network.onnx")
    CpuBackend().load(network, origin="", sizes=small, device_id=0)  # the library itself is not what is measured
    before = peak()
    CpuBackend().load(network, origin="", sizes=sizes, device_id=0).run(inputs)
    return (peak() - before) / (width * height)


def main(folder: Path | None = None, width: int = 0, height: int = 0) -> None:
    """Measure all shipped models, or one model folder at one size."""
    if folder is not None:
        print(f"{measure(folder, width, height):.0f}")
        return
    for model in shipped():
        for wide, high in SIZES:
            command = [sys.executable, "-m", "benchmarks.memory", "--folder", str(model.folder)]
            command += ["--width", str(wide), "--height", str(high)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(f"{model.name} {wide}x{high}: {done.stdout.strip()} bytes a luma sample", flush=True)


if __name__ == "__main__":
    typer.run(main)
