"""What the gate's predictors learn from: degradations that somebody names, and how records count."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.gate.record import asked
from training.gate.train import CAREFUL, NAMED, WORSE, Predictor, Table, together, worse_of
from vsanimup.networks.lite.gate import MEASURES, packed
from vsanimup.tasks import TASKS, TaskMix


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
        ("asked plain", "descratch", "named", NAMED),
        ("asked plain", "denoise+descratch", "named", CAREFUL["denoise"]),
        ("asked plain", "denoise", "upscale", WORSE["upscale"]),
        ("asked soft", "deblur+denoise", "named", 0.0),
        ("web/light grain", "destream", "restore", WORSE["restore"]),
    ],
)
def test_losses_count_by_who_asked(label: str, mix: str, role: str, wanted: float) -> None:
    assert worse_of(label, mix, role) == wanted


def test_predictors_together_are_their_mean() -> None:
    torch.manual_seed(1)
    inputs = torch.randn(4, 8, 8, 3 * MEASURES)
    empty = torch.zeros(4)
    table = Table(inputs, empty, empty, empty, torch.zeros(4, len(TASKS)), empty, empty, [""] * 4)
    models = [Predictor(table, (8, 4)) for _ in range(3)]
    tasks = torch.rand(4, len(TASKS))
    whole = together(models)
    mean = torch.stack([torch.logit(model(inputs, tasks)) for model in models]).mean(0)
    torch.testing.assert_close(whole(inputs, tasks), torch.sigmoid(mean))
    weights, hidden = packed(whole.arrays("named"), "named", TaskMix({"denoise": 1.0}))
    assert hidden == (24, 12)
    assert weights.size == 3 * MEASURES * 24 + 24 + 24 * 12 + 12 + 12 * 3 + 3
