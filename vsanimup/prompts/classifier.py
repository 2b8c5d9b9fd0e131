"""The classifier: which words of a prompt name a fault or a medium, and how much of it is to go.

Two softmax regressions over hashed features (:mod:`vsanimup.prompts.text`), made by ``python -m training.prompts``.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vsanimup.errors import AnimupError
from vsanimup.prompts import text
from vsanimup.prompts.shares import Share, given
from vsanimup.tasks import TASKS

FOLDER = Path(__file__).parents[1] / "models"
DATA = "classifier.npz"
MANIFEST = "classifier.json"
FORMAT = 2
"""Version of the features and of the data file's layout."""
MEDIA: dict[str, dict[str, float]] = {
    "tape": {"deblock": 0.5, "denoise": 1.0, "dehalo": 1.0, "dechroma": 1.0},
    "film": {"denoise": 1.0, "descratch": 1.0},
    "rip": {"deblock": 1.0},
    "stream": {"destream": 1.0},
    "analogue": {"denoise": 1.0, "dechroma": 1.0},
}
"""What naming a medium means: VHS and other tape; film prints and reels; DVDs and
older encodes; H.264, HEVC and what comes from the web; analogue TV."""
LABELS = ("", *TASKS, *MEDIA)
"""What a word can name."""
ADDED = -1.0
"""Degree of what a prompt asks to add."""
DEGREES = (1.0, 0.5, 0.0, 0.75, ADDED)
"""How much of it is to go: all, some, nothing, most; or it is to come."""
WORD_ROWS, DEGREE_ROWS = 1 << 15, 1 << 16
"""Rows of the two tables of weights."""


@dataclass(frozen=True)
class Mention:
    """A fault or medium that a prompt names."""

    label: str
    degree: float
    """In 0..1 what is to go, or ADDED."""
    done: bool
    """Whether it is named by what one does against it."""


@dataclass(frozen=True)
class Classifier:
    """The trained weights."""

    word: npt.NDArray[np.float32]
    """Weight of each hashed feature for each of LABELS."""
    degree: npt.NDArray[np.float32]
    """Weight of each hashed feature for each of DEGREES."""

    def probabilities(self, tokens: list[str]) -> npt.NDArray[np.float32]:
        """How sure it is of each of LABELS, for each word; fillers name nothing."""
        sure = np.zeros((len(tokens), len(LABELS)), np.float32)
        sure[:, 0] = 1
        for i, token in enumerate(tokens):
            if token not in text.FILLERS:
                scores = self.word[text.hashed(text.word_features(tokens, i), WORD_ROWS)].sum(axis=0)
                exponents = np.exp(scores - scores.max())
                sure[i] = exponents / exponents.sum()
        return sure

    def mentions(
        self, tokens: list[str], sure: npt.NDArray[np.float32], threshold: float, shares: Sequence[Share] = ()
    ) -> list[Mention]:
        """What the words name, of which it is sure enough, in the order of the prompt; as numbers say where they do."""
        best = np.where(sure.max(axis=1) >= threshold, sure.argmax(axis=1), 0)
        spans = text.spans_of(tokens, best.tolist())
        said = given(tokens, spans, shares)
        found: list[Mention] = []
        before = -1
        for k, span in enumerate(spans):
            rows = text.hashed(text.degree_features(tokens, spans, k, before), DEGREE_ROWS)
            before = int(self.degree[rows].sum(axis=0).argmax())
            degree = DEGREES[before]
            if degree == ADDED and text.LESS & {*tokens[spans[k - 1].end if k else 0 : span.end]}:
                degree = 1.0
            if degree != ADDED:
                degree = said.get(k, degree)
            found.append(Mention(LABELS[span.label], degree, text.does(tokens, span)))
        return found


def pack(word: npt.NDArray[np.float32], degree: npt.NDArray[np.float32]) -> bytes:
    """The data file: eight-bit weights, with a scale for each column."""
    arrays = {}
    for name, weights in (("word", word), ("degree", degree)):
        scale = np.maximum(np.abs(weights).max(axis=0), 1e-6).astype(np.float32) / np.float32(127)
        arrays[name] = np.rint(weights / scale).astype(np.int8)
        arrays[f"{name}_scale"] = scale
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def unpack(data: bytes) -> Classifier:
    """The classifier that :func:`pack` wrote."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        word, degree = (file[name].astype(np.float32) * file[f"{name}_scale"] for name in ("word", "degree"))
    if word.shape != (WORD_ROWS, len(LABELS)) or degree.shape != (DEGREE_ROWS, len(DEGREES)):
        raise ValueError(f"weights have shapes {word.shape} and {degree.shape}")
    return Classifier(word, degree)


def load(folder: Path) -> Classifier:
    """Read and verify the classifier in a folder.

    Raises :class:`AnimupError` naming the file when it is missing, damaged or of another version.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT or manifest["labels"] != list(LABELS):
            raise ValueError("it belongs to another version")
        path = folder / DATA
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
            raise ValueError(f"its {len(data)} bytes do not have the SHA-256 that {MANIFEST} gives")
        return unpack(data)
    except OSError as error:
        raise AnimupError(f"{path} cannot be read ({error.strerror}); install vsanimup again") from error
    except (ValueError, KeyError, TypeError) as error:
        raise AnimupError(f"{path} is damaged ({error}); install vsanimup again") from error


@cache
def shipped() -> Classifier:
    """The classifier that comes with the package, read once."""
    return load(FOLDER)
