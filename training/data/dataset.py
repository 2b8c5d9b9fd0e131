"""Training batches cut out of the clip files: step number in, batch out, so that a resumed run sees the same data."""

from __future__ import annotations

import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from training.data.degradations import DEGRADATIONS, lay
from vsanimup.architectures.lite.checkpoint import CODEC_TASKS
from vsanimup.tasks import TASKS

Array = NDArray[np.uint8]
Rng = np.random.Generator

TAPE = {"deblock": 0.5, "denoise": 1.0, "dehalo": 1.0, "dechroma": 1.0}
"""Task mix of a captured tape (kind ``vhs``)."""
COMPOSITE = {"dechroma": 1.0, "deblock": 0.5, "denoise": 0.5}
"""Task mix of composite video (kind ``composite``)."""
CODEC_SHARES = {"mpeg2": 0.33, "web": 0.40, "asp": 0.14, "hevc": 0.09, "jpeg": 0.04}
"""Shares of the windows of real encoders."""
SHARES = {"codec": 0.58, "tape": 0.2, "composite": 0.08, "degradations": 0.14}
"""Shares of the windows: real encoders, tapes, composite video, and the degradations of ``degradations.py``."""
BACKBONE_SHARE = 0.08
"""Share of the windows that train the backbone alone, without task biases."""
CLEAN_SHARE = 0.06
"""Share of the windows that are clean already: nothing may be done to them."""
FLAT_SHARE = 0.02
"""Share of the windows that are one colour, unchanged in and out: flat areas of line art must keep their colour."""
TRIES = 200
"""Clips that are looked at for one with a certain kind of degradations, before other degradations are drawn."""
SMALL = 1 << 16
"""Items up to which an array of a clip is read at once."""
BUSY_SHARE, BUSY_TRIES = 0.75, 3
"""Share of the crops that are the one with most edges of so many: nearly all of what a frame's PSNR lacks lies there,
and most of a frame is nearly even."""
SHORT_SHARE = 0.15
"""Share of the windows that are cut short, as at a scene's ends."""


