"""A backend of onnxruntime's beside ``cpu``: how far its pixels are from there, and what it takes.

    python -m benchmarks.backends openvino

runs each shipped network, with integers and with floats, on one tile of a textured picture with noise, and prints CPU
seconds a run of both, the difference of their luma, and whether a second run gave the same bytes. CPU seconds say
nothing of a GPU; seconds on the clock do, on a machine without other work.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

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


def compare(model: Model, file: str, backend: str) -> str:
    """A row of the table."""
    feed = tile(2 * model.radius + 1)
    lumas, cells = [], [f"`{model.name}`, {'int8' if file == INT8 else 'fp32'}"]
    same = True
    for name in ("cpu", backend):
        made = engine(model, file, name)

        def luma(made: Engine = made) -> Array:
            return on_host(made.run(feed)["result_y"])

        lumas.append(luma())
        same &= bool(np.array_equal(lumas[-1], luma()))
        cells += [f"{timed(luma, time.process_time):.3f}", f"{timed(luma, time.monotonic):.3f}"]
    apart = 255 * np.abs(lumas[0] - lumas[1])
    cells += [f"{apart.max():.4f}/255", f"{np.sqrt(np.square(apart).mean()):.4f}/255", "yes" if same else "no"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backend", choices=[name for name, backend in BACKENDS.items() if not backend.builds])
    backend = choose(parser.parse_args().backend).name
    print(
        f"| network | `cpu`, CPU s | clock s | `{backend}`, CPU s | clock s | largest difference | RMS | same twice |"
    )
    print("| --- " * 8 + "|")
    for model in shipped():
        for file in (INT8, FLOAT):
            print(compare(model, file, backend), flush=True)


if __name__ == "__main__":
    main()
