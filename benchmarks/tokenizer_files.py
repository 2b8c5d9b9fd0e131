"""A vocabulary for CLIP's tokenizer, made up."""

from __future__ import annotations

import json
from pathlib import Path

from vsanimup.networks.animatelcm.tokenizer import END, LAST, START, byte_signs


def write_tokenizer(folder: Path) -> None:
    """A tiny vocabulary in CLIP's layout: all bytes, some merges."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {sign: i for i, sign in enumerate((*byte_signs(), *(sign + LAST for sign in byte_signs())))}
    merges = []
    for pair in (
        "c a",
        "ca t</w>",
        "t h",
        "th e</w>",
        "! !</w>",
        "! !",
        "' s</w>",
        "a n",
        "an i",
        "m e</w>",
        "ani me</w>",
    ):
        merges.append(pair)
        vocabulary.setdefault(pair.replace(" ", ""), len(vocabulary))
    vocabulary[START], vocabulary[END] = len(vocabulary), len(vocabulary) + 1
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
