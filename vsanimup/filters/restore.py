"""``core.animup.Restore``: remove what compression, tape and age did, at the same size."""

from __future__ import annotations

from typing import Any

import vapoursynth as vs

from vsanimup.filters.arguments import checked, refuse_of_others
from vsanimup.networks.family import Call
from vsanimup.networks.find import find
from vsanimup.video import formats
from vsanimup.video.grain import with_grain
from vsanimup.video.likeness import RESTORED

NAME = "Restore"


def create(clip: vs.VideoNode, **given: Any) -> vs.VideoNode:
    """Build the filter's graph; the arguments are those of :mod:`vsanimup.filters.table`.

    The result has the clip's size and, unless ``format`` says otherwise, format; the mix of tasks in force stands in
    the frame property ``AnimupMix``.

    Raises :class:`vsanimup.errors.AnimupError` for anything that cannot work.
    """
    values = checked(NAME, given)

    def build(work: vs.VideoNode) -> vs.VideoNode:
        target = formats.output_format(work, values["format"])
        network = find(values["model"], "restore")
        refuse_of_others(NAME, given, network)
        call = Call(function=NAME, scale=1, target=target, values=values, given=frozenset(given))
        result = network.node(work, call)
        if not values["grain"]:
            return result
        # copies of a drawing differ again
        return with_grain(result, work, None, values["grain"]).std.RemoveFrameProps(RESTORED)

    return formats.apart_from_colour(formats.checked(clip, NAME), build)
