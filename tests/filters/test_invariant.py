"""Frame n is a pure function of (clip, arguments, n), bit for bit, whoever asks and in whichever order."""

import os
import random
import subprocess
import sysconfig
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers.clips import core, drawn, moving
from tests.helpers.frames import digest, digests, planes_of
from tests.helpers.places import ROOT

RUNS = [60, pytest.param(500, marks=pytest.mark.slow)]
"""Randomised access runs; each has its own filters, thread count and order."""


def chain(clip: vs.VideoNode, **arguments: Any) -> vs.VideoNode:
    return core.animup.Upscale(core.animup.Restore(clip, **arguments), **arguments)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("runs", RUNS)
def test_randomised_access(runs: int) -> None:
    """Linear, backward, random, jumping and concurrent requests, 1 to 8 threads, several streams and clips."""
    rng = random.Random(1)
    clips = [
        moving(width=48, height=32, length=length, cut=cut) for length, cut in ((9, 4), (7, None), (2, 1), (1, None))
    ]
    ways = chain, lambda clip, **how: core.animup.Upscale(restored(clip, **how), **how)
    wanted = [[digests(way(clip, num_streams=1)) for clip in clips] for way in ways]
    for run in range(runs):
        which = rng.randrange(len(clips)) if run % 4 else 0
        core.num_threads = rng.randint(1, 8)
        clip = ways[run % 3 == 0](clips[which], num_streams=rng.randint(1, 4))
        frames = range(clip.num_frames)
        first = rng.randrange(clip.num_frames)
        order = rng.choice(
            [
                list(frames),
                list(reversed(frames)),
                rng.sample(frames, len(frames)),
                list(frames)[first:],
                [rng.randrange(clip.num_frames) for _ in range(6)],
            ]
        )
        if rng.random() < 0.5:
            got = [digest(clip.get_frame(n)) for n in order]
        else:
            waiting: list[Future[Any]] = [clip.get_frame_async(n) for n in order]
            got = [digest(future.result(timeout=60)) for future in waiting]
        assert got == [wanted[run % 3 == 0][which][n] for n in order], f"run {run}: order {order}"


def test_two_filters_at_once_do_not_disturb_each_other() -> None:
    a, b = moving(length=8), moving(length=8, cut=3)
    alone = digests(chain(a)), digests(chain(b))
    first, second = chain(a), chain(b)
    waiting = [
        (clip.get_frame_async(n), expected[n])
        for n in range(8)
        for clip, expected in ((first, alone[0]), (second, alone[1]))
    ]
    assert all(digest(future.result(timeout=60)) == expected for future, expected in waiting)


def restored(clip: vs.VideoNode, **arguments: Any) -> vs.VideoNode:
    """With one task throughout, for what is chosen depends on a whole cell of frames, and one that looks around."""
    return core.animup.Restore(clip, task="denoise", **arguments)


def test_a_trimmed_clip_inside_a_scene_differs_only_where_the_window_is_cut() -> None:
    """The result depends on the source frames of the windows alone: two for the network, one for what is evened out."""
    clip = moving(length=18)
    whole, part = digests(restored(clip)), digests(restored(clip[4:16]))
    assert part[3:-3] == whole[7:13]
    assert part[2] != whole[6]


def test_windows_do_not_cross_a_detected_cut() -> None:
    clip = moving(length=12, cut=6)
    parts = digests(restored(clip[:6])) + digests(restored(clip[6:]))
    assert digests(restored(clip)) == parts
    assert digests(restored(clip, scenecut=0)) != parts


@pytest.mark.parametrize("prop", ["_SceneChangePrev", "_SceneChangeNext"])
def test_scene_properties_rule(prop: str) -> None:
    clip = moving(length=10)
    marked = 5 if prop == "_SceneChangePrev" else 4

    def mark(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        frame.props[prop] = int(n == marked)
        return frame

    parts = digests(restored(clip[:5])) + digests(restored(clip[5:]))
    assert digests(restored(clip.std.ModifyFrame(clip, mark))) == parts
    assert digests(restored(clip)) != parts
    never = moving(length=10, cut=5).std.SetFrameProps(_SceneChangePrev=0, _SceneChangeNext=0)
    assert digests(restored(never)) != digests(restored(moving(length=10, cut=5)))


def test_the_window_is_used() -> None:
    """A static noisy picture comes out nearer to the truth with its neighbours than alone."""
    still = moving(length=1, noise=0, width=128, height=96)
    truth = planes_of(still.get_frame(0))[0].astype(float)
    source = [plane / 255 for plane in planes_of(still.get_frame(0))]
    noisy = drawn(still * 5, lambda n, i, shape: source[i] + np.random.default_rng((n, i)).normal(0, 0.05, shape))
    alone = planes_of(restored(noisy[2]).get_frame(0))[0].astype(float)
    among = planes_of(restored(noisy).get_frame(2))[0].astype(float)
    assert ((among - truth) ** 2).mean() < 0.9 * ((alone - truth) ** 2).mean()


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from tests.helpers.clips import core, moving
core.num_threads = {threads}
core.animup.Upscale(core.animup.Restore(moving(width=64, height=48, length=12, cut=5))).set_output()
"""


def vspipe(tmp_path: Path, *arguments: str, threads: int = 2) -> bytes:
    script = tmp_path / f"script{threads}.vpy"
    script.write_text(SCRIPT.format(root=str(ROOT), threads=threads))
    program = os.path.join(sysconfig.get_path("scripts"), "vspipe")
    command = [program, *arguments, str(script), "-"]
    return subprocess.run(command, capture_output=True, timeout=100, check=True).stdout


def test_vspipe_parts_join_to_the_whole(tmp_path: Path) -> None:
    whole = vspipe(tmp_path)
    assert len(whole) == 12 * 128 * 96 * 3 // 2
    parts = [
        vspipe(tmp_path, "-s", str(start), "-e", str(start + 3), threads=threads)
        for start, threads in ((0, 1), (4, 8), (8, 3))
    ]
    assert b"".join(parts) == whole
