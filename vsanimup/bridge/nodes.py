"""The plugin's one kind of node: a clip computed in blocks of frames by a Python callable."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import vapoursynth as vs

from vsanimup.bridge.calls import error_of
from vsanimup.bridge.frames import FrameMemory, FrameView, Job
from vsanimup.bridge.native import functions, stop_nodes
from vsanimup.errors import AnimupError
from vsanimup.stop import Stop

SPAN: Final = "AnimupFrom", "AnimupFirst", "AnimupLast", "AnimupTo"
"""Frame properties that tell the plugin of the drawing a frame shows (see native/span.hpp): the first frame of its
surroundings, which lie in its scene, its own first and last, the last of its surroundings."""

_ENVIRONMENT_SECONDS: Final = 10.0
"""How long the end of a script environment (a reload in an editor, the end of vspipe) waits for running blocks.
They end by themselves within a frame's time; vspipe tears libraries down under those that have not."""

type _Callbacks = tuple[Callable[..., str | None], Callable[[int], None], Callable[[], None]]

_callbacks: dict[int, _Callbacks] = {}
_numbers = itertools.count(1)
_environment = vs.Local()


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
        inputs: tuple[FrameMemory, ...],
        outputs: tuple[FrameMemory, ...],
        number: int,
        handle: int,
    ) -> str | None:
        """Compute a block; the error's text, or None."""
        if not self.environment.alive:
            return f"{self.function}: its script environment was closed"
        stop = self.running[number] = Stop()
        if functions().block_unwanted(handle):  # since before it could be cancelled by its number
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
                error = error_of(self.function, functools.partial(self.process, job))
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


def take_callback(key: int) -> _Callbacks:
    """Hand a node's callables over to native code, once."""
    return _callbacks.pop(key)


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
    stop_nodes(number, _ENVIRONMENT_SECONDS)


def _nothing() -> None:
    pass
