"""How a network is to be run: the arguments that both filters and all families share, checked."""

from __future__ import annotations

from dataclasses import dataclass

from vsanimup.engines import Backend

PRECISIONS = ("auto", "int8", "fp32", "fp16", "bf16")
"""What ``precision=`` takes; ``auto`` is integers where the model has such a network, and ``fp16`` on backends that
build engines, which have no integers."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to run a network; the arguments that both filters share, checked."""

    tilesize: tuple[int, int] | None
    """Width and height of a tile in luma samples; ``None`` chooses."""
    overlap: tuple[int, int]
    """Samples that neighbouring tiles share, across and down."""
    backend: Backend
    """Where to run."""
    device_id: int
    """Which device of the backend."""
    num_streams: int
    """Computations at once."""
    scenecut: bool
    """Whether windows stop at scene cuts."""
    dedup: bool = True
    """Whether frames that show one drawing are averaged and computed once."""
    strength: float = 1.0
    """Share of the network's change that is applied."""
    spatial_threshold: float = 0.0
    """Differences of the result that are evened out, in steps of 8-bit luma; 0 for none."""
    temporal_threshold: float = 0.0
    """Differences between neighbouring frames of the result that are evened out, in the same steps; 0 for none."""
    gate: float = 1.0
    """How far the network's change is limited to what the source supports; 0 for not at all."""
    tta: bool = False
    """Whether the mean over a tile's four mirror images is taken (test-time augmentation)."""
    precision: str = "auto"
    """Arithmetic, see :data:`PRECISIONS`."""
