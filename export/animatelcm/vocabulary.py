"""CLIP's vocabulary from an installed package: single files hold no tokenizer."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path

from vsanimup.errors import AnimupError
from vsanimup.networks.animatelcm.tokenizer import END, LAST, MERGES, START, VOCABULARY, byte_signs

PACKAGES = {"open_clip": "open-clip-torch", "clip": "clip-anytorch"}
"""Modules that lie beside CLIP's own file of merges, and the packages on PyPI that they come with."""
FILE = "bpe_simple_vocab_16e6.txt.gz"
MOST_MERGES = 49152 - 256 - 2
"""Of the file's merges CLIP has so many, the most common ones."""


def find() -> Path | None:
    """The file of merges, of the first package that has it. No package is imported."""
    for module in PACKAGES:
        spec = importlib.util.find_spec(module)
        for folder in (spec.submodule_search_locations if spec else None) or ():
            if (Path(folder) / FILE).is_file():
                return Path(folder) / FILE
    return None


def files(path: Path) -> dict[str, bytes]:
    """``vocab.json`` and ``merges.txt`` as transformers has them, from a file of merges.

    Raises :class:`AnimupError` where it is damaged.
    """
    try:
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    except (OSError, EOFError, ValueError) as error:
        raise AnimupError(f"{path} is damaged ({error}): install its package again, or give --tokenizer") from error
    merges = lines[1 : 1 + MOST_MERGES]
    if len(merges) < MOST_MERGES or any(len(line.split(" ")) != 2 for line in merges):
        raise AnimupError(f"{path} is not CLIP's: install its package again, or give --tokenizer")
    signs = sorted(byte_signs())
    words = [*signs, *(sign + LAST for sign in signs), *(line.replace(" ", "") for line in merges), START, END]
    numbers = {word: number for number, word in enumerate(words)}
    return {
        VOCABULARY: json.dumps(numbers, ensure_ascii=False).encode(),
        MERGES: "\n".join(["#version: 0.2", *merges, ""]).encode(),
    }
