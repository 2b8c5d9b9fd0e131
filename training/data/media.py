"""From a sharp clip to a half-size clip as old discs, tapes and web videos hold it.

Clips here are planar: ``y`` uint8 [T, H, W] and ``uv`` uint8 [T, 2, H/2, W/2], BT.709, limited range, 4:2:0
with chroma sited left. Nothing here moves the picture or changes its overall brightness or colour.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray
from PIL import Image as Pillow

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Rng = np.random.Generator

_LUMA = [0.2126, 0.7152, 0.0722]
_TO_YUV = np.array(
    [_LUMA, [-0.2126 / 1.8556, -0.7152 / 1.8556, 0.5], [0.5, -0.7152 / 1.5748, -0.0722 / 1.5748]], np.float32
) * np.array([[219 / 255], [224 / 255], [224 / 255]], np.float32)

FILTERS = {
    "bicubic": Pillow.Resampling.BICUBIC,
    "area": Pillow.Resampling.BOX,
    "bilinear": Pillow.Resampling.BILINEAR,
    "lanczos": Pillow.Resampling.LANCZOS,
}
CODEC_KINDS = ("mpeg2", "web", "asp", "hevc", "jpeg")
KINDS = ("clean", *CODEC_KINDS, "vhs", "composite")
TASK_CODECS = {"destream": {"web": 0.7, "hevc": 0.3}, "deblock": {"mpeg2": 0.6, "asp": 0.2, "jpeg": 0.2}}
"""Encoders whose degradations a task removes, and their shares where it is trained for alone."""

Span = tuple[float, float]
"""Part of an encoder's strengths, 0 what nobody sees and 1 ruin, of which one is drawn."""
WHOLE: Span = (0.0, 1.0)
LIGHT: Span = (0.0, 0.3)
STRENGTHS = {"light": LIGHT, "middle": (0.3, 0.65), "heavy": (0.65, 1.0)}


@dataclass(frozen=True, kw_only=True)
class Planes:
    """A clip of planar 4:2:0 pictures."""

    y: U8
    """Luma, uint8 [T, H, W]."""
    uv: U8
    """Chroma, uint8 [T, 2, H/2, W/2]."""
    history: tuple[str, ...] = ()
    """What was done to it, in order."""

    def then(self, y: U8, uv: U8, *done: str) -> Planes:
        """Other planes with this clip's history and what was done."""
        return Planes(y=y, uv=uv, history=(*self.history, *done))

    def window(self, start: int, length: int) -> Planes:
        """The frames ``start .. start + length - 1``."""
        return self.then(self.y[start : start + length], self.uv[start : start + length])


def per_drawing(frames: Sequence[U8], convert: Callable[[U8], tuple[U8, U8]]) -> Planes:
    """Applies ``convert`` to each frame, once only where the same array comes again (a held drawing)."""
    made: dict[int, tuple[U8, U8]] = {}
    for frame in frames:
        if id(frame) not in made:
            made[id(frame)] = convert(frame)
    return Planes(y=np.stack([made[id(f)][0] for f in frames]), uv=np.stack([made[id(f)][1] for f in frames]))


def to_planes(frames: Sequence[U8]) -> Planes:
    """RGB frames (uint8 [H, W, 3]) to BT.709 limited 4:2:0, chroma sited left."""

    def convert(rgb: U8) -> tuple[U8, U8]:
        luma, *colour = cv2.split(cv2.transform(rgb.astype(np.float32), _TO_YUV))
        planes = []
        for plane in colour:
            rows = (plane[0::2] + plane[1::2]) * np.float32(0.5)
            padded = cv2.copyMakeBorder(rows, 0, 0, 1, 1, cv2.BORDER_REPLICATE)
            mean = 0.25 * padded[:, 0:-2:2] + 0.5 * padded[:, 1:-1:2] + 0.25 * padded[:, 2::2]
            planes.append(np.clip(mean + 128.5, 16, 240.99).astype(np.uint8))
        return np.clip(luma + 16.5, 16, 235.99).astype(np.uint8), np.stack(planes)

    return per_drawing(frames, convert)


