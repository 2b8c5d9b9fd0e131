"""What each treatment of compressed clips ends in: ``python -m training.diagnosis.outcomes --clips DIR --out FILE``.

What was compressed is not always the better for being restored: very light codecs, and those over grain, are not. So
the diagnosis learns by what comes out, and not by what was done: the middle frame of every compressed variant of every
clip file (see ``training/data/clips.py``) is enlarged as it is, and after ``Restore`` by each of the codecs' tasks.

Written is one ``.npz``: ``clips`` n names of files in it, ``variants`` int64 [n], ``scores`` float64 [n, 3, 2], PSNR in
dB and SSIM of luma, of :data:`TREATMENTS`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import vapoursynth as vs
from numpy.typing import NDArray

from training.data.dataset import read_clip
from training.data.media import CODEC_KINDS
from training.lite.validate import SEEN, score

TREATMENTS = ("clean", "codec", "stream")
"""States that a compressed picture may be treated as."""
SIMILARITY = 60.0
"""dB that all of SSIM is worth."""
MARGIN = 0.05
"""dB below which one treatment is as good as another."""

Outcomes = Mapping[str, Mapping[int, NDArray[np.float64]]]
"""Scores [3, 2] by name of clip, then by variant."""
Section = tuple[Path, int]
"""A clip file and a variant."""


def state_of(scores: NDArray[np.float64], told: str) -> str:
    """What to call a variant whose scores are ``[3, 2]``: ``told``, unless another treatment ends better."""
    value = dict(zip(TREATMENTS, np.minimum(scores[:, 0], SEEN) + SIMILARITY * scores[:, 1], strict=True))
    restored = max(TREATMENTS[1:], key=lambda state: value[state] + MARGIN * (state == told))
    return restored if value[restored] > value["clean"] + MARGIN else "clean"


def read(path: Path | None) -> Outcomes:
    """The file that :func:`main` wrote; nothing for none."""
    if path is None:
        return {}
    found: dict[str, dict[int, NDArray[np.float64]]] = {}
    with np.load(path, allow_pickle=False) as file:
        for clip, variant, scores in zip(file["clips"], file["variants"], file["scores"], strict=True):
            found.setdefault(str(clip), {})[int(variant)] = scores
    return found


def spliced(sections: list[Section], around: int) -> vs.VideoNode:
    """The middle frames of variants, with ``around`` frames on each side, one after the other as scenes."""
    length = 2 * around + 1
    clip = functools.lru_cache(8)(read_clip)
    rows, columns = clip(sections[0][0])["lr_y"].shape[2:]

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        path, variant = sections[n // length]
        found, frame = clip(path), f.copy()
        at = found["lr_y"].shape[1] // 2 - around + n % length
        for plane, values in enumerate((found["lr_y"][variant][at], *found["lr_uv"][variant][at])):
            np.copyto(np.asarray(frame[plane]), values)
        frame.props["_SceneChangePrev"] = n % length == 0 or bool(found["cut"][at])
        frame.props["_SceneChangeNext"] = n % length == length - 1 or bool(found["cut"][at + 1])
        return frame

    blank = vs.core.std.BlankClip(None, columns, rows, vs.YUV420P8, length * len(sections), 24, 1)
    return vs.core.std.ModifyFrame(blank, blank, fill).std.SetFrameProps(
        _Matrix=1, _Transfer=1, _Primaries=1, _Range=0, _ChromaLocation=0
    )


def outcomes(sections: list[Section]) -> Iterator[list[tuple[float, float]]]:
    """The scores of :data:`TREATMENTS` for each section."""
    small = [
        spliced(sections, 0),
        *(vs.core.animup.Restore(spliced(sections, 1), task=task)[1::3] for task in ("deblock", "destream")),
    ]
    large = [vs.core.animup.Upscale(clip, scale=2).frames(prefetch=2) for clip in small]
    for (path, _), *frames in zip(sections, *large, strict=True):
        clip = read_clip(path)
        middle = clip["lr_y"].shape[1] // 2
        truth = clip["hr_y"][middle], clip["hr_uv"][middle]
        yield [score(frame, *truth)[:2] for frame in frames]


def main(
    clips: Annotated[Path, typer.Option(help="folder of clip files")],
    out: Annotated[Path, typer.Option(help=".npz to write")],
    pattern: Annotated[str, typer.Option(help="names of the clip files")] = "train_*.npz",
) -> None:
    """Write the outcomes of all clips of a folder."""
    sections = []
    for path in sorted(clips.rglob(pattern)):
        with np.load(path) as file:
            sections += [(path, number) for number, kind in enumerate(file["kinds"]) if kind in CODEC_KINDS]
    if not sections:
        raise typer.BadParameter(f"--clips: {clips} holds no compressed clips named {pattern}")
    found = []
    for number, scores in enumerate(outcomes(sections), 1):
        found.append(scores)
        if number % 200 == 0:
            print(f"{number} of {len(sections)}", flush=True)
    np.savez(
        out,
        clips=np.array([str(path.relative_to(clips)) for path, _ in sections]),
        variants=np.array([number for _, number in sections]),
        scores=np.array(found),
    )


if __name__ == "__main__":
    typer.run(main)
