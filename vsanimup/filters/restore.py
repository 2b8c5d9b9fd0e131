"""``core.animup.Restore``: remove what compression, tape and age did, at the same size."""

from __future__ import annotations

from typing import Any

import vapoursynth as vs

from vsanimup.errors import AnimupError
from vsanimup.filters import arguments, planes
from vsanimup.filters.lite import lite_node
from vsanimup.models import find


def create(
    clip: vs.VideoNode,
    *,
    task: str = "deblock",
    strength: float = 1.0,
    model: str = "lite",
    format: int | None = None,
    **shared: Any,
) -> vs.VideoNode:
    """Build the filter's graph.

    ``task`` names what to remove, one of the model's tasks; ``strength`` 0..1 is the share of the change that
    is applied, 0 returns the clip as it is; ``model`` is ``"lite"`` or a model folder. The rest: see
    :func:`vsanimup.filters.arguments.settings`. The result has the clip's size and, unless ``format`` says
    otherwise, format.

    Raises :class:`AnimupError` for anything that cannot work.
    """
    planes.check_clip(clip)
    target = planes.output_format(clip, format)
    settings = arguments.settings(strength=strength, **shared)
    found = find(model, "lite-restore", scale=1)
    if task not in found.tasks:
        raise AnimupError(f"task must be one of {', '.join(found.tasks)} for model={model!r}, got {task!r}")
    if strength == 0:
        return clip if target.id == clip.format.id else clip.resize.Bicubic(format=target.id)
    return planes.through_network(clip, 1, target, lambda work, to: lite_node(work, "Restore", found, settings, to))
