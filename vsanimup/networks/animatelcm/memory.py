"""What windows of one chain hand on: keys and values of earlier drawings, bounded, after AdaCM² (arXiv 2411.12593).

The newest drawings are kept whole (*recent*). What falls out of them (*previous*) competes, place by place, by the
attention that the prompt's tokens pay it. The graph does the choosing, see
:mod:`vsanimup.architectures.animatelcm.memory`; here are its size, the orders that tell recent from previous, and the
masks that hide what is not filled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vsanimup.engines import Array, Result
from vsanimup.networks.animatelcm.windows import BLOCK, WINDOW

RECENT = 1e6
"""Order of what is surely kept, and the negative of what surely is not: no score reaches it."""
HIDDEN = -10000.0
"""Added to the attention of what is not to be seen."""
TENSORS = "keys", "values", "scores"
"""What each motion module remembers, as the graph names it."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Drawings that a memory holds at each place."""

    recent: int
    """The newest, all of which are kept."""
    previous: int
    """Of those before, the ones with the largest scores."""

    @property
    def slots(self) -> int:
        """Both."""
        return self.recent + self.previous

    @classmethod
    def of(cls, retention: float, spacing: int) -> Budget | None:
        """``retention``, 0 to 1, is the share kept of all that a chain of ``spacing`` blocks could remember; there
        is no budget for 0.

        As in the paper the recent share α is that of the previous ones, too: retention = α + (1 - α)·α. So 0.19 keeps
        the newest tenth and a tenth of the rest.
        """
        if retention == 0:
            return None
        whole = everything(spacing)
        slots = max(1, round(retention * whole))
        recent = min(slots, max(1, round((1 - math.sqrt(1 - retention)) * whole)))
        return cls(recent=recent, previous=slots - recent)


def everything(spacing: int) -> int:
    """Drawings that the last window of a chain of ``spacing`` blocks may have behind it."""
    return (spacing - 1) * BLOCK + WINDOW


Layout = tuple[tuple[int, int], ...]
"""Each motion module's channels, and the factor by which its pictures are smaller than latents."""


def size_of(layout: Layout, height: int, width: int, slots: int) -> int:
    """Bytes that one run of the denoiser remembers of latents of that size."""
    values = sum((4 * channels + 1) * (height // divide) * (width // divide) for channels, divide in layout)
    return 4 * values * slots


@dataclass(frozen=True, kw_only=True)
class Turn:
    """How a window stands to the ones before it."""

    sees: NDArray[np.bool_]
    """Which of its frames see the memory: those of the scene that the memory is of ``[frames]``."""
    keeps: int
    """Number of the first of its frames that are remembered; all behind it are of one scene."""


Key = tuple[int, int, int, int]
"""Row and column of a tile, step and text."""


class Stale(Exception):
    """A memory is of other tiles than those that are worked with: its chain has to be begun anew."""


@dataclass
class Carried:
    """The memory of a chain after some of its windows; changed by the next. Of no use once a window failed."""

    budget: Budget
    tensors: dict[Key, Mapping[str, Result]] = field(default_factory=dict)
    """What the graph gave for each of its runs."""
    recent: int = 0
    """Slots in front that are filled with the newest."""
    previous: int = 0
    """Slots behind these that are filled."""
    owner: object = None
    """The tiles that it is of."""

    def inputs(self, turn: Turn) -> dict[str, Array]:
        """The mask and the orders for a window."""
        filled, frames, slots = self.recent + self.previous, len(turn.sees), self.budget.slots
        mask = np.full((frames, slots), HIDDEN, np.float32)
        mask[turn.sees, :filled] = 0
        newest = np.full(frames, -RECENT, np.float32)
        fresh = frames - turn.keeps
        kept = RECENT + np.arange(self.budget.recent, 0, -1, dtype=np.float32)  # newest first
        newest[turn.keeps :] = _ranked(kept, 0, fresh)[::-1]
        order = np.full(slots, -RECENT, np.float32)
        if turn.sees[-1]:
            order[: self.recent] = _ranked(kept, fresh, self.recent)
            order[self.recent : filled] = 0
        return {"memory_mask": mask, "slot_order": order, "frame_order": newest}

    def follow(self, turn: Turn) -> None:
        """Count what the window that was computed left."""
        recent, previous = (self.recent, self.previous) if turn.sees[-1] else (0, 0)
        recent += len(turn.sees) - turn.keeps
        fallen = max(0, recent - self.budget.recent)
        self.recent = recent - fallen
        self.previous = min(self.budget.previous, previous + fallen)


def _ranked(kept: Array, first: int, count: int) -> Array:
    """Orders of the drawings that come ``first`` and after by age; 0, so that scores decide, beyond the recent ones."""
    orders = np.zeros(count, np.float32)
    mine = kept[first : first + count]
    orders[: len(mine)] = mine
    return orders


def empty(layout: Layout, height: int, width: int, slots: int) -> dict[str, Array]:
    """A memory in which nothing is, for latents of that size."""
    found: dict[str, Array] = {}
    for i, (channels, divide) in enumerate(layout):
        shape = height // divide, width // divide, slots
        found |= {f"{name}_{i}": np.zeros((*shape, 2 * channels), np.float32) for name in TENSORS[:2]}
        found[f"{TENSORS[2]}_{i}"] = np.zeros(shape, np.float32)
    return found
