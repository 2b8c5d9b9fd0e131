"""``animup demo``: run the ready script through vspipe and an encoder, and picture the difference."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

from vsanimup.encoding import encoders, timing, vspipe
from vsanimup.encoding.vspipe import Output, explain
from vsanimup.errors import AnimupError
from vsanimup.partial import partial_file, sweep

PACKAGE = Path(__file__).resolve().parents[1]
SCRIPT = "restore_upscale.vpy"
COMPARE = "compare.vpy"
DEMO_CLIP = PACKAGE / "data" / "demo.mkv"
"""The clip that comes with the package."""
PICTURE_FRAME_MOST = 240
"""The picture shows no later frame than this: finding it means decoding all before it."""
_FRAME = re.compile(r"Frame: (\d+)/(\d+)")


def script_path(name: str = SCRIPT) -> Path:
    """A ready script, in an installed package or a source checkout.

    Raises :class:`AnimupError` when it is in neither.
    """
    for folder in (PACKAGE / "vs_scripts", PACKAGE.parent / "vs_scripts"):
        if (folder / name).is_file():
            return folder / name
    raise AnimupError(f"{name} is missing from {PACKAGE / 'vs_scripts'}; install the package again")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run of the ready script."""

    source: Path
    arguments: dict[str, str]
    """The script's ``-a`` arguments, ``source`` among them."""

    def options(self) -> list[str]:
        """The arguments as vspipe takes them."""
        return [part for name, value in self.arguments.items() for part in ("-a", f"{name}={value}")]


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """How a video was made."""

    seconds: float
    rate_note: str | None
    """What to say where the source has, or may have, a variable frame rate."""


def examine(plan: Plan) -> Output:
    """What the script will give.

    Raises :class:`AnimupError` when the source cannot be read or an argument is wrong.
    """
    try:
        return vspipe.output_of(script_path(), plan.options(), source=plan.source)
    except AnimupError as error:
        raise AnimupError(_own_options(f"{error}")) from None


def _own_options(message: str) -> str:
    """A ready script's message, in which its arguments are those of the demo."""
    return message.replace("-a deinterlace=", "--deinterlace ")


def missing_frames(source: Path, output: Output) -> str | None:
    """What to say where fewer frames of the source can be decoded than it says that it has."""
    promised = _promised_frames(source, output.rate)
    if promised is None or promised <= output.frames:
        return None
    return f"{source}: {output.frames} of {promised} frames can be decoded; the file is cut off or damaged"


def _promised_frames(source: Path, rate: Fraction) -> int | None:
    """How many frames a video's own index says that it holds; ``None`` where it says nothing.

    ``rate`` frames a second make frames of a duration, where nothing but that is written down.
    """
    import av

    try:
        with av.open(str(source)) as container:
            video = container.streams.video[0]
            written = {key.upper().partition("-")[0]: value for key, value in video.metadata.items()}
            counted, duration = written.get("NUMBER_OF_FRAMES", ""), written.get("DURATION", "")  # Matroska's
            if video.frames or counted.isdecimal():
                return video.frames or int(counted)
    except (av.FFmpegError, IndexError):
        return None
    if not (parts := re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", duration)):
        return None
    seconds = int(parts[1]) * 3600 + int(parts[2]) * 60 + Fraction(parts[3])
    return int(seconds * rate) - 1  # how long the last frame is shown may be left out, or counted twice


def prepare_folder(folder: Path) -> None:
    """Make the output folder, see that it can be written to, and remove what killed runs left there.

    Raises :class:`AnimupError` when not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = f"{folder} cannot be written to ({error.strerror}); choose another folder with -o"
        raise AnimupError(reason) from None
    sweep(folder)


def render(plan: Plan, output: Output, final: Path, encoder: str, crf: int, step: Callable[[int], None]) -> Rendered:
    """Run vspipe into the encoder. ``step`` is told the number of frames done.

    Raises :class:`AnimupError` in plain words when either fails; both are ended, and no partial file stays.
    """
    began = time.monotonic()
    with partial_file(final) as partial:
        durations = _encode(plan, output, partial, encoder, crf, step)
        note = _keep_times(partial, durations, output.rate)
    return Rendered(seconds=time.monotonic() - began, rate_note=note)


def _keep_times(encoded: Path, durations: list[Fraction | None], rate: Fraction) -> str | None:
    """Give a file's frames their times where these are not those of its constant rate; what to say of it."""
    if timing.constant(durations, rate):
        return None
    times = timing.times_of(durations)
    if times is None:
        return (
            "the frame rate varies, but not every frame says how long it is shown: all are shown at the constant "
            f"rate of {float(rate):.3f} frames a second"
        )
    with partial_file(encoded) as timed:
        timing.retime(encoded, times, timed)
    return "the frame rate varies: each frame is shown when it is in the source"


def _encode(
    plan: Plan, output: Output, out: Path, encoder: str, crf: int, step: Callable[[int], None]
) -> list[Fraction | None]:
    """vspipe's frames through the encoder into a file of one constant rate; how long each should be shown."""
    name, program = encoders.choose(encoder)
    command = encoders.command(name, program, out, output.look, crf)
    with tempfile.TemporaryDirectory(prefix="animup_") as folder, contextlib.ExitStack() as stack:
        props, said = Path(folder, "props.json"), Path(folder, "encoder.txt")
        source = [vspipe.vspipe_path(), *plan.options(), "--progress", "-e", str(output.frames - 1), "-c", "y4m"]
        source += ["-j", str(props), str(script_path()), "-"]
        null, through = subprocess.DEVNULL, subprocess.PIPE
        pipe = _start(stack, source, stdin=null, stdout=through, stderr=through, env=vspipe.environment())
        sink = _start(stack, command, stdin=through, stdout=null, stderr=stack.enter_context(said.open("wb")))
        assert pipe.stderr is not None
        lines: list[str] = []
        reader = threading.Thread(target=_follow, args=(pipe.stderr, step, lines), daemon=True)
        reader.start()
        encoder_first = _pump(pipe, sink)
        reader.join(5)
        if pipe.returncode and not encoder_first:
            failure = _own_options(explain("\n".join(lines), plan.source))
            raise AnimupError(failure if pipe.returncode > 0 else f"vspipe crashed: {failure}")
        if encoder_first or sink.returncode:
            text = said.read_text(encoding="utf-8", errors="replace").strip()
            raise AnimupError(_encoder_failure(name, text, out.parent, sink.returncode))
        if len(timing.packet_times(out)) < output.frames:  # x264 reports success on a full disk
            raise AnimupError(_encoder_failure(name, "", out.parent, sink.returncode))
        return timing.read_durations(props)


def _start(stack: contextlib.ExitStack, command: list[str], **streams: Any) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, **streams)

    def end() -> None:
        if process.poll() is None:
            process.kill()
        process.wait()

    stack.callback(end)
    return process


