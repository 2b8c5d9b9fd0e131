"""Encoders of chunks: the same frames give the same bytes, and all chunks have the same headers.

What makes it so is fixed here for each of them: the number of threads, which the bytes of x264 depend on, closed
groups of pictures, one rate factor for the whole film, and headers that do not follow the pictures. What would undo it
is refused by name.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

from vsanimup.encoding.encoders import pixel_format, pyav_command
from vsanimup.encoding.video_flags import Look, ffmpeg_flags, x264_flags
from vsanimup.errors import AnimupError
from vsanimup.processes import find_program

NAMES: Final = ("auto", "x264", "x265", "svtav1", "ffmpeg", "pyav")
THREADS: Final = 4
"""Threads of an encoder. Bytes depend on it, so it does not follow the machine."""
_LIBRARY: Final = {"x265": "libx265", "svtav1": "libsvtav1", "ffmpeg": "libx264", "pyav": "libx264"}
_CRF: Final = {"libx264": 16, "libx265": 18, "libsvtav1": 22}
_PRESET: Final = {"libx264": "medium", "libx265": "medium", "libsvtav1": "6"}
_MOST_CRF: Final = {"libx264": 51, "libx265": 51, "libsvtav1": 63}

_PER_FILM: Final = (
    "--pass",
    "--bitrate",
    "-B",
    "--stats",
    "--vbv-maxrate",
    "--vbv-bufsize",
    "--open-gop",
    "--threads",
    "--output",
    "-o",
    "--muxer",
    "--demuxer",
    "--seek",
    "--frames",
    "--tcfile-in",
    "--tcfile-out",
    "--qpfile",
    "--zones",
    "--fps",
    "--sliced-threads",
    "--non-deterministic",
    "--intra-refresh",
    "--opencl",
)
"""Options of x264 that need the whole film in one run, or that say what is said already."""
_PER_FILM_KEYS: Final = (
    "pass",
    "bitrate",
    "stats",
    "vbv-maxrate",
    "vbv-bufsize",
    "open-gop",
    "threads",
    "frame-threads",
    "pools",
    "lp",
    "frames",
    "skip",
    "qpfile",
    "zones",
    "zonefile",
    "rc",
    "tbr",
    "passes",
    "analysis-save",
    "analysis-load",
    "intra-refresh",
    "irefresh-type",
)
"""Keys of x265 and SVT-AV1 of which the same is true."""
_PER_FILM_FFMPEG: Final = (
    "-b",
    "-b:v",
    "-maxrate",
    "-bufsize",
    "-pass",
    "-passlogfile",
    "-threads",
    "-f",
    "-i",
    "-ss",
    "-t",
    "-to",
    "-r",
    "-vf",
    "-filter:v",
    "-frames:v",
    "-vframes",
    "-map",
    "-y",
    "-n",
)


@dataclass(frozen=True, kw_only=True)
class ChunkEncoder:
    """An encoder with all that it is told, but for the file."""

    name: str
    """As the user chose it; ``auto`` is settled."""
    library: str
    """``libx264``, ``libx265`` or ``libsvtav1``."""
    tool: str
    """What runs it: ``x264``, ``ffmpeg`` or ``pyav``."""
    crf: float
    preset: str
    look: Look = field(default_factory=Look)
    keyint: int = 240
    """Frames between key frames at most."""
    threads: int = THREADS
    arguments: tuple[str, ...] = ()
    """The user's own, after all others."""

    def command(self, out: str) -> list[str]:
        """The command line that turns y4m on standard input into the Matroska file ``out``.

        Raises:
            AnimupError: The program is not on this machine.
        """
        if self.tool == "x264":
            return self._x264(out)
        if self.tool == "ffmpeg":
            return self._ffmpeg(out)
        return self._pyav(out)

    def facts(self) -> dict[str, str]:
        """What of it the bytes of a chunk depend on, but for the version and for what follows from the frames."""
        return {
            "encoder": f"{self.library} by {self.tool}",
            "crf": f"{self.crf:g}",
            "preset": self.preset,
            "encoder arguments": " ".join(self.arguments),
            "encoder threads": str(self.threads),
        }

    def _x264(self, out: str) -> list[str]:
        command = [_program("x264"), "--demuxer", "y4m", "--crf", f"{self.crf:g}", "--preset", self.preset]
        command += ["--tune", "animation", "--keyint", str(self.keyint), "--threads", str(self.threads)]
        command += ["--lookahead-threads", "1", "--stitchable", "--cpu-independent", "--no-progress"]
        command += ["--log-level", "error", *x264_flags(self.look), *self.arguments]
        return [*command, "--muxer", "mkv", "-o", out, "-"]

    def _ffmpeg(self, out: str) -> list[str]:
        command = [_program("ffmpeg"), "-y", "-v", "error", "-nostdin", "-f", "yuv4mpegpipe", "-i", "pipe:0"]
        command += [*ffmpeg_flags(self.look), "-c:v", self.library, "-pix_fmt", pixel_format(self.look)]
        command += ["-g", str(self.keyint), "-threads", str(self.threads)]
        for option, value in self._options().items():
            command += [f"-{option}", value]
        if self.name == "ffmpeg":
            command += self.arguments
        return [*command, "-f", "matroska", out]

    def _pyav(self, out: str) -> list[str]:
        return pyav_command(
            Path(out),
            self.look,
            self._options(),
            library=self.library,
            gop_size=self.keyint,
            thread_count=self.threads,
        )

    def _options(self) -> dict[str, str]:
        """Options of the library, as ffmpeg and PyAV name them."""
        options = {"crf": f"{self.crf:g}", "preset": self.preset}
        own: dict[str, str] = {}
        if self.library == "libx264":
            options["tune"] = "animation"
            own = {"stitchable": "1", "cpu-independent": "1", "lookahead-threads": "1", "open-gop": "0"}
        elif self.library == "libx265":
            own = {
                "log-level": "error",
                "open-gop": "0",
                "frame-threads": str(self.threads),
                "pools": str(self.threads),
            }
        else:
            own = {"lp": str(self.threads)}
        own |= self._hdr()
        if self.name != "ffmpeg":
            own |= dict(_pairs(argument) for argument in self.arguments)
        options[_PARAMETERS[self.library]] = ":".join(f"{key}={value}" for key, value in own.items())
        return options

    def _hdr(self) -> dict[str, str]:
        look, found = self.look, {}
        if look.mastering:
            if self.library == "libsvtav1":
                found["mastering-display"] = look.mastering.text()
            else:
                key = "mastering-display" if self.library == "libx264" else "master-display"
                found[key] = look.mastering.text(0.00002, 0.0001)
        if look.light:
            key = {"libx264": "cll", "libx265": "max-cll", "libsvtav1": "content-light"}[self.library]
            found[key] = "{},{}".format(*look.light)
        return found


