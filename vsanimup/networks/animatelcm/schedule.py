"""Which timesteps of a consistency model are run, and the scalars of each step."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vsanimup.engines import Array
from vsanimup.errors import AnimupError


@dataclass(frozen=True, kw_only=True)
class Step:
    """The scalars of one step, named as the inputs of ``denoise.onnx``."""

    timestep: int
    """Training timestep, 0 to one below their number."""
    signal: float
    """sqrt(ᾱ) of this timestep."""
    spread: float
    """sqrt(1 - ᾱ) of this timestep."""
    next_signal: float
    """sqrt(ᾱ) of the next timestep; 1 at the last step."""
    next_spread: float
    """sqrt(1 - ᾱ) of the next timestep; 0 at the last step, which adds no noise."""

    def inputs(self) -> dict[str, Array]:
        """The five by name, each float32 ``[1]``."""
        return {name: np.array([value], np.float32) for name, value in vars(self).items()}


@functools.lru_cache(maxsize=8)
def alphas(betas: tuple[float, float], trained: int) -> tuple[float, ...]:
    """ᾱ of each training timestep: the running product of 1 - β, with β growing linearly. Values of float32."""
    product = np.cumprod(1 - np.linspace(*betas, trained, dtype=np.float64))
    return tuple(float(alpha) for alpha in product.astype(np.float32))


@dataclass(frozen=True)
class Schedule:
    """The steps that are run: ``steps`` of them, evenly spread over the lower share ``strength`` of the grid.

    The grid has ``original_steps`` timesteps, evenly spread over the ``trained`` ones. As in diffusers'
    ``LCMScheduler.set_timesteps(steps, original_inference_steps=original_steps, strength=strength)``.
    """

    steps: int
    """Steps that are run, 1 to ``original_steps * strength``."""
    strength: float
    """Share of the grid, above 0 to 1: how much of the source is noised away."""
    betas: tuple[float, float] = (0.00085, 0.012)
    trained: int = 1000
    original_steps: int = 100

    def __post_init__(self) -> None:
        """Raises :class:`AnimupError` naming the argument, its value and what would do, for what is beyond the grid."""
        if not self._grid:
            raise AnimupError(f"strength must lie between {1 / self.original_steps:g} and 1, got {self.strength:g}")
        if self.steps > self._grid:
            raise AnimupError(
                f"steps must be 1 to {self._grid} at strength={self.strength:g}, got {self.steps}"
                + ("; give fewer steps, or a higher strength" if self._grid < self.original_steps else "")
            )

    @property
    def _grid(self) -> int:
        """Timesteps of the grid's lower share."""
        return int(self.original_steps * self.strength)

    @property
    def timesteps(self) -> tuple[int, ...]:
        """Training timesteps of the steps, falling."""
        spacing = self.trained // self.original_steps
        places = np.floor(np.linspace(0, self._grid, self.steps, endpoint=False)).astype(int)
        return tuple(int(self._grid - place) * spacing - 1 for place in places)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Step]:
        timesteps, alpha = self.timesteps, alphas(self.betas, self.trained)
        for timestep, following in zip(timesteps, (*timesteps[1:], None), strict=True):
            after = 1.0 if following is None else alpha[following]
            yield Step(
                timestep=timestep,
                signal=math.sqrt(alpha[timestep]),
                spread=math.sqrt(1 - alpha[timestep]),
                next_signal=math.sqrt(after),
                next_spread=math.sqrt(1 - after),
            )
