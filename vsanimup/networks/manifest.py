"""Model folders: a ``manifest.json`` that says what the network is, and the files it names.

Files are data: each is checked against the SHA-256 in the manifest before anything reads it.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from vsanimup.errors import AnimupError, cut, shown

MANIFEST = "manifest.json"
FORMAT = 1
"""Version of the manifest's layout."""
SHIPPED = Path(__file__).parents[1] / "models"
"""Folder of the models that come with the package."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model folder whose manifest has been read."""

    folder: Path
    """Where it lies."""
    name: str
    """Name for lists and logs, such as ``lite-restore``."""
    kind: str
    """Family, such as ``lite``: decides how the network is fed."""
    scale: int
    """Enlargement: 1 restores, 2 doubles."""
    radius: int
    """Frames seen on each side."""
    align: int
    """Corners of tiles lie on multiples of this many luma samples."""
    multiple: int
    """Luma width and height of the network's input must divide by this; 0 stands for ``align``."""
    value_range: str
    """Values the network takes: ``unit`` is luma 0..1 and chroma -0.5..0.5."""
    tasks: tuple[str, ...]
    """What it restores."""
    bytes_per_pixel: int
    """Working memory a luma sample of input, for the choice of tiles."""
    parameters: int
    """Trained numbers in the network."""
    licence: str
    """SPDX identifier of the weights' licence."""
    source: str
    """Where the weights come from."""
    files: Mapping[str, str]
    """SHA-256 of each file, by name."""
    modulation: Mapping[str, Any]
    """Task biases, see :mod:`vsanimup.networks.modulation`: their file and where they go; empty where none."""
    specialists: Mapping[str, str]
    """Tasks that have a network of their own, and its folder in this one."""
    sections: Mapping[str, Any]
    """Whatever else the manifest holds, such as the section of its kind."""

    def path(self, name: str) -> Path:
        """Where one file lies, whether it is there or not.

        Raises :class:`AnimupError` when the manifest names none such.
        """
        if name not in self.files:
            raise AnimupError(f"model {self.folder}: the manifest names no file {cut(name)}; {self._remedy()}")
        return self.folder / name

    def specialist(self, mix: Mapping[str, float]) -> str | None:
        """The task of a mix that has a network of its own: one of full weight, and none with another network."""
        asked = [task for task in self.specialists if mix.get(task, 0.0) >= 1]
        return asked[0] if len({self.specialists[task] for task in asked}) == 1 else None

    def of(self, task: str | None) -> Model:
        """The network for what :meth:`specialist` says.

        Raises :class:`AnimupError` when it is not there, or takes and gives something else.
        """
        if task is None:
            return self
        folder = self.folder / self.specialists[task]
        if not folder.is_dir():
            raise AnimupError(f"model {self.folder}: its folder {folder.name} is missing; {self._remedy()}")
        other = open_model(folder)
        if other.shape != self.shape or other.radius > self.radius:
            raise AnimupError(f"model {other.folder} cannot stand in for {self.name}; {self._remedy()}")
        return other

    def family(self) -> list[Model]:
        """This model and the networks beside it, each once. Raises as :meth:`of`."""
        first: dict[str, str] = {}
        for task, folder in self.specialists.items():
            first.setdefault(folder, task)
        return [self, *(self.of(task) for task in first.values())]

    @property
    def shape(self) -> tuple[object, ...]:
        """What networks that stand in for each other have in common; they may see fewer frames."""
        return self.kind, self.scale, self.align, self.multiple, self.value_range, self.tasks

    def _remedy(self) -> str:
        return "install the package again" if self.folder.is_relative_to(SHIPPED) else "get the model again"

    def read(self, name: str) -> bytes:
        """The bytes of one file, verified.

        Raises :class:`AnimupError` naming the file when it is missing, truncated or altered.
        """
        path = self.path(name)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise self._unreadable(path, error) from error
        self._compare(name, hashlib.sha256(data).hexdigest(), len(data))
        return data

    def verify(self, name: str) -> Path:
        """Where one file lies, its contents verified without ever holding them all.

        Raises :class:`AnimupError` as :meth:`read` does.
        """
        path = self.path(name)
        try:
            with path.open("rb") as file:
                digest, size = hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
        except OSError as error:
            raise self._unreadable(path, error) from error
        self._compare(name, digest, size)
        return path

    def _unreadable(self, path: Path, error: OSError) -> AnimupError:
        remedy = "see to its permissions" if isinstance(error, PermissionError) else self._remedy()
        return AnimupError(f"model file {path} cannot be read ({error.strerror}); {remedy}")

    def _compare(self, name: str, digest: str, size: int) -> None:
        if digest != self.files[name]:
            raise AnimupError(
                f"model file {self.folder / name} is damaged: its {size} bytes do not have the SHA-256 that "
                f"{MANIFEST} gives; {self._remedy()}"
            )

    def size(self) -> int:
        """Bytes of all files together, missing ones not counted."""
        return sum((self.folder / name).stat().st_size for name in self.files if (self.folder / name).exists())


