"""Random clips, arguments and ways of asking for frames; the long form is ``python -m benchmarks.fuzz``."""

import pytest

from benchmarks.fuzz import MadeUp, Tally, check, draw
from vsanimup.engines import BACKENDS

RUNS = 4


@pytest.mark.parametrize("cases", [12, pytest.param(75, marks=pytest.mark.slow)])
def test_any_way_of_asking_gives_the_same_bytes(monkeypatch: pytest.MonkeyPatch, cases: int) -> None:
    monkeypatch.setitem(BACKENDS, MadeUp.name, MadeUp())
    tally = Tally()
    for seed in range(cases):
        tally.add(check(draw(seed, MadeUp.name), RUNS))
    assert not tally.faults, "\n".join(tally.faults)
    assert tally.runs == cases * RUNS and tally.refused == 0 and tally.frames > 8 * tally.runs
