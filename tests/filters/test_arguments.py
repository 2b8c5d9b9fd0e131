"""One table of arguments: signatures, checks, reference and types agree with it."""

from dataclasses import MISSING, fields
from typing import Any

import pytest
import vapoursynth as vs

from vsanimup.errors import AnimupError
from vsanimup.filters import arguments, generate, table
from vsanimup.filters.ranges import AtLeast, Flag, Pair, Range, Span, Whole, Word
from vsanimup.networks.find import FAMILIES
from vsanimup.networks.settings import Settings

ROWS = [(function, row) for function, rows in table.FUNCTIONS.items() for row in rows]


@pytest.mark.parametrize("function", table.FUNCTIONS)
def test_the_plugin_registers_what_the_table_says(function: str) -> None:
    assert getattr(vs.core.animup, function).signature == "".join(generate.signature(function))


def test_what_is_made_from_the_table_is_up_to_date() -> None:
    run = "run python -m vsanimup.filters.generate"
    reference = generate.REFERENCE.read_text("utf-8")
    assert reference == generate.with_tables(reference), run
    assert generate.TYPES.read_text("utf-8") == generate.types(), run
    assert generate.SIGNATURES.read_text("utf-8") == generate.signatures(), run
    with pytest.raises(ValueError, match="one table restore"):
        generate.with_tables("")


@pytest.mark.parametrize(("function", "row"), ROWS, ids=lambda value: getattr(value, "name", value))
def test_defaults_and_families_are_possible(function: str, row: table.Argument) -> None:
    if row.default is not None:
        assert row.range.checked(row.name, row.default) == row.default
    assert set(row.families) <= FAMILIES.keys()


def test_settings_are_arguments_of_both_filters() -> None:
    shared = {row.name for row in table.SHARED}
    assert {field.name for field in fields(Settings)} == shared | {"share"}


def test_settings_left_out_are_what_the_table_says() -> None:
    rows = {row.name: row for row in table.SHARED}
    own = {field.name: field.default for field in fields(Settings) if field.default is not MISSING}
    said = {name: row.default for name, row in rows.items() if name in own and row.default is not None}
    assert len(said) > 5 and said == {name: own[name] for name in said}


@pytest.mark.parametrize("function", table.FUNCTIONS)
def test_what_is_left_out_is_what_the_table_says(function: str) -> None:
    values = arguments.checked(function, {"tilesize": [64], "tta": 1})
    assert values == {row.name: row.default for row in table.FUNCTIONS[function]} | {"tilesize": (64, 64), "tta": True}


@pytest.mark.parametrize(
    ("range", "right", "wrong", "said"),
    [
        (Span(0, 1), [0.0, 1, 0.5], [-0.1, 1.1, float("nan"), float("inf")], "x must lie between 0 and 1, got"),
        (Span(0, 1, low="0 (off)"), [0.0], [2.0], r"x must lie between 0 \(off\) and 1, got 2.0"),
        (AtLeast(1), [1, 2**62], [0, -(2**62)], "x must be at least 1, got"),
        (Flag(), [0, 1], [2, -1], r"x must be 0 \(off\) or 1 \(on\), got"),
        (Whole((2, 3, 4)), [2, 3.0], [2.5, 5, float("nan")], "x must be 2, 3 or 4, got"),
        (Word(("one", "two")), ["one"], ["onne", ""], "x must be one of one, two, got"),
        (
            Pair(32),
            [[32, 48]],
            [[31], [], [32, 32, 32]],
            r"x must be one or two numbers \(width, height\) of at least 32",
        ),
        (Pair(0, 8), [[0, 8]], [[9], [8, -1]], "from 0 to 8, got"),
    ],
    ids=str,
)
def test_ranges(range: Range, right: list[Any], wrong: list[Any], said: str) -> None:
    for value in right:
        assert range.checked("x", value) == (tuple(value) if isinstance(value, list) else value)
    for value in wrong:
        with pytest.raises(AnimupError, match=said):
            range.checked("x", value)


def test_steps_too_small_to_change_anything_are_none() -> None:
    assert Span(0, 64).checked("x", 1e-9) == 0 and Span(0, 64).checked("x", 1e-5) == 1e-5
