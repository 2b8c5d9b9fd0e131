"""The task mixes that a diagnosis chooses from, and the frame property that says them."""

from __future__ import annotations

from typing import Final

from vsanimup.tasks import CLEAN, TaskMix

PROPERTY: Final = "AnimupMix"
"""Frame property that holds the text of a mix; empty text where nothing is to be done."""

MIXES: Final[dict[str, TaskMix]] = {
    "clean": CLEAN,
    "codec": TaskMix({"deblock": 1.0}),
    "stream": TaskMix({"destream": 1.0}),
    "tape": TaskMix({"deblock": 0.5, "denoise": 1.0, "dehalo": 1.0, "dechroma": 1.0}),
    "noise": CLEAN,
    "blur": CLEAN,
    "blur+codec": TaskMix({"deblock": 1.0}),
    "blur+stream": TaskMix({"destream": 1.0}),
    "halo": TaskMix({"dehalo": 1.0}),
    "halo+codec": TaskMix({"deblock": 1.0, "dehalo": 1.0}),
    "halo+stream": TaskMix({"destream": 1.0, "dehalo": 1.0}),
    "chroma": TaskMix({"dechroma": 1.0}),
    "chroma+codec": TaskMix({"deblock": 1.0, "dechroma": 1.0}),
    "chroma+stream": TaskMix({"destream": 1.0, "dechroma": 1.0}),
}
"""State of a source -> task weights, those that restoration networks are trained with. Few, since each one that
occurs in a clip costs an engine. ``codec`` stands for MPEG-2, MPEG-4 ASP and JPEG, ``stream`` for H.264 and HEVC. Noise
over a compressed picture hides what is below and counts as noise. Noise that is not a tape's may be the film's grain,
and softness a style: both are recognised, and left alone until somebody names ``denoise`` or ``deblur``. Scratches,
bands, rain, haze and snow are never diagnosed: those of the weather are usually meant, and all are removed only when
asked for by name."""