def _follow(stream: IO[bytes], step: Callable[[int], None], lines: list[str]) -> None:
    """Read vspipe's standard error to its end: progress to ``step``, the rest to ``lines``."""
    held = b""
    while part := os.read(stream.fileno(), 4096):
        *whole, held = re.split(rb"[\r\n]", held + part)
        for line in whole:
            text = line.decode("utf-8", "replace")
            if match := _FRAME.match(text):
                step(int(match[1]))
            elif text:
                lines.append(text)
    lines.append(held.decode("utf-8", "replace"))


def _pump(pipe: subprocess.Popen[bytes], sink: subprocess.Popen[bytes]) -> bool:
    """Hand vspipe's frames to the encoder and wait for both; whether the encoder gave up while vspipe had more.

    They go through this process, so that both others end when it is killed.
    """
    assert pipe.stdout is not None and sink.stdin is not None
    try:
        shutil.copyfileobj(pipe.stdout, sink.stdin, 1 << 20)
    except OSError:
        gone = True
    else:
        gone = False
    if gone:
        pipe.kill()
    while pipe.poll() is None:  # not one long wait: Ctrl-C must get through everywhere
        time.sleep(0.03)
    if pipe.returncode and not gone:
        sink.kill()  # what it got is not the whole film
    with contextlib.suppress(OSError):
        sink.stdin.close()
    while sink.poll() is None:
        time.sleep(0.03)
    return gone


def _encoder_failure(name: str, text: str, folder: Path, returncode: int | None) -> str:
    free = shutil.disk_usage(folder).free
    if free < 1 << 20 or "No space left" in text:
        return f"the disk is full ({free // 1024} KiB left in {folder}); choose another folder with -o"
    last = text.splitlines()[-1] if text else f"it ended with code {returncode}, its file is not whole"
    return f"the encoder {name} failed: {last}"


def picture(source: Path, video: Path, final: Path, frames: int) -> int:
    """Write the before/after picture; the number of the frame shown.

    The left half is the source enlarged by plain bicubic resizing, the right half the video that was made.
    """
    import av
    import numpy as np

    number = min(frames * 2 // 3, PICTURE_FRAME_MOST)
    after, before = _frame(video, number), _frame(source, number)
    width, height = after.width, after.height
    left, right = (_rgb(frame, width, height, before.height) for frame in (before, after))
    middle = width // 2
    joined = np.concatenate([left[:, :middle], right[:, middle:]], axis=1)
    joined[:, middle - 1 : middle + 1] = 255
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "rgb24"
    encoder.time_base = Fraction(1, 24)
    image = av.VideoFrame.from_ndarray(np.ascontiguousarray(joined), format="rgb24")
    packets = encoder.encode(image) + encoder.encode(None)
    with partial_file(final) as partial:
        partial.write_bytes(b"".join(bytes(packet) for packet in packets))
    return number


def _frame(path: Path, number: int) -> Any:
    """Frame ``number`` of a video, or the last one before it."""
    import av

    found = None
    try:
        with av.open(str(path)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                found = frame
                if index == number:
                    break
    except (av.FFmpegError, IndexError) as error:
        raise AnimupError(f"no picture could be made: {path} cannot be read ({error})") from None
    if found is None:
        raise AnimupError(f"{path} holds no frame")
    return found


def _rgb(frame: Any, width: int, height: int, source_height: int) -> Any:
    """RGB ``[height, width, 3]``, resized by bicubic, with the frame's own matrix or the usual one."""
    matrix = int(frame.colorspace)
    if matrix not in (1, 5, 6, 7):
        matrix = 6 if source_height <= 576 else 1
    space = {1: "ITU709", 7: "SMPTE240M"}.get(matrix, "ITU601")
    span = "JPEG" if int(frame.color_range) == 2 else "MPEG"
    return frame.reformat(
        width=width,
        height=height,
        format="rgb24",
        interpolation="BICUBIC",
        src_colorspace=space,
        src_color_range=span,
        dst_color_range="JPEG",
    ).to_ndarray()
