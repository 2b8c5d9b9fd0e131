"""``core.animup.Version()``: what is here."""

from __future__ import annotations

import importlib.metadata
import sys

from vsanimup.engines import BACKENDS
from vsanimup.networks.manifest import shipped


def version() -> dict[str, str | list[str]]:
    """Versions of animup and what it stands on, backends with what keeps each from working, and models."""
    found: dict[str, str | list[str]] = {"animup": own_version(), "python": sys.version.split()[0]}
    for package in ("vapoursynth", "numpy", "onnxruntime"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    reasons = {name: backend.unavailable() for name, backend in BACKENDS.items()}
    found["backends"] = [name for name, reason in reasons.items() if reason is None]
    found["backends_unavailable"] = [f"{name}: {reason}" for name, reason in reasons.items() if reason]
    found["models"] = [model.name for model in shipped()]
    return found


def own_version() -> str:
    """Version of the installed package."""
    return importlib.metadata.version("vsanimup")
