"""Training samples cut out of the clip files: step number in, batch out, so that a resumed run sees the same data."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Task = Literal["restore", "upscale"]
Array = NDArray[np.uint8]

FLAT_SHARE = 0.04
"""Share of samples that are one colour, unchanged in and out: flat areas of cels must keep their colour."""

SHORT_SHARE = 0.15
"""Share of samples whose window is cut short, as at a scene's ends: what the neighbours bring can then be
measured on the one network."""


@dataclass(frozen=True)
class Batch:
    """Input window and target, as :class:`training.network.Lite` takes them."""

    y: Tensor
    uv: Tensor
    target_y: Tensor
    target_uv: Tensor


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


class Clips:
    """Random crops of the clip files in a folder (see ``training/clips.py`` for their layout)."""

    def __init__(
        self, folder: Path, task: Task, *, radius: int, crop: int, seed: int = 0, restored: Path | None = None
    ) -> None:
        self.files = sorted(folder.glob("train_*.npz"))
        if not self.files:
            raise FileNotFoundError(f"{folder}: no train_*.npz; make them with python -m training.clips")
        self.task, self.radius, self.crop, self.seed = task, radius, crop, seed
        self.restored = restored

    def batch(self, step: int, size: int, per_clip: int = 2) -> Batch:
        """The batch of one step: ``size`` samples out of ``size / per_clip`` clips."""
        rng = np.random.default_rng((self.seed, step))
        samples: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        for index in rng.integers(len(self.files), size=-(-size // per_clip)):
            with np.load(self.files[index]) as data:
                clip = dict(data)
            if self.restored is not None and (extra := self.restored / self.files[index].name).exists():
                with np.load(extra) as data:
                    clip |= dict(data)
            samples += [self._sample(clip, rng) for _ in range(min(per_clip, size - len(samples)))]
        return Batch(*(torch.stack(part) for part in zip(*samples, strict=True)))

    def _sample(self, clip: Mapping[str, Array], rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        scale = 2 if self.task == "upscale" else 1
        height, width = clip["lr_y"].shape[-2:]
        top, left = (2 * int(rng.integers((n - self.crop) // 2 + 1)) for n in (height, width))
        centre = int(rng.integers(1, clip["cut"].shape[0] - 1))
        reach = int(rng.integers(self.radius)) if self.radius and rng.random() < SHORT_SHARE else self.radius
        frames = window_indices(clip["cut"].astype(np.int8), centre, self.radius, reach)
        draw = rng.random()
        source_y, source_uv = clip["lr_y"], clip["lr_uv"]
        if self.task == "restore":
            variant = 0 if draw < 0.08 else int(rng.integers(1, source_y.shape[0]))
        elif draw < 0.5:
            variant = 0
        elif "restored_y" in clip and draw < 0.92:
            source_y, source_uv = clip["restored_y"], clip["restored_uv"]
            variant = int(rng.integers(source_y.shape[0]))
        else:
            variant = int(rng.integers(1, source_y.shape[0]))
        y = to_luma(_crop(source_y[variant][frames], top, left, self.crop))
        uv = to_chroma(_crop(source_uv[variant][frames].reshape(-1, height // 2, width // 2), top // 2, left // 2,
                             self.crop // 2))  # fmt: skip
        if self.task == "restore":
            target_y, target_uv = clip["lr_y"][0][centre], clip["lr_uv"][0][centre]
        else:
            target_y, target_uv = clip["hr_y"][centre], clip["hr_uv"][centre]
        goal_y = to_luma(_crop(target_y[None], scale * top, scale * left, scale * self.crop))
        goal_uv = to_chroma(_crop(target_uv, scale * top // 2, scale * left // 2, scale * self.crop // 2))
        if rng.random() < FLAT_SHARE:
            colour = rng.uniform((0, -0.5, -0.5), (1, 0.5, 0.5)).astype(np.float32)
            y[:], goal_y[:] = float(colour[0]), float(colour[0])
            uv.view(-1, 2, *uv.shape[1:])[:] = torch.from_numpy(colour[1:])[:, None, None]
            goal_uv[:] = torch.from_numpy(colour[1:])[:, None, None]
        return y, uv, goal_y, goal_uv

    def stream(self, first_step: int, size: int) -> Iterator[Batch]:
        """Batches from ``first_step`` on, prepared ahead on a thread."""
        queue: Queue[Batch] = Queue(6)

        def work() -> None:
            step = first_step
            while True:
                queue.put(self.batch(step, size))
                step += 1

        threading.Thread(target=work, daemon=True).start()
        while True:
            yield queue.get()


def _crop(a: Array, top: int, left: int, size: int) -> Array:
    return a[..., top : top + size, left : left + size]


def validation(folder: Path, task: Task, radius: int, reach: int | None = None) -> Iterator[tuple[str, Batch]]:
    """Whole centre frames of the validation clips, one batch a degradation: ``(kind, batch of one)``.

    With ``reach`` windows are cut short, see :func:`window_indices`.
    """
    scale = 2 if task == "upscale" else 1
    for path in sorted(folder.glob("val_*.npz")):
        with np.load(path) as data:
            clip = dict(data)
        centre = clip["lr_y"].shape[1] // 2
        frames = window_indices(clip["cut"], centre, radius, reach)
        goal_y, goal_uv = (
            (clip["hr_y"][centre], clip["hr_uv"][centre])
            if scale == 2
            else (clip["lr_y"][0][centre], clip["lr_uv"][0][centre])
        )
        for variant, kind in enumerate(clip["kinds"]):
            y, uv = clip["lr_y"][variant][frames], clip["lr_uv"][variant][frames]
            yield (
                str(kind),
                Batch(
                    to_luma(y)[None],
                    to_chroma(uv.reshape(-1, *uv.shape[-2:]))[None],
                    to_luma(goal_y[None])[None],
                    to_chroma(goal_uv)[None],
                ),
            )
