"""The process that runs a script and feeds its frames to encoders: ``python -P -m vsanimup.render.frame_server``.

It takes requests as lines of JSON on standard input and answers in the same way on what was standard output when it
began. Scripts, plugins and encoders are given standard error for both, so that nothing they print can be taken for an
answer. It ends when standard input does, which is also what its owner's death looks like.

A process is kept from chunk to chunk: scripts are evaluated, sources indexed and networks loaded once.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

from vsanimup.engines.cpu import usable_cores
from vsanimup.errors import AnimupError
from vsanimup.render import y4m

REPORT_EVERY = 0.2
"""Seconds between reports of progress."""
VIEWS = ("result", "compare")

Answer = dict[str, Any]


class FrameServer:
    """One evaluated script."""

    def __init__(self, report: Callable[[Answer], None]) -> None:
        self._report = report
        self._clip: Any = None
        self._source: Any = None

    def answer(self, request: Answer) -> Answer:
        """What a request asks for; ``do`` names one of the methods below, the rest are its arguments."""
        methods: dict[str, Callable[..., Answer]] = {
            "open": self.open,
            "properties": self.properties,
            "cuts": self.cuts,
            "encode": self.encode,
            "still": self.still,
            "machine": self.machine,
        }
        return methods[request.pop("do")](**request)

    def open(self, script: str, text: str, arguments: dict[str, str], cores: list[int] | int, view: str) -> Answer:
        """Evaluate a script with arguments as vspipe's ``-a`` gives them; what its clip is.

        Args:
            script: Path of the script. It is run in its own folder, as by vspipe, where there is such a folder.
            text: What the script holds. The file is not read: it may have been changed since the film was begun.
            arguments: Names and values.
            cores: Numbers of the CPUs to use, or how many of them.
            view: ``result``, or ``compare``: source and result side by side.
        """
        all_cores, mine = usable_cores(), cores if isinstance(cores, int) else len(cores)
        if not isinstance(cores, int) and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)  # before anything asks how many there are
        import vapoursynth as vs

        vs.core.num_threads = mine
        vs.core.max_cache_size = max(256, vs.core.max_cache_size * mine // max(mine, all_cores))
        folder = Path(script).parent
        if folder.is_dir():
            os.chdir(folder)
            sys.path.append(str(folder))  # last, so that nothing there stands in for an installed module
        with _plain_errors(script):
            exec(compile(text, script, "exec"), {**arguments, "__name__": "__vapoursynth__", "__file__": script})
        outputs = vs.get_outputs()
        if 0 not in outputs or not isinstance(outputs[0], vs.VideoOutputTuple):
            raise AnimupError(f"{script} gives no video; end it with  clip.set_output()")
        self._clip = outputs[0].clip
        source = outputs.get(1)
        if isinstance(source, vs.VideoOutputTuple) and source.clip.num_frames == self._clip.num_frames:
            self._source = source.clip
        if view == "compare":
            self._clip = self._side_by_side(script)
        clip = self._clip
        if not (clip.width and clip.height and clip.format):
            raise AnimupError(f"{script} gives frames of more than one size or format, which no encoder takes")
        y4m.header(clip.format, clip.width, clip.height, Fraction(1))
        return {
            "frames": clip.num_frames,
            "width": clip.width,
            "height": clip.height,
            "format": clip.format.name,
            "rate": [clip.fps.numerator, clip.fps.denominator],
            "has_source": self._source is not None,
            **self.machine(),
        }

    def machine(self) -> Answer:
        """Versions of VapourSynth and its plugins."""
        import vapoursynth as vs

        plugins = {plugin.namespace: f"{plugin.version[0]}.{plugin.version[1]}" for plugin in vs.core.plugins()}
        return {"core": str(vs.core.core_version), "plugins": plugins}

    def _side_by_side(self, script: str) -> Any:
        import vapoursynth as vs

        clip, before = self._clip, self._source
        if before is None:
            raise AnimupError(
                f"{script} does not say what to compare with; let it hand the source to a second output, of as many "
                "frames, with  source.set_output(1)"
            )
        matrix = {"matrix_s": "709"} if before.format.color_family == vs.RGB else {}
        return vs.core.std.StackHorizontal(
            [before.resize.Bicubic(width=clip.width, height=clip.height, format=clip.format.id, **matrix), clip]
        )

    def properties(self) -> Answer:
        """Properties of the first frame, as far as JSON can hold them."""
        with _plain_errors("the script"), self._clip.get_frame(0) as frame:
            found = {name: _plain(value) for name, value in frame.props.items()}
        return {"properties": {name: value for name, value in found.items() if value is not None}}

    def cuts(self, near: list[int], reach: int) -> Answer:
        """For each frame number in ``near``, the first frame of a scene within ``reach`` of it, or the number itself.

        The nearest is taken, of two equally near the earlier. It depends on the frames within reach alone.
        """
        if self._source is None:
            return {"borders": near}
        with _plain_errors("the script"):
            return {"borders": [self._nearest_cut(number, reach) for number in near]}

    def _nearest_cut(self, number: int, reach: int) -> int:
        from vsanimup.render.cuts import SceneFrame
        from vsanimup.video.scenes import is_cut

        first, last = max(0, number - reach - 1), min(self._source.num_frames - 1, number + reach)
        frames = []
        for frame in self._source[first : last + 1].frames(close=True):
            frames.append(SceneFrame.of(frame))
        found = [first + i + 1 for i in range(len(frames) - 1) if is_cut(frames[i], frames[i + 1])]
        return min(found, key=lambda cut: (abs(cut - number), cut), default=number)

    def encode(self, first: int, end: int, rate: list[int], command: list[str]) -> Answer:
        """Encode the frames from ``first`` to before ``end``; their durations as ``[count, numerator, denominator]``.

        Raises:
            AnimupError: The script or the encoder failed.
        """
        durations: list[list[int]] = []
        clip = self._clip[first:end]
        with tempfile.TemporaryFile() as said, _encoder(command, said) as process:
            pipe = process.stdin
            assert pipe is not None
            told = 0.0
            try:
                pipe.write(y4m.header(clip.format, clip.width, clip.height, Fraction(*rate)))
                with _plain_errors("the script"):
                    frames = clip.frames(close=True)
                    for number, frame in enumerate(frames, first):
                        _lengthen(durations, _duration(frame, clip, number))
                        y4m.write_frame(pipe, frame)
                        if (now := time.monotonic()) > told + REPORT_EVERY:
                            self._report({"frames": number + 1 - first})
                            told = now
                pipe.close()
            except BrokenPipeError:
                pass  # the encoder's own words say more
            code = process.wait()
            said.seek(0)
            text = said.read().decode("utf-8", "replace").strip()
        if code:
            last = text.splitlines()[-1] if text else f"it ended with code {code}"
            raise AnimupError(f"the encoder failed: {last}")
        return {"durations": durations}

    def still(self, number: int, width: int, height: int, path: str) -> Answer:
        """Write frame ``number`` as raw RGB ``[height, width, 3]``; whether the script tells its source.

        The result goes to ``path`` + ``.after``, the source, if it is told, to ``path`` + ``.before``.
        """
        import vapoursynth as vs

        pictures = {"before": self._source, "after": self._clip}
        for name, node in pictures.items():
            if node is None:
                continue
            with _plain_errors("the script"):
                matrix = {} if node.format.color_family == vs.RGB else {"matrix_in": _matrix(node, number)}
                shown = node[number].resize.Bicubic(width=width, height=height, format=vs.RGB24, **matrix)
                with shown.get_frame(0) as frame, open(f"{path}.{name}", "wb") as file:
                    file.write(np.stack([np.asarray(frame[plane]) for plane in range(3)], -1).tobytes())
        return {"before": self._source is not None}


def _matrix(node: Any, number: int) -> int:
    """Matrix of a frame; where it is unset, what its height implies."""
    from vsanimup.video.samples import matrix_by_height

    with node.get_frame(number) as frame:
        matrix = int(frame.props.get("_Matrix", 2))
    return matrix_by_height(node.height) if matrix == 2 else matrix


def _plain(value: Any) -> Any:
    """A property as JSON can hold it; None for what it cannot."""
    if isinstance(value, (int, float, str)):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace") if len(value) < 1000 else ""
    if isinstance(value, (list, tuple)) and all(isinstance(part, (int, float)) for part in value):
        return list(value)
    return None


def _duration(frame: Any, clip: Any, number: int) -> Fraction:
    duration = Fraction(int(frame.props.get("_DurationNum", 0)), int(frame.props.get("_DurationDen", 0)) or 1)
    if duration > 0:
        return duration
    if not clip.fps:
        raise AnimupError(
            f"frame {number} does not say how long it lasts, and the clip has no frame rate; give it one with  "
            "clip.std.AssumeFPS(fpsnum=24000, fpsden=1001)"
        )
    return 1 / Fraction(clip.fps)


def _lengthen(runs: list[list[int]], duration: Fraction) -> None:
    """Append to a list of runs of equal durations."""
    if runs and runs[-1][1:] == [duration.numerator, duration.denominator]:
        runs[-1][0] += 1
    else:
        runs.append([1, duration.numerator, duration.denominator])


@contextlib.contextmanager
def _encoder(command: list[str], said: BinaryIO) -> Iterator[subprocess.Popen[bytes]]:
    """A running encoder that does not outlive the block."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said) as process:
        _running.append(process)
        try:
            yield process
        finally:
            _running.remove(process)
            if process.poll() is None:
                process.kill()
            with contextlib.suppress(OSError):
                process.stdin and process.stdin.close()


