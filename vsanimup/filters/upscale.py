"""``core.animup.Upscale``: enlarge by 2, 3 or 4."""

from __future__ import annotations

from typing import Any

import vapoursynth as vs

from vsanimup.errors import AnimupError
from vsanimup.filters.arguments import checked, refuse_of_others
from vsanimup.networks.family import Call
from vsanimup.networks.find import find
from vsanimup.video import formats
from vsanimup.video.grain import checked_original, with_grain

NAME = "Upscale"


def create(clip: vs.VideoNode, **given: Any) -> vs.VideoNode:
    """Build the filter's graph; the arguments are those of :mod:`vsanimup.filters.table`.

    The result has, unless ``format`` says otherwise, the clip's format.

    Raises :class:`AnimupError` for anything that cannot work.
    """
    values = checked(NAME, given)
    restores = not given.keys().isdisjoint(("task", "prompt"))
    grain, original = values["grain"], values["original"]
    if original is not None:
        checked_original(original, clip)
    elif grain and not restores:
        raise AnimupError(
            f"grain={grain:g}: no noise is removed here; give the clip before Restore as original=, or a task="
        )

    def build(work: vs.VideoNode) -> vs.VideoNode:
        target = formats.output_format(work, values["format"], values["scale"])
        network = find(values["model"], "one-pass" if restores else "upscale")
        refuse_of_others(NAME, given, network)
        call = Call(function=NAME, scale=values["scale"], target=target, values=values, given=frozenset(given))
        result = network.node(work, call)
        if not grain:
            return result
        return with_grain(result, work if original is None else original, None if original is None else work, grain)

    return formats.apart_from_colour(formats.checked(clip, NAME), build)
