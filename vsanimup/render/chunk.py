"""One chunk made whole, in this process or on a worker of a cluster."""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vsanimup.errors import AnimupError
from vsanimup.render import chunk_encoders, identity
from vsanimup.render.child import Child, Died
from vsanimup.render.chunk_encoders import ChunkEncoder
from vsanimup.render.journal import Entry, chunk_name, file_hash, partial, put, put_entry
from vsanimup.sizes import count_of

Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Script:
    """What to run for frames."""

    path: str
    text: str
    arguments: dict[str, str]
    view: str = "result"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What it takes to make a chunk."""

    index: int
    first: int
    end: int
    script: Script
    encoder: ChunkEncoder
    rate: tuple[int, int]
    """Frames a second, numerator and denominator; of a film without a steady rate, its mean."""
    folder: str
    """Where chunks go."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions that the film is made with."""


class Unfit(AnimupError):
    """This machine has not what the film is made with."""


class Maker:
    """Makes chunks one at a time, by a frame server that it keeps."""

    def __init__(self, cores: list[int] | int) -> None:
        self._cores = cores
        self._child: Child | None = None
        self._script: Script | None = None
        self._lock = threading.Lock()
        self.closed = False

    def make(self, order: Order, progress: Progress | None = None) -> Entry:
        """Make a chunk and its entry in the order's folder.

        Raises:
            Unfit: This machine has other versions.
            Died: The process that runs the script crashed.
            AnimupError: The script or the encoder failed.
        """
        began = time.monotonic()
        child = self._opened(order)
        final = Path(order.folder, chunk_name(order.index))
        written = partial(final)
        try:
            done = child.ask(
                "encode",
                progress,
                first=order.first,
                end=order.end,
                rate=list(order.rate),
                command=order.encoder.command(str(written)),
            )
            headers = check(written, order.end - order.first)
            entry = Entry(
                index=order.index,
                first=order.first,
                end=order.end,
                size=written.stat().st_size,
                sha256=file_hash(written),
                headers=headers,
                durations=done["durations"],
                seconds=time.monotonic() - began,
            )
            put(written, final)
            put_entry(final.parent, entry)
        except Died:
            self.close()  # the next order gets a new process
            raise
        except AnimupError as error:
            raise AnimupError(_full_disk(final.parent, str(error)) or str(error)) from error
        finally:
            written.unlink(missing_ok=True)
        return entry

    def _opened(self, order: Order) -> Child:
        """The frame server with the order's script, and this machine found fit for it."""
        if self._child is not None and self._script == order.script:
            return self._child
        self.close()
        with self._lock:
            if self.closed:
                raise AnimupError("stopped")
            child = self._child = Child()
        found = open_script(child, order.script, self._cores)
        here = versions_here(found, order.encoder)
        if refusal := identity.unlike(order.versions, here, "this machine"):
            raise Unfit(str(refusal))
        self._script = order.script
        return child

    def kill(self) -> None:
        """End what is going on, from another thread, and begin nothing more."""
        with self._lock:
            self.closed = True
            if self._child is not None:
                self._child.kill()

    def close(self) -> None:
        """Let the frame server go."""
        child, self._child, self._script = self._child, None, None
        if child is not None:
            child.close()


def _full_disk(folder: Path, said: str) -> str | None:
    """What to say of an encoder that failed, if the disk is full."""
    free = shutil.disk_usage(folder).free if folder.exists() else 1 << 30
    if free < 1 << 20 or "No space left" in said:
        return f"the disk is full ({free // 1024} KiB left in {folder}); make room and start again"
    return None


def open_script(child: Child, script: Script, cores: list[int] | int) -> dict[str, Any]:
    """Have a frame server evaluate a script; what its clip is, as :meth:`frame_server.FrameServer.open` tells it."""
    return child.ask(
        "open", script=script.path, text=script.text, arguments=script.arguments, cores=cores, view=script.view
    )


def versions_here(info: dict[str, Any], encoder: ChunkEncoder) -> dict[str, str]:
    """Versions of what makes frames and encodes them on this machine; ``info`` is a frame server's answer."""
    found = identity.versions(info["core"], info["plugins"])
    return found | {"encoder version": chunk_encoders.version(encoder.tool, encoder.library)}


def check(path: Path, frames: int) -> str:
    """See that an encoded chunk is whole; the hash of its parameter sets.

    Raises:
        AnimupError: It is not. Encoders report success on a full disk.
    """
    import av

    count, times = 0, set()
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            headers = bytes(stream.codec_context.extradata or b"")
            for packet in container.demux(stream):
                if packet.size:
                    if not count and not packet.is_keyframe:
                        raise AnimupError("the encoder failed: its chunk does not begin with a key frame")
                    count += 1
                    times.add(packet.pts)
    except (av.FFmpegError, IndexError, OSError) as error:
        raise AnimupError(f"the encoder failed: its file cannot be read ({error})") from None
    if count != frames or len(times) != frames:
        raise AnimupError(f"the encoder failed: its file holds {count_of(count, 'frame')} of {frames}")
    return hashlib.sha256(headers).hexdigest()
