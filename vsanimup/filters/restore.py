"""``core.animup.Restore``: remove what compression, tape and age did, at the same size."""

from __future__ import annotations

from typing import Any

import vapoursynth as vs

from vsanimup.bridge import log
from vsanimup.errors import AnimupError, shown
from vsanimup.filters import arguments
from vsanimup.filters.mix import asked_mix, marked
from vsanimup.networks.image.network import ImageNetwork, find_image
from vsanimup.networks.image.node import image_clip
from vsanimup.networks.lite.node import lite_node
from vsanimup.networks.manifest import find
from vsanimup.video import formats
from vsanimup.video.grain import checked_share, with_grain
from vsanimup.video.likeness import RESTORED

SPATIAL = 4.0
"""Differences evened out unless told otherwise, in steps of 8-bit luma: of use alone, and no harm before Upscale."""

TEMPORAL = 16.0
"""The same of differences between neighbouring frames; Upscale after it does without."""


def create(
    clip: vs.VideoNode,
    *,
    task: str | None = None,
    prompt: str | None = None,
    strength: float = 1.0,
    grain: float = 0.0,
    model: str = "lite",
    format: int | None = None,
    **shared: Any,
) -> vs.VideoNode:
    """Build the filter's graph.

    ``task`` is ``"auto"`` (the default: diagnosed from the clip itself), one of the model's tasks or a weighted mix
    such as ``"deblock+0.5*denoise"``; ``prompt`` says the same in words. ``strength`` 0..1 is the share of the change
    that is applied, 0 returns the clip as it is; ``grain`` 0..1 is the share of the fine noise taken away that comes
    back; ``model`` is ``"lite"``, a model folder, or an ONNX
    file with one picture in and one out. The rest: see
    :func:`vsanimup.filters.arguments.settings`. The result has the clip's size and, unless ``format`` says
    otherwise, format; the mix in force stands in the frame property ``AnimupMix``.

    Raises :class:`AnimupError` for anything that cannot work.
    """
    share = checked_share(grain)

    def build(work: vs.VideoNode) -> vs.VideoNode:
        result = _graph(work, task=task, prompt=prompt, strength=strength, model=model, format=format, **shared)
        # copies of a drawing differ again
        return with_grain(result, work, None, share).std.RemoveFrameProps(RESTORED) if share else result

    return formats.apart_from_colour(formats.checked(clip, "Restore"), build)


def _graph(
    clip: vs.VideoNode, *, task: str | None, prompt: str | None, strength: float, model: str, format: int | None,
    **shared: Any,
) -> vs.VideoNode:  # fmt: skip
    """As :func:`create`, of a clip that was checked."""
    target = formats.output_format(clip, format)
    network = find_image(model)
    if network is not None:
        if task is not None or prompt is not None:
            said = f"prompt={shown(prompt)}" if task is None else f"task={shown(task)}"
            raise AnimupError(f"{said}: model={shown(model)} does one thing; leave task and prompt out")
        return _image(clip, network, model, target, strength, shared)
    settings = arguments.settings(
        strength=strength, **{"spatial_threshold": SPATIAL, "temporal_threshold": TEMPORAL} | shared
    )
    found = find(model, "lite-restore", scale=1)
    mix = asked_mix(task, prompt, found)
    if settings.strength == 0:
        return clip if target.id == clip.format.id else clip.resize.Bicubic(format=target.id)
    clip = marked(clip, mix, "Restore", found)
    return formats.through_network(
        clip, 1, target, lambda work, to: lite_node(work, "Restore", found, settings, to, mix)
    )


def _image(
    clip: vs.VideoNode, network: ImageNetwork, model: str, target: vs.VideoFormat, strength: float,
    shared: dict[str, Any],
) -> vs.VideoNode:  # fmt: skip
    """The way of a network from one picture to one."""
    if network.scale != 1:
        raise AnimupError(f"model={shown(model)} enlarges by {network.scale}: give it to Upscale, with that scale")
    settings = arguments.image_settings(strength=strength, **shared)
    if settings.strength == 0:
        return clip if target.id == clip.format.id else clip.resize.Bicubic(format=target.id)
    log(f"Restore: {network.name}", "debug")
    return image_clip(clip, "Restore", network, settings, target, "overlap" in shared)
