"""Files that are whole or not there.

A file is written under another name and renamed when it is done. A program that is killed leaves that name behind; the
next one removes it. Whoever writes holds a lock on it, which the system drops with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

LOCK: Final = ".part.lock"
"""End of a lock's name; the file that it stands for begins like it, up to and with ``.part``."""


@contextlib.contextmanager
def partial_file(final: Path) -> Iterator[Path]:
    """A temporary name beside ``final`` that becomes ``final`` on success and is removed on failure."""
    from filelock import FileLock

    name = f".{final.stem}.{os.getpid()}-{secrets.token_hex(3)}"
    partial = final.with_name(f"{name}.part{final.suffix}")
    lock = FileLock(final.with_name(f"{name}{LOCK}"))
    with contextlib.suppress(OSError, NotImplementedError):  # a file system without locks
        lock.acquire()
    try:
        yield partial
        os.replace(partial, final)
    finally:
        partial.unlink(missing_ok=True)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what :func:`partial_file` left in a folder where its process was killed; what is being written stays."""
    from filelock import FileLock, Timeout

    for path in folder.glob(f".*{LOCK}"):
        begin = path.name.removesuffix(".lock")
        with contextlib.suppress(OSError, NotImplementedError, Timeout), FileLock(path, timeout=0):
            for left in (one for one in folder.iterdir() if one.name.startswith(begin)):
                left.unlink(missing_ok=True)
