"""Sizes as people read them."""

from __future__ import annotations

BYTES = ("B", "KiB", "MiB", "GiB")


def show_bytes(number: float) -> str:
    """A count of bytes as people read it, such as ``1.4 MiB``."""
    for unit in BYTES[:-1]:
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} {BYTES[-1]}"
