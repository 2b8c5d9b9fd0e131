"""What the gate's predictors learn from: degradations that somebody names, and how records count."""

from __future__ import annotations

import numpy as np
import pytest

from training.gate.record import asked
from training.gate.train import NAMED, WORSE, worse_of


def test_what_is_named_comes_in_any_strength_from_none_on() -> None:
    rng = np.random.default_rng(3)
    y = np.kron(rng.integers(40, 200, (3, 8, 8)), np.ones((8, 8))).astype(np.uint8)
    uv = np.full((3, 2, 32, 32), 128, np.uint8)
    changes = []
    for _ in range(60):
        luma, chroma, mix = asked(y, uv, rng)
        assert luma.shape == y.shape and chroma.shape == uv.shape and 1 <= len(mix) <= 2
        changes.append(max(np.abs(a.astype(int) - b).mean() for a, b in ((luma, y), (chroma, uv))))
    assert sum(change == 0 for change in changes) >= 3, "nothing of what is named"
    assert np.ptp([change for change in changes if change]) > 3, "hardly visible and strong"


@pytest.mark.parametrize(
    ("label", "mix", "role", "wanted"),
    [
        ("asked plain", "denoise", "restore", NAMED),
        ("asked plain", "denoise", "upscale", WORSE["upscale"]),
        ("asked soft", "deblur+denoise", "restore", 0.0),
        ("web/light grain", "destream", "restore", WORSE["restore"]),
    ],
)
def test_losses_count_by_who_asked(label: str, mix: str, role: str, wanted: float) -> None:
    assert worse_of(label, mix, role) == wanted
