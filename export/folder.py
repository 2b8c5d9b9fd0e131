"""Writing a model folder whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vsanimup.models import FORMAT, MANIFEST, open_model


def write_model(out: Path, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> None:
    """Write ``files`` and a manifest with their SHA-256 to the folder ``out``, replacing what is there.

    The folder is built beside ``out`` under a temporary name, read back, and put in place by renaming.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        new = Path(temporary) / "new"
        new.mkdir()
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        text = json.dumps({"format": FORMAT, **manifest, "files": hashes}, indent=2) + "\n"
        for name, data in {**files, MANIFEST: text.encode()}.items():
            with (new / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        model = open_model(new)
        for name in files:
            model.read(name)
        if out.exists():
            out.rename(Path(temporary) / "old")
        new.rename(out)
        shutil.rmtree(Path(temporary) / "old", ignore_errors=True)