def halve(clip: Planes, kind: str = "bicubic") -> Planes:
    """Half size by an antialiased filter; chroma stays sited left (it moves by a quarter of a sample)."""
    resample = FILTERS[kind]
    height, width = clip.y.shape[1] // 2, clip.y.shape[2] // 2
    ys: list[U8] = []
    uvs: list[U8] = []
    for index in range(len(clip.y)):
        same = index > 0 and np.array_equal(clip.y[index], clip.y[index - 1])
        if same and np.array_equal(clip.uv[index], clip.uv[index - 1]):
            ys.append(ys[-1])
            uvs.append(uvs[-1])
            continue
        ys.append(np.asarray(Pillow.fromarray(clip.y[index]).resize((width, height), resample)))
        planes = []
        for plane in clip.uv[index]:
            picture = Pillow.fromarray(np.pad(plane, ((0, 0), (1, 0)), "edge"))
            box = (0.75, 0, 0.75 + plane.shape[1], plane.shape[0])
            planes.append(np.asarray(picture.resize((width // 2, height // 2), resample, box=box)))
        uvs.append(np.stack(planes))
    return clip.then(np.stack(ys), np.stack(uvs), kind)


_FULL_Y = np.clip((np.arange(256) - 16) * 255 / 219 + 0.5, 0, 255).astype(np.uint8)
_FULL_C = np.clip((np.arange(256) - 128) * 255 / 224 + 128.5, 0, 255).astype(np.uint8)
_LIMITED_Y = (np.arange(256) * 219 / 255 + 16.5).astype(np.uint8)
_LIMITED_C = ((np.arange(256) - 128) * 224 / 255 + 128.5).astype(np.uint8)


def encode(clip: Planes, codec: str, options: dict[str, str]) -> Planes:
    """Encodes the clip and decodes it again: the same count, order and size, with the codec's own degradations."""
    pixels = "yuv420p"
    count, height, width = clip.y.shape
    encoder = cast(VideoCodecContext, av.CodecContext.create(codec, "w"))
    encoder.width, encoder.height, encoder.pix_fmt = width, height, pixels
    encoder.time_base, encoder.framerate = Fraction(1, 24), Fraction(24)
    encoder.thread_count = 1
    encoder.options = options
    decoder = cast(VideoCodecContext, av.CodecContext.create(_DECODER.get(codec, codec), "r"))
    decoder.thread_count = 1
    flat = np.concatenate([clip.y.reshape(count, -1), clip.uv.reshape(count, -1)], axis=1)
    packets = []
    for index in range(count):
        frame = av.VideoFrame.from_ndarray(flat[index].reshape(-1, width), format=pixels)
        frame.pts = index
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoded = [picture for packet in packets for picture in decoder.decode(packet)] + decoder.decode(None)
    if len(decoded) != count:
        raise RuntimeError(f"encode: {codec} gave back {len(decoded)} of {count} frames")
    back = np.stack([np.asarray(picture.to_ndarray(), np.uint8).reshape(-1) for picture in decoded])
    size = height * width
    y = back[:, :size].reshape(clip.y.shape)
    uv = back[:, size:].reshape(clip.uv.shape)
    return clip.then(y, uv, " ".join([codec, *(f"{k}={v}" for k, v in options.items() if k in _TOLD)]))


_DECODER = {"libx264": "h264", "libx265": "hevc"}
_TOLD = ("crf", "b", "qmin", "g", "preset")
"""Options that a clip's history tells."""


def _fixed(quantiser: float) -> dict[str, str]:
    """Options of libavcodec's own encoders for one quantiser throughout.

    Not ``global_quality``: that waits for a quality on every frame, which PyAV does not set, and encodes at 2.
    """
    return {"qmin": str(round(quantiser)), "qmax": str(round(quantiser))}


def _fixed_or_rate(clip: Planes, strength: float, rng: Rng) -> dict[str, str]:
    """A quantiser of 2 to 31 throughout, or a bitrate of 1 to 0.04 bits a pixel."""
    if rng.random() < 0.7:
        return _fixed(2 * 15.5**strength)
    rate = round(24 * clip.y.shape[1] * clip.y.shape[2] * 0.04**strength)
    return {"b": str(rate), "maxrate": str(round(1.5 * rate)), "bufsize": str(rate)}


def mpeg2(clip: Planes, rng: Rng, span: Span = WHOLE) -> Planes:
    """DVD-like: MPEG-2 with B-frames and a short GOP."""
    strength = float(rng.uniform(*span))
    options = {"g": str(int(rng.integers(6, 16))), "bf": "2", **_fixed_or_rate(clip, strength, rng)}
    return encode(clip, "mpeg2video", options)


def asp(clip: Planes, rng: Rng, span: Span = WHOLE) -> Planes:
    """MPEG-4 ASP (DivX, XviD)."""
    strength = float(rng.uniform(*span))
    group, between = int(rng.choice([8, 12, 48, 250])), int(rng.choice([0, 1, 2]))
    return encode(clip, "mpeg4", {"g": str(group), "bf": str(between), **_fixed_or_rate(clip, strength, rng)})


def web(clip: Planes, rng: Rng, span: Span = WHOLE) -> Planes:
    """H.264 as video sites make it, crf 12 to 38."""
    crf = 12 + 26 * float(rng.uniform(*span))
    options = {"crf": f"{crf:.1f}", "preset": str(rng.choice(["veryfast", "faster", "medium"]))}
    if rng.random() < 0.3:
        options["tune"] = "animation"
    if rng.random() < 0.4:
        options["g"] = str(int(rng.integers(6, 13)))
    return encode(clip, "libx264", options)


def hevc(clip: Planes, rng: Rng, span: Span = WHOLE) -> Planes:
    """H.265, crf 16 to 42."""
    crf = 16 + 26 * float(rng.uniform(*span))
    quiet = "log-level=none:pools=none:frame-threads=1:wpp=0:rc-lookahead=5:bframes=3"
    return encode(clip, "libx265", {"crf": f"{crf:.1f}", "preset": "ultrafast", "x265-params": quiet})


_JPEG_LUMA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
_JPEG_CHROMA = np.full((8, 8), 99)
_JPEG_CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
"""Quantisers of JPEG at quality 50 (ITU-T T.81, annex K)."""


def _jpeg_plane(plane: U8, table: NDArray[np.int_], quality: float) -> U8:
    scale = 50 / quality if quality < 50 else 2 - quality / 50
    steps = np.clip(np.floor(table.reshape(-1) * scale + 0.5), 1, 255).astype(int).tolist()
    data = io.BytesIO()
    Pillow.fromarray(plane).save(data, "jpeg", qtables=[steps])
    return np.asarray(Pillow.open(data), np.uint8)


def jpeg(clip: Planes, rng: Rng, span: Span = WHOLE) -> Planes:
    """Every frame a JPEG of quality 95 to 25, full range as JPEG has it."""
    quality = round(95 - 70 * float(rng.uniform(*span)))
    y = np.stack([_jpeg_plane(frame, _JPEG_LUMA, quality) for frame in _FULL_Y[clip.y]])
    uv = np.stack([[_jpeg_plane(plane, _JPEG_CHROMA, quality) for plane in pair] for pair in _FULL_C[clip.uv]])
    return clip.then(_LIMITED_Y[y], _LIMITED_C[uv], f"jpeg quality={quality}")


_CODECS: dict[str, Callable[[Planes, Rng, Span], Planes]] = {
    "mpeg2": mpeg2,
    "web": web,
    "asp": asp,
    "hevc": hevc,
    "jpeg": jpeg,
}


def blur(clip: Planes, sigma: float) -> Planes:
    """Gaussian blur of luma by ``sigma`` pixels."""
    if sigma < 0.2:
        return clip
    y = np.stack([np.asarray(cv2.GaussianBlur(frame, (0, 0), sigma), np.uint8) for frame in clip.y])
    return clip.then(y, clip.uv, f"blur={sigma:.2f}")


def _grain(shape: tuple[int, ...], sigma: float, spread: float, rng: Rng) -> F32:
    """Gaussian noise [.., H, W] of deviation ``sigma``, correlated along lines over ``spread`` pixels."""
    noise = rng.standard_normal(shape, np.float32)
    if spread > 0.3:
        flat = noise.reshape(-1, shape[-1])
        noise = np.asarray(cv2.GaussianBlur(flat, (0, 0), sigmaX=spread, sigmaY=0.01), np.float32)
        noise = noise.reshape(shape)
        noise /= max(float(noise.std()), 1e-6)
    return noise * np.float32(sigma)


def noise(clip: Planes, sigma: float, chroma_sigma: float, spread: float, rng: Rng) -> Planes:
    """Fresh noise on every frame; ``sigma`` in 8-bit steps, ``spread`` in pixels along the line."""
    y = np.clip(clip.y + _grain(clip.y.shape, sigma, spread, rng) + np.float32(0.5), 1, 254)
    uv = np.clip(clip.uv + _grain(clip.uv.shape, chroma_sigma, spread, rng) + np.float32(0.5), 1, 254)
    return clip.then(y.astype(np.uint8), uv.astype(np.uint8), f"noise={sigma:.1f}")


def vhs(clip: Planes, rng: Rng) -> Planes:
    """Tape: smeared and displaced chroma, haloed luma, noise, then captured as MPEG-4 ASP (or another)."""
    soft, halo_size = float(rng.uniform(0.3, 1.0)), float(rng.uniform(0.9, 2.2))
    halo = float(rng.triangular(0.0, 0.6, 1.4))
    smear, shift = float(rng.uniform(0.8, 3.5)), float(rng.triangular(-0.5, 1.0, 3.0))
    drift = np.array([[1, 0, shift], [0, 1, 0]], np.float32)
    ys, uvs = [], []
    for y, uv in zip(clip.y, clip.uv, strict=True):
        base = cv2.GaussianBlur(y.astype(np.float32), (0, 0), sigmaX=soft, sigmaY=0.25)
        halved = base - cv2.GaussianBlur(base, (0, 0), sigmaX=halo_size, sigmaY=0.4)
        ys.append(np.clip(base + halo * halved + 0.5, 1, 254))
        planes = [cv2.GaussianBlur(p.astype(np.float32), (0, 0), sigmaX=smear, sigmaY=0.5) for p in uv]
        size = (uv.shape[2], uv.shape[1])
        uvs.append([cv2.warpAffine(p, drift, size, borderMode=cv2.BORDER_REPLICATE) for p in planes])
    uv = (np.stack(uvs) + np.float32(0.5)).astype(np.uint8)
    tape = clip.then(np.stack(ys).astype(np.uint8), uv, f"tape halo={halo:.2f} smear={smear:.1f}")
    luma, chroma = float(rng.triangular(1, 6, 14)), float(rng.uniform(0.5, 9))
    tape = noise(tape, luma, chroma, float(rng.choice([0.0, 0.0, 0.6, 1.0])), rng)
    capture = str(rng.choice(["asp", "mpeg2", "web"], p=[0.75, 0.15, 0.1]))
    return _CODECS[capture](tape, rng, (0.0, 0.35) if rng.random() < 0.7 else (0.2, 0.7))


def encoded(clip: Planes, kind: str, rng: Rng, span: Span) -> Planes:
    """The half of a sharp clip after one encoder and nothing else."""
    return _CODECS[kind](halve(clip), rng, span)


def composite(clip: Planes, rng: Rng) -> Planes:
    """As :func:`through_composite`, drawn at random."""
    standard, before = str(rng.choice(["ntsc", "pal"])), int(rng.integers(4))
    return through_composite(clip, standard, 1 if rng.random() < 0.6 else 2, before)


def through_composite(clip: Planes, standard: str, crude: int, before: int) -> Planes:
    """Through NTSC or PAL composite video and a plain decoder: dot crawl, rainbows, bled colours.

    ``crude`` is the decoder's dimensions, 1 or 2. The carrier's phase runs over four frames, of which ``before`` have
    passed. The picture is a part of a whole raster, sample for sample. Needs the VapourSynth plugin ``composite``
    (``vapoursynth-composite`` on PyPI); raises ``RuntimeError`` where it is not installed.
    """
    import vapoursynth as vs

    core = vs.core
    if not hasattr(core, "composite"):
        raise RuntimeError("composite video needs the VapourSynth plugin composite: pip install vapoursynth-composite")
    rows, columns = (480 if standard == "ntsc" else 576), 720
    count, height, width = clip.y.shape
    top, left = (rows - height) // 4 * 2, (columns - width) // 4 * 2
    # whole lines of the raster, so that nothing rings at the picture's edge
    around = ((0, 0), (top, rows - height - top), (left, columns - width - left))
    y = np.pad(clip.y, around, "edge")
    half = tuple((a // 2, b // 2) for a, b in around)
    planes = [y, *(np.pad(clip.uv[:, c], half, "edge") for c in range(2))]

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        made = f.copy()
        for plane, values in enumerate(planes):
            np.copyto(np.asarray(made[plane]), values[max(n - before, 0)])
        return made

    blank = core.std.BlankClip(None, columns, rows, vs.YUV420P8, before + count)
    signal = core.std.ModifyFrame(blank, blank, fill).std.SetFrameProps(_FieldBased=1, _Matrix=6, _ChromaLocation=0)
    decoded = core.composite.Decode(
        core.composite.Encode(signal, standard=standard), standard=standard, width=columns, dimensions=crude
    ).std.SetFrameProps(_FieldBased=0)
    small = core.resize.Bicubic(decoded, format=vs.YUV420P8, chromaloc_s="left", range_s="limited")
    ys, uvs = np.empty_like(clip.y), np.empty_like(clip.uv)
    for t in range(count):
        frame = small.get_frame(before + t)
        ys[t] = np.asarray(frame[0])[top : top + height, left : left + width]
        for c in range(2):
            part = np.asarray(frame[1 + c])
            uvs[t, c] = part[top // 2 : (top + height) // 2, left // 2 : (left + width) // 2]
    return clip.then(ys, uvs, f"{standard} dimensions={crude}")


def pick_kinds(rng: Rng, task: str | None = None) -> tuple[str, ...]:
    """Kinds of a clip: clean, two codecs, a tape or composite video, and any codec; or clean and four of a task's."""
    if task is not None:
        shares = TASK_CODECS[task]
        return "clean", *(str(kind) for kind in rng.choice(list(shares), 4, p=list(shares.values())))
    either = [str(rng.choice(list(shares), p=list(shares.values()))) for shares in TASK_CODECS.values()]
    analogue = "composite" if rng.random() < 0.3 else "vhs"
    return "clean", *either, analogue, str(rng.choice(CODEC_KINDS))


def degrade(clip: Planes, kind: str, rng: Rng, halves: dict[str, Planes] | None = None, span: Span = WHOLE) -> Planes:
    """The half-size ``kind`` of a sharp clip (planes at full size), with strengths drawn from ``rng``.

    ``clean`` is the antialiased bicubic half. The others are resized by various filters, may be softened, carry noise
    and an earlier generation of another codec, each drawn apart from the encoder's strength (within ``span``), and
    are encoded as a clip, so B-frames and GOPs are real. ``halves`` remembers this clip's halves by filter, for
    callers that make several kinds of one clip.
    """
    halves = {} if halves is None else halves
    how = "bicubic" if kind == "clean" else str(rng.choice(list(FILTERS), p=[0.6, 0.15, 0.1, 0.15]))
    if how not in halves:
        halves[how] = halve(clip, how)
    small = halves[how]
    if kind == "clean":
        return small
    if kind == "vhs":
        return vhs(small, rng)
    if kind == "composite":
        small = composite(small, rng)
        if rng.random() < 0.3:
            small = noise(small, float(rng.uniform(0.5, 4)), float(rng.uniform(0, 4)), 0.0, rng)
        return _CODECS[str(rng.choice(["mpeg2", "asp", "web"]))](small, rng, (0.0, 0.4))
    if rng.random() < 0.25:
        small = blur(small, float(rng.uniform(0.3, 0.9)))
    if rng.random() < 0.1:
        small = noise(small, float(rng.uniform(0.7, 4)), float(rng.uniform(0, 3)), 0.0, rng)
    if rng.random() < 0.18:
        small = _CODECS[str(rng.choice(["mpeg2", "asp", "web"]))](small, rng, (0.0, 0.45))
    return _CODECS[kind](small, rng, span)
