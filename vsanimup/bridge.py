"""Between the native plugin and the rest of the package.

The plugin's functions (``core.animup.Restore`` and so on) arrive in `vsanimup.plugin`, and `answer` turns
their maps into Python's arguments and back. In the other direction `block_node` makes the plugin's one kind of
node: a clip computed in blocks of frames by a Python callable.

Two rules for the callables given to `block_node`: they must not request frames of any clip (a core
with one thread would wait for itself), and they must not keep views of a frame's planes.
"""

from __future__ import annotations

import atexit
import functools
import gc
import itertools
import logging
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import vapoursynth as vs

from vsanimup.errors import AnimupError, cut, shown
from vsanimup.stop import Stop

__all__ = ["SPAN", "FrameView", "Job", "answer", "block_node", "log"]

SPAN: Final = "AnimupFrom", "AnimupFirst", "AnimupLast", "AnimupTo"
"""Frame properties that tell the plugin of the drawing a frame shows (see native/span.hpp): the first frame of its
surroundings, which lie in its scene, its own first and last, the last of its surroundings."""

_ENVIRONMENT_SECONDS: Final = 10.0
"""How long the end of a script environment (a reload in an editor, the end of vspipe) waits for running blocks.
They end by themselves within a frame's time; vspipe tears libraries down under those that have not."""

_EXIT_SECONDS: Final = 10.0
"""How long the end of the interpreter waits for them. Running on into its finalisation can crash."""

type Plane = np.ndarray[tuple[int, int], np.dtype[Any]]
type Property = int | float | str
type _PlaneMemory = tuple[memoryview, int, int, int]
type _Callbacks = tuple[Callable[..., str | None], Callable[[int], None], Callable[[], None]]
type _FrameMemory = tuple[int, int, tuple[_PlaneMemory, ...]]


class _Native(NamedTuple):
    """The built-ins of native_functions.cpp, in its order."""

    frame_prop: Callable[[int, str], Property | None]
    frame_set_int: Callable[[int, str, int], int]
    frame_set_float: Callable[[int, str, float], int]
    frame_set_text: Callable[[int, str, str], int]
    frame_keep: Callable[[int], None]
    block_unwanted: Callable[[int], int]
    stop_nodes: Callable[[int, float], int]
    node_counts: Callable[[], tuple[int, int]]
    even_out: Callable[[int, int, int, int, float, int], None]
    enlarge: Callable[[int, bool], None]
    measure_cells: Callable[[int, int, int], None]
    predict_shares: Callable[[int, int, int, int, int, int, int], None]
    blend_shares: Callable[[int, int, int, int, int, int], None]


_native: _Native | None = None
_callbacks: dict[int, _Callbacks] = {}
_numbers = itertools.count(1)
_environment = vs.Local()


class FrameView:
    """One frame, during one call of a block's `process`.

    Attributes:
        n: Number of the frame in the clip.
        planes: One array a plane, shape (height, width) in samples, dtype by the format: uint8,
            uint16, uint32, float16 or float32. Rows may be padded, so the arrays need not be
            contiguous. Read-only for inputs; outputs start undefined and must be filled completely.
    """

    __slots__ = ("_bases", "_dtype", "_handle", "_memory", "_planes", "_writable", "n")

    def __init__(self, memory: _FrameMemory, dtype: np.dtype[Any], writable: bool) -> None:
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
        value = _functions().frame_prop(self._open(), name)
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
        native = _functions()
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
            _functions().frame_keep(handle)  # better lost than freed under somebody's hands
        return not kept


@dataclass(frozen=True, slots=True, kw_only=True)
class _Runner:
    """What native code calls for a block."""

    process: Callable[[Job], None]
    function: str
    environment: vs.Environment
    dtype_in: np.dtype[Any]
    dtype_out: np.dtype[Any]
    running: dict[int, Stop] = field(default_factory=dict)

    def cancel(self, number: int) -> None:
        """Nobody wants the result of call ``number``."""
        stop = self.running.get(number)
        if stop is not None:
            stop.set()

    def __call__(
        self,
        block: int,
        first: int,
        inputs: tuple[_FrameMemory, ...],
        outputs: tuple[_FrameMemory, ...],
        number: int,
        handle: int,
    ) -> str | None:
        """Compute a block; the error's text, or None."""
        if not self.environment.alive:
            return f"{self.function}: its script environment was closed"
        stop = self.running[number] = Stop()
        if _functions().block_unwanted(handle):  # since before it could be cancelled by its number
            stop.set()
        job = Job(
            block,
            first,
            tuple(FrameView(memory, self.dtype_in, False) for memory in inputs),
            tuple(FrameView(memory, self.dtype_out, True) for memory in outputs),
            stop,
        )
        try:
            with self.environment.use(), stop.of_this_thread():
                error = _error_of(self.function, functools.partial(self.process, job))
                if not job._close() and error is None:
                    error = f"{self.function}: internal error: a view of a frame was kept, copy it instead"
        finally:
            del self.running[number]
        return error


