"""The task mixes that a diagnosis chooses from, and their text form in the frame property ``AnimupMix``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from vsanimup.errors import AnimupError, unknown
from vsanimup.tasks import TASKS, parse_task, spelled

PROPERTY: Final = "AnimupMix"
"""Frame property that holds the text of a mix; empty text where nothing is to be done."""

MIXES: Final[dict[str, dict[str, float]]] = {
    "clean": {},
    "codec": {"deblock": 1.0},
    "stream": {"destream": 1.0},
    "tape": {"deblock": 0.5, "denoise": 1.0, "dehalo": 1.0, "dechroma": 1.0},
    "noise": {},
    "blur": {},
    "blur+codec": {"deblock": 1.0},
    "blur+stream": {"destream": 1.0},
    "halo": {"dehalo": 1.0},
    "halo+codec": {"deblock": 1.0, "dehalo": 1.0},
    "halo+stream": {"destream": 1.0, "dehalo": 1.0},
    "chroma": {"dechroma": 1.0},
    "chroma+codec": {"deblock": 1.0, "dechroma": 1.0},
    "chroma+stream": {"destream": 1.0, "dechroma": 1.0},
}
"""State of a source -> task weights, those that restoration networks are trained with. Few, since each one that
occurs in a clip costs an engine. ``codec`` stands for MPEG-2, MPEG-4 ASP and JPEG, ``stream`` for H.264 and HEVC. Noise
over a compressed picture hides what is below and counts as noise. Noise that is not a tape's may be the film's grain,
and softness a style: both are recognised, and left alone until somebody names ``denoise`` or ``deblur``. Scratches,
bands, rain, haze and snow are never diagnosed: those of the weather are usually meant, and all are removed only when
asked for by name."""


def mix_text(mix: Mapping[str, float]) -> str:
    """A mix as ``task=`` takes it, such as ``0.5*deblock+denoise``: the order of TASKS, two decimals at most, weights
    of 0 left out.

    Weights lie in 0..1; the mix without tasks is the empty text.

    Raises:
        AnimupError: A task is unknown or a weight lies outside 0..1.
    """
    for task, weight in mix.items():
        if task not in TASKS:
            raise unknown("task", task, TASKS)
        if not math.isfinite(weight) or not 0 <= weight <= 1:
            raise AnimupError(f"the weight of {task} must lie between 0 and 1, got {weight:g}")
    return spelled({task: mix.get(task, 0.0) for task in TASKS})


def parse_mix_text(text: str) -> dict[str, float]:
    """The mix that :func:`mix_text` wrote, task -> weight in 0..1; the empty text gives ``{}``.

    Raises:
        AnimupError: As :func:`vsanimup.tasks.parse_task`.
    """
    return parse_task(text, TASKS) if text else {}
