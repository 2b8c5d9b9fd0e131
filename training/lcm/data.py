"""Pictures for the small AnimateLCM out of the clip files: sharp ones, and faulty ones as the filter enlarges them."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training.data.dataset import to_chroma, to_luma
from training.data.degradations import lay
from vsanimup.architectures.lcm_tiny import TASKS
from vsanimup.video.rgb import COEFFICIENTS

Clip = dict[str, NDArray[np.uint8]]
MARGIN = 4
"""Samples of the small picture around a crop, so that its border is enlarged as in the whole picture."""
SHARES = {"clean": 0.12, "codec": 0.53, "vhs": 0.35}
"""Shares of the degradations."""
POOL = 240
"""Clips, 5.5 MB each, that are in use at a time."""
APART = 100
"""More than the scenes of a window."""
DRAWN_ONCE = 0.5
"""Share of the windows whose copies of a drawing are averaged, as the filter does where it finds them."""
PANNED = 0.5
"""Share of the windows whose crop moves over the picture: pans of the clips' own are mostly slow, and motion modules
made a fast one flicker more. A codec's degradations move with the picture in whole-sample pans, as they do here."""
FASTEST = 4
"""Largest speed of a moving crop along each axis, in samples of the small picture a frame; even, as chroma is."""
PERIOD, FRESH = 5, 10
"""After so many steps so many clips of the pool are changed for others."""
RED, BLUE = COEFFICIENTS[1]
"""Of BT.709."""
CATMULL_ROM = 0.0, 0.5
"""How the filter enlarges."""
MITCHELL = 1 / 3, 1 / 3
"""How VapourSynth's Bicubic enlarges chroma, unless told otherwise."""


def taps(place: float, b: float, c: float) -> list[float]:
    """Weights of the four samples around a point that lies ``place`` (0..1) after the second of them."""
    found = []
    for x in (1 + place, place, 1 - place, 2 - place):
        if x < 1:
            found.append(((12 - 9 * b - 6 * c) * x**3 + (-18 + 12 * b + 6 * c) * x**2 + 6 - 2 * b) / 6)
        else:
            found.append(((-b - 6 * c) * x**3 + (6 * b + 30 * c) * x**2 + (-12 * b - 48 * c) * x + 8 * b + 24 * c) / 6)
    return found


def doubled(x: Tensor, axis: int, kernel: tuple[float, float], *, sited: bool = False) -> Tensor:
    """Twice as long along ``axis`` (-1 or -2), edges held; ``sited``: every second sample stays where it was."""
    length = x.shape[axis]
    padded = F.pad(x, (2, 2, 0, 0) if axis == -1 else (0, 0, 2, 2), mode="replicate")
    phases = []
    for place in (0.0, 0.5) if sited else (-0.25, 0.25):
        whole = int(np.floor(place))
        weights = taps(place - whole, *kernel)
        parts = [w * padded.narrow(axis, 1 + whole + i, length) for i, w in enumerate(weights)]
        phases.append(torch.stack(parts).sum(0))
    return torch.stack(phases, axis).flatten(axis - 1, axis)


def to_rgb(y: NDArray[np.uint8], uv: NDArray[np.uint8]) -> Tensor:
    """``y [n, h, w]`` and ``uv [n, 2, h / 2, w / 2]`` to RGB 0..1 ``[n, 3, h, w]``."""
    luma = to_luma(y)
    chroma = doubled(doubled(to_chroma(uv), -2, MITCHELL), -1, MITCHELL, sited=True)
    red = luma + 2 * (1 - RED) * chroma[:, 1]
    blue = luma + 2 * (1 - BLUE) * chroma[:, 0]
    green = (luma - RED * red - BLUE * blue) / (1 - RED - BLUE)
    return torch.stack([red, green, blue], 1)


def luma_of(rgb: Tensor) -> Tensor:
    """Luma ``[n, 1, h, w]``."""
    weights = rgb.new_tensor([RED, 1 - RED - BLUE, BLUE])
    return (rgb * weights[:, None, None]).sum(1, keepdim=True)