def block_node(
    clip: vs.VideoNode,
    process: Callable[[Job], None],
    *,
    function: str,
    block: int = 1,
    grid: int = 1,
    before: int = 0,
    after: int = 0,
    width: int | None = None,
    height: int | None = None,
    format: int | None = None,
    streams: int = 1,
    cached_blocks: int = 4,
    spans: vs.VideoNode | None = None,
    prefetch: bool = True,
    on_free: Callable[[], None] | None = None,
) -> vs.VideoNode:
    """A clip whose frames `process` computes, in blocks on a fixed grid.

    Each block is computed once, whoever asks for its frames and in whichever order, and kept while it
    is among the last `cached_blocks` used. An exception in `process` becomes the error of the frame
    requests that wait for the block; the next request computes the block anew.

    Args:
        clip: Source, of one format and size throughout.
        process: Called with one `Job` at a time in each of `streams` threads, with the GIL held and
            the script's environment active. Must depend on the job alone, must not request frames,
            and must not keep views of planes. AnimupError is reported as it stands.
        function: Name of the plugin function, for error messages.
        block: Frames a block.
        grid: Blocks a cell: each block of a cell is given the source frames of the whole cell.
        before: Source frames wanted before the cell.
        after: Source frames wanted after the cell.
        width: Width of the output in pixels, by default the clip's.
        height: Height of the output in pixels, by default the clip's.
        format: Format of the output as an id (``vs.GRAYS``), by default the clip's.
        streams: Blocks computed at the same time.
        cached_blocks: Finished blocks kept, at least 1. Each holds `block` output frames in memory.
        spans: A clip as long, whose frames tell by the properties `SPAN` which frames show one drawing. Each of
            these runs is a block then, and becomes one picture; `block` and `grid` stay 1, and the window goes no
            further than these properties say.
        prefetch: Compute up to `streams` blocks ahead (at most ``cached_blocks - 1``) while the clip
            is read in order. Their errors fail no request.
        on_free: Called when the node is gone and the last `process` has returned.

    Returns:
        A clip of the source's length and frame rate; frame properties are the source frame's.

    Raises:
        AnimupError: The clip varies in format or size, or the output's format or size is impossible.
    """
    source = clip.format
    if source is None or source.color_family == vs.UNDEFINED or not clip.width or not clip.height:
        raise AnimupError(f"{function}: clip must have one format and size throughout")
    target = source if format is None else vs.core.get_video_format(format)
    if target.color_family == vs.UNDEFINED:
        raise AnimupError(f"{function}: format {format} is none that VapourSynth knows")
    runner = _Runner(
        process=process,
        function=function,
        environment=vs.get_current_environment(),
        dtype_in=_dtype(source),
        dtype_out=_dtype(target),
    )
    key = next(_numbers)
    _callbacks[key] = (runner, runner.cancel, on_free or _nothing)
    try:
        node = vs.core.animup.internal_block(
            clip=clip,
            callback=key,
            function=function,
            block=block,
            grid=grid,
            before=before,
            after=after,
            width=clip.width if width is None else width,
            height=clip.height if height is None else height,
            format=target.id,
            streams=streams,
            cached_blocks=cached_blocks,
            **({} if spans is None else {"spans": spans}),
            prefetch=prefetch,
            group=_group(),
        )
    except vs.Error as e:
        raise AnimupError(str(e)) from e
    finally:
        _callbacks.pop(key, None)
    assert isinstance(node, vs.VideoNode)
    return node


_LEVELS: Final = {
    "debug": vs.MESSAGE_TYPE_DEBUG, "info": vs.MESSAGE_TYPE_INFORMATION, "warning": vs.MESSAGE_TYPE_WARNING,
}  # fmt: skip
_informed = threading.Lock()
"""Taken by the first message at information level, for good."""


def log(message: str, level: Literal["debug", "info", "warning"] = "info") -> None:
    """Write to VapourSynth's log; warnings to stderr where no script environment is active.

    Programs that read a clip through a pipe may take every line for data: of a process's messages at information level
    only the first is told there, and the others as debugging.
    """
    if level == "info" and not _informed.acquire(blocking=False):
        level = "debug"
    try:
        vs.core.log_message(_LEVELS[level], message)
    except (RuntimeError, vs.Error):
        if level == "warning":
            print(message, file=sys.stderr)


