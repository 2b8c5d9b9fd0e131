"""The functions that native code hands over, on the plugin's first call in this process."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import Any, Final, NamedTuple

_EXIT_SECONDS: Final = 10.0
"""How long the end of the interpreter waits for them. Running on into its finalisation can crash."""

type Property = int | float | str


class Native(NamedTuple):
    """The built-ins of native_functions.cpp, in its order."""

    frame_prop: Callable[[int, str], Property | None]
    frame_set_int: Callable[[int, str, int], int]
    frame_set_float: Callable[[int, str, float], int]
    frame_set_text: Callable[[int, str, str], int]
    frame_keep: Callable[[int], None]
    block_unwanted: Callable[[int], int]
    stop_nodes: Callable[[int, float], int]
    node_counts: Callable[[], tuple[int, int]]
    even_out: Callable[[int, int, int, int, float, int], None]
    enlarge: Callable[[int, bool], None]
    measure_cells: Callable[[int, int, int], None]
    predict_shares: Callable[[int, int, int, int, int, int, int], None]
    blend_shares: Callable[[int, int, int, int, int, int], None]
    deband: Callable[[int, int, int, int, int, int, int, int, int], None]


_native: Native | None = None


def attach(*functions: Any) -> None:
    """Receive the native functions, on the plugin's first call in this process."""
    global _native  # noqa: PLW0603
    _native = Native(*functions)
    # VapourSynth's own handler was registered earlier, so this one runs before it.
    atexit.register(_native.stop_nodes, -1, _EXIT_SECONDS)


def functions() -> Native:
    """What was handed over; :class:`RuntimeError` before the plugin was first called."""
    if _native is None:
        raise RuntimeError("the animup plugin has not been called in this process")
    return _native


def stop_nodes(group: int, seconds: float) -> None:
    """Stop the nodes of a script environment, and wait so long for what they compute."""
    if _native is not None:
        _native.stop_nodes(group, seconds)
