"""Writing a model folder whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vsanimup.networks.manifest import FORMAT, MANIFEST, open_model


def sha256(path: Path) -> str:
    """Of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until a file or folder lies on the disk."""
    if path.is_dir() and os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def called() -> str:
    """The command that is running, to be written down in a manifest."""
    arguments = sys.argv[1:]
    return shlex.join(["animup", "export", *arguments[arguments[:1] == ["export"] :]])


def unwritten(error: OSError | MemoryError, out: Path) -> str:
    """What to say of an export to ``out`` that the system stopped."""
    if isinstance(error, MemoryError):
        return f"out of memory; nothing was written to {out}: close other programs"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "make room, or give another --out" if full else "see to that, or give another --out"
    return f"{error.strerror or error}; nothing was written to {out}: {remedy}"


@contextlib.contextmanager
def model_folder(out: Path, manifest: Mapping[str, Any]) -> Iterator[Path]:
    """A new folder for a model's files, which takes the place of ``out`` when the block ends without an error.

    It lies beside ``out`` under a temporary name. At the end the manifest is written, with the SHA-256 of each file;
    ``manifest`` may be filled until then.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        new = Path(temporary) / "new"
        new.mkdir()
        yield new
        paths = sorted(path for path in new.iterdir() if path.is_file())
        for path in paths:
            sync(path)
        hashes = {path.name: sha256(path) for path in paths}
        text = json.dumps({"format": FORMAT, **manifest, "files": hashes}, indent=2) + "\n"
        (new / MANIFEST).write_text(text, encoding="utf-8")
        sync(new / MANIFEST)
        open_model(new)
        sync(new)
        if out.exists():
            out.rename(Path(temporary) / "old")
        new.rename(out)
        sync(out.parent)
        shutil.rmtree(Path(temporary) / "old", ignore_errors=True)


def write_model(
    out: Path, files: Mapping[str, bytes], manifest: Mapping[str, Any], folders: Iterable[str] = ()
) -> None:
    """Write ``files`` and a manifest with their SHA-256 to the folder ``out``, replacing what is there.

    The folders in it that are named by ``folders`` stay. It is built beside ``out`` under a temporary name, read back,
    and put in place by renaming.
    """
    with model_folder(out, manifest) as new:
        for name, data in files.items():
            (new / name).write_bytes(data)
            sync(new / name)
            if (new / name).read_bytes() != data:
                raise OSError(f"{new / name} does not hold what was written to it")
        for name in folders:
            shutil.copytree(out / name, new / name)
