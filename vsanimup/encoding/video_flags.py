"""What an encoder must be told about frames, for a y4m pipe carries size, format and frame rate alone.

Frame properties become a :class:`Look`, and a look becomes the arguments of each encoder. The numbers are those of
ITU-T H.273, which VapourSynth and all encoders share; only their spellings differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from vsanimup.errors import AnimupError

UNSPECIFIED: Final = 2
MATRIX: Final = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    11: "smpte2085",
    12: "chroma-derived-nc",
    13: "chroma-derived-c",
    14: "ictcp",
}
"""Names of ``_Matrix`` values as encoders spell them; the next two likewise."""
TRANSFER: Final = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
PRIMARIES: Final = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
}
CHROMA: Final = ("left", "center", "topleft", "top", "bottomleft", "bottom")
"""Names of ``_ChromaLocation`` values."""
_DYNAMIC: Final = {"DolbyVisionRPU": "Dolby Vision metadata", "HDR10Plus": "HDR10+ metadata"}


@dataclass(frozen=True, kw_only=True)
class Mastering:
    """The display that a film was graded on (SMPTE ST 2086): CIE xy of red, green, blue and white, and cd/m²."""

    red: tuple[float, float]
    green: tuple[float, float]
    blue: tuple[float, float]
    white: tuple[float, float]
    least: float
    most: float

    def text(self, xy: float = 1, luminance: float = 1) -> str:
        """``G(x,y)B(x,y)R(x,y)WP(x,y)L(most,least)``, in parts of ``xy`` and of ``luminance``; 1: as they are."""

        def pair(values: tuple[float, float], unit: float) -> str:
            return "({:g},{:g})".format(*values) if unit == 1 else "({},{})".format(*(round(v / unit) for v in values))

        parts = zip(("G", "B", "R", "WP"), (self.green, self.blue, self.red, self.white), strict=True)
        return "".join(name + pair(at, xy) for name, at in parts) + "L" + pair((self.most, self.least), luminance)


@dataclass(frozen=True, kw_only=True)
class Look:
    """Format and properties of frames, as far as an encoder can be told of them."""

    matrix: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    primaries: int = UNSPECIFIED
    full_range: bool = False
    chroma: int = 0
    sar: tuple[int, int] = (1, 1)
    format: str = "YUV420P8"
    """Name of VapourSynth's format."""
    fields: str = ""
    """Which field comes first, ``tff`` or ``bff``; empty for progressive frames."""
    mastering: Mastering | None = None
    light: tuple[int, int] | None = None
    """Brightest sample and brightest frame (MaxCLL and MaxFALL), cd/m²."""
    unsaid: tuple[str, ...] = ()
    """What the frames carry and no encoder takes by an argument."""

    @property
    def bits(self) -> int:
        """Bits a sample to encode: 8 or 10."""
        return 8 if self.format.endswith("P8") or self.format == "GRAY8" else 10

    @property
    def layout(self) -> str:
        """Chroma layout to encode: 400, 420, 422 or 444."""
        if self.format.upper().startswith("GRAY"):
            return "400"
        return next((name for name in ("444", "422") if name in self.format), "420")


def look_of(props: Mapping[str, Any], format: str) -> Look:
    """The look of a frame with these properties, numbers and lists as vspipe's JSON has them.

    Args:
        props: Properties of the first frame.
        format: Name of its format, such as ``YUV420P8``.
    """
    sar = Fraction(int(props.get("_SARNum", 0)) or 1, int(props.get("_SARDen", 0)) or 1)
    chroma = int(props.get("_ChromaLocation", 0))
    light = tuple(int(props.get(f"ContentLightLevel{name}", 0)) for name in ("Max", "Average"))
    return Look(
        matrix=int(props.get("_Matrix", UNSPECIFIED)),
        transfer=int(props.get("_Transfer", UNSPECIFIED)),
        primaries=int(props.get("_Primaries", UNSPECIFIED)),
        full_range=int(props.get("_Range", 0)) == 1,
        sar=(sar.numerator, sar.denominator),
        chroma=chroma if 0 <= chroma < len(CHROMA) else 0,
        format=format,
        fields={1: "bff", 2: "tff"}.get(int(props.get("_FieldBased", 0)), ""),
        mastering=_mastering(props),
        light=(light[0], light[1]) if any(light) else None,
        unsaid=tuple(name for prop, name in _DYNAMIC.items() if prop in props),
    )


