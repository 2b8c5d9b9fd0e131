"""Optional packages: imported when they are needed, and a one-line message where one is missing."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

PIP_NAMES = {
    "pyanime4k": "pyanime4k==3.1.0",  # pip would take one with another interface where this has no wheel
    "skimage": "scikit-image",
}
ALWAYS = ("av", "numpy", "rich", "vapoursynth")


def demand(*modules: str) -> None:
    """Exit with the pip command that would bring whichever of `modules` are missing."""
    missing = [PIP_NAMES.get(name, name) for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise SystemExit(f"peers: {', '.join(missing)} not installed; run: pip install {' '.join(missing)}")


def need(module: str) -> Any:
    """The module, untyped (most of these carry no type information)."""
    demand(module.partition(".")[0])
    return importlib.import_module(module)
