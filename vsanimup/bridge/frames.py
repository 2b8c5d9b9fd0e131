"""One block of frames to compute, and its frames, for as long as it lasts."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np

from vsanimup.bridge.native import Property, functions
from vsanimup.stop import Stop

type Plane = np.ndarray[tuple[int, int], np.dtype[Any]]
type PlaneMemory = tuple[memoryview, int, int, int]
type FrameMemory = tuple[int, int, tuple[PlaneMemory, ...]]


class FrameView:
    """One frame, during one call of a block's `process`.

    Attributes:
        n: Number of the frame in the clip.
        planes: One array a plane, shape (height, width) in samples, dtype by the format: uint8,
            uint16, uint32, float16 or float32. Rows may be padded, so the arrays need not be
            contiguous. Read-only for inputs; outputs start undefined and must be filled completely.
    """

    __slots__ = ("_bases", "_dtype", "_handle", "_memory", "_planes", "_writable", "n")

    def __init__(self, memory: FrameMemory, dtype: np.dtype[Any], writable: bool) -> None:
        self.n, self._handle, self._memory = memory
        self._dtype, self._writable = dtype, writable
        self._planes: tuple[Plane, ...] | None = None
        self._bases: list[weakref.ref[np.ndarray[Any, Any]]] = []

    @property
    def planes(self) -> tuple[Plane, ...]:
        """See the class. Made on first use: a block may be given many more frames than it looks at."""
        if self._planes is None:
            size = self._dtype.itemsize
            bases = [np.frombuffer(view, self._dtype) for view, *_ in self._memory]
            self._planes = tuple(
                base.reshape(height, stride // size)[:, :width]
                for base, (_, height, width, stride) in zip(bases, self._memory, strict=True)
            )
            # Every array made from a plane refers to one of these, so they tell whether any is left.
            self._bases = [weakref.ref(base) for base in bases]
        return self._planes

    def prop(self, name: str, default: Property | None = None) -> Property | None:
        """The first value of a frame property, or `default` where it is unset or no number or text."""
        value = functions().frame_prop(self._open(), name)
        return default if value is None else value

    def set_prop(self, name: str, value: Property) -> None:
        """Set a property of an output frame. The source frame's properties are there already.

        Raises:
            TypeError: The frame is an input.
            ValueError: VapourSynth does not take that name.
        """
        handle = self._open()
        if not self._writable:
            raise TypeError("input frames are read-only")
        native = functions()
        if isinstance(value, str):
            done = native.frame_set_text(handle, name, value)
        elif isinstance(value, float):
            done = native.frame_set_float(handle, name, value)
        else:
            done = native.frame_set_int(handle, name, value)
        if not done:
            raise ValueError(f"{name!r} is no name for a frame property")

    def _open(self) -> int:
        if not self._handle:
            raise ValueError("a frame is valid only during the call it was passed to")
        return self._handle

    def _close(self) -> int:
        """End the frame's validity; its handle."""
        handle, self._handle, self._planes, self._memory = self._handle, 0, (), ()
        return handle

    def _in_use(self) -> bool:
        return any(base() is not None for base in self._bases)


class Job:
    """One block to compute: fill `outputs` from `inputs`.

    Attributes:
        block: Index k of the block.
        first: Number of its first output frame, k * block size.
        inputs: The source frames from `before` frames before the block, or its cell of the grid, to `after`
            frames after it, as far as the clip has them. With drawings, those of the block and of the window
            around its middle frame, as far as the frames' surroundings reach.
        outputs: The block's frames, as many as the block size, fewer in the last block. With drawings, the
            frames that show one: the first has the planes of all, the others only properties of their own.
    """

    __slots__ = ("_stop", "block", "first", "inputs", "outputs")

    def __init__(
        self, block: int, first: int, inputs: tuple[FrameView, ...], outputs: tuple[FrameView, ...], stop: Stop
    ) -> None:
        self.block, self.first, self.inputs, self.outputs, self._stop = block, first, inputs, outputs, stop

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the block any more: somebody looks elsewhere, the clip was freed, the program is ending.

        A long computation should look now and then, and return or raise; its result is dropped. Engines look
        by themselves.
        """
        return bool(self._stop)

    def _close(self) -> bool:
        """End the validity of the frames; False when `process` kept some of their memory."""
        self._stop.set()
        frames = self.inputs + self.outputs
        handles = [frame._close() for frame in frames]
        if not any(frame._in_use() for frame in frames):
            return True
        gc.collect()  # a reference cycle is no fault
        kept = [handle for handle, frame in zip(handles, frames, strict=True) if frame._in_use()]
        for handle in kept:
            functions().frame_keep(handle)  # better lost than freed under somebody's hands
        return not kept
