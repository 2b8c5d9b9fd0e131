"""Clips that know their frames' numbers, and what the tests of the native node do with them."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import vapoursynth as vs

from vsanimup.bridge import Job

core = vs.core
LENGTH = 37


def numbered(length: int = LENGTH, format: int = vs.GRAY16, width: int = 16, height: int = 8) -> vs.VideoNode:
    """A clip whose samples say the frame's number."""
    blank = core.std.BlankClip(width=width, height=height, format=format, length=length)

    def stamp(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        for plane in range(frame.format.num_planes):
            np.asarray(frame[plane])[:] = n
        frame.props["number"] = n
        return frame

    return core.std.ModifyFrame(blank, blank, stamp)


class Sum:
    """Writes the sum of the source frames' numbers into every frame of a block; remembers its calls."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.blocks: list[int] = []
        self.lock = threading.Lock()

    def __call__(self, job: Job) -> None:
        with self.lock:
            self.blocks.append(job.block)
        time.sleep(self.seconds)
        total = sum(int(frame.planes[0][0, 0]) for frame in job.inputs)
        for frame in job.outputs:
            for plane in frame.planes:
                plane[:] = total + frame.n


def expected(n: int, block: int, before: int, after: int) -> int:
    first = n // block * block
    count = min(block, LENGTH - first)
    return sum(range(max(0, first - before), min(LENGTH - 1, first + count - 1 + after) + 1)) + n


def value(frame: vs.VideoFrame) -> int:
    with frame:
        plane = np.asarray(frame[0])
        assert (plane == plane[0, 0]).all()
        return int(plane[0, 0])


def together(clip: vs.VideoNode, numbers: Sequence[int]) -> list[int]:
    """Values of frames that were requested all at once."""
    futures = [clip.get_frame_async(n) for n in numbers]
    concurrent.futures.wait(futures)
    return [value(future.result()) for future in futures]


def one_by_one(clip: vs.VideoNode, numbers: Sequence[int]) -> list[int]:
    return [value(clip.get_frame(n)) for n in numbers]


def python(source: str, seconds: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter runs `source`."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**os.environ, **environment},
        check=False,
    )


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.005)