def _mastering(props: Mapping[str, Any]) -> Mastering | None:
    """The mastering display, where the properties hold all of it."""
    try:
        x, y = (props[f"MasteringDisplayPrimaries{axis}"] for axis in "XY")
        red, green, blue = ((float(x[i]), float(y[i])) for i in range(3))
        white = float(props["MasteringDisplayWhitePointX"]), float(props["MasteringDisplayWhitePointY"])
        least, most = (float(props[f"MasteringDisplay{end}Luminance"]) for end in ("Min", "Max"))
    except (KeyError, IndexError, TypeError):
        return None
    return Mastering(red=red, green=green, blue=blue, white=white, least=least, most=most)


def x264_flags(look: Look) -> list[str]:
    """Arguments of x264."""
    span = "pc" if look.full_range else "tv"
    flags = _colour(look, ("--colormatrix", "--transfer", "--colorprim"), {0: "GBR", 8: "YCgCo", 14: "ICtCp"})
    flags += ["--range", span, "--input-range", span]
    if look.layout == "420":
        flags += ["--chromaloc", str(look.chroma)]
    if look.sar != (1, 1):
        flags += ["--sar", "{}:{}".format(*look.sar)]
    flags += ["--output-csp", f"i{look.layout}", "--output-depth", str(look.bits)]
    if look.fields:
        flags += [f"--{look.fields}"]
    if look.mastering:
        flags += ["--mastering-display", look.mastering.text(0.00002, 0.0001)]
    return flags + (["--cll", "{},{}".format(*look.light)] if look.light else [])


def x265_flags(look: Look) -> list[str]:
    """Arguments of x265."""
    flags = _colour(look, ("--colormatrix", "--transfer", "--colorprim"))
    flags += ["--range", "full" if look.full_range else "limited"]
    if look.layout == "420":
        flags += ["--chromaloc", str(look.chroma)]
    if look.sar != (1, 1):
        flags += ["--sar", "{}:{}".format(*look.sar)]
    flags += ["--output-depth", str(look.bits)]
    if look.fields:
        flags += ["--interlace", look.fields]
    if look.mastering:
        flags += ["--master-display", look.mastering.text(0.00002, 0.0001)]
    return flags + (["--max-cll", "{},{}".format(*look.light)] if look.light else [])


def svtav1_flags(look: Look) -> list[str]:
    """Arguments of SVT-AV1's own program, SvtAv1EncApp."""
    flags: list[str] = []
    for option, value in (
        ("--color-primaries", look.primaries),
        ("--transfer-characteristics", look.transfer),
        ("--matrix-coefficients", look.matrix),
    ):
        if value != UNSPECIFIED:
            flags += [option, str(value)]
    flags += ["--color-range", str(int(look.full_range))]
    if look.layout == "420" and CHROMA[look.chroma] in ("left", "topleft"):
        flags += ["--chroma-sample-position", CHROMA[look.chroma]]
    if look.mastering:
        flags += ["--mastering-display", look.mastering.text()]
    return flags + (["--content-light", "{},{}".format(*look.light)] if look.light else [])


def ffmpeg_flags(look: Look) -> list[str]:
    """Arguments of ffmpeg for its output, whichever encoder it uses. They hold ``-vf``, which ffmpeg takes once."""
    names = _colour(look, ("colorspace", "color_trc", "color_primaries"))
    tags = ["range=" + ("pc" if look.full_range else "tv")]
    tags += [f"{option}={value}" for option, value in zip(names[::2], names[1::2], strict=True)]
    if look.fields:
        tags.append(f"field_mode={look.fields}")
    # a filter that says what frames are; -color_range and the like would have newer versions convert them
    flags = ["-vf", f"setparams={':'.join(tags)},setsar={look.sar[0]}/{look.sar[1]}"]
    if look.fields:
        flags += ["-flags", "+ildct+ilme"]
    return flags + (["-chroma_sample_location", CHROMA[look.chroma]] if look.layout == "420" else [])


