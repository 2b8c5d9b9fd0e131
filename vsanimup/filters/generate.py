"""What is made from the table of arguments: ``python -m vsanimup.filters.generate`` writes it all.

The plugin's signatures (``vsanimup/native/signatures.hpp``), the types for editors (``vsanimup/functions.py``), and the
tables of ``docs/reference.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vsanimup.filters.table import DIFFUSION, FORMAT, FUNCTIONS, RESTORE, SHARED, UPSCALE, Argument

KINDS = {"int": "int", "float": "float", "data": "str", "int[]": "int | Sequence[int]", "vnode": "vs.VideoNode"}
"""Kind of an argument as VapourSynth names it -> its type in Python."""
TABLES = {"restore": RESTORE, "upscale": UPSCALE, "diffusion": DIFFUSION, "shared": (*SHARED, FORMAT)}
"""Tables of the reference, by the name in their markers."""
PACKAGE = Path(__file__).parents[1]
SIGNATURES = PACKAGE / "native" / "signatures.hpp"
TYPES = PACKAGE / "functions.py"
REFERENCE = PACKAGE.parent / "docs" / "reference.md"


def signature(function: str) -> list[str]:
    """The parts of the signature that the plugin registers."""
    return ["clip:vnode;", *(f"{each.name}:{each.kind}:opt;" for each in FUNCTIONS[function])]


def signatures() -> str:
    """The source of :data:`SIGNATURES`."""
    lines = ["// The filters' arguments: python -m vsanimup.filters.generate made it.", "#pragma once"]
    for function in FUNCTIONS:
        lines += ["", f"inline constexpr char {function.lower()}_arguments[] ="]
        lines += [f'    "{part}"' for part in signature(function)]
        lines[-1] += ";"
    return "\n".join(lines) + "\n"


def markdown(arguments: Sequence[Argument]) -> str:
    """A table for the reference."""
    lines = ["| argument | default | meaning |", "| --- | --- | --- |"]
    for each in arguments:
        default = each.shown or (f'`"{each.default}"`' if isinstance(each.default, str) else f"{each.default:g}")
        lines.append(f"| `{each.name}` | {default} | {each.help} |")
    return "\n".join(lines)


def with_tables(text: str) -> str:
    """The reference with its tables as they are to be, each between ``<!-- NAME -->`` and ``<!-- end -->``."""
    for name, arguments in TABLES.items():
        begin, end = f"<!-- {name} -->\n", "<!-- end -->"
        if text.count(begin) != 1:
            raise ValueError(f"the reference must hold one table {name}, it holds {text.count(begin)}")
        before, after = text.split(begin)
        text = f"{before}{begin}{markdown(arguments)}\n{end}{after.partition(end)[2]}"
    return text


def types() -> str:
    """The source of :data:`TYPES`."""
    parts = [HEAD]
    for function, arguments in FUNCTIONS.items():
        given = "".join(f"        {each.name}: {KINDS[each.kind]} = ...,\n" for each in arguments)
        parts.append(
            f"\n    def {function}(\n        self,\n        clip: vs.VideoNode,\n{given}    ) -> vs.VideoNode: ...\n"
        )
    return "".join(parts)


HEAD = '''\
"""The plugin's functions as types, for editors and type checkers: ``python -m vsanimup.filters.generate`` made it.

``animup: Animup = core.animup`` makes an editor complete and check what follows ``animup.``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import vapoursynth as vs


class Animup(Protocol):
    """``core.animup``."""
'''

if __name__ == "__main__":
    SIGNATURES.write_text(signatures(), encoding="utf-8")
    TYPES.write_text(types(), encoding="utf-8")
    REFERENCE.write_text(with_tables(REFERENCE.read_text("utf-8")), encoding="utf-8")
