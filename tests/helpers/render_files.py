"""Films and scripts for the tests of whole films."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av

FRAMES, CUT = 60, 22
"""Frames of the film, and where its second scene begins."""


def times_of(frames: int) -> list[int]:
    """When a film's frames are shown, in milliseconds: at a variable rate, with a pause, and not from zero on."""
    return [40 * n + 13 * (n % 3) + (900 if n >= 45 else 0) + 80 for n in range(frames)]


TIMES = times_of(FRAMES)

SCRIPT = """\
import vapoursynth as vs
source = vs.core.bs.VideoSource(globals()["source"], cachemode=0, showprogress=False)
clip = source.resize.Bicubic(source.width * 2, source.height * 2)
clip.set_output()
source.set_output(1)
"""
SLOW = SCRIPT.replace(
    "clip.set_output()",
    "import time\nclip = clip.std.ModifyFrame(clip, lambda n, f: (time.sleep(0.03), f)[1])\nclip.set_output()",
)
"""The same, at no more than 30 frames a second, so that there is time to interrupt it."""


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-y", "-v", "error", "-nostdin", *map(str, arguments)], check=True)


def drawn(frames: int) -> list[str]:
    """ffmpeg's arguments for pictures that it draws itself, of two scenes."""
    scenes = (f"testsrc2=s=96x64:r=25,trim=end_frame={CUT}", f"smptebars=s=96x64:r=25,trim=end_frame={frames - CUT}")
    return [word for scene in scenes for word in ("-f", "lavfi", "-i", scene)]


def taken(video: Path, frames: int) -> list[str]:
    """ffmpeg's arguments for two scenes of a video, made small, from its minutes 1:30 and 4:00 on."""
    scenes = ((90, frames // 2), (240, frames - frames // 2))
    return [
        word for at, count in scenes for word in ("-ss", str(at), "-t", str(count / 25), "-r", "25", "-i", str(video))
    ]


def make_film(folder: Path, frames: int = FRAMES, pictures: Sequence[str] | None = None) -> Path:
    """Variable frame rate, SAR 32:27, a cut, two sound tracks, subtitles, chapters, a font and BT.601 colours.

    ``pictures`` are ffmpeg's arguments for two inputs, whose pictures follow each other.
    """
    (folder / "subs.srt").write_text(
        "1\n00:00:00,500 --> 00:00:01,500\nHello\n\n2\n00:00:02,000 --> 00:00:03,000\nBye\n"
    )
    (folder / "chapters.txt").write_text(
        ";FFMETADATA1\ntitle=A film\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=3300\ntitle=Two\n"
    )
    (folder / "font.ttf").write_bytes(bytes(range(256)) * 5)
    small = "null" if pictures is None else "fps=25,scale=320:184"
    times = "(40*N+13*mod(N,3)+900*gte(N,45)+80)/1000/TB"
    ffmpeg(
        *(drawn(frames) if pictures is None else pictures),
        "-f",
        "lavfi",
        "-i",
        f"sine=440:d={frames * 0.055}",
        "-f",
        "lavfi",
        "-i",
        f"sine=880:d={frames * 0.055}",
        "-i",
        folder / "subs.srt",
        "-i",
        folder / "chapters.txt",
        "-attach",
        folder / "font.ttf",
        "-filter_complex",
        f"[0]{small}[a];[1]{small}[b];[a][b]concat,format=yuv420p,setpts='{times}',settb=1/1000,setsar=32/27[v]",
        "-map",
        "[v]",
        "-map",
        "2",
        "-map",
        "3",
        "-map",
        "4",
        "-map_metadata",
        "5",
        "-map_chapters",
        "5",
        "-fps_mode",
        "passthrough",
        "-enc_time_base:v",
        "1/1000",
        "-c:v",
        "libx264",
        "-colorspace",
        "smpte170m",
        "-color_primaries",
        "smpte170m",
        "-color_trc",
        "smpte170m",
        "-color_range",
        "tv",
        "-c:a:0",
        "pcm_s16le",
        "-c:a:1",
        "flac",
        "-c:s",
        "srt",
        "-metadata:s:a:1",
        "language=jpn",
        "-metadata:s:a:1",
        "title=Commentary",
        "-metadata:s:t:0",
        "mimetype=font/ttf",
        "-disposition:a:1",
        "forced",
        folder / "film.mkv",
    )
    return folder / "film.mkv"


def probe(path: Path, *asked: str) -> dict[str, Any]:
    """What ffprobe says of a file: what is asked for, else all of its container, streams and chapters."""
    asked = asked or ("-show_format", "-show_streams", "-show_chapters")
    done = subprocess.run(["ffprobe", "-v", "error", "-of", "json", *asked, str(path)], capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def shown(path: Path) -> list[float]:
    """When frames are shown, in seconds, as ffprobe reads it."""
    found = probe(path, "-select_streams", "v:0", "-show_entries", "packet=pts_time")
    return sorted(float(packet["pts_time"]) for packet in found["packets"])


def packets(path: Path, stream: int) -> list[tuple[str, str]]:
    """Time and content of a stream's packets, as ffprobe reads them."""
    entries = ("-show_data_hash", "md5", "-show_entries", "packet=pts_time,data_hash")
    found = probe(path, "-select_streams", str(stream), *entries)
    return [(packet["pts_time"], packet["data_hash"]) for packet in found["packets"]]


def video_hash(path: Path) -> str:
    """Hash of a film's video packets."""
    seen = hashlib.sha256()
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            seen.update(bytes(packet))
    return seen.hexdigest()


def decodes(path: Path) -> int:
    """Frames that ffmpeg decodes; it must not complain."""
    with av.open(str(path)) as container:
        count = sum(1 for _ in container.decode(video=0))
    done = subprocess.run(
        [
            "ffmpeg",
            "-v",
            "error",
            "-i",
            str(path),
            "-map",
            "0:v",
            "-c:v",
            "rawvideo",
            "-fps_mode",
            "passthrough",
            "-enc_time_base:v",
            "1/1000",
            "-f",
            "null",
            "-",
        ],
        capture_output=True,
        check=True,
    )
    assert not done.stderr, done.stderr
    return count
