"""The diagnosis learns by what treatments end in, and new networks stand beside earlier ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.diagnosis import outcomes
from training.diagnosis.train import probabilities, train
from vsanimup.diagnosis.decision import STATES


def scores(clean: float, codec: float, stream: float) -> np.ndarray:
    """The same SSIM, PSNR as told."""
    return np.array([[clean, 0.9], [codec, 0.9], [stream, 0.9]])


@pytest.mark.parametrize(
    ("found", "told", "wanted"),
    [
        (scores(33.0, 34.0, 33.5), "codec", "codec"),
        (scores(33.0, 34.0, 33.5), "stream", "codec"),
        (scores(33.0, 33.52, 33.5), "stream", "stream"),
        (scores(34.0, 33.0, 33.5), "codec", "clean"),
        (scores(34.0, 34.02, 33.5), "codec", "clean"),
        (scores(50.0, 52.0, 53.0), "stream", "clean"),
    ],
    ids=["as told", "another codec", "as good", "leave alone", "hardly better", "nobody sees it"],
)
def test_a_variant_is_what_ends_best(found: np.ndarray, told: str, wanted: str) -> None:
    assert outcomes.state_of(found, told) == wanted


def test_outcomes_are_those_of_the_filters(clips: Path, tmp_path: Path) -> None:
    outcomes.main(clips, tmp_path / "outcomes.npz")
    found = outcomes.read(tmp_path / "outcomes.npz")
    assert found.keys() == {"train_00000.npz", "train_00001.npz"}
    assert all(variants.keys() == {1, 3} for variants in found.values())
    values = [value for variants in found.values() for value in variants.values()]
    assert all(np.isfinite(value).all() and value.shape == (3, 2) for value in values)
    assert all(len(np.unique(value[:, 0])) == 3 for value in values), "three treatments, three pictures"
    assert outcomes.read(None) == {}


def test_new_networks_stand_beside_earlier_ones() -> None:
    rng = np.random.default_rng(3)
    measures, states = rng.normal(size=(60, 7)).astype(np.float32), rng.integers(0, len(STATES), 60)
    one = train(measures, states, networks=2, units=4, epochs=1)
    other = train(2 * measures + 1, states, networks=1, units=4, epochs=1, beside=one)
    assert [len(other[name]) for name in ("hidden", "last_bias")] == [3, 3]
    assert np.array_equal(other["centre"], one["centre"]) and np.array_equal(other["scale"], one["scale"])
    assert np.array_equal(other["hidden"][:2], one["hidden"])
    new = {name: value[2:] if name not in ("centre", "scale") else value for name, value in other.items()}
    mean = (2 * probabilities(one, measures) + probabilities(new, measures)) / 3
    np.testing.assert_allclose(probabilities(other, measures), mean, rtol=1e-6)
