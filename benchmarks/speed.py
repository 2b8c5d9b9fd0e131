"""Speed side by side: turns are interleaved, so that a machine that slows down slows everybody down."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.contenders import Contender, Turn

QUIET = 0.1
"""Share of one core below which the process counts as idle."""


@dataclass
class Timing:
    """The turns of one contender, and for each the turn of ours that followed it."""

    turns: list[Turn] = field(default_factory=list)
    ours: list[Turn] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """Medians over the turns, and the turns; ratios say how many times as long as ours it takes."""
        pairs = list(zip(self.turns, self.ours, strict=True)) if self.ours else []
        return {
            "seconds": statistics.median(turn.wall for turn in self.turns),
            "fastest": min(turn.wall for turn in self.turns),
            "cpu": statistics.median(turn.cpu for turn in self.turns),
            "ratio": statistics.median(peer.wall / ours.wall for peer, ours in pairs) if pairs else None,
            "cpu ratio": statistics.median(peer.cpu / ours.cpu for peer, ours in pairs) if pairs else None,
            "turns": [turn.wall for turn in self.turns],
            "turns of ours": [turn.wall for turn in self.ours],
        }


def settle(limit: float = 60) -> None:
    """Wait until nothing of this process computes (work done ahead, spinning threads)."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        wall, busy = time.perf_counter(), time.process_time()
        time.sleep(0.25)
        if (time.process_time() - busy) / (time.perf_counter() - wall) < QUIET:
            return


def measure(peers: list[Contender], ours: Contender | None, runs: int, say: Callable[[str], None]) -> dict[str, Timing]:
    """Time all contenders `runs` times: peer, ours, peer, ours, …"""
    everybody = ([ours] if ours else []) + peers
    timings = {contender.name: Timing() for contender in everybody}
    for contender in everybody:
        contender.warm_up()

    def turn(contender: Contender) -> Turn:
        settle()
        taken = contender.turn()
        timings[contender.name].turns.append(taken)
        say(f"  {contender.name} {taken.wall:.3f} s, {taken.cpu:.3f} of the cores together")
        return taken

    for run in range(runs):
        say(f"speed, run {run + 1} of {runs}")
        for peer in peers:
            turn(peer)
            if ours:
                timings[peer.name].ours.append(turn(ours))
        if ours and not peers:
            turn(ours)
    if ours:
        timings[ours.name].ours = list(timings[ours.name].turns)
    return timings
