"""A prompt in everyday words becomes a mix of tasks: ``remove the blocking and a bit of noise``.

A small trained classifier finds the words that name a fault (or a medium, which stands for the faults that
it usually has) and how much of it is to go. The rules on top of it are these:

* a fault asked for in several degrees gets the least of them, so ``but keep the grain`` wins;
* a fault named by itself overrides what a medium implies;
* the blocks of a stream are ``destream``'s, so with it there is no ``deblock``;
* several media together give each fault the highest weight that one of them implies;
* where nothing would be left to remove, ``no grain`` is what is to go, not what there is none of.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from vsanimup.errors import AnimupError
from vsanimup.prompts.classifier import ADDED, LABELS, MEDIA, Mention, shipped
from vsanimup.prompts.mistyped import mended
from vsanimup.prompts.shares import read
from vsanimup.tasks import TASKS, TaskMix

__all__ = ["LONGEST", "MEDIA", "TASKS", "mix_of"]

LONGEST = 1000
"""Characters a prompt may have."""
THRESHOLD = 0.5
"""How sure the classifier must be that a word names a fault."""
NOTHING = 0.95
"""How sure it must be that a word names nothing, not to be looked at for typing errors."""
HELP = f"name what to remove, one or more of {', '.join(TASKS)}, as in prompt='remove the blocking and a bit of noise'"

ONLY_REMOVES = (
    "prompts only say what to remove: leave that out, and add it after this filter with another one; noise that was "
    "removed comes back by grain=, as in grain=0.5"
)
_ASKS_TO_ADD = re.compile(
    r"((please|can|could|you|i|want|to|would|like|and|now) )*"
    r"(add|insert|simulate|emulate|imitate|mimic|overlay|give it|give the \w+) (?!me\b)"
)
_WITHOUT = {"no", "without", "zero"}
_KEPT = {"keep", "leave", "stay", "preserve", "retain", "there", "has", "not", "dont", "never", "touch", "touching"}


def mix_of(prompt: str) -> TaskMix:
    """The tasks that a prompt asks for, at least one.

    Raises :class:`AnimupError` when the prompt is empty, too long or unclear, asks for nothing to be removed, or for
    something to be added.
    """
    if not prompt.strip():
        raise AnimupError(f"prompt is empty; {HELP}, or use task=")
    if len(prompt) > LONGEST:
        raise AnimupError(f"prompt has {len(prompt)} characters, {LONGEST} are allowed; {HELP}, or use task=")
    classifier = shipped()
    tokens, shares = read(prompt)
    sure = classifier.probabilities(tokens)
    odd = (sure[:, 0] < NOTHING) & (sure[:, 1:].max(axis=1) < THRESHOLD)
    if odd.any():
        tokens = [mended(token) if strange else token for token, strange in zip(tokens, odd, strict=True)]
        sure = classifier.probabilities(tokens)
    found = classifier.mentions(tokens, sure, THRESHOLD, shares)
    shown = repr(prompt if len(prompt) <= 60 else f"{prompt[:59]}…")
    if any(mention.degree == ADDED for mention in found) or (not found and _ASKS_TO_ADD.match(" ".join(tokens))):
        raise AnimupError(f"prompt {shown} asks to add something, and {ONLY_REMOVES}; {HELP}")
    mix = _mix(found)
    if not mix and _WITHOUT & {*tokens} and not _KEPT & {*tokens}:
        mix = _mix([replace(mention, degree=1.0) for mention in found if not mention.done])
    if mix:
        return mix
    if found:
        raise AnimupError(f"prompt {shown} leaves nothing to remove; {HELP}, or use task=")
    guess = ""
    if any(sure[:, 0] < 1):
        guess = f" (nearest guess: {LABELS[1 + int(np.argmax(sure[:, 1 : 1 + len(TASKS)].max(axis=0)))]})"
    raise AnimupError(f"prompt {shown} is unclear{guess}; {HELP}, or use task=")


def _mix(found: list[Mention]) -> TaskMix:
    """The mix that the mentions add up to, by the rules above."""
    implied: dict[str, float] = {}
    named: dict[str, float] = {}
    for mention in found:
        if mention.label in MEDIA:
            for task, weight in MEDIA[mention.label].items():
                implied[task] = max(implied.get(task, 0.0), min(weight, mention.degree))
        else:
            named[mention.label] = min(named.get(mention.label, 1.0), mention.degree)
    weights = implied | named
    if "destream" in weights:
        blocks = weights.pop("deblock", 0.0)
        if "deblock" in named and "destream" not in named:
            weights["destream"] = blocks
    return TaskMix(weights)
