"""This process's end of a frame server."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any

from vsanimup.errors import AnimupError
from vsanimup.processes import module_command

LAST_WORDS = 3
"""Lines of a dead process's standard error that its owner repeats."""


class Died(AnimupError):
    """The process ended before it had answered."""


class Child:
    """A frame server. One request at a time; :meth:`kill` may come from any thread."""

    def __init__(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            module_command("vsanimup.render.frame_server"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            encoding="utf-8",
            bufsize=1,
            start_new_session=True,
        )

    def ask(self, do: str, progress: Callable[[int], None] | None = None, **arguments: Any) -> dict[str, Any]:
        """Ask for something and wait for the answer; ``progress`` is told the number of frames done.

        Raises:
            Died: The process ended.
            AnimupError: What was asked for could not be done, and why.
        """
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            for line in self._process.stdout:
                answer: dict[str, Any] = json.loads(line)
                if "frames" in answer:
                    if progress is not None:
                        progress(int(answer["frames"]))
                elif "error" in answer:
                    raise AnimupError(answer["error"])
                else:
                    done: dict[str, Any] = answer["done"]
                    return done
        except (BrokenPipeError, json.JSONDecodeError):
            pass
        raise Died(self._last_words())

    def _last_words(self) -> str:
        code = self._process.wait()
        name = f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
        hint = " (the system may have run out of memory: use fewer --workers)" if code == -9 else ""
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()[-LAST_WORDS:]
        return f"the process that runs the script ended with {name}{hint}" + "".join(f"\n{line}" for line in lines)

    def kill(self) -> None:
        """End it now. Encoders of its own end with it, for their standard input does."""
        self._process.kill()

    def close(self) -> None:
        """End it, and wait until it has ended."""
        with contextlib.suppress(OSError):
            assert self._process.stdin
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()
        self._said.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
