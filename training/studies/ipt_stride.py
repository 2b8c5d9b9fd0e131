"""How far apart IPT's patches may lie: PSNR by stride, against the original's tiling.

``python -m training.studies.ipt_stride --minutes 5``

The official weights are not at hand, and random ones would say nothing. So a small network of the same architecture is
fitted here, from nothing, on made-up pictures (discs of flat and textured colour that cover one another), once to take
noise of sigma 30 away and once to double; then it restores photographs, which it has never seen, with each stride.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from skimage import data
from torch.nn import functional as F

from vsanimup.architectures.ipt import Ipt, Sizes
from vsanimup.tiling.tiles import Blend, Grid, fixed, surround

Array = NDArray[np.float32]
PATCH, ORIGINAL = 48, 12
STRIDES = (12, 24, 30, 32, 34, 36, 38, 40, 42, 44)
PICTURES = ("astronaut", "chelsea", "coffee", "rocket", "motorcycle")
SIDES = 240, 336
"""Rows and columns of the pictures: what is cut from the middle of each."""
SIGMA = 30 / 255


def discs(rng: np.random.Generator, side: int) -> Array:
    """A made-up picture ``[3, side, side]`` in 0..1."""
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    picture = np.empty((3, side, side), np.float32)
    picture[:] = rng.random((3, 1, 1))
    for _ in range(60):
        radius = side * 0.03 / rng.uniform(0.04, 1)
        y, x = rng.uniform(-0.1, 1.1, 2) * side
        away = np.hypot(rows - y, columns - x) - radius
        angle, period = rng.uniform(0, np.pi), rng.uniform(3, 24)
        wave = np.sin((rows * np.sin(angle) + columns * np.cos(angle)) * (2 * np.pi / period))
        colour = rng.random((3, 1, 1)) + wave * rng.uniform(0, 0.2) * (rng.random() < 0.5)
        colour = colour + rng.normal(0, 0.002, (3, 1, 1)) * (rows + columns)
        picture += np.clip(0.5 - away, 0, 1) * (colour - picture)
    return np.clip(picture, 0, 1)


def fit(scale: int, minutes: float, batch: int = 8) -> Ipt:
    """A small IPT that denoises (scale 1) or enlarges."""
    torch.manual_seed(scale)
    rng = np.random.default_rng(scale)
    sizes = Sizes(features=8, patch_dim=3, side=16, heads=12, encoders=2, decoders=2, hidden=288, scale=scale)
    net = Ipt(sizes)
    with torch.no_grad():
        for mean, sign in ((net.sub_mean, -255), (net.add_mean, 255)):
            assert mean.bias is not None
            mean.weight.copy_(torch.eye(3).reshape(3, 3, 1, 1))
            mean.bias.copy_(sign * torch.tensor([0.4488, 0.4371, 0.4040]))
        net.get_parameter("head.0.0.weight").mul_(1 / 64)
        net.get_parameter("tail.0.1.weight").mul_(16)
    pictures = torch.from_numpy(np.stack([discs(rng, 192) for _ in range(300)]))
    tuned = [p for name, p in net.named_parameters() if "_mean" not in name]
    optimizer = torch.optim.Adam(tuned, 2e-3)
    begin, side, step = time.monotonic(), PATCH * scale, 0
    while (spent := (time.monotonic() - begin) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, step / 50) * (1 - spent) ** 0.5
        places = rng.integers(0, 192 - side + 1, (batch, 2))
        chosen = rng.integers(0, len(pictures), batch)
        goal = torch.stack(
            [pictures[i, :, y : y + side, x : x + side] for i, (y, x) in zip(chosen, places, strict=True)]
        )
        loss = (net(degraded(goal, scale)) - goal).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tuned, 1.0)
        optimizer.step()
        step += 1
        if step % 200 == 0:
            print(f"scale {scale}: step {step}, loss {loss.item():.4f}", flush=True)
    return net.eval().requires_grad_(False)


def degraded(goal: torch.Tensor, scale: int) -> torch.Tensor:
    """What the network is to make ``goal`` of, ``[batch, 3, rows, columns]``."""
    if scale > 1:
        return F.interpolate(goal, scale_factor=1 / scale, mode="bicubic", antialias=True).clamp(0, 1)
    return (goal + SIGMA * torch.randn_like(goal)).clamp(0, 1)


def restored(net: Ipt, picture: Array, grid: Grid, scale: int) -> Array:
    """A picture ``[3, rows, columns]`` through the network, tile by tile."""
    rows, columns = picture.shape[-2:]
    padded = np.empty((3, grid.rows.padded, grid.columns.padded), np.float32)
    padded[:, :rows, :columns] = picture
    surround(padded, 0, rows, columns)
    blend = Blend(grid, 3, scale, 1)
    for row, column in grid:
        top, left = grid.rows.starts()[row], grid.columns.starts()[column]
        tile = torch.from_numpy(padded[None, :, top : top + PATCH, left : left + PATCH].copy())
        blend.add(row, column, net(tile)[0].numpy())
    return np.clip(blend.result(0, rows * scale, columns * scale), 0, 1)


def psnr(a: Array, b: Array) -> float:
    """Of pictures in 0..1, in dB."""
    return float(-10 * np.log10(np.square(a.astype(np.float64) - b).mean()))


def photographs() -> dict[str, Array]:
    """Those of scikit-image that come with it, ``[3, rows, columns]`` in 0..1."""
    found = {}
    for name in PICTURES:
        every: Any = data
        picture = every.stereo_motorcycle()[0] if name == "motorcycle" else getattr(every, name)()
        top, left = ((have - want) // 2 for have, want in zip(picture.shape, SIDES, strict=False))
        cut: Array = np.asarray(picture[top : top + SIDES[0], left : left + SIDES[1], :3], np.float32)
        found[name] = np.ascontiguousarray(cut.transpose(2, 0, 1)) / np.float32(255)
    return found


def main(
    minutes: Annotated[float, typer.Option(help="minutes to fit each of the two networks")] = 5,
    threads: Annotated[int, typer.Option(help="of PyTorch")] = 1,
) -> None:
    """Fit the two networks and print a table of PSNR by stride."""
    torch.set_num_threads(threads)
    for scale in (1, 2):
        net = fit(scale, minutes)
        torch.manual_seed(0)
        pairs = []
        for goal in photographs().values():
            poor = degraded(torch.from_numpy(goal)[None], scale)[0].numpy()
            pairs.append((poor, goal))
        plain = [
            psnr(F.interpolate(torch.from_numpy(poor)[None], scale_factor=scale, mode="bicubic")[0].numpy(), goal)
            for poor, goal in pairs
        ]
        print(f"\nscale {scale}: without the network {np.mean(plain):.3f} dB")
        print("| stride | patches | cost | PSNR, dB | against 12, dB | worst picture |\n|---|---|---|---|---|---|")
        reference: list[float] = []
        most = 0
        for stride in STRIDES:
            scores, count = [], 0
            for poor, goal in pairs:
                rows, columns = poor.shape[-2:]
                grid = fixed(columns, rows, tile=(PATCH, PATCH), overlap=(PATCH - stride, PATCH - stride))
                count += len(grid)
                scores.append(psnr(restored(net, poor, grid, scale), goal))
            if stride == ORIGINAL:
                reference, most = scores, count
            change = np.subtract(scores, reference)
            print(
                f"| {stride} | {count} | 1/{most / count:.1f} | {np.mean(scores):.3f} | {change.mean():+.3f} "
                f"| {change.min():+.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    typer.run(main)
