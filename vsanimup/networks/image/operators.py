"""Which operators an ONNX file holds, read from its bytes: the package ``onnx`` is no part of what runs.

Of protocol buffers, only how fields are told apart is needed: weights are passed over without being looked at.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
"""Operators whose result differs from run to run."""

_TEXT = "text"
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node"},
    "function": {7: "node"},
    "node": {4: _TEXT, 5: "attribute"},
    "attribute": {6: "graph", 11: "graph"},
}
"""Fields of the messages of onnx.proto that lead to operators, and what these fields hold."""
_VARINT, _EIGHT, _DELIMITED, _FOUR = 0, 1, 2, 5


def operators(path: Path) -> set[str]:
    """Names of all operators of a file that is a valid model, those in functions and branches included."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found: set[str] = set()
        waiting = [("model", 0, len(data))]
        while waiting:
            kind, start, end = waiting.pop()
            for number, first, last in _fields(data, start, end):
                inner = _MESSAGES[kind].get(number)
                if inner == _TEXT:
                    found.add(data[first:last].decode("utf-8", "replace"))
                elif inner is not None:
                    waiting.append((inner, first, last))
        return found


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, beginning and end of each field that has a length."""
    while at < end:
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == _VARINT:
            _, at = _varint(data, at)
        elif wire == _DELIMITED:
            length, at = _varint(data, at)
            yield tag >> 3, at, at + length
            at += length
        elif wire in (_EIGHT, _FOUR):
            at += 8 if wire == _EIGHT else 4
        else:
            raise ValueError(f"a field of wire type {wire}")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """A number, and where the next thing begins."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
