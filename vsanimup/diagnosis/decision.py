"""From measures to a task mix: a small learned classifier, numpy alone.

The classifier, made by ``training/diagnosis``, is a handful of two-layer networks whose probabilities are averaged.
What is chosen is not the likeliest state but the mix that is expected to do least harm.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vsanimup.diagnosis.measures import Planes, measure
from vsanimup.diagnosis.mixes import MIXES
from vsanimup.shipped import verified
from vsanimup.tasks import CODECS, TaskMix

Array = NDArray[np.float32]

FILE: Final = Path(__file__).parents[1] / "models" / "decision.npz"
"""The classifier: ``centre`` and ``scale`` [measures], ``hidden`` [networks, measures, units], ``hidden_bias``
[networks, units], ``last`` [networks, units, states], ``last_bias`` [networks, states]; all float32."""
DIGEST: Final = "d15d79b41484af67b7ea370b69a2bc3caebb4fb5e2d5ed170c401c3647b11e07"
"""SHA-256 of the file; ``python -m training.diagnosis.train`` prints it."""
RUN: Final = 3
"""Consecutive frames that are measured together."""
STATES: Final = tuple(MIXES)

_MISSED, _NEEDLESS, _TOUCHED, _OTHER_CODEC = 1.0, 0.8, 0.6, 0.3
"""Harm of a task that is left out, of one that is not needed, of touching a clean picture at all, and of taking one
codec for the other, which one pair of networks restores nearly alike."""
_CODEC: Final = "codec"
"""What the tasks for codecs are called where they are taken as one."""
_DOUBT: Final = 0.02
"""Least probability that one run of frames can leave to a state: none rules it out for the others."""


def state_probabilities(frames: Sequence[Planes]) -> NDArray[np.float64] | None:
    """Probability of each of STATES, float64, for a run of 1 to RUN consecutive frames.

    ``None`` where the run says nothing (a tiny picture, a single colour).

    Raises:
        AnimupError: The classifier's file is missing or damaged.
    """
    measures = measure(frames)
    return None if measures is None else classify(measures)


def classify(measures: Array) -> NDArray[np.float64]:
    """Probability of each of STATES for the measures of a run."""
    model = _model()
    x = np.clip((measures - model["centre"]) * model["scale"], -4, 4)
    inner = np.maximum(np.matmul(x, model["hidden"]) + model["hidden_bias"], 0)
    logits = (np.matmul(inner[:, None], model["last"])[:, 0] + model["last_bias"]).astype(np.float64)
    weights = np.exp(logits - logits.max(1, keepdims=True))
    result: NDArray[np.float64] = (weights / weights.sum(1, keepdims=True)).mean(0)
    return result


def decide(runs: Sequence[NDArray[np.float64] | None]) -> str:
    """The one of STATES to treat a source as, by the probabilities of its runs; ``clean`` where nothing is known."""
    known = [np.log((1 - _DOUBT) * run + _DOUBT / len(run)) for run in runs if run is not None]
    if not known:
        return "clean"
    together = np.mean(known, axis=0)
    weights = np.exp(together - together.max())
    return STATES[int((_harm() @ (weights / weights.sum())).argmin())]


def estimate(frames: Sequence[Planes]) -> TaskMix:
    """What a source needs: one of MIXES.

    Args:
        frames: Probe frames in runs of RUN consecutive ones (fewer: one run), each luma ``[rows, columns]`` in 0..1
            and, for pictures with colour, U and V at half size in -0.5..0.5. They are not modified.

    Raises:
        AnimupError: The classifier's file is missing or damaged.
    """
    runs = [frames[start : start + RUN] for start in range(0, len(frames), RUN)]
    return MIXES[decide([state_probabilities(run) for run in runs])]


@functools.cache
def _harm() -> NDArray[np.float64]:
    """Harm ``[chosen, true]`` of treating one state as another."""
    harm = np.zeros((len(STATES), len(STATES)))
    for row, chosen in enumerate(MIXES.values()):
        for column, true in enumerate(MIXES.values()):
            first, second = _one_codec(chosen), _one_codec(true)
            for task in {*first, *second}:
                excess = first.get(task, 0.0) - second.get(task, 0.0)
                harm[row, column] += excess * _NEEDLESS if excess > 0 else -excess * _MISSED
            if chosen and not true:
                harm[row, column] += _TOUCHED
            if _CODEC in first and _CODEC in second and CODECS & {*chosen} != CODECS & {*true}:
                harm[row, column] += _OTHER_CODEC
    return harm


def _one_codec(mix: Mapping[str, float]) -> dict[str, float]:
    """A mix whose tasks for codecs are one."""
    found: dict[str, float] = {}
    for task, weight in mix.items():
        name = _CODEC if task in CODECS else task
        found[name] = max(weight, found.get(name, 0.0))
    return found


@functools.cache
def _model() -> dict[str, Array]:
    return load(FILE, DIGEST)


def load(path: Path, digest: str, otherwise: str = "name the task instead of task='auto'") -> dict[str, Array]:
    """The arrays of a file whose SHA-256 is ``digest``; ``otherwise`` is what to do without it.

    Raises:
        AnimupError: It is missing or other than it should be.
    """
    with np.load(io.BytesIO(verified(path, digest, otherwise)), allow_pickle=False) as arrays:
        return dict(arrays)