def _colour(look: Look, options: tuple[str, str, str], other: Mapping[int, str] | None = None) -> list[str]:
    """Options for matrix, transfer and primaries with their values, as far as they are known; ``other`` matrices."""
    named = zip(options, (MATRIX | dict(other or {}), TRANSFER, PRIMARIES), _colours(look), strict=True)
    return [part for option, names, (_, value) in named if value in names for part in (option, names[value])]


def _colours(look: Look) -> tuple[tuple[str, int], ...]:
    return ("_Matrix", look.matrix), ("_Transfer", look.transfer), ("_Primaries", look.primaries)


ENCODERS: Final[Mapping[str, Callable[[Look], list[str]]]] = {
    "x264": x264_flags,
    "x265": x265_flags,
    "svtav1": svtav1_flags,
    "ffmpeg": ffmpeg_flags,
}


def flags(encoder: str, look: Look) -> list[str]:
    """The arguments by which ``encoder``, one of ENCODERS, learns what a y4m pipe does not carry.

    None of them holds a space or anything else that a shell would take apart.

    Raises:
        AnimupError: There is no such encoder.
    """
    if encoder not in ENCODERS:
        raise AnimupError(f"encoder must be one of {', '.join(ENCODERS)}, got {encoder!r}")
    return ENCODERS[encoder](look)


def losses(encoder: str, look: Look) -> list[str]:
    """What ``encoder`` cannot be told or given, and what to do about it: one sentence each."""
    found = [f"the source's {name} cannot be handed on, and is lost" for name in look.unsaid]
    if encoder != "svtav1":
        known = (MATRIX, TRANSFER, PRIMARIES)
        for (prop, value), names in zip(_colours(look), known, strict=True):
            if value != UNSPECIFIED and value not in names:
                found.append(f"{encoder} has no name for {prop}={value}, which stays unsaid")
    if match := re.match(r"YUV(41\d|440)", look.format):
        found.append(f"chroma is turned from 4:{match[1][1]}:{match[1][2]} into 4:2:0 by the encoder")
    if encoder == "ffmpeg" and (look.mastering or look.light):
        found.append(_ffmpeg_hdr(look))
    if encoder == "svtav1":
        found += _svtav1_losses(look)
    return found


def _ffmpeg_hdr(look: Look) -> str:
    parts = [f"master-display={look.mastering.text(0.00002, 0.0001)}"] if look.mastering else []
    parts += ["max-cll={},{}".format(*look.light)] if look.light else []
    taken = "ffmpeg takes the mastering display and light levels only by its encoder; with libx265:"
    return f'{taken} -x265-params "{":".join(parts)}"'


def _svtav1_losses(look: Look) -> list[str]:
    found = []
    if look.sar != (1, 1):
        num, den = look.sar
        found.append(
            f"AV1 carries no sample aspect ratio; give {num}:{den} to the muxer: mkvmerge --aspect-ratio-factor "
            f"0:{num}/{den}"
        )
    if look.layout == "420" and CHROMA[look.chroma] not in ("left", "topleft"):
        found.append(f"AV1 knows no chroma location {CHROMA[look.chroma]} (_ChromaLocation={look.chroma})")
    if look.fields:
        found.append("AV1 has no interlaced frames; deinterlace in the script")
    if look.format not in ("YUV420P8", "YUV420P10"):
        found.append(
            f"SVT-AV1 takes YUV420P8 and YUV420P10 alone, and the script gives {look.format}; end it with "
            "clip.resize.Bicubic(format=vs.YUV420P10)"
        )
    return found
