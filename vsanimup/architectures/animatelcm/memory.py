"""Keys and values of earlier windows' frames within the denoiser's graph, after AdaCM² (arXiv 2411.12593).

The memory of a motion module has a fixed number of *slots* at every place of the picture, each of which holds the keys
and values of one frame there, for both attentions of the module. What is not filled yet is masked. After a window its
frames and the slots compete for the slots: those with the highest ``order + score`` win, place by place, where score is
the attention that the prompt's tokens pay the frame at that place, see
:func:`vsanimup.architectures.animatelcm.layers.paid`. The orders come from outside: recent frames have one that no
score reaches, and what does not count one below all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from vsanimup.architectures.animatelcm.layers import KeysValues, paid

Heard = tuple[Tensor, Tensor, int] | None
"""Queries, keys and heads of a cross-attention, see :func:`vsanimup.architectures.animatelcm.layers.paid`."""


class Remembers(Protocol):
    """What the denoiser wants of a memory."""

    mask: Tensor | None
    """Added to the attention of what was kept ``[frames, kept]``."""

    def earlier(self, dtype: torch.dtype) -> list[KeysValues] | None:
        """Keys and values for both attentions of the next module."""
        ...

    def listen(self, x: Tensor, heard: Heard) -> None:
        """Of the middle block, whose scores serve layers without attention to the text."""
        ...

    def add(self, x: Tensor, seen: list[KeysValues], heard: Heard) -> None:
        """What a module, whose input was ``x``, went over: the earlier ones first."""
        ...


def enlarged(scores: Tensor, times: int) -> Tensor:
    """``[frames, height, width]`` with every value repeated along both axes of the picture."""
    if times == 1:
        return scores
    frames, height, width = scores.shape
    wide = scores[:, :, None, :, None].expand(frames, height, times, width, times)
    return wide.reshape(frames, height * times, width * times)


class Memory:
    """What one run reads, and what it leaves, module by module in the order in which they run."""

    def __init__(self, frame_mask: Tensor, mask: Tensor, slots: Tensor, frames: Tensor, kept: Sequence[Tensor]) -> None:
        """``mask [frames, slots]`` is added to scores of attention, ``slots [slots]`` and ``frames [frames]`` are the
        orders. ``kept`` has keys and values ``[height, width, slots, 2 · channels]`` of both attentions, one behind
        the other, and scores ``[height, width, slots]``, of every module."""
        self.mask: Tensor | None = mask
        self._frame_mask = frame_mask
        self._order = torch.cat([slots, frames])
        self._kept = kept
        self._run = 0
        self._found: list[tuple[Tensor, ...] | None] = []
        self._waiting: list[tuple[int, Tensor, list[KeysValues]]] = []
        self._middle: Tensor | None = None

    def earlier(self, dtype: torch.dtype) -> list[KeysValues]:
        """Keys and values for both attentions of the next module."""
        keys, values, _ = self._kept[3 * self._run : 3 * self._run + 3]
        self._run += 1
        halves = (x.to(dtype).flatten(0, 1).chunk(2, -1) for x in (keys, values))
        return list(zip(*halves, strict=True))

    def _score(self, x: Tensor, heard: Heard) -> Tensor:
        """Scores ``[frames, height, width]``."""
        assert heard is not None
        frames, _, height, width = x.shape
        return paid(*heard, self._frame_mask).reshape(frames, height, width)

    def listen(self, x: Tensor, heard: Heard) -> None:
        """Of the middle block, whose scores serve layers without attention to the text."""
        self._middle = self._score(x, heard)
        for number, before, seen in self._waiting:
            self._found[number] = self._chosen(number, before, seen, self._middle)
        self._waiting = []

    def add(self, x: Tensor, seen: list[KeysValues], heard: Heard) -> None:
        """What a module, whose input was ``x``, went over."""
        score = self._middle if heard is None else self._score(x, heard)
        number = len(self._found)
        self._found.append(None)
        if score is None:
            self._waiting.append((number, x, seen))
        else:
            self._found[number] = self._chosen(number, x, seen, score)

    def _chosen(self, number: int, x: Tensor, seen: list[KeysValues], score: Tensor) -> tuple[Tensor, ...]:
        """Keys, values and scores of a module for the next window."""
        kept = self._kept[3 * number + 2]
        height, width, slots = kept.shape
        score = enlarged(score, int(x.shape[2]) // int(score.shape[1]))
        every = torch.cat([kept, score.permute(1, 2, 0)], 2).reshape(height * width, -1)
        places = (every + self._order).topk(slots, 1).indices
        rows = torch.arange(height * width, device=places.device)[:, None] * every.shape[1] + places

        def picked(values: Tensor) -> Tensor:
            """The same slots of each."""
            flat = values.reshape(height * width * every.shape[1], -1).index_select(0, rows.reshape(-1))
            return flat.reshape(height, width, slots, -1).float()

        keys, values = (torch.cat([picked(pair[i]) for pair in seen], -1) for i in (0, 1))
        return keys, values, picked(every)[..., 0]

    def results(self) -> list[Tensor]:
        """As ``kept``, for the next window."""
        assert not self._waiting
        return [tensor for found in self._found if found is not None for tensor in found]
