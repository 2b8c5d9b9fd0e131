"""How much memory one tile may take."""

from __future__ import annotations

from vsanimup.engines import DeviceMemory

MEMORY = 1 << 30
"""Bytes of working memory that one tile may take when the tile size is left to us. Fixed, not what happens to
be free: the grid, and with it the picture, must not depend on the moment."""
SHARE = 4
"""The tiles of all streams together take at most one part in so many of the memory of a device that has its own."""


def memory_of_tile(room: DeviceMemory | None, streams: int) -> int:
    """Bytes that a tile may take. Depends on what there is, not on what happens to be free."""
    return MEMORY if room is None else min(MEMORY, room.total // SHARE // streams)
