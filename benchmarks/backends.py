"""A backend of onnxruntime's beside ``cpu``: how far its pixels are from there, and what it takes.

    python -m benchmarks.backends openvino

runs each shipped network, with integers and with floats, on one tile of a textured picture with noise, and prints CPU
seconds and seconds on the clock a run of both, how far their lumas are apart (of 255) and from what ``cpu`` computes
with floats, and whether a second run gave the same bytes. CPU seconds say nothing of a GPU; seconds on the clock do, on
a machine without other work.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vsanimup.engines import BACKENDS, Array, Engine, Feed, choose, on_host
from vsanimup.networks.lite.inference import FLOAT, INT8, fixed
from vsanimup.networks.manifest import Model, shipped
from vsanimup.networks.modulation import Modulation

HEIGHT, WIDTH = 192, 384
TASK = "denoise"
RUNS = 8


def tile(frames: int) -> dict[str, Feed]:
    """Frames of a texture that stands still, under noise of its own in each."""
    rng = np.random.default_rng(3)

    def planes(count: int, height: int, width: int, middle: float) -> Array:
        texture = np.kron(rng.random((count, height // 8, width // 8), np.float32), np.ones((8, 8), np.float32))
        noisy = middle + 0.5 * (texture - 0.5) + 0.02 * rng.standard_normal((frames, *texture.shape), np.float32)
        return noisy.reshape(1, frames * count, height, width)

    return {"y": planes(1, HEIGHT, WIDTH, 0.5), "uv": planes(2, HEIGHT // 2, WIDTH // 2, 0.0)}


def engine(model: Model, file: str, backend: str) -> Engine:
    """A network for :data:`TASK`, where it knows tasks."""
    mix = {TASK: 1.0} if TASK in model.tasks else {}
    network = Modulation(model).merge(file, model.read(file), mix)
    return BACKENDS[backend].load(network, origin=model.name, sizes=fixed(HEIGHT, WIDTH), device_id=0)


def timed(run: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds a run."""
    began = clock()
    for _ in range(RUNS):
        run()
    return (clock() - began) / RUNS


@dataclass(frozen=True)
class Trial:
    """What a network gave, and took."""

    luma: Array
    same: bool
    """A second run gave the same bytes."""
    cpu: float
    clock: float


def trial(model: Model, file: str, backend: str) -> Trial:
    """A network, on the tile."""
    feed = tile(2 * model.radius + 1)
    made = engine(model, file, backend)

    def run() -> Array:
        return on_host(made.run(feed)["result_y"])

    luma = run()
    same = bool(np.array_equal(luma, run()))
    return Trial(luma, same, timed(run, time.process_time), timed(run, time.monotonic))


def apart(one: Trial, other: Trial) -> tuple[float, float]:
    """Largest difference and root mean square, of 255."""
    difference = 255 * np.abs(one.luma - other.luma)
    return float(difference.max()), float(np.sqrt(np.square(difference).mean()))


def compare(model: Model, backend: str) -> Iterator[str]:
    """A network's rows of the table."""
    floats = trial(model, FLOAT, "cpu")
    for file in (INT8, FLOAT):
        here = floats if file == FLOAT else trial(model, file, "cpu")
        there = trial(model, file, backend)
        cells = [f"`{model.name}`, {'fp32' if file == FLOAT else 'int8'}"]
        cells += [f"{seconds:.3f}" for seconds in (here.cpu, there.cpu, here.clock, there.clock)]
        cells += [f"{number:.4f}" for number in apart(here, there)]
        cells += [f"{apart(each, floats)[1]:.4f}" for each in (here, there)]
        yield f"| {' | '.join(cells)} | {'yes' if here.same and there.same else 'no'} |"


HEAD = (
    "network",
    "CPU s, `cpu`",
    "`{0}`",
    "clock s, `cpu`",
    "`{0}`",
    "apart, largest",
    "RMS",
    "from floats, RMS: `cpu`",
    "`{0}`",
    "same twice",
)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backend", choices=[name for name, backend in BACKENDS.items() if not backend.builds])
    backend = choose(parser.parse_args().backend).name
    print(f"| {' | '.join(HEAD)} |".format(backend))
    print("| --- " * len(HEAD) + "|")
    for model in shipped():
        for row in compare(model, backend):
            print(row, flush=True)


if __name__ == "__main__":
    main()
