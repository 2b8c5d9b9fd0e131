"""Does memory over windows earn its place? Long clips through the filter, with budgets of several sizes.

``python -m training.studies.memory --model SEED1 --model SEED2 --clips DIR``, with model folders that differ by the
seed they were trained with and clips of ``training.lcm.long_clips``. It prints a table in Markdown, means over clips,
kinds of faults and models, and the spread between models. Every run is a process of its own, whose peak memory counts;
results are kept in ``--out`` and not computed again.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from training.losses import ssim
from training.studies.report import mean, table
from vsanimup.networks.animatelcm.memory import Budget, everything
from vsanimup.networks.animatelcm.windows import Sequence, sequence, shares

U8 = NDArray[np.uint8]
RETENTIONS = 0.19, 0.35, 0.91
WAYS = ("none", "everything", *(f"retention {share}" for share in RETENTIONS), "sliding window as 0.35")
SCORES = ("psnr", "ssim", "flicker", "borders", "drift")
HEAD = ("", "memory, MB", "peak of the process, MB", "PSNR", "SSIM", "flicker", "flicker at borders", "drift")


def budget_of(way: str, spacing: int) -> Budget | None:
    """The budget of one of :data:`WAYS`."""
    if way == "none":
        return None
    if way == "everything":
        return Budget(recent=everything(spacing), previous=0)
    budget = Budget.of(float(way.rsplit(maxsplit=1)[-1]), spacing)
    assert budget is not None
    return Budget(recent=budget.slots, previous=0) if way.startswith("sliding") else budget


def borders_of(truth: U8) -> NDArray[np.bool_]:
    """Which changes from frame to frame are where windows meet or are cross-faded, by the drawings of the truth
    ``[frames, rows, columns]``, which has no cuts."""

    @cache
    def of_block(block: int) -> Sequence:
        return sequence(block, len(truth), lambda a, b: np.array_equal(truth[a], truth[b]), lambda n: False)

    makers = [{(part.block, part.window) for part in shares(n, len(truth), of_block)} for n in range(len(truth))]
    return np.array([len(before | after) > 1 for before, after in pairwise(makers)])


def scores_of(found: U8, truth: U8, away: NDArray[np.int16], borders: NDArray[np.bool_]) -> dict[str, float]:
    """Scores of luma ``[frames, rows, columns]``.

    ``flicker`` is how far changes from frame to frame are from the truth's, in 1/255, and ``borders`` the same at
    changes that :func:`borders_of` names. ``drift`` is how much the result differs between visits of the camera to
    where it began, where the truth does not, in 1/255.
    """
    a, b = (torch.from_numpy(x).float()[:, None] / 255 for x in (found, truth))
    wrong = 255 * ((a[1:] - a[:-1]) - (b[1:] - b[:-1])).abs().mean((1, 2, 3))
    parts = zip(torch.split(a, 8), torch.split(b, 8), strict=True)
    scores = {
        "psnr": float((-10 * torch.log10((a - b).square().mean((1, 2, 3)) + 1e-10)).mean()),
        "ssim": float(torch.cat([ssim(x, y) for x, y in parts]).mean()),
        "flicker": float(wrong.mean()),
        "borders": float(wrong[torch.from_numpy(borders)].mean()),
    }
    drifts = []
    at_home = np.flatnonzero(away == 0)
    visits = [part for part in np.split(at_home, np.flatnonzero(np.diff(at_home) > 1) + 1) if len(part)]
    first = visits[0][len(visits[0]) // 2]
    for visit in visits[1:]:
        later = visit[len(visit) // 2]
        same = truth[first] == truth[later]
        if same.any():
            drifts.append(np.abs(found[first].astype(float) - found[later])[same].mean())
    return scores | ({"drift": mean(drifts)} if drifts else {})


def enlarged(model: Path, y: U8, uv: U8, budget: Budget | None, spacing: int) -> tuple[U8, int]:
    """Luma of a clip through the filter, and the bytes that its memory was to take."""
    import vapoursynth as vs

    from vsanimup.engines.cpu import CpuBackend
    from vsanimup.networks.animatelcm.model import AnimateLcm
    from vsanimup.networks.animatelcm.node import Memory, diffusion_clip
    from vsanimup.networks.animatelcm.pipeline import Enhancer
    from vsanimup.networks.settings import Settings

    backend = CpuBackend()
    frames, height, width = y.shape
    blank = vs.core.std.BlankClip(format=vs.YUV420P8, width=width, height=height, length=frames, keep=True)

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        for plane, values in enumerate((y[n], uv[n, 0], uv[n, 1])):
            np.asarray(frame[plane])[:] = values
        return frame

    clip = blank.std.ModifyFrame(blank, fill).std.SetFrameProps(_Matrix=1)
    enhancer = Enhancer(
        model=AnimateLcm.open(model), width=2 * width, height=2 * height, backend=backend, budget=budget
    )
    memory = None if budget is None else Memory(budget=budget, spacing=spacing)
    result = diffusion_clip(clip, 2, clip.format, Settings(backend=backend), enhancer, memory)
    return np.stack([np.asarray(frame[0]).copy() for frame in result.frames(close=True)]), enhancer.memory_size


def run(model: Path, path: Path, kind: str, way: str, spacing: int, side: int, frames: int) -> dict[str, float]:
    """One way on one clip, in a process of its own."""
    torch.set_num_threads(1)
    with np.load(path) as data:
        variant = [str(name) for name in data["kinds"]].index(kind)
        small, full = side // 2, data["hr_y"].shape[-1]
        at = (full - side) // 8 * 4
        part = slice(at // 2, at // 2 + small)
        half = slice(at // 4, at // 4 + small // 2)
        y, uv = data["lr_y"][variant][:frames, part, part], data["lr_uv"][variant][:frames, :, half, half]
        whole, away = data["hr_y"][:frames], data["away"][:frames]
    truth = whole[:, at : at + side, at : at + side]
    found, size = enlarged(model, y, uv, budget_of(way, spacing), spacing)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return scores_of(found, truth, away, borders_of(whole)) | {"memory": float(size), "peak": float(peak)}


def report(results: dict[str, dict[str, float]], models: int) -> str:
    """The table: means, and behind ± half of what the models' means differ by."""
    rows = []
    for way in WAYS:
        of_model = [
            [r for key, r in results.items() if key.split("|")[0] == str(m) and key.split("|")[3] == way]
            for m in range(models)
        ]
        if not all(of_model):
            continue
        every = [result for part in of_model for result in part]
        cells = [f"{mean(r[name] for r in every) / 1e6:.1f}" for name in ("memory", "peak")]
        for name in SCORES:
            means = [mean(r[name] for r in part if name in r) for part in of_model]
            digits = 4 if name == "ssim" else 3
            cells.append(f"{mean(means):.{digits}f} ± {(max(means) - min(means)) / 2:.{digits}f}")
        rows.append((way, *cells))
    return table(HEAD, rows)