_PARAMETERS: Final = {"libx264": "x264-params", "libx265": "x265-params", "libsvtav1": "svtav1-params"}


def _pairs(argument: str) -> tuple[str, str]:
    key, _, value = argument.partition("=")
    return key, value or "1"


def choose(name: str, crf: float | None, preset: str | None, arguments: str, threads: int = THREADS) -> ChunkEncoder:
    """The encoder that the user asked for, with what runs it here.

    Args:
        name: One of NAMES.
        crf: Rate factor; None takes the encoder's own default, at which the eye sees no loss.
        preset: The encoder's preset; None takes ``medium`` or what is like it.
        arguments: More for the encoder in its own form: options for x264 and ffmpeg, ``key=value:…`` for the others.
        threads: Threads of each run.

    Raises:
        AnimupError: There is no such encoder, it is not here, or an argument does not go with chunks.
    """
    if name not in NAMES:
        raise AnimupError(f"encoder must be one of {', '.join(NAMES)}, got {name!r}")
    if name == "auto":
        name = next((one for one in ("x264", "ffmpeg") if find_program(one)), "pyav")
    library = _LIBRARY.get(name, "libx264")
    tool = name
    if name in ("x265", "svtav1"):
        tool = "ffmpeg" if _ffmpeg_has(library) else "pyav"
    elif name != "pyav":
        _program(name)
    split = _split(name, arguments)
    if name == "ffmpeg" and "-c:v" in split:
        at = split.index("-c:v")
        library = split[at + 1] if at + 1 < len(split) else ""
        if library not in _PARAMETERS:
            raise AnimupError(f"-c:v must be one of {', '.join(_PARAMETERS)} for chunks to be joined, got {library!r}")
        split = split[:at] + split[at + 2 :]
    most = _MOST_CRF[library]
    crf = _CRF[library] if crf is None else crf
    if not 0 <= crf <= most:
        raise AnimupError(f"crf must be between 0 and {most} for {name}, got {crf:g}")
    return ChunkEncoder(
        name=name,
        library=library,
        tool=tool,
        crf=crf,
        preset=preset or _PRESET[library],
        threads=threads,
        arguments=tuple(split),
    )


def _split(name: str, arguments: str) -> list[str]:
    """The user's arguments one by one; raises :class:`AnimupError` for those that chunks cannot have."""
    import shlex

    try:
        split = shlex.split(arguments)
    except ValueError as error:
        raise AnimupError(f"encoder-args {arguments!r} cannot be taken apart: {error}") from None
    if name in ("x264", "ffmpeg"):
        refused: tuple[str, ...] = _PER_FILM if name == "x264" else _PER_FILM_FFMPEG
        given = {part: part.partition("=")[0] for part in split if part.startswith("-")}
    else:
        split = [part for whole in split for part in re.split(r":(?=[\w-]+(?:=|:|$))", whole)]
        refused = _PER_FILM_KEYS
        given = {part: part.partition("=")[0] for part in split}
    for part, key in given.items():
        if key in refused:
            raise AnimupError(
                f"encoder-args must not hold {part}: a film made in chunks is encoded by rate factor (--crf), "
                "with threads by --encoder-threads and files of its own"
            )
    return split


def _program(name: str) -> str:
    program = find_program(name)
    if program is None:
        raise AnimupError(f"{name} is not on PATH; install it, or use --encoder pyav")
    return program


def _ffmpeg_has(library: str) -> bool:
    program = find_program("ffmpeg")
    if program is None:
        return False
    return re.search(rf"\b{library}\b", _says([program, "-hide_banner", "-encoders"])) is not None


def version(tool: str, library: str) -> str:
    """What identifies the encoder on this machine; empty where it is missing."""
    if tool == "pyav":
        import av

        libraries: Mapping[str, tuple[int, int, int]] = av.library_versions
        return f"PyAV {av.__version__}, libavcodec {'.'.join(map(str, libraries['libavcodec']))}"
    program = find_program(tool)
    if program is None:
        return ""
    said = _says([program, "--version" if tool == "x264" else "-version"]).splitlines()
    return said[0] if said else "unknown"


def _says(command: list[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL
    )
    return done.stdout


def key_frames(rate: Fraction) -> int:
    """Frames in ten seconds, the distance between key frames."""
    return max(1, round(10 * rate))
