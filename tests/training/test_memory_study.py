"""The study of memory over windows: its ways, and scores that can be reckoned by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from tests.helpers.modules import there
from training.lcm.long_clips import JUDGED, TRAINED, path_of
from training.studies import memory
from vsanimup.networks.animatelcm.memory import everything

AWAY = np.array([0] * 4 + [8] * 30 + [0] * 4 + [8] * 12, np.int16)
MOVING = np.arange(len(AWAY), dtype=np.uint8).reshape(-1, 1, 1)
"""Every frame is a drawing of its own."""
BORDERS = memory.borders_of(MOVING)


def scores(change: Callable[..., Any], truth: np.ndarray | None = None) -> dict[str, float]:
    truth = np.full((len(AWAY), 16, 16), 100, np.uint8) if truth is None else truth
    found = truth.copy()
    change(found)
    return memory.scores_of(found, truth, AWAY, BORDERS)


def test_ways() -> None:
    none, *budgets = (memory.budget_of(way, 10) for way in memory.WAYS)
    whole, *shares, sliding = map(there, budgets)
    assert none is None and whole.slots == whole.recent == everything(10)
    assert [round(budget.slots / whole.slots, 2) for budget in shares] == [0.19, 0.35, 0.91]
    assert sliding.slots == shares[1].slots and sliding.previous == 0 < shares[1].previous


def test_what_is_right_scores_best() -> None:
    found = scores(lambda found: None)
    assert found["psnr"] == pytest.approx(100) and found["ssim"] == pytest.approx(1, abs=1e-4)
    assert found["flicker"] == found["borders"] == found["drift"] == 0


def test_borders() -> None:
    # a block of 24 drawings is two windows that share four; the next begins with the last four of the one before
    into = {1 + int(n) for n in np.flatnonzero(BORDERS)}
    assert into == {*range(10, 15), *range(20, 25), *range(32, 37), *range(44, 49)}
    twos = memory.borders_of(np.repeat(MOVING[:24], 2, 0))  # 12 drawings a block: one window
    assert {1 + int(n) for n in np.flatnonzero(twos)} == set(range(16, 25))


def test_a_jump_where_windows_meet() -> None:
    def jump(at: int) -> Callable[..., Any]:
        return lambda found: found[at:].__iadd__(10)

    border, inside = scores(jump(24)), scores(jump(8))
    assert border["flicker"] == pytest.approx(inside["flicker"]) and border["flicker"] == pytest.approx(10 / 49)
    assert border["borders"] > border["flicker"] and inside["borders"] == 0


def test_drift_is_a_background_that_came_back_another() -> None:
    assert scores(lambda found: found[34:].__iadd__(3))["drift"] == pytest.approx(3)
    assert scores(lambda found: found[4:34].__iadd__(3))["drift"] == 0
    truth = np.full((len(AWAY), 16, 16), 100, np.uint8)
    truth[34:, :8] = 200  # something stands there now
    assert scores(lambda found: found[34:, :8].__iadd__(3), truth)["drift"] == 0


def test_the_camera_goes_away_and_comes_back() -> None:
    for seed in range(20):
        away = path_of(JUDGED, np.random.default_rng(seed))
        assert len(away) == JUDGED and away[0] == 0 and away.max() >= 256
        returns = np.flatnonzero((away[1:] == 0) & (away[:-1] > 0))
        assert len(returns) >= 1
        short = path_of(TRAINED, np.random.default_rng(seed))
        assert short.min() >= 0 and np.abs(np.diff(short)).max() <= 10


def test_report() -> None:
    result = dict.fromkeys(memory.SCORES, 1.0) | {"memory": 2e6, "peak": 3e6}
    results = {f"{m}|val_000|vhs|{way}": result | {"psnr": 30.0 + m} for m in (0, 1) for way in memory.WAYS[:2]}
    lines = memory.report(results, 2).splitlines()
    assert len(lines) == 4 and "| none | 2.0 | 3.0 | 30.500 ± 0.500 | 1.0000 ± 0.0000 |" in lines[2]
