"""A film made in three ways that must give the same bytes: what a test does with a short film, with a long one.

    uv run python -m tests.slow.encode_ways --seconds 120
    uv run python -m tests.slow.encode_ways --seconds 120 --video CORPUS/packages/bbb.mp4

With a video, two scenes of it go through the ready script, diagnosis, restoring and enlarging included; without one,
pictures that ffmpeg draws go through a script that does little. It is made by one process, by three, and on a Dask
cluster of three workers of which one is killed, as is the client once.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from distributed import Client, LocalCluster

from tests.helpers.render_files import SLOW, make_film, probe, shown, taken, times_of, video_hash

COMMAND = [sys.executable, "-c", "from vsanimup.cli.main import app; app()", "encode"]


def wait_for(found: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait while a process works until something is there."""
    while not found():
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


def check(made: Path, frames: int) -> tuple[str, list[float]]:
    """What two films must have in common; sees that a film is right."""
    assert [round(1000 * at) for at in shown(made)] == times_of(frames)
    streams = probe(made)["streams"]
    assert [stream["codec_type"] for stream in streams] == ["video", "audio", "audio", "subtitle", "attachment"]
    assert (streams[0]["sample_aspect_ratio"], streams[0]["color_space"]) == ("32:27", "smpte170m")
    return video_hash(made), shown(made)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Make a film in three ways.")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--video", type=Path, help="a video of five minutes or more to take the pictures from")
    parser.add_argument("--chunk", type=int, default=240)
    options = parser.parse_args()
    frames = int(options.seconds * 25)
    with tempfile.TemporaryDirectory(prefix="animup_ways_") as name:
        folder = Path(name)
        if options.video:
            inputs = [str(make_film(folder, frames, taken(options.video, frames)))]
        else:
            script = folder / "slow.vpy"
            script.write_text(SLOW.replace("0.03", "0.003"))
            inputs = [str(script), "-a", f"source={make_film(folder, frames)}"]
        common = [*COMMAND, *inputs, "--chunk", str(options.chunk), "--json", "-o"]
        one, three, cluster = (folder / f"{way}.mkv" for way in ("one", "three", "cluster"))
        subprocess.run([*common, str(one)], check=True, stdout=subprocess.DEVNULL)
        wanted = check(one, frames)
        subprocess.run([*common, str(three), "--workers", "3"], check=True, stdout=subprocess.DEVNULL)
        assert check(three, frames) == wanted
        print("three processes: the same", flush=True)
        with LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=":0", silence_logs="CRITICAL") as found:
            command = [*common, str(cluster), "--dask", found.scheduler_address]
            chunks = cluster.with_name(f"{cluster.name}.animup")
            first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            wait_for(lambda: list(chunks.glob("*/*.json")), first)
            with Client(found.scheduler_address, set_as_default=False) as client:
                busy = next(worker for worker, keys in client.processing().items() if keys)
                os.kill(client.run(os.getpid, workers=[busy])[busy], signal.SIGKILL)
            done = len(list(chunks.glob("*/*.json")))
            wait_for(lambda: len(list(chunks.glob("*/*.json"))) > done + 1, first)
            first.kill()
            first.communicate()
            assert not cluster.exists()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        assert check(cluster, frames) == wanted
        print("a cluster with a worker and the client killed: the same", flush=True)


if __name__ == "__main__":
    main()
