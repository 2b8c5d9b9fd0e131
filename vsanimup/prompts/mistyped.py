"""Typing errors in the words that name faults most often: one letter more, less, other, or two in wrong order."""

from __future__ import annotations

from functools import cache

from vsanimup.prompts.text import but_one
from vsanimup.tasks import TASKS

WORDS = (
    *TASKS,
    "denoising",
    "deblocking",
    "deringing",
    "debanding",
    "degrain",
    "dering",
    "defog",
    "derainbow",
    "dedot",
    "sharpen",
    "sharper",
    "sharpening",
    "sharpness",
    "crisper",
    "blurry",
    "blurred",
    "blurring",
    "unsharp",
    "noise",
    "noisy",
    "grain",
    "grainy",
    "blocks",
    "blocky",
    "blocking",
    "blockiness",
    "macroblocks",
    "macroblocking",
    "artifacts",
    "artefacts",
    "compression",
    "pixelated",
    "mosquito",
    "halos",
    "haloing",
    "ringing",
    "oversharpened",
    "scratch",
    "scratches",
    "scratched",
    "hairs",
    "dusty",
    "banding",
    "posterization",
    "gradients",
    "rainbow",
    "rainbows",
    "bleeding",
    "chroma",
    "haze",
    "foggy",
    "misty",
    "snowflakes",
    "snowing",
    "raindrops",
    "raining",
    "laserdisc",
    "betamax",
    "youtube",
    "webrip",
    "realmedia",
    "cassette",
)


@cache
def _index() -> dict[str, str]:
    """Words by themselves without one letter; the first of WORDS wins."""
    found: dict[str, str] = {}
    for word in reversed(WORDS):
        found |= dict.fromkeys(but_one(word), word)
    return found


def mended(token: str) -> str:
    """The word of WORDS that was meant by a token of five letters or more, or the token."""
    if len(token) < 5 or token in WORDS:
        return token
    return next((_index()[part] for part in but_one(token) if part in _index()), token)
