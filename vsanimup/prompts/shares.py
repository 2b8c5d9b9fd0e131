"""Shares said in numbers: ``75%``, ``0.75``, ``3/4``, ``three quarters`` of what a prompt names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from vsanimup.prompts.text import JOINERS, Span, words

Share = tuple[int, float]
"""Index of the word before which it stands, and the share, 0 to 1."""

_WORDS = {
    "three quarters": 75,
    "three fourths": 75,
    "two thirds": 67,
    "one third": 33,
    "a third": 33,
    "one quarter": 25,
    "a quarter": 25,
    "dreiviertel": 75,
    "drei viertel": 75,
    "trois quarts": 75,
    "tres cuartos": 75,
}
_NO_SIZE = r"(?![\w/])(?!\s*(?:inch|in\b|\"|hours?\b))"
_PERCENT = re.compile(
    r"(?<![\w.,])(\d{1,3})(?:[.,]\d+)?\s*(?:%|per ?cent\b|pct\b|prozent\b|pour ?cent\b|por ciento\b)", re.I
)
_DECIMAL = re.compile(r"(?<![\w.,/])0?[.,](\d{1,3})(?![\w%])")
_FRACTION = re.compile(r"(?<![\w./])([1-9])[/\u2044]([2-9])" + _NO_SIZE)
_SPOKEN = re.compile(rf"\b(?:{'|'.join(_WORDS)})\b{_NO_SIZE}", re.I)
_TOKEN = re.compile(r"(\d{1,3})%")
_LOWERING = {"reduce", "reduced", "lower", "cut", "down", "decrease", "bring", "get", "shrink", "less"}
"""Words with which ``to 30%`` is what is left."""
_KEEPING = {"keep", "leave", "retain", "preserve", "stay", "stays", "remain", "remains", "left", "kept", "behalten"}
"""Words with which a share is what is left."""


def read(prompt: str) -> tuple[list[str], list[Share]]:
    """The words of a prompt without its shares, and the shares."""
    rest: list[str] = []
    shares: list[Share] = []
    for token in words(in_percent(prompt)):
        if match := _TOKEN.fullmatch(token):
            shares.append((len(rest), min(int(match[1]), 100) / 100))
        else:
            rest.append(token)
    return rest, shares


def in_percent(text: str) -> str:
    """The text with every share written as a word such as ``75%``."""
    text = _PERCENT.sub(r" \1% ", unicodedata.normalize("NFKC", text))
    text = _SPOKEN.sub(lambda m: f" {_WORDS[m[0].lower()]}% ", text)
    text = _DECIMAL.sub(lambda m: f" {round(100 * float('0.' + m[1]))}% ", text)
    return _FRACTION.sub(lambda m: f" {round(100 * int(m[1]) / int(m[2]))}% " if m[1] < m[2] else m[0], text)


def given(tokens: Sequence[str], spans: Sequence[Span], shares: Sequence[Share]) -> dict[int, float]:
    """The share that belongs to each span that has one, by the span's number.

    It is said of the span before it, where that is in the same clause and has none yet, else of the one behind it.
    """
    found: dict[int, float] = {}
    for at, share in shares:
        before = max((k for k, span in enumerate(spans) if span.end <= at), default=None)
        behind = min((k for k, span in enumerate(spans) if span.end > at), default=None)
        near_before = before is not None and before not in found and not JOINERS & {*tokens[spans[before].end : at]}
        near_behind = behind is not None and not JOINERS & {*tokens[at : spans[behind].start]}
        of_next = tokens[at : at + 1] == ["of"]
        if near_before and not (of_next and near_behind):
            chosen = before
        else:
            chosen = behind if near_behind else before if before is not None else behind
        if chosen is not None:
            start = max((i + 1 for i in range(at) if tokens[i] in JOINERS), default=0)
            end = next((i for i in range(at, len(tokens)) if tokens[i] in JOINERS), len(tokens))
            lowered_to = tokens[at - 1 : at] == ["to"] and _LOWERING & {*tokens[start:at]}
            found[chosen] = 1 - share if lowered_to or _KEEPING & {*tokens[start:end]} else share
    return found
