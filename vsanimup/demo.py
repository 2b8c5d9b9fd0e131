"""``animup demo``: run the ready script through vspipe and an encoder, and picture the difference."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

from vsanimup import encoders
from vsanimup.errors import AnimupError
from vsanimup.video_flags import Look, look_of

PACKAGE = Path(__file__).resolve().parent
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


def vspipe_path() -> str:
    """vspipe of this Python's environment, else the one on PATH.

    Raises :class:`AnimupError` when there is none.
    """
    beside = str(Path(sys.executable).parent)
    for place in (beside, os.path.join(beside, "Scripts"), None):
        if found := shutil.which("vspipe", path=place):
            return found
    raise AnimupError(f"vspipe is neither in {beside} nor on PATH; get it with  pip install vapoursynth")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run of the ready script."""

    source: Path
    scale: int = 2
    arguments: dict[str, str]
    """The script's ``-a`` arguments, ``source`` among them."""

    def options(self) -> list[str]:
        """The arguments as vspipe takes them."""
        return [part for name, value in self.arguments.items() for part in ("-a", f"{name}={value}")]


@dataclass(frozen=True, kw_only=True)
class Output:
    """What the script will give."""

    width: int
    height: int
    frames: int
    rate: Fraction
    look: Look


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a demo made."""

    video: Path
    picture: Path
    frames: int
    seconds: float
    encoder: str


def explain(text: str, source: Path | None = None) -> str:
    """What vspipe wrote to standard error, in one plain line."""
    if "Failed to initialize VSScript" in text or "VSScript reported error" in text:
        program = Path(sys.executable).with_name("vapoursynth")
        return f"vspipe does not know this Python yet; run once:  {program} config"
    lines = [line.strip() for line in re.split(r"[\r\n]+", text)]
    patterns = (
        r"Python exit with code (?:\w+\.vpy: )?(.+)", r"Python exception: (.+)",
        r"Error: Failed to retrieve frame \d+ with error: (.+)", r"Error: (.+)",
    )  # fmt: skip
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


def _vspipe(plan: Plan, *rest: str) -> str:
    """Standard output of a short vspipe run; raises :class:`AnimupError` in plain words."""
    done = subprocess.run(
        [vspipe_path(), *plan.options(), *rest], capture_output=True, text=True, errors="replace",
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    if done.returncode:
        raise AnimupError(explain(done.stderr, plan.source))
    return done.stdout


def examine(plan: Plan) -> Output:
    """Evaluate the script and look at the source's first frame.

    Raises :class:`AnimupError` when the source cannot be read or an argument is wrong.
    """
    lines = _vspipe(plan, "--info", str(script_path()), "-").splitlines()
    info = dict(line.split(": ", 1) for line in lines if ": " in line)
    with tempfile.TemporaryDirectory(prefix="animup_") as folder:
        # the even frames of compare.vpy are the source's: its properties come without running a network
        _vspipe(plan, "-e", "0", "-j", f"{folder}/props.json", str(script_path(COMPARE)), "--")
        props: dict[str, Any] = json.loads(Path(folder, "props.json").read_text(encoding="utf-8"))[0]
    height = int(info["Height"])
    matrix = int(props.get("_Matrix", 2))
    if matrix == 2 and info["Color Family"] == "YUV":
        from vsanimup.filters.samples import matrix_by_height

        matrix = matrix_by_height(height // plan.scale)
    look = look_of({**props, "_Matrix": matrix}, info["Format Name"])
    return Output(
        width=int(info["Width"]), height=height, frames=int(info["Frames"]),
        rate=Fraction(info["FPS"].split(" ", 1)[0]), look=look,
    )  # fmt: skip


def prepare_folder(folder: Path) -> None:
    """Make the output folder and see that it can be written to.

    Raises :class:`AnimupError` when not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = f"{folder} cannot be written to ({error.strerror}); choose another folder with -o"
        raise AnimupError(reason) from None


@contextlib.contextmanager
def partial_file(final: Path) -> Iterator[Path]:
    """A temporary name beside ``final`` that becomes ``final`` on success and is removed on failure."""
    partial = final.with_name(f".{final.stem}.{os.getpid()}.part{final.suffix}")
    try:
        yield partial
        os.replace(partial, final)
    finally:
        partial.unlink(missing_ok=True)


def render(plan: Plan, output: Output, final: Path, encoder: str, crf: int, step: Callable[[int], None]) -> float:
    """Run vspipe into the encoder; seconds taken. ``step`` is told the number of frames done.

    Raises :class:`AnimupError` in plain words when either fails; both are ended, and no partial file stays.
    """
    name, program = encoders.choose(encoder)
    began = time.monotonic()
    with partial_file(final) as partial, tempfile.TemporaryFile() as said, contextlib.ExitStack() as stack:
        command = [vspipe_path(), *plan.options(), "--progress", "-e", str(output.frames - 1), "-c", "y4m"]
        command += [str(script_path()), "-"]
        null = subprocess.DEVNULL
        pipe = _start(stack, command, stdin=null, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        command = encoders.command(name, program, partial, output.look, crf)
        sink = _start(stack, command, stdin=pipe.stdout, stdout=null, stderr=said)
        assert pipe.stdout is not None and pipe.stderr is not None
        pipe.stdout.close()  # the encoder alone holds the reading end: when it dies, vspipe notices
        lines: list[str] = []
        reader = threading.Thread(target=_follow, args=(pipe.stderr, step, lines), daemon=True)
        reader.start()
        encoder_first = _wait(pipe, sink)
        reader.join(5)
        said.seek(0)
        text = said.read().decode("utf-8", "replace").strip()
        if pipe.returncode and not encoder_first:
            failure = explain("\n".join(lines), plan.source)
            raise AnimupError(failure if pipe.returncode > 0 else f"vspipe crashed: {failure}")
        if encoder_first or sink.returncode:
            raise AnimupError(_encoder_failure(name, text, final.parent, sink.returncode))
        if _packets(partial) < output.frames:  # x264 reports success on a full disk
            raise AnimupError(_encoder_failure(name, text, final.parent, sink.returncode))
    return time.monotonic() - began


def _packets(path: Path) -> int:
    """Frames in an encoded file, as far as it can be read."""
    import av

    count = 0
    try:
        with av.open(str(path)) as container:
            for packet in container.demux(video=0):
                count += packet.size > 0
    except (av.FFmpegError, IndexError):
        pass
    return count


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


def _wait(pipe: subprocess.Popen[bytes], sink: subprocess.Popen[bytes]) -> bool:
    """Wait for vspipe and the encoder to end; whether the encoder gave up while vspipe had more."""
    while pipe.poll() is None:
        if sink.poll() is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                pipe.wait(1)  # it may just be ending, too
            if pipe.poll() is None:
                pipe.kill()
                pipe.wait()
            return pipe.returncode != 0
        time.sleep(0.03)
    if pipe.returncode == -getattr(signal, "SIGPIPE", 0) != 0:
        sink.wait()
        return True
    if pipe.returncode:
        sink.kill()  # what it got is not the whole film
    while sink.poll() is None:  # not one long wait: Ctrl-C must get through everywhere
        time.sleep(0.03)
    return False


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
        width=width, height=height, format="rgb24", interpolation="BICUBIC",
        src_colorspace=space, src_color_range=span, dst_color_range="JPEG",
    ).to_ndarray()  # fmt: skip
