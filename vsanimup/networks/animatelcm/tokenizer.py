"""CLIP's tokenizer: text to the token numbers that a text encoder reads.

Byte pair encoding over bytes, by the ``vocab.json`` and ``merges.txt`` that lie in a model folder.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vsanimup.errors import AnimupError, shown

VOCABULARY, MERGES = "vocab.json", "merges.txt"
"""Names of the two files."""
CONTEXT = 77
"""Tokens of a prompt, with the one that starts and the one that ends it."""
START, END = "<|startoftext|>", "<|endoftext|>"
LAST = "</w>"
"""Marks the last symbol of a word."""

_SPECIAL = re.compile("(" + re.escape(START) + "|" + re.escape(END) + ")")
_SPACES = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {chr(c) for c in range(0x2000, 0x200B)}
_ENDINGS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")


@cache
def byte_signs() -> tuple[str, ...]:
    """A printable character for each byte: itself where it has a shape in Latin-1, else one from U+0100 on."""
    shown = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in shown else next(spare)) for byte in range(256))


def _kind(character: str) -> str:
    """``L`` a letter, ``N`` a number, a blank for space, ``P`` anything else."""
    if character in _SPACES:
        return " "
    category = unicodedata.category(character)[0]
    return category if category in "LN" else "P"


def words(text: str) -> Iterator[str]:
    """Pieces of text that are encoded apart: runs of letters, single digits, runs of other signs, ``'s`` and such."""
    # letter by letter: the sigma that ends a word is no case of its own here
    text = "".join(character.lower() for character in unicodedata.normalize("NFC", text))
    i = 0
    while i < len(text):
        kind = _kind(text[i])
        ending = next((ending for ending in _ENDINGS if text.startswith(ending, i)), None)
        if ending is not None:
            end = i + len(ending)
        else:
            end = i + 1
            while kind in "LP" and end < len(text) and _kind(text[end]) == kind:
                end += 1
        if kind != " ":
            yield text[i:end]
        i = end


class Tokenizer:
    """Byte pair encoding by a vocabulary and the pairs that are merged, the most common first."""

    def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> None:
        """Raises :class:`AnimupError` where the vocabulary has no start or end of text."""
        for token in (START, END):
            if token not in vocabulary:
                raise AnimupError(f"{VOCABULARY} is not CLIP's: it has no {token}; get the model again")
        self._numbers = dict(vocabulary)
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._known: dict[str, tuple[int, ...]] = {}
        self.start, self.end = vocabulary[START], vocabulary[END]

    @classmethod
    def from_files(cls, vocabulary: bytes, merges: bytes) -> Tokenizer:
        """From the contents of ``vocab.json`` and ``merges.txt``.

        Raises :class:`AnimupError` when they are not that.
        """
        try:
            numbers = json.loads(vocabulary)
            lines = merges.decode("utf-8").split("\n")
        except ValueError as error:
            raise AnimupError(f"{VOCABULARY} or {MERGES} is damaged: {error}; get the model again") from error
        if not isinstance(numbers, dict) or not all(type(number) is int for number in numbers.values()):
            raise AnimupError(f"{VOCABULARY} is damaged: it is no object of numbers; get the model again")
        pairs = []
        for i, line in enumerate(line.removesuffix("\r") for line in lines):
            if not line or (i == 0 and line.startswith("#version")):
                continue
            pair = line.split(" ")
            if len(pair) != 2:
                raise AnimupError(f"{MERGES} is damaged: line {i + 1} is no pair: {shown(line)}; get the model again")
            pairs.append((pair[0], pair[1]))
        return cls(numbers, pairs)

    def _word(self, word: str) -> tuple[int, ...]:
        """Token numbers of one piece."""
        if word in self._known:
            return self._known[word]
        symbols = [byte_signs()[byte] for byte in word.encode("utf-8", "replace")]
        symbols[-1] += LAST
        # what the vocabulary lacks takes part in no merge
        parts = [symbol if symbol in self._numbers else None for symbol in symbols]
        while True:
            ranks = [
                (self._ranks.get((a, b), len(self._ranks)), i)
                for i, (a, b) in enumerate(pairwise(parts))
                if a is not None and b is not None
            ]
            rank, i = min(ranks, default=(len(self._ranks), 0))
            if rank == len(self._ranks):
                break
            parts[i : i + 2] = [f"{parts[i]}{parts[i + 1]}"]
        numbers = tuple(self.end if part is None else self._numbers[part] for part in parts)
        self._known[word] = numbers
        return numbers

    def tokens(self, text: str) -> list[int]:
        """Token numbers of a text, without start and end."""
        found: list[int] = []
        for piece in _SPECIAL.split(text):
            if piece in (START, END):
                found.append(self._numbers[piece])
            else:
                for word in words(piece):
                    found += self._word(word)
        return found

    def __call__(self, text: str) -> NDArray[np.int32]:
        """``[1, 77]``: start, the text, end, and ends to fill up. A longer text loses its tail."""
        numbers = [self.start, *self.tokens(text)[: CONTEXT - 2], self.end]
        return np.array([numbers + [self.end] * (CONTEXT - len(numbers))], np.int32)
