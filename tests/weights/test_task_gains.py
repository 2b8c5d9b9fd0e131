"""What the shipped weights gain, task by task, on damage from hardly visible to ruin; on drawings made here.

``python -m training.lite.gains`` measures the same on the validation clips, see ``docs/task_gains.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from training.data import line_art, media, textures
from training.data.media import Planes
from training.lite.gains import DAMAGE, Row, measure, ramps, table
from vsanimup.tasks import TASKS

pytestmark = pytest.mark.weights

LEAST = {
    "deblock": 0.3,
    "destream": 0.7,
    "denoise": 1.5,
    "deblur": 1.7,
    "dehalo": 1.4,
    "dechroma": 0.8,
    "descratch": 1.2,
    "deband": 0.45,
    "derain": 4.0,
    "dehaze": 6.3,
    "desnow": 3.0,
}
"""Mean gain in dB on inked drawings that no weights may fall below: what those of now reach is a third more."""


@cache
def drawings() -> tuple[tuple[str, Planes], ...]:
    """Ink on a smooth ground that pans, and the same ground with brush strokes, 96 samples wide and high."""
    made = []
    for name, seed in (("ink", 1), ("paint", 2)):
        rng = np.random.default_rng(seed)
        shade = textures.field(256, 256, 96, rng)[..., None] * 25 + np.array([150, 130, 110])
        if name == "paint":
            shade = shade + 12 * textures.field(256, 256, 5, rng)[..., None]
        ground = np.clip(shade, 0, 255).astype(np.uint8)
        plate = line_art.plate(ground, rng) if name == "ink" else ground
        frames = [np.ascontiguousarray(plate[16:208, 8 + 2 * t : 200 + 2 * t]) for t in range(5)]
        made.append((name, media.halve(media.to_planes(frames))))
    return tuple(made)


@cache
def rows_of(task: str) -> tuple[Row, ...]:
    return tuple(measure(task, drawings(), {}))


def of_damage(task: str) -> Iterator[list[Row]]:
    for damage in DAMAGE[task]:
        yield [row for row in rows_of(task) if row.damage == damage]


def test_every_task_has_damage_of_its_own() -> None:
    assert set(DAMAGE) == set(TASKS) == set(LEAST)
    for task, damage in DAMAGE.items():
        assert len(damage) >= 3, task


@pytest.mark.parametrize("task", TASKS)
def test_damage_grows(task: str) -> None:
    """What is called light is lighter than what is called heavy, in each family of damage."""
    means = {rows[0].damage: np.mean([row.before for row in rows]) for rows in of_damage(task)}
    families: dict[str, list[float]] = {}
    for damage, mean in means.items():
        families.setdefault(damage.split()[0], []).append(float(mean))
    for family, found in families.items():
        assert found == sorted(found, reverse=True) or family in ("NTSC", "PAL"), means


@pytest.mark.parametrize("task", TASKS)
def test_tasks_gain_on_their_own_damage(task: str) -> None:
    assert np.mean([row.gain for row in rows_of(task) if row.clip == "ink"]) >= LEAST[task], table(rows_of(task))


@pytest.mark.parametrize("task", TASKS)
def test_light_damage_is_not_made_worse(task: str) -> None:
    assert min(row.gain for row in next(of_damage(task))) >= -0.1, table(rows_of(task))


def test_composite_loses_its_rainbows() -> None:
    crude = [row.gain for row in rows_of("dechroma") if row.damage.endswith("1D")]
    assert np.mean(crude) >= 1.5, table(rows_of("dechroma"))


def test_posterised_strokes_come_back() -> None:
    gains = [row.gain for row in rows_of("deband") if row.clip == "paint"]
    assert np.mean(gains) >= 1.5 and min(gains) >= 0.5, table(rows_of("deband"))


def test_ramps_lose_their_bands() -> None:
    rows = list(measure("deband", ramps(), {}))
    assert np.mean([row.gain for row in rows]) >= 4, table(rows)
    assert min(row.gain for row in rows) >= 2.5, table(rows)


def test_a_table_names_the_worst() -> None:
    rows = [Row("denoise", "noise 2", name, 30.0, 30.0 + gain, 0.5) for name, gain in (("a", 2.0), ("b", -1.0))]
    assert table(rows).splitlines()[-1] == "| denoise | noise 2 | 30.00 | +0.50 | b -1.00 | 1 of 2 | +0.50 |"
