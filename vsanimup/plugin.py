"""What native code calls: the plugin's functions by name, and what answers each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vsanimup import bridge
from vsanimup.filters import restore, upscale
from vsanimup.version import version

HANDLERS: Final[dict[str, Callable[..., object]]] = {
    "Restore": restore.create,
    "Upscale": upscale.create,
    "Version": version,
}
"""How they are called, and what they return: see :func:`vsanimup.bridge.answer`."""


def invoke(function: str) -> str | None:
    """Answer the function of the plugin that is being called on this thread; the error's text, or None."""
    return bridge.answer(function, HANDLERS[function])
