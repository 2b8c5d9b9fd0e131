"""What the ready scripts in ``vs_scripts/`` share: their arguments, the names of files, interlaced sources.

A script that ends by ``SystemExit`` with a text shows that text alone, so everything that a caller did wrong ends here.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final, NoReturn

import vapoursynth as vs

from vsanimup.bridge import Job, block_node
from vsanimup.errors import AnimupError
from vsanimup.networks.manifest import SHIPPED

DEINTERLACE: Final = ("bwdif", "ivtc", "off", "auto")
"""What ``deinterlace=`` takes: deinterlace by Bwdif, undo telecine, take the frames for progressive, or Bwdif if it is
there."""


class Arguments:
    """The ``-a`` arguments that a script was called with, each to be read by the name that the script knows."""

    def __init__(self, values: Mapping[str, object], known: Sequence[str], script: str) -> None:
        """``values`` are the script's globals, texts among them only the arguments; ``known`` the names that it takes.

        Ends the script for a name that it does not know.
        """
        self._values = {k: v for k, v in values.items() if isinstance(v, str) and not k.startswith("__")}
        self.script, self._folder = Path(script).name, called_from(script)
        self._read: set[str] = set()
        for name in self._values:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                guess = f"did you mean {near[0]}? It" if near else "it"
                self.stop(f"there is no argument {name!r}; {guess} takes {', '.join(known)}")

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def stop(self, reason: str) -> NoReturn:
        """End the script, and say why."""
        raise SystemExit(f"{self.script}: {reason}")

    def text(self, *names: str, default: str = "") -> str:
        """The first of the names that was given, or the default."""
        for name in names:
            if name in self._values:
                self._read.add(name)
                return self._values[name]
        return default

    def number(self, name: str, default: float) -> float:
        """A number."""
        text = self.text(name, default=f"{default}")
        try:
            return float(text)
        except ValueError:
            self.stop(f"{name} must be a number, got {text!r}")

    def whole(self, name: str, default: int) -> int:
        """A whole number."""
        value = self.number(name, default)
        if value != value // 1:
            self.stop(f"{name} must be a whole number, got {self._values[name]!r}")
        return int(value)

    def flag(self, name: str) -> bool:
        """1 or 0, which is what it is where it is not given."""
        return self.choice(name, ("0", "1"), "0") == "1"

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """One of several words."""
        value = self.text(name, default=default)
        if name in self._values and value not in choices:
            self.stop(f"{name} must be one of {', '.join(choices)}, got {value!r}")
        return value

    def path(self, *names: str, default: str = "") -> str:
        """A file or folder; a relative name counts from the folder where the script was called, if it is there."""
        given = self.text(*names, default=default)
        inside = self._folder / Path(given).expanduser()
        return str(inside) if given and inside.exists() else given

    def model(self, *names: str) -> str:
        """``lite``, the name of a shipped model, or a file or folder of one."""
        given = self.text(*names, default="lite")
        shipped = Path(given).name == given and (SHIPPED / given).is_dir()
        return given if given == "lite" or shipped else self.path(*names)

    def finish(self) -> None:
        """End the script if something was given that it never looked at: it would be dropped without a word."""
        for name, value in self._values.items():
            if name not in self._read:
                others = " ".join(f"{k}={v}" for k, v in self._values.items() if k in self._read and k != "source")
                self.stop(f"{name}={value} is of no use beside {others or 'the defaults'}; leave it out")


def called_from(script: str) -> Path:
    """The folder in which the program was called that evaluates ``script``, a script's ``__file__``.

    vspipe goes to the script's folder first, and says nowhere where it was. A relative name of the script tells, or
    else the variable PWD, which shells set. Where neither does, it is the present folder.
    """
    here, told = Path.cwd(), Path(os.environ.get("PWD", ""))
    if not Path(script).is_absolute():
        parts = Path(script).parent.parts
        if _same(told / script, here / Path(script).name):
            return told
        return here if ".." in parts or Path(script).is_file() else here.parents[len(parts) - 1]
    return told if told.is_absolute() and told.is_dir() else here


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def neighbour(script: str, name: str) -> Path:
    """A file beside a script, whose ``__file__`` may count from a folder that has been left."""
    beside = Path(script).with_name(name)
    return beside if beside.is_file() else Path.cwd() / name


def with_aspect_of_container(clip: vs.VideoNode, path: str) -> vs.VideoNode:
    """The clip with the sample aspect ratio that the file's container tells, which players obey.

    BestSource reads the one in the video's own headers; a remuxed DVD has another. Where PyAV cannot read the file,
    nothing is changed.
    """
    import av

    try:
        with av.open(path) as container:
            told = container.streams.video[0].sample_aspect_ratio
    except (av.FFmpegError, IndexError, ValueError):
        return clip
    with clip.get_frame(0) as frame:
        own = Fraction(int(frame.props.get("_SARNum", 0)) or 1, int(frame.props.get("_SARDen", 0)) or 1)
    if not told or own == told:
        return clip
    return clip.std.SetFrameProps(_SARNum=told.numerator, _SARDen=told.denominator)


def progressive(clip: vs.VideoNode, how: str, script: str) -> vs.VideoNode:
    """The clip without interlaced frames, which are those with ``_FieldBased`` 1 or 2.

    Args:
        clip: Of any format; ``ivtc`` takes 8-bit YUV and gray.
        how: One of DEINTERLACE, or empty: an interlaced frame is an error that names them.
        script: The script's name, for errors.

    Raises:
        AnimupError: A plugin that it takes is missing.
    """
    if how == "auto":  # a clip without interlaced frames does not need the plugin
        how = "bwdif" if hasattr(vs.core, "bwdif") else ""
    if how == "off":
        return clip.std.SetFieldBased(0)
    if how == "bwdif":
        return _instead(clip, "_FieldBased", _bwdif(clip))
    if how == "ivtc":
        _need("vivtc", "vapoursynth-vivtc")
        matched = clip.vivtc.VFM(order=1)  # the order where _FieldBased does not say it: that of NTSC
        matched = _instead(matched, "_Combed", _bwdif(clip))
        return matched.vivtc.VDecimate().std.SetFieldBased(0)

    def refuse(job: Job) -> None:
        raise AnimupError(
            f"frame {job.first} is interlaced; call it with -a deinterlace=bwdif, with ivtc for telecined film (24 "
            "frames a second as 30), or with off if the frames are progressive after all"
        )

    return _instead(clip, "_FieldBased", block_node(clip, refuse, function=Path(script).name, prefetch=False))


def cropped(clip: vs.VideoNode, sides: str) -> vs.VideoNode:
    """The clip without borders.

    Args:
        clip: Of any format.
        sides: Samples to cut off, as ``left,top,right,bottom``; empty for none.

    Raises:
        AnimupError: It is something else, or the clip has no such borders.
    """
    if not sides:
        return clip
    try:
        left, top, right, bottom = (int(side) for side in sides.split(","))
        return clip.std.Crop(left=left, top=top, right=right, bottom=bottom)
    except (ValueError, vs.Error) as error:
        reason = f" ({error})" if isinstance(error, vs.Error) else ""
        raise AnimupError(f"crop must be LEFT,TOP,RIGHT,BOTTOM, as 0,60,0,60, got {sides!r}{reason}") from None


def _bwdif(clip: vs.VideoNode) -> vs.VideoNode:
    _need("bwdif", "vapoursynth-bwdif")
    # one frame of two fields: animation is not drawn at the rate of fields
    return clip.bwdif.Bwdif(field=1)


def _need(plugin: str, package: str) -> None:
    if not hasattr(vs.core, plugin):
        raise AnimupError(f"deinterlace: the plugin {plugin} is missing. Get it with  pip install {package}")


def _instead(clip: vs.VideoNode, prop: str, other: vs.VideoNode) -> vs.VideoNode:
    """The clip, with frames of ``other`` where its own have ``prop`` set to something else than 0."""
    return clip.std.FrameEval(lambda n, f: other if f.props.get(prop, 0) else clip, prop_src=[clip])
