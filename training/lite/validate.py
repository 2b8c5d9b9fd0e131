"""Measures the filters, as users have them, on the validation clips: ``python -m training.lite.validate --data VAL``.

Every clip of ``training.data.clips --validation`` goes through ``Restore`` and ``Upscale`` with default arguments, or
what ``--restore`` and ``--upscale`` add, in each of its strengths of degradations; ``clean`` is ``Upscale`` alone and
``none`` both filters on what is clean already. Beside it: the same input enlarged by Lanczos, nothing else done. PSNR
and SSIM are of luma in the clip's middle frame, 8 samples cropped, chroma PSNR of both chroma planes. Above 45 dB
nobody sees a difference, so differences count up to there. A case is *worse* that loses more than 0.1 dB or 0.002 SSIM
to Lanczos.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import vapoursynth as vs
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from skimage.metrics import structural_similarity

from training.data.dataset import read_clip
from vsanimup.networks.manifest import SHIPPED

U8 = NDArray[np.uint8]
CROP = 8
SEEN = 45.0
"""PSNR in dB above which nobody sees a difference."""
STRENGTHS = ("clean", "none", "light", "middle", "heavy", "tape", "composite")


@dataclass(frozen=True)
class Row:
    """One case: a clip at one strength."""

    clip: str
    strength: str
    history: str
    psnr: float
    ssim: float
    chroma: float
    plain_psnr: float
    plain_ssim: float
    plain_chroma: float
    mix: str = ""

    @property
    def gain(self) -> float:
        """Luma PSNR over Lanczos, as far as it is seen."""
        return min(self.psnr, SEEN) - min(self.plain_psnr, SEEN)

    @property
    def worse(self) -> bool:
        """Whether doing nothing was better."""
        return self.gain < -0.1 or self.ssim < self.plain_ssim - 0.002

    @property
    def group(self) -> str:
        """Class of content."""
        return self.clip.rpartition("_")[0]


def as_clip(y: U8, uv: U8) -> vs.VideoNode:
    """Planes [T, H, W] and [T, 2, H / 2, W / 2] as a clip of BT.709 limited range with chroma sited left."""
    planes = (y, uv[:, 0], uv[:, 1])

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        made = f.copy()
        for plane, values in enumerate(planes):
            np.copyto(np.asarray(made[plane]), values[n])
        return made

    blank = vs.core.std.BlankClip(None, y.shape[2], y.shape[1], vs.YUV420P8, len(y), fpsnum=24, fpsden=1)
    return vs.core.std.ModifyFrame(blank, blank, fill).std.SetFrameProps(
        _Matrix=1, _Transfer=1, _Primaries=1, _Range=0, _ChromaLocation=0
    )


def decibels(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """PSNR of pictures in 0..1, at most 60."""
    return float(min(60.0, -10 * np.log10(max(float(np.square(a - b).mean()), 1e-9))))


def score(frame: vs.VideoFrame, y: U8, uv: U8) -> tuple[float, float, float]:
    """Luma PSNR, luma SSIM and chroma PSNR of a frame of 8 bits or more against the truth's planes of 8."""
    inner, half = slice(CROP, -CROP), slice(CROP // 2, -CROP // 2)
    luma, *colour = (np.asarray(frame[p], np.float32) / (1 << (frame.format.bits_per_sample - 8)) for p in range(3))
    found, right = (((p.astype(np.float32) - np.float32(16)) / 219)[inner, inner] for p in (luma, y))
    colours = np.stack(colour)
    chroma, goal = (((p.astype(np.float32) - np.float32(128)) / 224)[:, half, half] for p in (colours, uv))
    similar = float(structural_similarity(found, right, data_range=1.0))  # type: ignore[no-untyped-call]
    return decibels(found, right), similar, decibels(chroma, goal)


def measure(
    path: Path, strengths: tuple[str, ...], filters: Callable[[vs.VideoNode, bool], vs.VideoNode]
) -> Iterator[Row]:
    """The cases of one clip; ``filters`` is given the source, and whether to restore before enlarging."""
    clip = read_clip(path)
    middle = len(clip["hr_y"]) // 2
    truth = clip["hr_y"][middle], clip["hr_uv"][middle]
    for index, told in enumerate(str(s) for s in clip["strengths"]):
        source = as_clip(clip["lr_y"][index], clip["lr_uv"][index])
        plain = score(source.resize.Lanczos(2 * source.width, 2 * source.height).get_frame(middle), *truth)
        for strength in ("clean", "none") if told == "none" else (told,):
            if strength not in strengths:
                continue
            frame = filters(source, strength != "clean").get_frame(middle)
            mix = str(frame.props.get("AnimupMix", ""))
            yield Row(path.stem, strength, str(clip["history"][index]), *score(frame, *truth), *plain, mix)


def summary(rows: Iterable[Row]) -> Table:
    """Means by class and strength, with the worst clip."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        for group in (row.group, "all"):
            groups[group, row.strength].append(row)
    table = Table(
        "class",
        "strength",
        "Lanczos",
        "ours",
        "gain dB",
        "SSIM gain",
        "worst clip",
        "chroma: Lanczos",
        "gain dB",
        "worse",
    )
    last = ""
    for (group, strength), found in sorted(
        groups.items(), key=lambda g: (g[0][0] == "all", g[0][0], STRENGTHS.index(g[0][1]))
    ):
        if group != last:
            table.add_section()
            last = group
        mean = {f.name: float(np.mean([getattr(r, f.name) for r in found])) for f in fields(Row) if f.type == "float"}
        worst = min(found, key=lambda r: r.gain)
        table.add_row(
            group,
            strength,
            f"{mean['plain_psnr']:.2f} {mean['plain_ssim']:.4f}",
            f"{mean['psnr']:.2f} {mean['ssim']:.4f}",
            f"{np.mean([r.gain for r in found]):+.2f}",
            f"{mean['ssim'] - mean['plain_ssim']:+.4f}",
            f"{worst.clip} {worst.gain:+.2f}",
            f"{mean['plain_chroma']:.2f}",
            f"{mean['chroma'] - mean['plain_chroma']:+.2f}",
            f"{sum(r.worse for r in found)}/{len(found)}",
        )
    return table


def options(text: str) -> dict[str, str | int | float]:
    """``name=value,name=value`` as keyword arguments."""
    found: dict[str, str | int | float] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        for kind in (int, float, str):
            try:
                found[name] = kind(value)
                break
            except ValueError:
                continue
    return found


def main(
    data: Annotated[Path, typer.Option(help="folder of training.data.clips --validation")],
    models: Annotated[Path, typer.Option(help="folder with lite-restore and lite-upscale")] = SHIPPED,
    strengths: Annotated[str, typer.Option(help="which, by commas")] = ",".join(STRENGTHS),
    classes: Annotated[str, typer.Option(help="which classes of content, by commas; all unless given")] = "",
    restore: Annotated[str, typer.Option(help="arguments of Restore, name=value by commas")] = "",
    upscale: Annotated[str, typer.Option(help="arguments of Upscale")] = "",
    rows: Annotated[Path | None, typer.Option(help="CSV file for every case")] = None,
) -> None:
    """Print the table of the filters by class of content and strength of degradation."""
    first, second = options(restore), options(upscale)
    if models != SHIPPED:
        first["model"], second["model"] = str(models / "lite-restore"), str(models / "lite-upscale")

    def filters(source: vs.VideoNode, restoring: bool) -> vs.VideoNode:
        small = vs.core.animup.Restore(source, **first) if restoring else source
        return vs.core.animup.Upscale(small, scale=2, **second)

    wanted = classes.split(",") if classes else None
    paths = [p for p in sorted(data.glob("*_*.npz")) if wanted is None or p.stem.rpartition("_")[0] in wanted]
    if not paths:
        raise typer.BadParameter(
            f"--data: {data} holds no CLASS_N.npz; make them with training.data.clips --validation"
        )
    found = [row for path in paths for row in measure(path, tuple(strengths.split(",")), filters)]
    if rows is not None:
        with rows.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(f.name for f in fields(Row))
            writer.writerows(map(astuple, found))
    Console(width=150).print(summary(found))


if __name__ == "__main__":
    typer.run(main)