def jobs(models: list[Path], clips: Path, kinds: list[str], count: int) -> Iterator[tuple[str, Path, Path, str, str]]:
    """What is to be run, with its name in the results."""
    paths = sorted(clips.glob("val_*.npz"))[:count]
    if not paths:
        raise SystemExit(f"--clips {clips}: there is no val_*.npz; make them with python -m training.lcm.long_clips")
    for path in paths:
        for kind in kinds:
            for way in WAYS:
                for number, model in enumerate(models):
                    yield f"{number}|{path.stem}|{kind}|{way}", model, path, kind, way


def main(
    model: Annotated[list[Path], typer.Option(help="model folder; one for each seed")],
    clips: Annotated[Path, typer.Option(help="folder of training.lcm.long_clips")],
    out: Annotated[Path, typer.Option(help="JSON file of the results")] = Path("memory.json"),
    kind: Annotated[list[str] | None, typer.Option(help="faults, repeatable")] = None,
    count: Annotated[int, typer.Option(help="clips")] = 4,
    side: Annotated[int, typer.Option(help="side of the middle part of the result, a multiple of 32")] = 128,
    frames: Annotated[int, typer.Option(help="frames of each clip at most")] = 240,
    anchor: Annotated[int, typer.Option(help="blocks of a chain")] = 10,
) -> None:
    """Run what has not been run yet, and print the table."""
    results: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        for name, folder, path, faults, way in jobs(model, clips, kind or ["mpeg2", "vhs"], count):
            if name not in results:
                results[name] = pool.submit(run, folder, path, faults, way, anchor, side, frames).result()
                partial = out.with_suffix(".partial")
                partial.write_text(json.dumps(results, indent=1))
                partial.replace(out)
    print(report(results, len(model)))


if __name__ == "__main__":
    typer.run(main)
