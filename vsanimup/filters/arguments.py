"""Arguments of a filter as a script gives them: each against its row of the table, and all against the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsanimup.errors import AnimupError, shown
from vsanimup.filters.table import FUNCTIONS
from vsanimup.networks.family import Network
from vsanimup.networks.find import FAMILIES


def checked(function: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of all arguments of a filter, by name: those given, and what the others are where they are left out.

    Raises :class:`AnimupError` naming the argument, its value and what would do.
    """
    return {
        row.name: row.range.checked(row.name, given[row.name]) if row.name in given else row.default
        for row in FUNCTIONS[function]
    }


def refuse_of_others(function: str, given: Mapping[str, Any], network: Network) -> None:
    """Raise :class:`AnimupError` for a network of the other filter, and arguments that go with other families."""
    family = FAMILIES[network.kind]
    if function == "Restore" and not family.restores:
        raise AnimupError(
            f"model={shown(given['model'])} is an {family.label} model, which enlarges: give it to Upscale"
        )
    rows = [row for row in FUNCTIONS[function] if row.name in given]
    wrong = [row for row in rows if row.families and network.kind not in row.families]
    if not wrong:
        return
    families = wrong[0].families
    same = [row.name for row in wrong if row.families == families]
    said = ", ".join(f"{name}={_said(given[name])}" for name in same)
    verb, out = ("goes", "it") if len(same) == 1 else ("go", "them")
    labels = " or ".join(FAMILIES[family].label for family in families)
    raise AnimupError(
        f"{said} {verb} with {labels} models, which model={shown(given.get('model', 'lite'))} is not: leave {out} out"
    )


def _said(value: object) -> str:
    """A value as a script has it: VapourSynth makes floats of whole numbers."""
    return f"{value:g}" if isinstance(value, float) else shown(value)
