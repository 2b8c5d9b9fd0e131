"""From any format to the planes a network works on, and back.

The networks take luma, and left-sited chroma at half its width and height. Gray and 4:2:0 frames with such
chroma go to them directly, and their results come from them directly. Of all others luma of the result is the
network's own, too. Of chroma the network's *change* is taken, relative to plain resizing, and added to the
source's chroma resized at its own resolution and siting: a 4:4:4 or RGB source keeps its chroma detail, and any
chroma location is honoured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import vapoursynth as vs

from vsanimup.errors import AnimupError

MIN_SIDE = 16
"""Least width and height of a clip."""


def checked(clip: vs.VideoNode, function: str) -> vs.VideoNode:
    """The clip, for the plugin's function of this name: what no filter here can take is refused with the remedy.

    Its frames fail whose properties no conversion can go by. Raises :class:`AnimupError` for variable format or size,
    tiny frames and half-precision or odd sample types.
    """
    if clip.format is None or clip.format.color_family == vs.UNDEFINED or clip.width == 0 or clip.height == 0:
        raise AnimupError(
            "clip must have one format and size throughout; convert it first, "
            "as in core.resize.Bicubic(clip, width=1280, height=720, format=vs.YUV420P8)"
        )
    if not _storable(clip.format):
        raise AnimupError(f"clip must have 8 to 16 bits a sample, or be float, got {clip.format.name}")
    if clip.width < MIN_SIDE or clip.height < MIN_SIDE:
        raise AnimupError(f"clip must be at least {MIN_SIDE}x{MIN_SIDE}, got {clip.width}x{clip.height}")
    return vs.core.animup.internal_checked(clip, function=function)


def output_format(clip: vs.VideoNode, wanted: int | None, scale: int = 1) -> vs.VideoFormat:
    """The format of the result, which is ``scale`` times as large: the clip's own, or ``wanted``.

    Raises :class:`AnimupError` for a number that is no format, and for formats that cannot be converted to or cannot
    hold the size.
    """
    if wanted is None:
        return clip.format
    try:
        target = vs.core.get_video_format(wanted)
    except (OverflowError, vs.Error):
        target = None
    if target is None or target.color_family == vs.UNDEFINED:
        raise AnimupError(f"format must be a VapourSynth format such as vs.YUV420P16, got {wanted}")
    if not _storable(target):
        raise AnimupError(f"format must have 8 to 16 bits a sample, or be float, got {target.name}")
    if (target.color_family == vs.RGB) != (clip.format.color_family == vs.RGB):
        raise AnimupError(
            f"format={target.name} is of another colour family than the clip's {clip.format.name}; "
            "convert with core.resize, where the matrix can be given"
        )
    width, height = clip.width * scale, clip.height * scale
    if width % (1 << target.subsampling_w) or height % (1 << target.subsampling_h):
        raise AnimupError(
            f"format={target.name} cannot hold a picture of {width}x{height}; choose another, or crop the clip first"
        )
    return target


def _storable(format: vs.VideoFormat) -> bool:
    """Whether samples are of a kind that is read and written here."""
    return bool(format.sample_type == vs.FLOAT or format.bits_per_sample <= 16)


def apart_from_colour(clip: vs.VideoNode, build: Callable[[vs.VideoNode], vs.VideoNode]) -> vs.VideoNode:
    """What ``build`` makes of a clip, saying of its colours what the clip says.

    Frames of RGB may carry the matrix of the YUV that they came from, or what else resizers refuse: it is none of
    RGB's, so it is taken off meanwhile.
    """
    if clip.format.color_family != vs.RGB:
        return build(clip).std.CopyFrameProps(clip, props=[*_COLOUR, *_RANGE])  # resizers write down what they assume
    result = build(clip.std.RemoveFrameProps(["_Matrix", *_COLOUR])).std.CopyFrameProps(clip, props=_COLOUR)
    return result.std.SetFrameProps(_Matrix=vs.MATRIX_RGB)


_COLOUR = ["_Transfer", "_Primaries", "_ChromaLocation"]
_RANGE = ["_Range", "_ColorRange"]
"""Both names that it has had."""


def converted(clip: vs.VideoNode, **how: Any) -> vs.VideoNode:
    """``clip.resize.Bicubic(**how)``, also of frames that are said to be interlaced, which stay so: whoever gets them
    can refuse them by number, where the resizer has but a message on sizes for some of them."""
    whole = clip.std.RemoveFrameProps("_FieldBased").resize.Bicubic(**how)
    return whole.std.CopyFrameProps(clip, props="_FieldBased")


Network = Callable[[vs.VideoNode, int], vs.VideoNode]
"""Maps a gray, or left-sited 4:2:0, clip and a format of that family and subsampling to a larger clip. It may
set the cache of the clip's last node."""


