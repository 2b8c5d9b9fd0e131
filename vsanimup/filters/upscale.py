"""``core.animup.Upscale``: enlarge by 2, 3 or 4."""

from __future__ import annotations

from typing import Any

import vapoursynth as vs

from vsanimup.errors import AnimupError
from vsanimup.filters import arguments, planes
from vsanimup.filters.lite import lite_node
from vsanimup.models import find


def create(
    clip: vs.VideoNode, *, scale: int = 2, model: str = "lite", format: int | None = None, **shared: Any
) -> vs.VideoNode:
    """Build the filter's graph.

    ``scale`` is 2, 3 or 4: 4 doubles twice, 3 is 4 resized down; ``model`` is ``"lite"`` or a model folder.
    The rest: see :func:`vsanimup.filters.arguments.settings`. The result has, unless ``format`` says
    otherwise, the clip's format.

    Raises :class:`AnimupError` for anything that cannot work.
    """
    if scale not in (2, 3, 4):
        raise AnimupError(f"scale must be 2, 3 or 4, got {scale}")
    planes.check_clip(clip)
    target = planes.output_format(clip, format)
    if clip.width * scale % (1 << target.subsampling_w) or clip.height * scale % (1 << target.subsampling_h):
        raise AnimupError(f"format={target.name} cannot hold a picture of {clip.width * scale}x{clip.height * scale}")
    settings = arguments.settings(**shared)
    found = find(model, "lite-upscale", scale=2)

    def enlarge(work: vs.VideoNode, to: int) -> vs.VideoNode:
        if scale != 2:
            work = lite_node(work, "Upscale", found, settings, planes.floats(work))
        return lite_node(work, "Upscale", found, settings, to)

    if scale != 3:
        return planes.through_network(clip, scale, target, enlarge)
    fine = vs.core.query_video_format(
        clip.format.color_family, vs.FLOAT, 32, clip.format.subsampling_w, clip.format.subsampling_h
    )
    large = planes.through_network(clip, 4, fine, enlarge)
    return large.resize.Spline36(format=target.id, width=clip.width * 3, height=clip.height * 3)
