"""Giving back noise that restoring took away: grain that belongs to the picture.

What was removed is the source less the result. Of it only the fine part of luma is noise: medians, which keep the steps
between blocks, are subtracted; and what is larger than the noise of even surroundings, as rings beside lines and dust
are, is limited to that. So nothing comes back where nothing but ringing was removed. All of it is VapourSynth's own
filters on frame n alone.
"""

from __future__ import annotations

from typing import Final

import vapoursynth as vs

from vsanimup.errors import AnimupError
from vsanimup.video.formats import converted

MEDIANS: Final = 3
"""Medians of 3x3 in a row: what passes them is no fine noise."""
EVEN: Final = (24, 64)
"""Steepness, in steps of 8-bit luma by Sobel's measure, up to which surroundings are even; and from which not."""
SURROUNDINGS: Final = 16
"""Samples to each side by which the level of noise is told, twice."""
MOST: Final = (1, 3)
"""Limit of what is given back at lines and elsewhere, as multiples of the mean magnitude around: 0.8 and 2.4 deviations
of noise."""
GAIN: Final = 1.08
"""What Lanczos enlarging takes from the deviation of noise: 12 % of white noise, 6 % of softer grain."""
WEIGHTS: Final = (0.2126, 0.7152, 0.0722)
"""Luma of RGB."""


def checked_original(original: vs.VideoNode, clip: vs.VideoNode) -> None:
    """Raise :class:`AnimupError` unless ``original`` has the size, length and colour family of ``clip``."""
    for what, mine, wanted in (
        ("width", original.width, clip.width),
        ("height", original.height, clip.height),
        ("length", original.num_frames, clip.num_frames),
        ("colour family", _family(original), _family(clip)),
    ):
        if mine != wanted:
            raise AnimupError(f"original must be the clip as it was before Restore: its {what} is {mine}, not {wanted}")


def with_grain(
    result: vs.VideoNode, original: vs.VideoNode, restored: vs.VideoNode | None, share: float
) -> vs.VideoNode:
    """The result, and the share of the fine noise that ``original`` has and ``restored`` has not.

    ``original`` and ``restored`` have the size of what was restored; without ``restored``, which may be enlarged in the
    same go, it is the result at that size. The result may be larger; what is added has the deviation there that it had.
    """
    base = result if restored is None else restored
    noise = fine_noise(_luma(_as(original, base.format)), _at_size(_luma(base), original))
    if (result.width, result.height) != (original.width, original.height):
        noise = noise.resize.Lanczos(result.width, result.height).std.Expr(f"x {GAIN} *")
    add = f"x y {share / _step(result.format)} * +"
    planes = [
        vs.core.std.Expr([result.std.ShufflePlanes(index, vs.GRAY), noise], add) for index in range(_lit(result.format))
    ]
    if result.format.color_family == vs.GRAY:
        return planes[0]
    if len(planes) == 1:
        planes += [result, result]
    places = [0, 0, 0] if result.format.color_family == vs.RGB else [0, 1, 2]
    return vs.core.std.ShufflePlanes(planes, places, result.format.color_family)


def fine_noise(before: vs.VideoNode, after: vs.VideoNode) -> vs.VideoNode:
    """The fine noise that ``before`` has and ``after`` has not; all three are luma in steps of 8 bits, as floats."""
    removed = vs.core.std.Expr([before, after], "x y -")
    coarse = removed
    for _ in range(MEDIANS):
        coarse = coarse.std.Median()
    fine = vs.core.std.Expr([removed, coarse], "x y -")
    steep = after.std.BoxBlur(hradius=1, vradius=1).std.Sobel()
    for _ in range(MEDIANS):
        steep = steep.std.Maximum()
    low, high = EVEN
    even = steep.std.Expr(f"{high} x - {high - low} / 0 max 1 min")
    around = {"hradius": SURROUNDINGS, "vradius": SURROUNDINGS, "hpasses": 2, "vpasses": 2}
    magnitude = vs.core.std.Expr([fine, even], "x abs y *").std.BoxBlur(**around)
    least, most = MOST
    limit = vs.core.std.Expr(
        [magnitude, even.std.BoxBlur(**around), even], f"x y 0.001 max / z {most - least} * {least} + *"
    )
    return vs.core.std.Expr([fine, limit], "x y min 0 y - max")


def _family(clip: vs.VideoNode) -> str:
    return "none" if clip.format is None else str(clip.format.color_family.name)


def _lit(format: vs.VideoFormat) -> int:
    """How many planes say how bright it is."""
    return 3 if format.color_family == vs.RGB else 1


def _step(format: vs.VideoFormat) -> float:
    """Steps of 8-bit luma that one step between samples is worth."""
    return 219.0 if format.sample_type == vs.FLOAT else 1 / (1 << (format.bits_per_sample - 8))


def _luma(clip: vs.VideoNode) -> vs.VideoNode:
    """Luma in steps of 8 bits, as floats without properties, of which no filter could think anything."""
    count = _lit(clip.format)
    planes = [clip.std.ShufflePlanes(index, vs.GRAY) for index in range(count)]
    weights = WEIGHTS if count == 3 else (1.0,)
    terms = [f"{name} {weight * _step(clip.format)} *" for name, weight in zip("xyz", weights, strict=False)]
    return vs.core.std.Expr(planes, " ".join(terms) + " +" * (count - 1), vs.GRAYS).std.RemoveFrameProps()


def _as(clip: vs.VideoNode, format: vs.VideoFormat) -> vs.VideoNode:
    """What of a clip says how bright it is, with the samples of a format of its family."""
    if clip.format.color_family == vs.RGB:
        clip = clip.std.RemoveFrameProps("_Matrix")  # left over from what it was before
    else:
        clip = clip.std.ShufflePlanes(0, vs.GRAY)
    family = clip.format.color_family
    wanted = vs.core.query_video_format(family, format.sample_type, format.bits_per_sample, 0, 0)
    return clip if clip.format.id == wanted.id else converted(clip, format=wanted.id)


def _at_size(clip: vs.VideoNode, of: vs.VideoNode) -> vs.VideoNode:
    same = (clip.width, clip.height) == (of.width, of.height)
    return clip if same else clip.resize.Spline36(of.width, of.height)
