"""Networks that many filters open, opened once."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from vsanimup.engines import Engine, Size
from vsanimup.engines.cpu import CpuBackend

MOST = 48
"""Engines that are kept."""
LOCK = threading.Lock()
open_anew = CpuBackend._open


@functools.lru_cache(MOST)
def opened(
    network: bytes | str, written: int, origin: str, sizes: tuple[tuple[str, Size], ...], others: tuple[Any, ...]
) -> Engine:
    """An engine as the backend opens it; a file that was ``written`` anew is another."""
    return open_anew(CpuBackend(), network, origin, dict(sizes), *others)


def open_once(
    backend: CpuBackend, network: bytes | str, origin: str, sizes: Mapping[str, Size], *others: Any
) -> Engine:
    """In place of the backend's own way; what cannot be opened is asked for anew."""
    written = Path(network).stat().st_mtime_ns if isinstance(network, str) and Path(network).is_file() else 0
    with LOCK:
        return opened(network, written, origin, tuple(sizes.items()), others)


@pytest.fixture(autouse=True)
def networks_are_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening takes ten times as long as the frames of small clips."""
    monkeypatch.setattr(CpuBackend, "_open", open_once)
