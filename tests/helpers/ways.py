"""Ways to run a network."""

from __future__ import annotations

from typing import Any

from vsanimup.networks.settings import Settings


def settings(**changed: Any) -> Settings:
    """Those of a filter on the CPU whose other arguments are left out."""
    return Settings.of({"backend": "cpu", "device_id": 0, "precision": "auto"} | changed)