def through_network(clip: vs.VideoNode, scale: int, target: vs.VideoFormat, network: Network) -> vs.VideoNode:
    """The graph: clip, ``network``, and what conversions it takes, in format ``target``.

    ``network`` enlarges by ``scale``. The result is ``scale`` times as large as ``clip`` and has its frame
    properties.
    """
    layout = clip.format.color_family, clip.format.subsampling_w, clip.format.subsampling_h
    if layout not in ((vs.GRAY, 0, 0), (vs.YUV, 1, 1)):
        return _by_change(clip, scale, target, network)
    clip = clip.std.CopyFrameProps(clip)  # changes nothing: a node of our own, so that frames are kept for us
    same = layout == (target.color_family, target.subsampling_w, target.subsampling_h)
    direct = to_format(network(clip, target.id if same else floats(clip)), target)
    if clip.format.color_family == vs.GRAY:
        return direct
    # The location is a property of each frame. Nothing is computed of the way that is not taken.
    detour = _by_change(clip, scale, target, network)

    def choose(n: int, f: vs.VideoFrame) -> vs.VideoNode:
        return direct if f.props.get("_ChromaLocation", vs.CHROMA_LEFT) == vs.CHROMA_LEFT else detour

    return vs.core.std.FrameEval(direct, choose, prop_src=clip, clip_src=[direct, detour])


def floats(clip: vs.VideoNode) -> int:
    """The clip's format in 32 bit floats."""
    kind = clip.format
    found = vs.core.query_video_format(kind.color_family, vs.FLOAT, 32, kind.subsampling_w, kind.subsampling_h)
    return int(found.id)


def _by_change(clip: vs.VideoNode, scale: int, target: vs.VideoFormat, network: Network) -> vs.VideoNode:
    """The way for any chroma: of the network's chroma only the change is taken."""
    source = clip.std.RemoveFrameProps("_FieldBased")  # as in converted()
    if clip.format.color_family == vs.RGB:
        source = source.resize.Bicubic(format=vs.YUV444PS, matrix_s="709")
    fine = floats(source)
    even = {"width": source.width + source.width % 2, "height": source.height + source.height % 2}
    # where the size is odd, zimg continues the edge samples
    source = source.resize.Point(format=fine, src_width=even["width"], src_height=even["height"], **even)
    # the network learned on left-sited chroma; its change, not its siting, is what is taken from it
    work = source.resize.Bicubic(format=vs.YUV420PS, chromaloc_s="left")
    done = network(work.std.CopyFrameProps(clip, props="_FieldBased"), work.format.id)
    size = {"width": done.width, "height": done.height}
    change = vs.core.std.Expr([done, work.resize.Bicubic(**_SHARP, **size)], ["", "x y -"])
    base = source.resize.Bicubic(**_SHARP, **size)
    result = vs.core.std.Expr([change.resize.Bicubic(format=fine), base], ["", "x y +"])
    result = result.std.CopyFrameProps(base, props=["_ChromaLocation"])
    result = result.std.CropAbs(width=clip.width * scale, height=clip.height * scale)
    return _ranged(result, target, clip) if target.color_family == vs.RGB else to_format(result, target)


def _ranged(clip: vs.VideoNode, target: vs.VideoFormat, source: vs.VideoNode) -> vs.VideoNode:
    """The clip in an RGB format, in the range of each of the source's frames: resizers make it full otherwise."""
    full, limited = (clip.resize.Bicubic(format=target.id, range_s=name) for name in ("full", "limited"))

    def choose(n: int, f: vs.VideoFrame) -> vs.VideoNode:
        return limited if f.props.get("_Range", 1 - int(f.props.get("_ColorRange", 0))) == 0 else full

    return vs.core.std.FrameEval(full, choose, prop_src=source, clip_src=[full, limited])


_SHARP = {"filter_param_a": 0.0, "filter_param_b": 0.5}
"""Catmull-Rom: the bicubic filter that passes through the samples."""


def to_format(clip: vs.VideoNode, target: vs.VideoFormat) -> vs.VideoNode:
    """The clip in a format of its family."""
    return clip if clip.format.id == target.id else clip.resize.Bicubic(format=target.id)
