"""Quality against ground truth: luma PSNR, luma SSIM and flicker.

The definitions are those of the score.py that lies beside the evaluation clips.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.contenders import Contender, decode, source
from benchmarks.upscaler import WEIGHTS, Image
from vsanimup.packages import need

Luma = NDArray[np.float32]

CROP = 8
KINDS = ("clean", "mpeg2", "web", "vhs")


@dataclass(frozen=True)
class Clip:
    """A ground truth and one degraded, half-size copy of it."""

    name: str
    kind: str
    truth: Path
    degraded: Path


@dataclass(frozen=True)
class Score:
    psnr: float
    ssim: float
    flicker: float


def find_clips(folder: Path, kinds: Container[str] | None = None) -> list[Clip]:
    """The clips of an evaluation folder, of some kinds or all: NAME.mkv beside lq/NAME_KIND.mkv."""
    clips = [
        Clip(truth.stem, degraded.stem.removeprefix(truth.stem + "_"), truth, degraded)
        for truth in sorted(folder.glob("*.mkv"))
        for degraded in sorted((folder / "lq").glob(f"{truth.stem}_*.mkv"))
    ]
    if kinds is not None:
        clips = [clip for clip in clips if clip.kind in kinds]
    if not clips:
        raise SystemExit(f"peers: {folder} holds no NAME.mkv with a lq/NAME_KIND.mkv that is wanted")
    return sorted(clips, key=lambda clip: (clip.name, kind_order(clip.kind)))


def kind_order(kind: str) -> tuple[int, str]:
    """Sorts the known kinds first, in the order of the published table."""
    return (KINDS.index(kind) if kind in KINDS else len(KINDS), kind)


def luma(image: Image) -> Luma:
    """BT.709 luma of 8-bit RGB, edges cropped."""
    full: Luma = image.astype(np.float32) @ WEIGHTS
    return full[CROP:-CROP, CROP:-CROP]


def score(truth: dict[int, Luma], output: Iterable[tuple[int, Luma]], sampled: Container[int]) -> Score:
    """Means over the sampled frames; `output` comes in ascending order, with the frame after each, for flicker."""
    similarity = need("skimage.metrics").structural_similarity
    psnr: list[float] = []
    ssim: list[float] = []
    flicker: list[float] = []
    last: tuple[int, Luma] | None = None
    for n, o in output:
        t = truth[n]
        if t.shape != o.shape:
            raise SystemExit(f"peers: a frame of {o.shape[::-1]}, the truth has {t.shape[::-1]} (edges cropped)")
        if last is not None and last[0] == n - 1 and last[0] in sampled:
            flicker.append(float(np.abs((o - last[1]) - (t - truth[n - 1])).mean()))
        if n in sampled:
            psnr.append(float(10 * np.log10(255**2 / max(float(((t - o) ** 2).mean()), 1e-9))))
            ssim.append(float(similarity(t, o, data_range=255)))
        last = n, o
    return Score(float(np.mean(psnr)), float(np.mean(ssim)), float(np.mean(flicker)))


@dataclass
class Row:
    contender: str
    clip: str
    kind: str
    score: Score

    def as_json(self) -> dict[str, object]:
        return {"contender": self.contender, "clip": self.clip, "kind": self.kind, **asdict(self.score)}


def truth_of(path: Path, frames: slice) -> tuple[range, dict[int, Luma]]:
    """Numbers of the frames that are scored, and luma of these and of those after them."""
    count = source(path).num_frames
    sampled = range(count)[frames]
    wanted = sorted({n + k for n in sampled for k in (0, 1) if n + k < count})
    if len(wanted) < 2:
        raise SystemExit(f"peers: {path} has {count} frames, {len(wanted)} of them asked for; flicker needs two")
    return sampled, dict(zip(wanted, map(luma, decode(path, wanted)), strict=True))


def measure(contenders: list[Contender], clips: list[Clip], frames: slice, done: Callable[[Row], None]) -> None:
    """Score every contender on the same frames of every clip and hand each row to `done` as soon as it is known."""
    known: tuple[Path, range, dict[int, Luma]] | None = None
    for clip in clips:
        if known is None or known[0] != clip.truth:
            known = clip.truth, *truth_of(clip.truth, frames)
        _, sampled, truth = known
        for contender in contenders:
            images = contender.frames(clip.degraded, clip.kind, list(truth))
            output = ((n, luma(image)) for n, image in zip(truth, images, strict=True))
            done(Row(contender.name, clip.name, clip.kind, score(truth, output, sampled)))
