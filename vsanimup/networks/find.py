"""The one lookup for networks: what ``model=`` names, of whatever family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from vsanimup.errors import AnimupError, guess, shown
from vsanimup.networks.animatelcm.family import DiffusionNetwork
from vsanimup.networks.family import Network
from vsanimup.networks.image.family import PictureNetwork
from vsanimup.networks.lite.family import LiteNetwork
from vsanimup.networks.manifest import MANIFEST, Model, open_model, path_of, shipped_folders


class Family(NamedTuple):
    """A family of networks."""

    label: str
    """What errors call its models."""
    open: Callable[[Model], Network]
    """Raises :class:`AnimupError` for a folder that cannot be used."""
    restores: bool = True
    """Whether ``Restore`` runs them, too; ``Upscale`` runs all."""


FAMILIES: Final[Mapping[str, Family]] = {
    "lite": Family("lite", LiteNetwork.of_folder),
    "image": Family("image", PictureNetwork.of_folder),
    "animatelcm": Family("AnimateLCM", DiffusionNetwork.of_folder, restores=False),
}
"""Families, by what manifests call their kind."""
FILES: Final[Mapping[str, Callable[[str], Network]]] = {".onnx": PictureNetwork.of_file}
"""What opens files that need no manifest, by their ending."""


def find(model: str, purpose: str = "") -> Network:
    """The network that ``model=`` names: a shipped one by its name, a folder with a manifest, or a file.

    ``lite`` stands for the shipped one of a ``purpose``, such as ``restore``.
    Raises :class:`AnimupError` when there is none such, or it cannot be used.
    """
    for ending, open_file in FILES.items():
        if model.lower().endswith(ending):
            return open_file(model)
    own = shipped_folders()
    folder = own.get(f"lite-{purpose}" if model == "lite" else model) or path_of(model)
    if folder is None or not folder.is_dir():
        names = [*(["lite"] if purpose else []), *own]
        raise AnimupError(
            f"model must be one of {', '.join(names)}, a folder with a {MANIFEST}, or an .onnx file, "
            f"got {shown(model)}{guess(model, names)}"
        )
    found = open_model(folder)
    family = FAMILIES.get(found.kind)
    if family is None:
        raise AnimupError(
            f"model={shown(model)} is of kind {shown(found.kind)}; this version of animup runs kinds "
            f"{', '.join(map(repr, FAMILIES))}"
        )
    return family.open(found)
