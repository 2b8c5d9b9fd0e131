"""Trains the network for posterised pictures: ``python -m training.deband.train --data DIR --work DIR --out FILE``.

The data are those of ``training.deband.pictures``. Prints what is gained, and the SHA-256 that belongs into
``vsanimup/video/posterised.py``. 6,000 steps take 12 minutes on one core; stopped, the same command goes on.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import torch
import typer
import vapoursynth as vs
from numpy.typing import NDArray
from torch import Tensor, nn

from training.muon import Muon
from vsanimup.architectures.bands import Bands, BandsConfig
from vsanimup.engines import Array
from vsanimup.video.deband import LEAST, before_rounding
from vsanimup.video.posterised import INPUTS, OUTPUT, WIDEST

CROP = 64
PICTURES, CROPS = 4, 4
"""Pictures a step, and crops of each."""
RAMPS = 0.15
"""Share of pictures that are ramps: there the network has nothing to do."""
SLACK = 0.005
"""Added to each crop's squared error as it is, in distances of levels, by which the error that is left is divided."""
AVERAGE = 0.003
"""Weight of the newest weights in their running average, which is what comes out."""
EVERY = 500
"""Steps between two states on disk."""
OPSET = 17


def ramp(rng: np.random.Generator, side: int = 256) -> NDArray[np.uint8]:
    """A smooth ramp of luma along a line or round a point, most with a little dither."""
    rows, columns = np.mgrid[:side, :side] / (side - 1)
    angle = rng.uniform(0, 2 * np.pi)
    place = np.cos(angle) * columns + np.sin(angle) * rows
    if rng.random() < 0.4:
        place = np.hypot(rows - rng.random(), columns - rng.random())
    dither = rng.uniform(-0.5, 0.5, (side, side)) * (rng.random() < 0.7)
    shade = rng.uniform(0.1, 0.6) + rng.uniform(0.05, 0.5) * place
    picture: NDArray[np.uint8] = np.clip(np.rint(16 + 219 * shade + dither), 1, 254).astype(np.uint8)
    return picture


def posterised(picture: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], float]:
    """A picture in few levels that lie evenly, and their distance in steps of 8 bits."""
    distance = float(rng.integers(int(LEAST), int(WIDEST) + 1)) if rng.random() < 0.7 else rng.uniform(LEAST, WIDEST)
    phase = distance // 2 if rng.random() < 0.5 else rng.uniform(0, distance)
    level = np.floor((picture + phase) / distance)
    centre = (distance - 1) / 2 - phase if rng.random() < 0.5 else distance // 2 - phase
    return np.rint(level * distance + centre).clip(0, 255).astype(np.uint8), distance