class _ScriptLog(logging.Handler):
    """What the parts below say through Python's logging goes where :func:`log` writes."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelno
        log(self.format(record), "debug" if level < logging.INFO else "info" if level < logging.WARNING else "warning")


def _hand_over_logs() -> None:
    logger = logging.getLogger("vsanimup")
    if not any(isinstance(handler, _ScriptLog) for handler in logger.handlers):
        logger.addHandler(_ScriptLog(logging.DEBUG))
        logger.setLevel(min(logger.getEffectiveLevel(), logging.DEBUG))
        logger.propagate = False


_hand_over_logs()


def node_counts() -> tuple[int, int]:
    """Nodes of this process that are alive or still computing, and their threads."""
    return _functions().node_counts()


def even_out(address: int, rows: int, columns: int, stride: int, threshold: float, radius: int) -> None:
    """See :func:`vsanimup.video.sigma.even_out`, which checks what it passes on."""
    _functions().even_out(address, rows, columns, stride, threshold, radius)


def enlarge(table: int, left: bool) -> None:
    """This and the next three: see :mod:`vsanimup.networks.lite.gate`, which checks what it passes on."""
    _functions().enlarge(table, left)


def measure_cells(table: int, count: int, measures: int) -> None:
    """Measures of a frame's cells."""
    _functions().measure_cells(table, count, measures)


def predict_shares(measures: int, rows: int, columns: int, weights: int, hidden: tuple[int, int], shares: int) -> None:
    """Shares of cells by their measures."""
    _functions().predict_shares(measures, rows, columns, weights, *hidden, shares)


def blend_shares(table: int, change: int, evening: int, rows: int, columns: int, cell: int) -> None:
    """Shares of a change are taken."""
    _functions().blend_shares(table, change, evening, rows, columns, cell)


def answer(function: str, handler: Callable[..., object]) -> str | None:
    """Answer the plugin function being called on this thread; the error's text, or None.

    ``handler`` is called with the script's arguments by name, those left out not passed: data as str, arrays as list.
    It returns a VideoNode or a mapping of int, float, str, bytes or lists of these.
    """
    return _error_of(function, functools.partial(_answer, function, handler))


def take_callback(key: int) -> _Callbacks:
    """Hand a node's callables over to native code, once."""
    return _callbacks.pop(key)


def attach(*functions: Any) -> None:
    """Receive the native functions, on the plugin's first call in this process."""
    global _native  # noqa: PLW0603
    _native = _Native(*functions)
    # VapourSynth's own handler was registered earlier, so this one runs before it.
    atexit.register(_native.stop_nodes, -1, _EXIT_SECONDS)


def _answer(function: str, handler: Callable[..., object]) -> None:
    plugin = vs.core.animup
    arguments = plugin.internal_arguments()
    if not isinstance(arguments, dict):
        arguments = {}  # VapourSynth unwraps a map of one key, and the plugin adds one
    arguments.pop("internal_keys", None)
    kinds = _kinds(getattr(plugin, function).signature)
    values = {name: _plain(name, value, kinds.get(name, "")) for name, value in arguments.items()}
    result = handler(**values)
    plugin.internal_result(**(result if isinstance(result, Mapping) else {"clip": result}))


def _error_of(function: str, call: Callable[[], None]) -> str | None:
    """Call it and put what it raises into words."""
    try:
        call()
    except AnimupError as e:
        text = str(e)
        return text if text.startswith(f"{function}: ") else f"{function}: {text}"
    except MemoryError as e:
        traceback.clear_frames(e.__traceback__)
        said = f" ({cut(e)})" if str(e) else ""
        return f"{function}: there is too little memory{said}; give a smaller tilesize or num_streams, or free some"
    except BaseException as e:
        log(f"{function}: " + "".join(traceback.format_exception(e)), "warning")
        traceback.clear_frames(e.__traceback__)  # they hold views of frames
        return f"{function}: internal error: {type(e).__name__}: {cut(e)}"
    return None


def _kinds(signature: str) -> dict[str, str]:
    """``clip:vnode;scale:int:opt;`` -> {"clip": "vnode", "scale": "int"}."""
    return {name: kind for name, kind, *_ in (part.split(":") for part in signature.split(";") if ":" in part)}


def _plain(name: str, value: Any, kind: str) -> Any:
    """A value as VapourSynth's map gives it -> as `answer` promises it."""
    if kind.endswith("[]"):
        values = value if isinstance(value, list) else [value]
        return [_plain(name, each, kind[:-2]) for each in values]
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else value
    except UnicodeDecodeError as e:
        raise AnimupError(f"{name} must be text, or bytes in UTF-8, got {shown(value)}") from e


def _dtype(format: vs.VideoFormat) -> np.dtype[Any]:
    return np.dtype(f"{'f' if format.sample_type == vs.FLOAT else 'u'}{format.bytes_per_sample}")


def _group() -> int:
    """The number of the active script environment, whose end stops its nodes."""
    try:
        number: int = _environment.group
    except AttributeError:
        number = _environment.group = next(_numbers)
        vs.register_on_destroy(functools.partial(_stop_group, number))
    return number


def _stop_group(number: int) -> None:
    if _native is not None:
        _native.stop_nodes(number, _ENVIRONMENT_SECONDS)


def _functions() -> _Native:
    if _native is None:
        raise RuntimeError("the animup plugin has not been called in this process")
    return _native


def _nothing() -> None:
    pass
