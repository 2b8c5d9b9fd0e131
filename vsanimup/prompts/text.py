"""Words of a prompt, and what the classifier looks at: shared by the classifier and its training."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from zlib import crc32

PUNCTUATION = frozenset(",.")
"""The two tokens that stand for all punctuation."""
JOINERS = PUNCTUATION | {
    "and",
    "or",
    "but",
    "plus",
    "with",
    "also",
    "then",
    "although",
    "though",
    "yet",
    "however",
    "und",
    "oder",
    "sowie",
    "aber",
    "et",
    "mais",
    "y",
    "pero",
    "と",
}
"""Tokens at which what is said about one thing ends."""
FILLERS = JOINERS | {
    "a",
    "an",
    "the",
    "of",
    "in",
    "on",
    "at",
    "from",
    "to",
    "for",
    "by",
    "is",
    "are",
    "was",
    "be",
    "it",
    "its",
    "this",
    "that",
    "my",
    "i",
    "into",
    "over",
    "around",
    "next",
    "like",
    "all",
    "too",
    "der",
    "die",
    "das",
    "den",
    "ein",
    "im",
    "le",
    "la",
    "les",
    "un",
    "une",
    "du",
    "des",
    "de",
    "dans",
    "el",
    "los",
    "las",
    "una",
    "en",
    "を",
    "の",
    "が",
    "は",
    "に",
    "して",
}
"""Tokens that never name anything by themselves."""
_DOING = frozenset(
    {
        "removal",
        "reduction",
        "filter",
        "repair",
        "cleanup",
        "correction",
        "fix",
        "pass",
        "cleaning",
        "smoothing",
        "suppression",
    }
)
"""Last words of what one does, as ``noise reduction`` is beside ``noise``."""

LESS = frozenset({"less", "fewer", "stop", "remove", "reduce"})
"""Words before what is not to be added."""

_JOINED = re.compile(r"(?<=\w)['’`´](?=\w)|(?<=\b[^\W\d])[.](?=\d)|(?<=\w)-(?=\d)")
_PREFIXED = re.compile(r"\b(\w{1,2}|over|anti)-(?=\w)")
_NOT_SHARP = re.compile(
    r"\b(not|isnt|arent|wasnt|werent|aint|never|hardly) ((very|really|quite|that|all that|so|exactly|at all) )*"
    r"(sharp|crisp|in focus)( enough)?( at all)?\b"
)
"""What is said by its contrary: it is one word to the classifier."""
_ACCENTS = re.compile("[\u0300-\u036f]")
_LONG = re.compile(r"(.)\1{2,}")
_TOKENS = re.compile(
    "\\d{1,3}%|[\u3041-\u309f]+|[\u30a0-\u30ff]+|[\u3400-\u9fff々]+|[^\\W_\u3041-\u30ff\u3400-\u9fff]+|[.,;!?、。…\n]|[+&/>]"
)
_SIGNS = dict.fromkeys(".;!?。…\n", ".") | dict.fromkeys(",、", ",") | dict.fromkeys("+&/>", "and")


def words(text: str) -> list[str]:
    """Tokens of a text: lower-case words without accents or hyphens, and ``,`` and ``.``."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", text)))
    text = _LONG.sub(r"\1\1", _PREFIXED.sub(r"\1", _JOINED.sub("", text)))
    return [_SIGNS.get(token, token) for token in _TOKENS.findall(_NOT_SHARP.sub("blurry", text))]


@dataclass(frozen=True)
class Span:
    """A run of words that names one thing: words ``start`` up to ``end``."""

    start: int
    end: int
    label: int
    """What it names, an index into the classifier's labels."""


def spans_of(tokens: Sequence[str], labels: Sequence[int]) -> list[Span]:
    """Runs of words with the same label; fillers inside a run do not end it, joiners do. Label 0 is nothing."""
    spans: list[Span] = []
    for i, label in enumerate(labels):
        if not label:
            continue
        last = spans[-1] if spans else None
        if last and last.label == label and all(t in FILLERS - JOINERS for t in tokens[last.end : i]):
            spans[-1] = Span(last.start, i + 1, label)
        else:
            spans.append(Span(i, i + 1, label))
    return spans


def hashed(features: Iterator[str], size: int) -> list[int]:
    """Rows of a table of ``size`` rows that belong to the features."""
    return [crc32(feature.encode()) % size for feature in features]


