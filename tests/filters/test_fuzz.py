"""Random clips, arguments and ways of asking for frames; the long form is ``python -m benchmarks.fuzz``."""

from benchmarks.fuzz import MadeUp, Tally, check, draw
from vsanimup.engines import BACKENDS

CASES, RUNS = 75, 4


def test_any_way_of_asking_gives_the_same_bytes(monkeypatch):
    monkeypatch.setitem(BACKENDS, MadeUp.name, MadeUp())
    tally = Tally()
    for seed in range(CASES):
        tally.add(check(draw(seed, MadeUp.name), RUNS))
    assert not tally.faults, "\n".join(tally.faults)
    assert tally.runs == CASES * RUNS and tally.refused == 0 and tally.frames > 8 * tally.runs
