"""Sizes and counts: as people read them, of this machine, and as networks need them."""

from __future__ import annotations

import os
from pathlib import Path

BYTES = ("B", "KiB", "MiB", "GiB")


def show_bytes(number: float) -> str:
    """A count of bytes as people read it, such as ``1.4 MiB``."""
    for unit in BYTES[:-1]:
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} {BYTES[-1]}"


def count_of(number: int, what: str) -> str:
    """A number of things, such as ``1 engine`` or ``2 engines``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def total_memory() -> int | None:
    """Bytes of memory of this machine, where the system says."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def free_memory() -> int | None:
    """Bytes of memory that may still be used, where the system says."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def round_up(value: int, step: int) -> int:
    """The least multiple of ``step`` that is not below ``value``."""
    return -(-value // step) * step
