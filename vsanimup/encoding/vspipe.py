"""vspipe: where it is, what it says, and what a script gives."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from vsanimup.encoding.video_flags import Look, look_of
from vsanimup.errors import AnimupError
from vsanimup.processes import find_program

SAME_TIME: Final = 0.002
"""Seconds that count as none between two times of a frame: Matroska keeps milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a script gives, and how its first frame looks."""

    width: int
    height: int
    frames: int
    rate: Fraction
    """Frames a second; 0 where the script says that it varies."""
    first_duration: Fraction | None
    """Seconds that the first frame is shown, by its properties."""
    look: Look

    @property
    def uneven(self) -> bool:
        """Whether the first frame tells that not all frames are shown equally long."""
        if not self.rate:
            return True
        return self.first_duration is not None and abs(self.first_duration - 1 / self.rate) > SAME_TIME


def vspipe_path() -> str:
    """vspipe of this Python's VapourSynth, else the one beside this Python or on PATH.

    The program itself rather than pip's starter of it, which hides how it ended, and leaves it running when killed.
    Raises :class:`AnimupError` when there is none.
    """
    package = importlib.util.find_spec("vapoursynth")
    within = [str(Path(package.origin).parent)] if package is not None and package.origin else []
    beside = str(Path(sys.executable).parent)
    for place in (*within, beside, os.path.join(beside, "Scripts"), None):
        if found := find_program("vspipe", path=place):
            return found
    raise AnimupError(f"vspipe is neither in {beside} nor on PATH; get it with  pip install vapoursynth")


def environment() -> dict[str, str]:
    """The environment for vspipe: scripts find out by PWD where it was called, for it moves to their own folder."""
    return {**os.environ, "PWD": os.getcwd()}


def explain(text: str, source: Path | None = None) -> str:
    """What vspipe wrote to standard error, in one plain line."""
    if "Failed to initialize VSScript" in text or "VSScript reported error" in text:
        program = Path(sys.executable).with_name("vapoursynth")
        return f"vspipe does not know this Python yet; run once:  {program} config"
    lines = [line.strip() for line in re.split(r"[\r\n]+", text)]
    patterns = (
        r"Python exit with code (?:\w+\.vpy: )?(.+)",
        r"Python exception: (.+)",
        r"Error: Failed to retrieve frame \d+ with error: (?:\w+\.vpy: )?(.+)",
        r"Error: (.+)",
    )
    for pattern in patterns:
        for line in lines:
            if match := re.match(pattern, line):
                return _plainer(match[1], source)
    chatter = re.compile(r"Script evaluation|Frame: |Information: |Output \d")
    kept = [line for line in lines if line and not chatter.match(line)]
    return kept[-1] if kept else "vspipe stopped without saying why"


def _plainer(message: str, source: Path | None) -> str:
    if source is not None and "VideoSource: " in message:
        return f"{source} is no video that can be read ({message.partition('VideoSource: ')[2]})"
    if "animup" in message and ("attribute" in message or "namespace" in message):
        return "VapourSynth did not load the animup plugin; see  animup doctor"
    return message


def _run(*options: str, source: Path | None) -> None:
    """A short run; raises :class:`AnimupError` in plain words. What a script prints goes nowhere."""
    done = subprocess.run(
        [vspipe_path(), *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
        env=environment(),
    )
    if done.returncode:
        raise AnimupError(explain(done.stderr, source))


def output_of(script: Path, options: Sequence[str] = (), index: int = 0, source: Path | None = None) -> Output:
    """Evaluate a script and compute its first frame.

    Args:
        script: The script.
        options: Arguments for it, as vspipe takes them: ``-a``, ``name=value``.
        index: Which of its outputs.
        source: The file that errors of the source filter are about.

    Raises:
        AnimupError: It fails, or what it gives cannot be encoded from y4m.
    """
    with tempfile.TemporaryDirectory(prefix="animup_") as folder:
        told, props = Path(folder, "info.txt"), Path(folder, "props.json")
        _run(*options, "--info", str(script), str(told), source=source)
        info = _info(told.read_text(encoding="utf-8", errors="replace"), index)
        _run(*options, "-o", str(index), "-e", "0", "-j", str(props), str(script), "--", source=source)
        first: dict[str, Any] = json.loads(props.read_text(encoding="utf-8", errors="replace"))[0]
    duration = int(first.get("_DurationNum", 0)), int(first.get("_DurationDen", 0))
    rate = info["FPS"].split(" ", 1)[0]
    return Output(
        width=int(info["Width"]),
        height=int(info["Height"]),
        frames=int(info["Frames"]),
        rate=Fraction(0) if rate.startswith("Variable") else Fraction(rate),
        first_duration=Fraction(*duration) if all(duration) else None,
        look=look_of(first, info["Format Name"]),
    )


def _info(text: str, index: int) -> dict[str, str]:
    """What ``vspipe --info`` says of an output that y4m can carry."""
    outputs = [dict(re.findall(r"(.+?): (.*)", part)) for part in text.split("\n\n")]
    info = next((one for one in outputs if one.get("Output Index") == str(index)), None)
    if info is None:
        there = ", ".join(one["Output Index"] for one in outputs if "Output Index" in one)
        raise AnimupError(f"--outputindex {index}: the script has no such output; it sets {there}")
    if info.get("Type") != "Video":
        raise AnimupError(f"--outputindex {index}: that output is sound, not video")
    if "Variable" in (info["Width"], info["Height"], info["Format Name"]):
        raise AnimupError("the script's clip varies in format or size, which y4m cannot carry; bring it to one")
    if info["Color Family"] == "RGB":
        raise AnimupError(
            f"the script gives {info['Format Name']}, which y4m cannot carry; end it with "
            "clip.resize.Bicubic(format=vs.YUV444P8, matrix_s='709')"
        )
    return info