_running: list[subprocess.Popen[bytes]] = []
"""Encoders to be ended with this process."""


@contextlib.contextmanager
def _plain_errors(script: str) -> Iterator[None]:
    """What a script says when it stops becomes the error's text."""
    import vapoursynth as vs

    try:
        yield
    except (AnimupError, BrokenPipeError):
        raise
    except SystemExit as stop:
        raise AnimupError(f"{stop.code}" if stop.code else f"{script} stopped") from None
    except vs.Error as error:
        # an exception in a script's own function brings its traceback along
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["it failed without a word"]
        raise AnimupError(lines[0] if len(lines) == 1 else f"{script}: {lines[-1]}") from None
    except MemoryError:
        raise AnimupError("there is too little memory; use fewer --workers, or a smaller tilesize") from None
    except Exception as error:
        raise AnimupError(f"{script}: {type(error).__name__}: {error}") from None


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    lines = _Lines(requests)
    threading.Thread(target=lines.read, daemon=True).start()

    def send(answer: Answer) -> None:
        answers.write(json.dumps(answer) + "\n")

    server = FrameServer(send)
    while True:
        try:
            send({"done": server.answer(json.loads(lines.next()))})
        except AnimupError as error:
            send({"error": str(error)})
        except OSError as error:
            send({"error": f"{error.filename or 'the frame server'}: {error.strerror or error}"})


class _Lines:
    """Lines of a stream, read by a thread that ends the process when the stream does, whatever is going on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._ready = threading.Semaphore(0)
        self._lines: list[str] = []

    def read(self) -> None:
        for line in self._stream:
            self._lines.append(line)
            self._ready.release()
        for process in list(_running):
            process.kill()
        os._exit(0)  # filters may be in the middle of a frame, and nobody waits for it any more

    def next(self) -> str:
        self._ready.acquire()
        return self._lines.pop(0)


if __name__ == "__main__":
    main()