@dataclass(frozen=True)
class Pictures:
    """Windows one after the other on the first axis."""

    sharp: Tensor
    """RGB in 0..1 ``[frames, 3, side, side]``."""
    source: Tensor
    """The same, faulty and plainly enlarged."""
    scenes: Tensor
    """Number of each frame's scene ``[frames]``, counted from :data:`APART` times its window's number on."""
    kinds: tuple[str, ...] = ()

    @property
    def windows(self) -> Tensor:
        """Number of each frame's window ``[frames]``."""
        return self.scenes // APART

    @property
    def mask(self) -> Tensor:
        """For temporal attention, ``[frames, frames]``."""
        return torch.where(self.scenes[:, None] == self.scenes[None], 0.0, -10000.0)

    def halves(self) -> tuple[Pictures, Pictures]:
        """The first and the second half of every window, as two windows in sequence; one frame is a first half."""
        windows = self.windows
        behind = torch.cat([torch.arange(int(n)) >= (int(n) + 1) // 2 for n in torch.bincount(windows)])
        first, second = (
            Pictures(self.sharp[part], self.source[part], self.scenes[part], self.kinds) for part in (~behind, behind)
        )
        return first, second


def cut_out(clip: Clip, variant: int, frames: slice, top: int, left: int, side: int) -> tuple[Tensor, Tensor]:
    """Sharp and enlarged pictures of a crop, which is given in samples of the small picture."""

    def part(y: NDArray[np.uint8], uv: NDArray[np.uint8], scale: int, margin: int) -> Tensor:
        rows, columns = (slice(scale * (at - margin), scale * (at + side + margin)) for at in (top, left))
        half = tuple(slice(s.start // 2, s.stop // 2) for s in (rows, columns))
        return to_rgb(y[frames][:, rows, columns], uv[frames][:, :, half[0], half[1]])

    def inner(x: Tensor, margin: int) -> Tensor:
        return x[..., margin : x.shape[-2] - margin, margin : x.shape[-1] - margin]

    small = part(clip["lr_y"][variant], clip["lr_uv"][variant], 1, MARGIN)
    large = doubled(doubled(small, -2, CATMULL_ROM), -1, CATMULL_ROM).clamp(0, 1)
    sharp = part(clip["hr_y"], clip["hr_uv"], 2, MARGIN)
    return inner(sharp, 2 * MARGIN), inner(large, 2 * MARGIN)


def drawn_once(whole: NDArray[np.uint8], sharp: Tensor, source: Tensor, scenes: Tensor) -> tuple[Tensor, ...]:
    """Sharp and faulty pictures and scenes ``[frames, ...]`` with copies of one drawing averaged to one frame.

    Frames are copies if all of them is equal in ``whole``, of which the pictures are crops.
    """
    new = [True, *((a != b).any() for a, b in itertools.pairwise(whole))]
    starts = [n for n, begins in enumerate(new) if begins]
    mean = torch.stack([source[a:b].mean(0) for a, b in itertools.pairwise([*starts, len(new)])])
    return sharp[starts], mean, scenes[starts]


class Crops:
    """Item ``step`` is that step's data, whichever steps were asked for before."""

    def __init__(self, folder: Path, *, windows: int, frames: int, side: int, seed: int = 0, small: int = 0) -> None:
        """``side`` is that of the enlarged crops, two thirds of it before step ``small``, both multiples of 32; a
        window has ``frames`` frames in a row."""
        self.files = sorted(folder.glob("train_*.npz"))
        if not self.files:
            raise FileNotFoundError(f"{folder}: no train_*.npz; make them with python -m training.data.clips")
        self.windows, self.frames, self.side, self.seed = windows, frames, side, seed
        self._small = small
        self._clips: OrderedDict[Path, Clip] = OrderedDict()

    def _clip(self, step: int, rng: np.random.Generator) -> Clip:
        """A clip of those that are used about this step."""
        path = self.files[(step // PERIOD * FRESH + int(rng.integers(POOL))) % len(self.files)]
        if path not in self._clips:
            with np.load(path) as data:
                self._clips[path] = dict(data)
            while len(self._clips) > POOL:
                self._clips.popitem(last=False)
        self._clips.move_to_end(path)
        return self._clips[path]

    def _room(self, length: int, side: int, speed: int) -> tuple[int, int]:
        """First and last place of a crop that moves by ``speed`` a frame and never leaves its margin."""
        way = (self.frames - 1) * speed
        return MARGIN - min(0, way), length - side - MARGIN - max(0, way)

    def _pan(
        self, clip: Clip, variant: int, frames: slice, place: tuple[int, int], speeds: Sequence[int], side: int
    ) -> tuple[Tensor, Tensor]:
        """:func:`cut_out` by a crop that moves on from frame to frame."""
        if not any(speeds):
            return cut_out(clip, variant, frames, *place, side)
        top, left = place
        parts = [
            cut_out(clip, variant, slice(n, n + 1), top + i * speeds[0], left + i * speeds[1], side)
            for i, n in enumerate(range(frames.start, frames.stop))
        ]
        sharp, source = zip(*parts, strict=True)
        return torch.cat(sharp), torch.cat(source)

    def __getitem__(self, step: int) -> Pictures:
        rng = np.random.default_rng((self.seed, step))
        found = []
        for number in range(self.windows):
            clip = self._clip(step, rng)
            group = str(rng.choice(list(SHARES), p=list(SHARES.values())))
            kinds = ["codec" if str(kind) not in SHARES else str(kind) for kind in clip["kinds"]]
            of_group = [i for i, kind in enumerate(kinds) if kind == group]
            variant = int(rng.choice(of_group or len(kinds)))  # not every clip has all of them
            start = int(rng.integers(len(clip["cut"]) - self.frames + 1))
            frames = slice(start, start + self.frames)
            side = (self.side // 3 * 2 if step < self._small else self.side) // 2
            height, width = clip["lr_y"].shape[-2:]
            speeds = [0, 0]
            if self.frames > 1 and rng.random() < PANNED:
                speeds = [2 * int(n) for n in rng.integers(-(FASTEST // 2), FASTEST // 2 + 1, 2)]
                if any(first > last for first, last in map(self._room, (height, width), (side, side), speeds)):
                    speeds = [0, 0]
            top, left = (
                2 * int(rng.integers(first // 2, last // 2 + 1))
                for first, last in map(self._room, (height, width), (side, side), speeds)
            )
            sharp, source = self._pan(clip, variant, frames, (top, left), speeds, side)
            turns = [axis for axis in (-1, -2) if rng.random() < 0.5]
            sharp, source = sharp.flip(turns), source.flip(turns)
            scenes = APART * number + torch.from_numpy(clip["cut"][frames].astype(np.int64)).cumsum(0)
            if self.frames > 1 and not any(speeds) and rng.random() < DRAWN_ONCE:
                sharp, source, scenes = drawn_once(clip["hr_y"][frames], sharp, source, scenes)
            found.append((sharp, source, scenes, str(clip["kinds"][variant])))
        sharps, sources, scenes_of, names = zip(*found, strict=True)
        return Pictures(torch.cat(sharps), torch.cat(sources), torch.cat(scenes_of), names)


def faulted(clip: Clip, task: str, frames: slice, rng: np.random.Generator) -> Clip:
    """Some frames of a clip, whose only variant is the clean one with the fault of a task laid over it."""
    y, uv = to_luma(clip["lr_y"][0][frames]), to_chroma(clip["lr_uv"][0][frames])
    y, uv = lay([task], y, uv.flatten(0, 1), rng)
    return {
        "hr_y": clip["hr_y"][frames],
        "hr_uv": clip["hr_uv"][frames],
        "lr_y": (y * 219 + 16).round().to(torch.uint8).numpy()[None],
        "lr_uv": (uv * 224 + 128).round().to(torch.uint8).reshape(-1, 2, *uv.shape[1:]).numpy()[None],
    }


class TaskCrops(Crops):
    """Single frames, all of a step with the fault of one task, which ``kinds`` names."""

    def __getitem__(self, step: int) -> Pictures:
        rng = np.random.default_rng((self.seed, step, 1))
        task = str(rng.choice(TASKS))
        side = (self.side // 3 * 2 if step < self._small else self.side) // 2
        found = []
        for _ in range(self.windows):
            clip = self._clip(step, rng)
            n = int(rng.integers(len(clip["cut"])))
            top, left = (
                2 * int(rng.integers(MARGIN // 2, (length - side - MARGIN) // 2 + 1))
                for length in clip["lr_y"].shape[-2:]
            )
            found.append(cut_out(faulted(clip, task, slice(n, n + 1), rng), 0, slice(0, 1), top, left, side))
        sharps, sources = zip(*found, strict=True)
        scenes = APART * torch.arange(self.windows)
        return Pictures(torch.cat(sharps), torch.cat(sources), scenes, (task,) * self.windows)


def task_validation(folder: Path, *, side: int, clips: int) -> Iterator[Pictures]:
    """The middle frame and middle crop of the first validation clips, with the fault of every task."""
    for number, path in enumerate(sorted(folder.glob("val_*.npz"))[:clips]):
        with np.load(path) as data:
            clip = dict(data)
        # the denoiser halves latents twice
        n, small = len(clip["cut"]) // 2, min(side // 2, clip["lr_y"].shape[-1] - 2 * MARGIN) // 16 * 16
        at = (clip["lr_y"].shape[-1] - small) // 4 * 2
        for task in TASKS:
            rng = np.random.default_rng((number, TASKS.index(task)))
            sharp, source = cut_out(faulted(clip, task, slice(n, n + 1), rng), 0, slice(0, 1), at, at, small)
            yield Pictures(sharp, source, torch.zeros(1, dtype=torch.int64), (task,))


def validation(folder: Path, *, frames: int, side: int, clips: int) -> Iterator[Pictures]:
    """The middle frames and middle crops of the first validation clips, in all their variants."""
    for path in sorted(folder.glob("val_*.npz"))[:clips]:
        with np.load(path) as data:
            clip = dict(data)
        first = (len(clip["cut"]) - frames) // 2
        window = slice(first, first + frames)
        small = min(side // 2, clip["lr_y"].shape[-1] - 2 * MARGIN)
        at = (clip["lr_y"].shape[-1] - small) // 4 * 2
        scenes = torch.from_numpy(clip["cut"][window].astype(np.int64)).cumsum(0)
        for variant, kind in enumerate(clip["kinds"]):
            if variant and str(kind) in [str(earlier) for earlier in clip["kinds"][:variant]]:
                continue
            sharp, source = cut_out(clip, variant, window, at, at, small)
            yield Pictures(sharp, source, scenes, (str(kind),))
