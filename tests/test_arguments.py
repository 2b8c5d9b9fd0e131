"""One table of arguments: signatures, checks, reference and types agree with it."""

import inspect
from dataclasses import fields
from pathlib import Path

import pytest
import vapoursynth as vs

from vsanimup.filters import arguments, table
from vsanimup.filters.upscale import Diffusion

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("function", table.FUNCTIONS)
def test_the_plugin_registers_what_the_table_says(function):
    registered = getattr(vs.core.animup, function).signature
    assert registered.split(";")[0] == "clip:vnode"
    assert sorted(registered.split(";")) == sorted(table.signature(function).split(";"))


def test_checks_take_what_the_table_says():
    checked = inspect.signature(arguments.settings).parameters
    assert set(checked) == {each.name for each in table.SHARED} | {"strength"}
    for each in table.SHARED:
        assert each.default is None or checked[each.name].default == each.default, each.name


def test_arguments_of_diffusion_are_those_of_the_table():
    assert {(f.name, f.default) for f in fields(Diffusion)} == {(each.name, each.default) for each in table.DIFFUSION}


def test_reference_and_types_are_made_from_the_table():
    reference = (ROOT / "docs" / "reference.md").read_text("utf-8")
    assert reference == table.with_tables(reference), "run python -m vsanimup.filters.table"
    assert (ROOT / "vsanimup" / "functions.py").read_text("utf-8") == table.types()
    with pytest.raises(ValueError, match="one table restore"):
        table.with_tables("")