@lru_cache(maxsize=4096)
def _letters(word: str) -> tuple[str, ...]:
    """Runs of one to five letters of a word, its ends marked."""
    marked = f"^{word[:24]}$"
    return tuple(marked[i : i + n] for n in (2, 3, 4, 5) for i in range(len(marked) - n + 1))


@lru_cache(maxsize=4096)
def but_one(word: str) -> tuple[str, ...]:
    """A word, and what is left of it without each of its letters: a word mistyped by one has some of them too."""
    if not 4 <= len(word) <= 14:
        return ()
    return tuple(dict.fromkeys((word, *(word[:i] + word[i + 1 :] for i in range(len(word))))))


def word_features(tokens: Sequence[str], i: int) -> Iterator[str]:
    """What tells which fault word ``i`` names: its letters, and the words around it."""
    word, stem = tokens[i], tokens[i][:4]
    yield "bias"
    yield f"w={word}"
    yield from _letters(word)
    yield from (f"d={part}" for part in but_one(word))
    for distance in (-2, -1, 1, 2):
        if 0 <= i + distance < len(tokens):
            yield f"{distance}={tokens[i + distance]}"
            yield f"{distance}={tokens[i + distance]}+{stem}"
    for direction in (-1, 1):
        seen, joined = 0, False
        j = i + direction
        while 0 <= j < len(tokens) and seen < 4:
            joined = joined or tokens[j] in JOINERS
            if tokens[j] not in FILLERS:
                near = tokens[j][:5]
                if not seen and not joined:
                    yield f"{direction}c={near}"
                    yield f"{direction}c={near}+{stem}"
                yield f"bag{joined:d}={near}"
                seen += 1
            j += direction


def does(tokens: Sequence[str], span: Span) -> bool:
    """Whether a span is what one does, as ``denoising``, not what there is, as ``noise``."""
    own = next((t for t in tokens[span.start : span.end] if t not in FILLERS), "")
    return own.startswith("de") or own.endswith("ing") or tokens[span.end - 1] in _DOING


def degree_features(tokens: Sequence[str], spans: Sequence[Span], k: int, before: int) -> Iterator[str]:
    """What tells how much of span ``k`` is to go: the words between it and its neighbours.

    ``before`` is the degree of the span before it, as an index, or -1.
    """
    span = spans[k]
    left = tokens[spans[k - 1].end if k else 0 : span.start]
    right = tokens[span.end : spans[k + 1].start if k + 1 < len(spans) else len(tokens)]
    cut = max((i + 1 for i, token in enumerate(left) if token in JOINERS), default=0)
    near_left = left[cut:][-8:]
    far_left = left[:cut][-6:] if not k else ()  # else it was said of the span before
    cut = next((i for i, token in enumerate(right) if token in JOINERS), len(right))
    near_right = right[:cut][:8]
    far_right = right[cut:][:6] if k + 1 == len(spans) else ()
    own = next((t for t in tokens[span.start : span.end] if t not in FILLERS), "")
    kind = "de" if own.startswith("de") else "ing" if own.endswith("ing") else own[:3]
    doing = does(tokens, span)
    yield "bias"
    yield f"own={own[:5]}"
    yield f"kind={kind}"
    yield f"label={span.label}"
    yield f"all={'_'.join(near_left[-4:])}|{doing}|{'_'.join(near_right[:4])}"
    yield f"near={'_'.join(near_left[-2:])}|{doing}|{'_'.join(near_right[:1])}"
    yield f"own={'_'.join(near_left[-2:])}|{span.label}|{doing}|{'_'.join(near_right[:1])}"
    for name, part in (("l", near_left), ("L", far_left), ("r", near_right), ("R", far_right)):
        for token in part:
            yield f"{name}={token}"
            yield f"{name}={token[:4]}*"
        for first, second in pairwise(part):
            yield f"{name}={first} {second}"
    for i, token in enumerate(reversed(near_left[-3:])):
        yield f"l{i}={token}"
        yield f"l{i}={token}+{kind}"
        yield f"l{i}={token}+{doing}"
        yield f"l{i}={token}+{span.label}+{doing}"
    for i, token in enumerate(near_right[:3]):
        yield f"r{i}={token}"
        yield f"r{i}={token}+{kind}"
    yield f"l={'_'.join(near_left[-4:])}"
    yield f"r={'_'.join(near_right[:4])}"
    between = "_".join(left[-3:]) if len(left) <= 3 else "far"
    yield f"before={before}"
    yield f"before={before}+{between}"
    for token in left[-5:]:
        yield f"before={before}+l={token}"
