"""What each task gains on its own damage, over doing nothing: ``python -m training.lite.gains --data VAL``.

Clean half-size pictures of the validation clips (``training.data.clips --validation``), and smooth ramps for
``deband``, are damaged in several strengths from hardly visible to ruin, and go through ``Restore`` with the task by
name and default arguments (``deband`` to 16 bits). PSNR is of luma, of ``dechroma`` of both chroma planes, in a clip's
middle frame. Encoders and composite video are real, and take fixed quantisers, so that damage begins where it is light.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
import vapoursynth as vs

from training.data import degradations, media
from training.data.dataset import read_clip
from training.data.media import Planes
from training.lite.validate import CROP, as_clip, decibels, options, score

Damage = Callable[[Planes], Planes]
SEED = 7
RAMP = "ramp"
"""What names of ramps begin with: they are posterised and nothing else."""


@dataclass(frozen=True)
class Row:
    """One clip with one damage."""

    task: str
    damage: str
    clip: str
    before: float
    """PSNR of the damaged picture, dB."""
    after: float
    """PSNR of the restored one."""
    other: float
    """Gain of the planes that are not meant: chroma's, or luma's of ``dechroma``."""

    @property
    def gain(self) -> float:
        """What the task gains over doing nothing, dB."""
        return self.after - self.before


def _laid(degradation: Callable[[torch.Tensor, torch.Tensor], degradations.Window], clip: Planes) -> Planes:
    """The clip after a degradation of windows as training has them."""
    y = (torch.from_numpy(clip.y.astype(np.float32)) - 16) / 219
    uv = (torch.from_numpy(clip.uv.astype(np.float32)) - 128) / 224
    y, flat = degradation(y, uv.flatten(0, 1))
    found = (flat.reshape(uv.shape) * 224 + 128).round().clamp(1, 254).byte().numpy()
    return clip.then((y * 219 + 16).round().clamp(1, 254).byte().numpy(), found)


def _partly(task: str, share: float) -> Damage:
    """A share of what training lays over a clip for a task."""

    def degradation(y: torch.Tensor, uv: torch.Tensor) -> degradations.Window:
        damaged, colour = degradations.DEGRADATIONS[task](y, uv, np.random.default_rng(SEED))
        return y + share * (damaged - y), uv + share * (colour - uv)

    return partial(_laid, degradation)


def _noise(sigma: float) -> Damage:
    return lambda clip: media.noise(clip, sigma, sigma / 2, 0.0, np.random.default_rng(SEED))


def _halo(amount: float) -> Damage:
    def degradation(y: torch.Tensor, uv: torch.Tensor) -> degradations.Window:
        return y + amount * (y - degradations.gauss(y, 1.3, 1.3)), uv

    return partial(_laid, degradation)


def _smear(shift: int, sigma: float) -> Damage:
    """Chroma bled by a deviation and shifted to the right, in its own samples."""

    def degradation(y: torch.Tensor, uv: torch.Tensor) -> degradations.Window:
        bled = degradations.gauss(uv, sigma, 0.4)
        padded = torch.nn.functional.pad(bled, (shift, 0), mode="replicate")
        return y, padded[..., : uv.shape[-1]]

    return partial(_laid, degradation)


def _composite(standard: str, dimensions: int) -> Damage:
    return lambda clip: media.through_composite(clip, standard, dimensions, 0)


def _posterised(step: int) -> Damage:
    """Luma in steps of so many 8-bit levels."""
    return lambda clip: clip.then(
        ((clip.y.astype(int) + step // 2) // step * step).clip(1, 254).astype(np.uint8), clip.uv
    )


def _coded(codec: str, **how: str) -> Damage:
    return lambda clip: media.encode(clip, codec, how)


def _jpeg(quality: int) -> Damage:
    strength = (95 - quality) / 70
    return lambda clip: media.jpeg(clip, np.random.default_rng(SEED), (strength, strength))


def _quantised(codec: str, quantiser: int) -> Damage:
    return _coded(codec, g="12", bf="2", qmin=str(quantiser), qmax=str(quantiser))


_QUIET = "log-level=none:pools=none:frame-threads=1:wpp=0:rc-lookahead=5:bframes=3"
DAMAGE: dict[str, dict[str, Damage]] = {
    "deblock": {
        **{f"MPEG-2 q{q}": _quantised("mpeg2video", q) for q in (2, 4, 8, 16, 31)},
        **{f"MPEG-4 q{q}": _quantised("mpeg4", q) for q in (3, 9)},
        **{f"JPEG {q}": _jpeg(q) for q in (90, 60, 25)},
    },
    "destream": {
        **{f"H.264 crf {q}": _coded("libx264", crf=str(q), preset="faster") for q in (16, 20, 24, 28, 32, 38)},
        **{
            f"HEVC crf {q}": _coded("libx265", crf=str(q), preset="ultrafast", **{"x265-params": _QUIET})
            for q in (22, 32)
        },
    },
    "denoise": {f"noise {sigma:g}": _noise(sigma) for sigma in (1, 2, 4, 8, 16)},
    "deblur": {f"blur {sigma:g}": partial(media.blur, sigma=sigma) for sigma in (0.4, 0.7, 1.0, 1.5)},
    "dehalo": {f"halo {amount:g}": _halo(amount) for amount in (0.2, 0.5, 1.0, 1.6)},
    "dechroma": {
        **{
            f"shift {shift}, bleed {sigma:g}": _smear(shift, sigma)
            for shift, sigma in ((0, 0.7), (1, 1.0), (1, 2.0), (2, 3.0))
        },
        **{f"{s.upper()} composite, {d}D": _composite(s, d) for s in ("ntsc", "pal") for d in (1, 2)},
    },
    "descratch": {f"scratches, {share:.0%}": _partly("descratch", share) for share in (0.25, 0.5, 1)},
    "deband": {f"steps of {step}": _posterised(step) for step in (3, 4, 6, 8, 12)},
    **{
        task: {f"{task[2:]}, {share:.0%}": _partly(task, share) for share in (0.25, 0.5, 1)}
        for task in ("derain", "dehaze", "desnow")
    },
}
"""Damage by task and strength, light first."""


def ramps() -> list[tuple[str, Planes]]:
    """Smooth ramps of luma across, down and round, which change slowly."""
    rows, columns = np.mgrid[:256, :256] / 255.0
    shades = (0.2 + 0.25 * columns, 0.35 + 0.2 * rows, 0.6 - 0.35 * np.hypot(rows - 0.5, columns - 0.4))
    # under a little dither, as a sky of 8 bits has it
    dither = np.random.default_rng(SEED).uniform(-0.5, 0.5, (256, 256))
    grey = np.full((3, 2, 128, 128), 128, np.uint8)
    pictures = (np.rint(16 + 219 * shade + dither).astype(np.uint8) for shade in shades)
    return [(f"{RAMP}_{n}", Planes(y=np.stack([picture] * 3), uv=grey)) for n, picture in enumerate(pictures)]


def clean(path: Path) -> Planes:
    """The half-size picture of a validation clip that nothing was done to."""
    clip = read_clip(path)
    index = [str(s) for s in clip["strengths"]].index("none")
    return Planes(y=clip["lr_y"][index], uv=clip["lr_uv"][index])


def measure(task: str, clips: Iterable[tuple[str, Planes]], arguments: dict[str, str | int | float]) -> Iterator[Row]:
    """Every damage of a task on clips of one size, as scenes of one clip that is restored with these arguments."""
    whole: vs.VideoNode | None = None
    found: list[tuple[str, str, Planes, Planes, int]] = []
    for name, truth in clips:
        for damage, lay in DAMAGE[task].items() if task == "deband" or not name.startswith(RAMP) else ():
            damaged = lay(truth)
            scene = as_clip(damaged.y, damaged.uv)
            first, last = (
                scene[0].std.SetFrameProps(_SceneChangePrev=1),
                scene[-1].std.SetFrameProps(_SceneChangeNext=1),
            )
            scene = first + scene[1:-1] + last
            found.append((name, damage, truth, damaged, whole.num_frames if whole else 0))
            whole = whole + scene if whole else scene
    if whole is None:
        return
    deep = {"format": vs.YUV420P16} if task == "deband" else {}  # 8 bits have no room for what lies between levels
    restored = vs.core.animup.Restore(whole, task=task, **(deep | arguments))
    inner, half = slice(CROP, -CROP), slice(CROP // 2, -CROP // 2)
    for name, damage, truth, damaged, start in found:
        n = len(truth.y) // 2
        luma, _, chroma = score(restored.get_frame(start + n), truth.y[n], truth.uv[n])
        was_luma, was_chroma = (
            decibels(*(plane.astype(np.float32) / np.float32(span) for plane in pair))
            for pair, span in (
                ((damaged.y[n][inner, inner], truth.y[n][inner, inner]), 219),
                ((damaged.uv[n][:, half, half], truth.uv[n][:, half, half]), 224),
            )
        )
        meant, other = ((was_luma, luma), (was_chroma, chroma))[:: -1 if task == "dechroma" else 1]
        yield Row(task, damage, name, *meant, other[1] - other[0])


def table(rows: Iterable[Row]) -> str:
    """Markdown: means by task and damage, with the worst clip."""
    found = list(rows)
    lines = ["| task | damage | as it is, dB | gain, dB | worst clip | clips harmed | other planes |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    groups: dict[tuple[str, str, bool], list[Row]] = defaultdict(list)
    for row in found:
        groups[row.task, row.damage, row.clip.startswith(RAMP)].append(row)
    for (task, damage, ramp), some in sorted(groups.items(), key=lambda g: (list(DAMAGE).index(g[0][0]), g[0][2])):
        worst = min(some, key=lambda r: r.gain)
        mean = {what: float(np.mean([getattr(r, what) for r in some])) for what in ("before", "gain", "other")}
        what = f"{damage} of ramps" if ramp else damage
        lines.append(
            f"| {task} | {what} | {mean['before']:.2f} | {mean['gain']:+.2f} | {worst.clip} {worst.gain:+.2f} | "
            f"{sum(r.gain < -0.1 for r in some)} of {len(some)} | {mean['other']:+.2f} |"
        )
    return "\n".join(lines) + "\n"


def main(
    data: Annotated[Path, typer.Option(help="folder of training.data.clips --validation")],
    tasks: Annotated[str, typer.Option(help="which, by commas")] = ",".join(DAMAGE),
    each: Annotated[int, typer.Option(help="clips of each class of content")] = 1,
    restore: Annotated[str, typer.Option(help="arguments of Restore, name=value by commas")] = "",
    rows: Annotated[Path | None, typer.Option(help="CSV file for every case")] = None,
) -> None:
    """Print the table of all tasks as Markdown."""
    paths = [p for p in sorted(data.glob("*_*.npz")) if int(p.stem.rpartition("_")[2]) < each]
    if not paths:
        raise typer.BadParameter(
            f"--data: {data} holds no CLASS_0.npz; make them with training.data.clips --validation"
        )
    clips = [*((p.stem, clean(p)) for p in paths), *ramps()]
    found: list[Row] = []
    for task in tasks.split(","):
        found += measure(task, clips, options(restore))
        print(f"{task}: {np.mean([r.gain for r in found if r.task == task]):+.2f} dB", file=sys.stderr, flush=True)
    if rows is not None:
        with rows.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*(f.name for f in fields(Row)), "gain"])
            writer.writerows([*astuple(row), row.gain] for row in found)
    print(table(found))


if __name__ == "__main__":
    typer.run(main)
