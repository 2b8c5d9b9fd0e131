"""Files that come with the package: each is known by its SHA-256 before anything reads it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vsanimup.errors import AnimupError


def verified(path: Path, digest: str, otherwise: str) -> bytes:
    """The bytes of a file whose SHA-256 is ``digest``; ``otherwise`` is what to do without it.

    Raises :class:`AnimupError` where it is missing or other than it should be.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AnimupError(f"{path} cannot be read ({error.strerror}); install the package again") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise AnimupError(
            f"{path} is damaged: its {len(data)} bytes do not have the expected SHA-256; install the package "
            f"again, or {otherwise}"
        )
    return data
