"""Model folders: a ``manifest.json`` that says what the network is, and the files it names.

Files are data: each is checked against the SHA-256 in the manifest before anything reads it.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsanimup.errors import AnimupError, cut, shown
from vsanimup.networks.fields import Field, entries, read, text, texts, whole

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
    recipe: str
    """File of ``training/recipes`` that made the weights, see :mod:`training.recipe`; empty where there is none."""
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

    def section(self, name: str, fields: Mapping[str, Field]) -> dict[str, Any]:
        """The values of ``fields`` in one of its sections, or of its task biases.

        Raises :class:`AnimupError` naming the first that is missing or not what it must be.
        """
        values = self.modulation if name == "modulation" else self.sections.get(name)
        if not isinstance(values, Mapping):
            raise self.refusal(f"{name} must be an object, got {shown(values)}")
        return read(values, fields, self.refusal, f"{name}.")

    def refusal(self, said: str) -> AnimupError:
        """The error for something that is wrong with the manifest."""
        return _refusal(self.folder, said)

    def _remedy(self) -> str:
        return _remedy(self.folder)

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


_FIELDS: Mapping[str, Field] = {
    "name": text(),
    "kind": text(),
    "scale": whole(1, 4),
    "radius": whole(0, 64),
    "align": whole(2, 4096, even=True),
    "multiple": whole(0, 4096, even=True, default=0),
    "value_range": text(),
    "tasks": texts(),
    "bytes_per_pixel": whole(1, (1 << 30) - 1),
    "parameters": whole(0, (1 << 62) - 1),
    "licence": text(),
    "source": text(),
    "recipe": text(""),
    "files": entries(),
    "modulation": entries({}),
    "specialists": entries({}),
}
"""What every manifest has, beside its format and the section of its kind."""


def open_model(folder: Path) -> Model:
    """Read a model folder's manifest.

    Raises :class:`AnimupError` when there is none or a field is missing or not what it must be.
    """
    path = folder / MANIFEST
    manifest = _read_manifest(path)
    if manifest.get("format") != FORMAT:
        raise AnimupError(
            f"model manifest {path} has format {shown(manifest.get('format'))}; this version of animup reads {FORMAT}"
        )
    values = read(manifest, _FIELDS, functools.partial(_refusal, folder))
    for name in (*values["files"], *values["specialists"].values()):
        if not isinstance(name, str) or not name or Path(name).name != name:
            raise _refusal(folder, f"file names must be plain, got {shown(name)}")
    known = {"format", *_FIELDS}
    sections = {name: value for name, value in manifest.items() if name not in known}
    return Model(folder=folder, **values, sections=sections)


def _refusal(folder: Path, said: str) -> AnimupError:
    return AnimupError(f"model manifest {folder / MANIFEST}: {said}; {_remedy(folder)}")


def _remedy(folder: Path) -> str:
    return "install the package again" if folder.is_relative_to(SHIPPED) else "get the model again"


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
