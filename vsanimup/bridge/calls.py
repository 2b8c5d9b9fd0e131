"""Calls from native code: their arguments as Python's, and what they raise in words."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import vapoursynth as vs

from vsanimup.bridge.logs import log
from vsanimup.errors import AnimupError, cut, shown


def answer(function: str, handler: Callable[..., object]) -> str | None:
    """Answer the plugin function being called on this thread; the error's text, or None.

    ``handler`` is called with the script's arguments by name, those left out not passed: data as str, arrays as list.
    It returns a VideoNode or a mapping of int, float, str, bytes or lists of these.
    """
    return error_of(function, functools.partial(_answer, function, handler))


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


def error_of(function: str, call: Callable[[], None]) -> str | None:
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