_TYPES: dict[str, type] = {
    "name": str,
    "kind": str,
    "scale": int,
    "radius": int,
    "align": int,
    "multiple": int,
    "value_range": str,
    "tasks": list,
    "bytes_per_pixel": int,
    "parameters": int,
    "licence": str,
    "source": str,
    "files": dict,
    "modulation": dict,
    "specialists": dict,
}

_WORDS = {str: "a text", int: "a whole number", list: "a list", dict: "an object"}

_OPTIONAL: dict[str, Any] = {"modulation": {}, "multiple": 0, "specialists": {}}

_RANGES = {
    "scale": range(1, 5),
    "radius": range(65),
    "align": range(2, 4097, 2),
    "multiple": range(0, 4097, 2),
    "bytes_per_pixel": range(1, 1 << 30),
    "parameters": range(1 << 62),
}


def open_model(folder: Path) -> Model:
    """Read a model folder's manifest.

    Raises :class:`AnimupError` when there is none or a field is missing or of the wrong type.
    """
    path = folder / MANIFEST
    manifest = _read_manifest(path)
    if manifest.get("format") != FORMAT:
        raise AnimupError(
            f"model manifest {path} has format {shown(manifest.get('format'))}; this version of animup reads {FORMAT}"
        )
    values: dict[str, Any] = {"folder": folder}
    for field in fields(Model):
        if field.name not in _TYPES:
            continue
        value, kind = manifest.get(field.name, _OPTIONAL.get(field.name)), _TYPES[field.name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise AnimupError(f"model manifest {path}: {field.name} must be {_WORDS[kind]}, got {shown(value)}")
        span = _RANGES.get(field.name)
        if span is not None and value not in span:
            wanted = f"{span[0]} to {span[-1]}{', even' if span.step == 2 else ''}"
            raise AnimupError(f"model manifest {path}: {field.name} is out of range, {wanted}: got {shown(value)}")
        values[field.name] = tuple(value) if isinstance(value, list) else value
    if not all(isinstance(task, str) for task in values["tasks"]):
        raise AnimupError(f"model manifest {path}: tasks must be texts, got {shown(list(values['tasks']))}")
    for name in (*values["files"], *values["specialists"].values()):
        if not isinstance(name, str) or not name or Path(name).name != name:
            raise AnimupError(f"model manifest {path}: file names must be plain, got {shown(name)}")
    known = {"format", *_TYPES}
    return Model(**values, sections={name: value for name, value in manifest.items() if name not in known})


def _read_manifest(path: Path) -> dict[str, Any]:
    where = f"model={shown(str(path.parent))}"
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise AnimupError(f"{where}: its {MANIFEST} is no file; give a folder that 'animup export' made")
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AnimupError(
            f"{where} has no {MANIFEST}; give a folder that 'animup export' made, or an .onnx file"
        ) from error
    except OSError as error:
        raise AnimupError(f"{where}: {path} cannot be read ({error.strerror}); see to its permissions") from error
    except AnimupError:
        raise
    except (ValueError, RecursionError) as error:
        raise AnimupError(f"model manifest {path} is damaged: {cut(error)}; get the model again") from error
    if not isinstance(manifest, dict):
        raise AnimupError(f"model manifest {path} is damaged: it holds no object; get the model again")
    return manifest


def shipped() -> list[Model]:
    """The models that come with the package, by name."""
    return [open_model(folder) for folder in shipped_folders().values()]


def shipped_folders() -> dict[str, Path]:
    """Folders of the models that come with the package, by name; none of them is opened."""
    return {path.parent.name: path.parent for path in sorted(SHIPPED.glob(f"*/{MANIFEST}"))}


def path_of(model: str) -> Path | None:
    """The file or folder that ``model=`` names; ``None`` where nothing is there.

    Raises :class:`AnimupError` when that cannot be told.
    """
    try:
        path = Path(model).expanduser()
        path.stat()
    except RuntimeError as error:  # of expanduser
        raise AnimupError(f"model={shown(model)} names no user of this machine; write the path out") from error
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        raise AnimupError(
            f"model={shown(model)} cannot be looked at ({error.strerror}); see to its permissions"
        ) from error
    return path if model else None
