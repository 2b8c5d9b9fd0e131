"""The plugin's functions as types, for editors and type checkers: ``python -m vsanimup.filters.generate`` made it.

``animup: Animup = core.animup`` makes an editor complete and check what follows ``animup.``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import vapoursynth as vs


class Animup(Protocol):
    """``core.animup``."""

    def Restore(
        self,
        clip: vs.VideoNode,
        task: str = ...,
        prompt: str = ...,
        strength: float = ...,
        grain: float = ...,
        model: str = ...,
        tilesize: int | Sequence[int] = ...,
        overlap: int | Sequence[int] = ...,
        backend: str = ...,
        device_id: int = ...,
        num_streams: int = ...,
        scenecut: int = ...,
        dedup: int = ...,
        spatial_threshold: float = ...,
        temporal_threshold: float = ...,
        gate: float = ...,
        tta: int = ...,
        precision: str = ...,
        format: int = ...,
    ) -> vs.VideoNode: ...

    def Upscale(
        self,
        clip: vs.VideoNode,
        scale: float = ...,
        task: str = ...,
        grain: float = ...,
        original: vs.VideoNode = ...,
        model: str = ...,
        steps: int = ...,
        strength: float = ...,
        prompt: str = ...,
        negative_prompt: str = ...,
        cfg: float = ...,
        seed: int = ...,
        colorfix: str = ...,
        control: float = ...,
        memory: float = ...,
        anchor: int = ...,
        tilesize: int | Sequence[int] = ...,
        overlap: int | Sequence[int] = ...,
        backend: str = ...,
        device_id: int = ...,
        num_streams: int = ...,
        scenecut: int = ...,
        dedup: int = ...,
        spatial_threshold: float = ...,
        temporal_threshold: float = ...,
        gate: float = ...,
        tta: int = ...,
        precision: str = ...,
        format: int = ...,
    ) -> vs.VideoNode: ...
