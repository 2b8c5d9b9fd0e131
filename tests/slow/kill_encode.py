"""Kills ``animup encode`` at random moments and sees that what it goes on to make is the same, byte for byte.

uv run python -m tests.slow.kill_encode --times 30
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.helpers.render_files import SLOW, make_film, shown, video_hash

COMMAND = [sys.executable, "-c", "from vsanimup.cli.main import app; app()", "encode"]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Kill animup encode at random moments.")
    parser.add_argument("--times", type=int, default=30, help="how often")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="animup_kill_") as name:
        folder = Path(name)
        film = make_film(folder)
        script, out = folder / "slow.vpy", folder / "out" / "film.mkv"
        script.write_text(SLOW)
        command = [*COMMAND, str(script), "-a", f"source={film}", "-o", str(out), "--chunk", "12", "--json"]
        began = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        usual = time.monotonic() - began
        wanted = video_hash(out), shown(out)
        kills = films = 0
        while kills < options.times:
            out.unlink()
            kept: list[int] = []
            while not (
                ended := finished([*command, "--workers", str(chance.choice((1, 2)))], chance.uniform(0, usual))
            ):
                kills += 1
                assert not out.exists() or (video_hash(out), shown(out)) == wanted, "a film that is not whole"
                if out.exists():
                    break  # it was done but for leaving
            if ended:
                kept.append(int(str(ended["resumed"])))
            assert (video_hash(out), shown(out)) == wanted, "another film"
            films += 1
            subprocess.run(command, capture_output=True, check=False)  # tidies up after one that was killed at the end
            assert [path.name for path in out.parent.iterdir()] == [out.name], list(out.parent.iterdir())
            print(f"{kills} kills, {films} films, chunks kept by the last: {kept}", flush=True)


def finished(command: list[str], seconds: float) -> dict[str, object] | None:
    """The last line of a run; None if it was killed after so many seconds."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            said, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return None
        assert process.returncode == 0, errors
        last: dict[str, object] = json.loads(said.splitlines()[-1])
        return last


if __name__ == "__main__":
    main()