def crops(pictures: list[NDArray[np.uint8]], rng: np.random.Generator) -> Iterator[tuple[Array, Array, Array, float]]:
    """Crops of one picture: its plane, what smoothing adds, what it lacks, all in distances of levels; the distance."""
    truth = ramp(rng) if rng.random() < RAMPS else pictures[rng.integers(len(pictures))]
    plane, distance = posterised(truth, rng)
    smoothed = before_rounding(plane, 1.0)
    base = plane.astype(np.float32)
    planes = np.stack((base, smoothed - base, truth - base)) / np.float32(distance)
    for _ in range(CROPS):
        top, left = (int(rng.integers(0, (side - CROP) // 2 + 1)) * 2 for side in base.shape)
        crop = np.rot90(planes[:, top : top + CROP, left : left + CROP], rng.integers(4), (1, 2))
        crop = crop[:, :, ::-1] if rng.random() < 0.5 else crop
        yield *np.ascontiguousarray(crop), distance / WIDEST


def batch(pictures: list[NDArray[np.uint8]], seed: int, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The crops of a step, ``[batch, 1, rows, columns]``, and the distances ``[batch, 1, 1, 1]``."""
    rng = np.random.default_rng([seed, step])
    found = [crop for _ in range(PICTURES) for crop in crops(pictures, rng)]
    plane, smoothed, goal, distance = (
        torch.from_numpy(np.array(part, np.float32)) for part in zip(*found, strict=True)
    )
    return plane[:, None], smoothed[:, None], goal[:, None], distance.view(-1, 1, 1, 1)


class Run:
    """A training run, whose state lies in a file."""

    def __init__(self, path: Path, steps: int, rate: float, seed: int) -> None:
        torch.manual_seed(seed)
        self._path, self._steps, self._rate, self._seed = path, steps, rate, seed
        self.net, self.average = Bands(BandsConfig()), Bands(BandsConfig())
        self.average.load_state_dict(self.net.state_dict())
        layers = [p for name, p in self.net.named_parameters() if p.ndim > 1 and not name.startswith("tail")]
        others = [p for p in self.net.parameters() if all(p is not layer for layer in layers)]
        self._optimizers = [Muon(layers, rate), torch.optim.AdamW(others, rate, betas=(0.9, 0.99), weight_decay=0.0)]
        self.step = 0
        if path.exists():
            state = torch.load(path, weights_only=True)
            self.step = state["step"]
            for part, values in zip(self._parts(), state["parts"], strict=True):
                part.load_state_dict(values)

    def _parts(self) -> tuple[nn.Module | torch.optim.Optimizer, ...]:
        return self.net, self.average, *self._optimizers

    def _save(self) -> None:
        parts = [part.state_dict() for part in self._parts()]
        partial = self._path.with_suffix(".part")
        torch.save({"step": self.step, "parts": parts}, partial)
        os.replace(partial, self._path)

    def train(self, pictures: list[NDArray[np.uint8]], until: int | None = None) -> None:
        """All steps that are left, or those before ``until``."""
        started, gains = time.monotonic(), np.zeros(3)
        while self.step < (self._steps if until is None else until):
            plane, smoothed, goal, distance = batch(pictures, self._seed, self.step)
            for optimizer, gain in zip(self._optimizers, (1.0, 0.15), strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = gain * self._rate * min(1.0, (self.step + 1) / 100) * (1 - self.step / self._steps)
            error = (self.net(plane, smoothed, distance) - goal).square().mean((1, 2, 3))
            before = goal.square().mean((1, 2, 3))
            loss = (error / (before + SLACK)).mean()
            for optimizer in self._optimizers:
                optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            for optimizer in self._optimizers:
                optimizer.step()
            self.step += 1
            share = max(AVERAGE, 1 / self.step)
            with torch.no_grad():
                torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), share)
            smoothing = (smoothed - goal).square().mean()
            gains += np.array([float(error.detach().mean()), float(before.mean()), float(smoothing)])
            if self.step % EVERY == 0:
                left, was, plain = 10 * np.log10(gains)
                took = time.monotonic() - started
                print(f"step {self.step}: {was - left:+.3f} dB, smoothing {was - plain:+.3f}, {took:.0f} s", flush=True)
                gains[:] = 0
                self._save()


def to_onnx(net: Bands) -> bytes:
    """The network as ONNX with symbolic sizes ``height`` and ``width``."""
    example = torch.rand(1, 1, 64, 96), torch.rand(1, 1, 64, 96), torch.rand(1, 1, 1, 1)
    sizes = {2: "height", 3: "width"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        torch.onnx.export(
            net.eval(), example, path, input_names=list(INPUTS), output_names=[OUTPUT],
            dynamic_axes={"plane": sizes, "smooth": sizes, OUTPUT: sizes}, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
        onnx.checker.check_model(path, full_check=True)
        return path.read_bytes()


def main(
    data: Annotated[Path, typer.Option(help="folder of training.deband.pictures")],
    work: Annotated[Path, typer.Option(help="folder of the run's state")],
    out: Annotated[Path, typer.Option(help="ONNX file to write")],
    steps: int = 6000,
    rate: float = 0.01,
    seed: int = 0,
) -> None:
    """Train what is left to train, and write the network."""
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    vs.core.std.BlankClip(format=vs.GRAY8).animup.Restore(task="deband").get_frame(0)  # loads native code
    paths = sorted(data.glob("[0-9]*.npy"), key=lambda path: int(path.stem))
    run = Run(work / "state.pt", steps, rate, seed)
    run.train([picture for path in paths for picture in np.load(path)])
    network = to_onnx(run.average)
    partial = out.with_suffix(".part")
    partial.write_bytes(network)
    os.replace(partial, out)
    print(f"{asdict(run.average.config)}\n{hashlib.sha256(network).hexdigest()}")


if __name__ == "__main__":
    typer.run(main)
