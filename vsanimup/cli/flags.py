"""``animup flags``: a script's first frame, in the words of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vsanimup.encoding import video_flags, vspipe
from vsanimup.errors import AnimupError


def flags_of(script: Path, encoder: str, arguments: Sequence[str] = (), index: int = 0) -> tuple[list[str], list[str]]:
    """The encoder's arguments, and what it cannot be told, one sentence each.

    ``arguments`` are the script's, such as ``source=film.mkv``; ``index`` says which of its outputs.
    Raises :class:`AnimupError` when the script fails, or its clip cannot go through y4m.
    """
    if encoder not in video_flags.ENCODERS:
        raise AnimupError(f"--for must be one of {', '.join(video_flags.ENCODERS)}, got {encoder!r}")
    if not script.is_file():
        raise AnimupError(f"there is no script {script}")
    with script.open("rb") as file:
        if b"\0" in file.read(4096):
            raise AnimupError(
                f"{script} is no script; of a video, name one that opens it:  "
                f"animup flags restore_upscale.vpy -a source={script} --for {encoder}"
            )
    for argument in arguments:
        if "=" not in argument:
            raise AnimupError(f"--arg must be NAME=VALUE, got {argument!r}")
    options = [part for argument in arguments for part in ("-a", argument)]
    found = vspipe.output_of(script, options, index)
    lost = video_flags.losses(encoder, found.look)
    if found.uneven:
        lost.append(_uneven(found))
    return video_flags.flags(encoder, found.look), lost


def _uneven(found: vspipe.Output) -> str:
    """What becomes of a variable frame rate."""
    rate = "no frame rate at all" if not found.rate else f"the mean rate {found.rate} for all frames"
    return (
        f"the frame rate varies, and y4m carries {rate}; keep the times by vspipe --timecodes times.txt, and then "
        "mkvmerge -o film.mkv --timestamps 0:times.txt ENCODED"
    )
