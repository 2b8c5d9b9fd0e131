"""Softmax regression over hashed features, in numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from training.prompts.sentences import Labelled, corpus, heldout
from vsanimup.errors import AnimupError
from vsanimup.prompts import ONLY_REMOVES
from vsanimup.prompts.classifier import DEGREE_ROWS, DEGREES, LABELS, WORD_ROWS, pack
from vsanimup.prompts.text import FILLERS, degree_features, hashed, word_features

Weights = npt.NDArray[np.float32]
SEED = 1
PROMPTS = 14000


def fit(rows: list[list[int]], targets: list[int], size: int, classes: int, epochs: int, decay: float) -> Weights:
    """Weights [size, classes] under which the sums of the given rows predict the targets."""
    lengths = np.array([len(r) for r in rows])
    ends = np.cumsum(lengths)
    flat = np.fromiter((row for r in rows for row in r), np.int64, int(ends[-1]))
    wanted = np.array(targets)
    order = np.random.default_rng(SEED)
    weights = np.zeros((size, classes), np.float32)
    squares = np.full((size, classes), 1e-2, np.float32)
    for epoch in range(epochs):
        rate = np.float32(0.5 * (1 - epoch / epochs))
        for batch in np.array_split(order.permutation(len(rows)), max(1, len(rows) // 1024)):
            sizes = lengths[batch]
            starts = np.cumsum(sizes) - sizes
            places = np.repeat(ends[batch] - sizes - starts, sizes) + np.arange(sizes.sum())
            index = flat[places]
            scores = np.add.reduceat(weights[index], starts, axis=0)
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            error = scores / scores.sum(axis=1, keepdims=True)
            error[np.arange(len(batch)), wanted[batch]] -= 1
            spread = np.repeat(np.arange(len(batch)), sizes)
            slope = (
                np.stack(
                    [np.bincount(index, error[:, c][spread], minlength=size) for c in range(classes)], axis=1
                ).astype(np.float32)
                / np.float32(len(batch))
                + np.float32(decay) * weights
            )
            squares += slope * slope
            weights -= rate * slope / np.sqrt(squares)
    return weights


def rows_of(prompts: list[Labelled]) -> tuple[list[list[int]], list[int], list[list[int]], list[int]]:
    """Rows and targets of the words, and of the degrees, of all prompts."""
    rows: list[list[int]] = []
    targets: list[int] = []
    degree_rows: list[list[int]] = []
    degree_targets: list[int] = []
    for prompt in prompts:
        for i, token in enumerate(prompt.tokens):
            if token not in FILLERS:
                rows.append(hashed(word_features(prompt.tokens, i), WORD_ROWS))
                targets.append(prompt.labels[i])
        spans = prompt.spans()
        before = -1
        for k, (_, degree) in enumerate(spans):
            features = degree_features(prompt.tokens, [span for span, _ in spans], k, before)
            degree_rows.append(hashed(features, DEGREE_ROWS))
            degree_targets.append(degree)
            before = degree
    return rows, targets, degree_rows, degree_targets


def trained() -> bytes:
    """The data file that the package ships."""
    rows, targets, degree_rows, degree_targets = rows_of(corpus(SEED, PROMPTS))
    return pack(
        fit(rows, targets, WORD_ROWS, len(LABELS), epochs=12, decay=1e-6),
        fit(degree_rows, degree_targets, DEGREE_ROWS, len(DEGREES), epochs=16, decay=1e-6),
    )


def score(mix_of: Callable[[str], Mapping[str, float]], file: str) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """How many prompts of a held-out file are right, of how many, by what was asked; and a line on each that is wrong.

    ``tasks`` is the set of tasks of a clear prompt, ``mix`` that and every weight, ``degrees`` the mix of those prompts
    that ask for something in reduced strength, ``unclear`` the prompts that must be refused, ``added`` those that must
    be refused for asking to add.
    """
    right = {name: [0, 0] for name in ("tasks", "mix", "degrees", "unclear", "added")}
    wrong = []
    for prompt, wanted in heldout(file):
        got: Mapping[str, float] | None
        try:
            got = mix_of(prompt)
        except AnimupError as error:
            got = None if ONLY_REMOVES in str(error) else {}
        if not wanted:
            names = ["added" if wanted is None else "unclear"]
        else:
            names = ["tasks", "mix", *(["degrees"] if min(wanted.values()) < 1 else [])]
        for name in names:
            tasks_only = name == "tasks" and got is not None and wanted is not None
            right[name][0] += (got or {}).keys() == (wanted or {}).keys() if tasks_only else got == wanted
            right[name][1] += 1
        if got != wanted:
            wrong.append(f"{prompt!r}: {got}, not {wanted}")
    return {name: (good, count) for name, (good, count) in right.items()}, wrong
