"""What everything beside the networks costs: core time a frame with networks that answer at once.

    python -m benchmarks.overhead

restores and doubles 640x360 YUV420P8 and prints milliseconds of all cores together, less what the source takes:
with left-sited chroma, which goes to the networks and comes from them directly, and with centred chroma, which
takes conversions before and after.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import vapoursynth as vs

from vsanimup.engines import BACKENDS, DeviceArray, Feed, Result, Size, Weights

WIDTH, HEIGHT = 640, 360


class InstantEngine:
    """Answers with results made beforehand, of the right shape and each unlike the one before."""

    backend = "instant"

    def __init__(self, height: int, width: int, scale: int) -> None:
        generator = np.random.default_rng(0)
        high, wide = height * scale, width * scale
        results: list[dict[str, Result]] = [
            {
                "result_y": generator.random((1, 1, high, wide), np.float32),
                "result_uv": generator.random((1, 2, high // 2, wide // 2), np.float32) - 0.5,
            }
            for _ in range(3)
        ]
        self._results = itertools.cycle(results)

    def run(self, inputs: Mapping[str, Feed | DeviceArray], *, keep: Collection[str] = ()) -> dict[str, Result]:
        """The next result, whatever the input."""
        return dict(next(self._results))


class InstantBackend:
    """Networks that take no time."""

    name = "instant"
    builds = False
    integers = True

    def unavailable(self) -> str | None:
        """Never."""
        return None

    def streams(self) -> int:
        """As many as the machines at hand have cores."""
        return 2

    def memory(self, device_id: int) -> None:
        """None of its own."""

    def load(
        self,
        network: bytes,
        *,
        origin: str,
        sizes: Mapping[str, Size],
        device_id: int,
        streams: int = 1,
        precision: str = "auto",
        weights: Weights | None = None,
    ) -> InstantEngine:
        """An engine for the sizes; whether it enlarges is told by the folder's name."""
        height, width = sizes["height"], sizes["width"]
        assert isinstance(height, int) and isinstance(width, int)
        return InstantEngine(height, width, 2 if "upscale" in origin else 1)

    def load_file(
        self, path: Path, *, sizes: Mapping[str, Size], device_id: int, streams: int = 1, precision: str = "auto"
    ) -> InstantEngine:
        """As :meth:`load`."""
        return self.load(b"", origin=str(path), sizes=sizes, device_id=device_id)


def pan(length: int) -> vs.VideoNode:
    """A grainy picture that moves by two samples a frame."""
    core = vs.core
    wide = WIDTH + 2 * length + 2
    picture = core.std.BlankClip(format=vs.YUV420P8, width=wide, height=HEIGHT, length=1, keep=True)
    generator = np.random.default_rng(1)

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        for plane in range(3):
            target = np.asarray(frame[plane])
            target[:] = generator.integers(40, 200, target.shape)
        return frame

    still = picture.std.ModifyFrame(picture, fill)
    still.get_frame(0).close()
    # each frame on its own, and all in memory: their cost must not depend on who asks
    frames = [still.std.CropAbs(width=WIDTH, height=HEIGHT, left=2 * n, top=0) for n in range(length)]
    return core.std.Splice(frames) if length > 1 else frames[0]


def core_milliseconds(clip: vs.VideoNode, first: int) -> float:
    """Core time a frame of reading ``clip`` in order, after ``first`` frames to warm up."""
    start = 0.0
    for n, frame in enumerate(clip.frames(close=True)):
        if n == first:
            start = time.process_time()
        del frame
    return (time.process_time() - start) * 1000 / float(clip.num_frames - 1 - first)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--turns", type=int, default=3, help="the least of them counts")
    arguments = parser.parse_args()
    BACKENDS["instant"] = InstantBackend()
    core = vs.core
    source = pan(arguments.frames)

    def least(kind: str, location: int) -> float:
        taken = []
        for _ in range(arguments.turns):
            clip = source.std.SetFrameProps(_ChromaLocation=location)
            if kind in ("restore", "both"):
                clip = core.animup.Restore(clip, backend="instant")
            if kind in ("upscale", "both"):
                clip = core.animup.Upscale(clip, backend="instant")
            taken.append(core_milliseconds(clip, arguments.frames // 5))
        return min(taken)

    bare = least("source", 0)
    print(f"source alone {bare:.2f} ms of core time a frame; on top of that:")
    print(f"{'':10} {'left':>8} {'centred':>8} {'ratio':>6}")
    for kind in ("restore", "upscale", "both"):
        left, centred = (least(kind, location) - bare for location in (0, 1))
        print(f"{kind:10} {left:8.2f} {centred:8.2f} {centred / left:6.2f}")


if __name__ == "__main__":
    main()