@dataclass(frozen=True)
class Batch:
    """One step's data. Planes as :class:`vsanimup.architectures.lite.network.Lite` takes and gives them."""

    y: Tensor
    """Degraded windows ``[batch, frames, crop, crop]``."""
    uv: Tensor
    goal_y: Tensor
    """Clean centre frames ``[batch, 1, crop, crop]``."""
    goal_uv: Tensor
    sharp_y: Tensor
    """Centre frames at full size ``[batch, 1, 2 * crop, 2 * crop]``."""
    sharp_uv: Tensor
    plain_y: Tensor
    """Single frames to enlarge without restoring ``[plain, 1, crop, crop]``, most of them clean."""
    plain_uv: Tensor
    plain_sharp_y: Tensor
    plain_sharp_uv: Tensor
    mix: Tensor
    """Weight of each of :data:`TASKS` for each window, ``[batch, tasks]``; all zero for the backbone alone."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        return Batch(*(getattr(self, field.name).to(device) for field in fields(self)))


def window_indices(cut: NDArray[np.int8], centre: int, radius: int, reach: int | None = None) -> list[int]:
    """Frame numbers of the window around ``centre``: clamped to the scene (``cut[i] = 1`` starts one) and the clip.

    With ``reach`` the window is clamped to that many frames on each side too.
    """
    reach = radius if reach is None else reach
    first = last = centre
    while first > max(0, centre - reach) and not cut[first]:
        first -= 1
    while last < min(len(cut) - 1, centre + reach) and not cut[last + 1]:
        last += 1
    return [min(max(i, first), last) for i in range(centre - radius, centre + radius + 1)]


def to_luma(a: Array) -> Tensor:
    """8-bit limited-range luma to float, 0 black and 1 white."""
    return torch.from_numpy((a.astype(np.float32) - 16) / 219)


def to_chroma(a: Array) -> Tensor:
    """8-bit limited-range chroma to float, -0.5..0.5."""
    return torch.from_numpy((a.astype(np.float32) - 128) / 224)


def mix_vector(mix: Mapping[str, float]) -> Tensor:
    """A task mix as a vector over :data:`TASKS`."""
    return torch.tensor([mix.get(task, 0.0) for task in TASKS])


def read_clip(path: Path) -> dict[str, Array]:
    """One clip file, see ``clips.py`` for its arrays."""
    with np.load(path) as data:
        return dict(data)


def map_clip(path: Path) -> dict[str, Array]:
    """One clip file, of which only what is looked at is read, and is shared between processes.

    ``clips.py`` stores arrays uncompressed; ``numpy.load`` maps none that lie in an archive.
    """
    arrays: dict[str, Array] = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for member in archive.infolist():
            file.seek(member.header_offset + 26)
            name, extra = struct.unpack("<HH", file.read(4))
            file.seek(member.header_offset + 30 + name + extra)
            npy.read_magic(file)
            shape, fortran, dtype = npy.read_array_header_1_0(file)
            assert member.compress_type == zipfile.ZIP_STORED and not fortran
            at = file.tell()
            array = np.memmap(path, dtype, "r", at, shape)
            # each map holds a file descriptor, of which a process has 1,024 by default
            arrays[member.filename.removesuffix(".npy")] = array if array.size > SMALL else np.array(array)
    return arrays


def damage(folder: Path) -> list[Tensor]:
    """Shapes of film damage beside the clips, 0..1; none where there is no such file."""
    path = folder / "damage.npz"
    if not path.exists():
        return []
    with np.load(path) as shapes:
        return [torch.from_numpy(shapes[name].astype(np.float32) / 255) for name in shapes.files]


class Batches(Dataset[Batch]):
    """Item ``step`` is the batch of that step: ``batch`` windows of ``batch`` clips, and ``plain`` single frames.

    Before step ``small`` crops have half the side, a quarter of the work, and are half as many again: their gradient is
    noisier for each crop, but better for its cost, see docs/cheaper_training.md.
    """

    backbone_share = BACKBONE_SHARE

    def __init__(
        self,
        folder: Path,
        *,
        radius: int,
        crop: int,
        batch: int,
        plain: int,
        steps: int,
        seed: int = 0,
        small: int = 0,
        keep: int = 200,
    ) -> None:
        self.files = sorted(folder.rglob("train_*.npz"))
        if not self.files:
            raise FileNotFoundError(f"{folder}: no train_*.npz; make them with python -m training.data.clips")
        self.radius, self.crop, self.size, self.plain, self.steps, self.seed = radius, crop, batch, plain, steps, seed
        self._small = small
        self._keep = keep
        self._clips: OrderedDict[Path, dict[str, Array]] = OrderedDict()
        self._shapes = damage(folder)

    def __len__(self) -> int:
        return self.steps

    def _clip(self, rng: Rng) -> dict[str, Array]:
        path = self.files[int(rng.integers(len(self.files)))]
        if path not in self._clips:
            self._clips[path] = map_clip(path)
            while len(self._clips) > self._keep:
                self._clips.popitem(last=False)
        return self._clips[path]

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng((self.seed, step))
        size, plain, crop = self.size, self.plain, self.crop
        if step < self._small:
            size, plain, crop = round(1.5 * size), round(1.5 * plain), crop // 2
        windows, mixes = [], []
        for _ in range(size):
            clip, kind, tasks, mix = self._choice(rng)
            windows.append(self._window(clip, kind, tasks, crop, rng))
            mixes.append(mix_vector({} if rng.random() < self.backbone_share else mix))
        singles = [self._single(self._clip(rng), "clean" if i else "any", crop, rng) for i in range(plain)]
        y, uv, goal_y, goal_uv, sharp_y, sharp_uv = (torch.stack(part) for part in zip(*windows, strict=True))
        small_y, small_uv, large_y, large_uv = (torch.stack(part) for part in zip(*singles, strict=True))
        shares = torch.stack(mixes)
        return Batch(y, uv, goal_y, goal_uv, sharp_y, sharp_uv, small_y, small_uv, large_y, large_uv, shares)

    def _choice(self, rng: Rng) -> tuple[dict[str, Array], str, list[str], dict[str, float]]:
        """A clip, and what :meth:`_degradation` says of it."""
        for _ in range(TRIES):
            kind, tasks, mix = self._degradation(rng)
            for _ in range(TRIES):
                clip = self._clip(rng)
                if kind in clip["kinds"]:
                    return clip, kind, tasks, mix
        raise ValueError(f"the clips hold none of the kinds that are asked for, such as {kind!r}")

    def _degradation(self, rng: Rng) -> tuple[str, list[str], dict[str, float]]:
        """A window's degradations: the variant of the clip, those laid over it, the task mix that mends both."""
        source = str(rng.choice(list(SHARES), p=list(SHARES.values())))
        codec = str(rng.choice(list(CODEC_SHARES), p=list(CODEC_SHARES.values())))
        if source == "tape":
            return "vhs", [], TAPE
        if source == "composite":
            return "composite", [], COMPOSITE
        if source == "codec":
            return codec, [], {CODEC_TASKS[codec]: 1.0}
        tasks = [str(t) for t in rng.choice(list(DEGRADATIONS), size=1 if rng.random() < 0.6 else 2, replace=False)]
        if rng.random() < 0.35:
            return codec, tasks, {CODEC_TASKS[codec]: 1.0} | dict.fromkeys(tasks, 1.0)
        return "clean", tasks, dict.fromkeys(tasks, 1.0)

    def _place(self, clip: Mapping[str, Array], centre: int, crop: int, rng: Rng) -> tuple[int, int, int]:
        """Top, left and side of a crop of frame ``centre``, more often than not a busy one."""
        clean = clip["lr_y"][0][centre]
        tries = BUSY_TRIES if rng.random() < BUSY_SHARE else 1
        tops, lefts = (2 * rng.integers((side - crop) // 2 + 1, size=tries) for side in clean.shape)

        def edges(place: tuple[int, int]) -> int:
            part = clean[place[0] : place[0] + crop, place[1] : place[1] + crop].astype(np.int16)
            return int(np.abs(np.diff(part, axis=0)).sum() + np.abs(np.diff(part, axis=1)).sum())

        top, left = max(zip(tops.tolist(), lefts.tolist(), strict=True), key=edges)
        return top, left, crop

    def _cut(self, y: Array, uv: Array, place: tuple[int, int, int], scale: int = 1) -> tuple[Tensor, Tensor]:
        """The crop of ``y`` ``[n, H, W]`` and ``uv`` ``[n, 2, H / 2, W / 2]``, as floats, chroma flattened."""
        top, left, size = (scale * n for n in place)
        half = (slice(top // 2, (top + size) // 2), slice(left // 2, (left + size) // 2))
        return to_luma(y[:, top : top + size, left : left + size]), to_chroma(uv[:, :, *half]).flatten(0, 1)

    def _window(
        self, clip: Mapping[str, Array], kind: str, tasks: list[str], crop: int, rng: Rng
    ) -> tuple[Tensor, ...]:
        centre = int(rng.integers(1, clip["cut"].shape[0] - 1))
        place = self._place(clip, centre, crop, rng)
        reach = int(rng.integers(self.radius)) if self.radius and rng.random() < SHORT_SHARE else self.radius
        frames = window_indices(clip["cut"].astype(np.int8), centre, self.radius, reach)
        clean = rng.random() < CLEAN_SHARE
        variant = 0 if clean else self._variant(clip, kind, rng)
        # a span of consecutive frames, so that rain falls and a held frame keeps its noise
        low, high = min(frames), max(frames) + 1
        y, uv = self._cut(clip["lr_y"][variant][low:high], clip["lr_uv"][variant][low:high], place)
        if tasks and not clean:
            y, uv = lay(tasks, y, uv, rng, self._shapes)
        order = torch.tensor(frames) - low
        y, uv = y[order], uv.reshape(-1, 2, *uv.shape[1:])[order].flatten(0, 1)
        this = slice(centre, centre + 1)
        goal = self._cut(clip["lr_y"][0][this], clip["lr_uv"][0][this], place)
        sharp = self._cut(clip["hr_y"][this], clip["hr_uv"][this], place, 2)
        parts = (y, uv, *goal, *sharp)
        if rng.random() < FLAT_SHARE:
            colour = rng.uniform((0, -0.5, -0.5), (1, 0.5, 0.5)).astype(np.float32)
            for luma, chroma in zip(parts[::2], parts[1::2], strict=True):
                luma[:] = float(colour[0])
                chroma.view(-1, 2, *chroma.shape[1:])[:] = torch.from_numpy(colour[1:])[:, None, None]
        return parts

    def _variant(self, clip: Mapping[str, Array], kind: str, rng: Rng) -> int:
        kinds = [str(k) for k in clip["kinds"]]
        wanted = kinds[1:] if kind == "any" else [kind]
        return int(rng.choice([i for i, k in enumerate(kinds) if k in wanted]))

    def _single(self, clip: Mapping[str, Array], kind: str, crop: int, rng: Rng) -> tuple[Tensor, ...]:
        return self._cut_single(clip, self._variant(clip, kind, rng), crop, rng)

    def _cut_single(self, clip: Mapping[str, Array], variant: int, crop: int, rng: Rng) -> tuple[Tensor, ...]:
        centre = int(rng.integers(clip["cut"].shape[0]))
        place = self._place(clip, centre, crop, rng)
        this = slice(centre, centre + 1)
        small = self._cut(clip["lr_y"][variant][this], clip["lr_uv"][variant][this], place)
        return *small, *self._cut(clip["hr_y"][this], clip["hr_uv"][this], place, 2)


@dataclass(frozen=True)
class Case:
    """One whole validation window, batch 1, and what is right."""

    kind: str
    y: Tensor
    uv: Tensor
    goal_y: Tensor
    sharp_y: Tensor
    mix: Tensor


def validation(folder: Path, radius: int, align: int) -> Iterator[Case]:
    """The centre frames of the validation clips in all their variants, and with each of ``degradations.py``."""
    for number, path in enumerate(sorted(folder.glob("val_*.npz"))):
        clip = read_clip(path)
        size = clip["lr_y"].shape[-1] // align * align
        centre = clip["lr_y"].shape[1] // 2
        frames = window_indices(clip["cut"].astype(np.int8), centre, radius)
        goal = to_luma(clip["lr_y"][0][centre, :size, :size])[None, None]
        sharp = to_luma(clip["hr_y"][centre, : 2 * size, : 2 * size])[None, None]
        ys = [to_luma(y[frames][:, :size, :size]) for y in clip["lr_y"]]
        uvs = [to_chroma(uv[frames][..., : size // 2, : size // 2]).flatten(0, 1) for uv in clip["lr_uv"]]
        for y, uv, kind in zip(ys, uvs, clip["kinds"], strict=True):
            analogue = {"vhs": TAPE, "composite": COMPOSITE}
            mix = analogue.get(str(kind)) or {CODEC_TASKS.get(str(kind), "deblock"): 1.0}
            yield Case(str(kind), y[None], uv[None], goal, sharp, mix_vector(mix)[None])
        task = list(DEGRADATIONS)[number % len(DEGRADATIONS)]
        y, uv = lay([task], ys[0], uvs[0], np.random.default_rng(number))
        yield Case(task, y[None], uv[None], goal, sharp, mix_vector({task: 1.0})[None])
