"""From a sharp clip to a half-size clip as old discs, tapes and web videos hold it.

Clips here are planar: ``y`` uint8 [T, H, W] and ``uv`` uint8 [T, 2, H/2, W/2], BT.709, limited range, 4:2:0
with chroma sited left. Nothing here moves the picture or changes its overall brightness or colour.
"""

from __future__ import annotations

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
KINDS = ("clean", *CODEC_KINDS, "vhs")
TASK_CODECS = {"destream": {"web": 0.8, "hevc": 0.2}, "deblock": {"mpeg2": 0.75, "asp": 0.17, "jpeg": 0.08}}
"""Encoders whose faults a task removes, and their shares where it is trained for alone."""


@dataclass(frozen=True, kw_only=True)
class Planes:
    """A clip of planar 4:2:0 pictures."""

    y: U8
    """Luma, uint8 [T, H, W]."""
    uv: U8
    """Chroma, uint8 [T, 2, H/2, W/2]."""

    def window(self, start: int, length: int) -> Planes:
        """The frames ``start .. start + length - 1``."""
        return Planes(y=self.y[start : start + length], uv=self.uv[start : start + length])


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
    return Planes(y=np.stack(ys), uv=np.stack(uvs))


_FULL_Y = np.clip((np.arange(256) - 16) * 255 / 219 + 0.5, 0, 255).astype(np.uint8)
_FULL_C = np.clip((np.arange(256) - 128) * 255 / 224 + 128.5, 0, 255).astype(np.uint8)
_LIMITED_Y = (np.arange(256) * 219 / 255 + 16.5).astype(np.uint8)
_LIMITED_C = ((np.arange(256) - 128) * 224 / 255 + 128.5).astype(np.uint8)


def encode(clip: Planes, codec: str, options: dict[str, str], full_range: bool = False) -> Planes:
    """Encodes the clip and decodes it again: the same count, order and size, with the codec's own faults."""
    pixels = "yuvj420p" if full_range else "yuv420p"
    count, height, width = clip.y.shape
    encoder = cast(VideoCodecContext, av.CodecContext.create(codec, "w"))
    encoder.width, encoder.height, encoder.pix_fmt = width, height, pixels
    encoder.time_base, encoder.framerate = Fraction(1, 24), Fraction(24)
    encoder.thread_count = 1
    encoder.options = options
    if "global_quality" in options:
        encoder.qscale = True
    decoder = cast(VideoCodecContext, av.CodecContext.create(_DECODER.get(codec, codec), "r"))
    decoder.thread_count = 1
    luma, chroma = (_FULL_Y[clip.y], _FULL_C[clip.uv]) if full_range else (clip.y, clip.uv)
    flat = np.concatenate([luma.reshape(count, -1), chroma.reshape(count, -1)], axis=1)
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
    return Planes(y=_LIMITED_Y[y], uv=_LIMITED_C[uv]) if full_range else Planes(y=y, uv=uv)


_DECODER = {"libx264": "h264", "libx265": "hevc"}


def _fixed(quantiser: float) -> dict[str, str]:
    """Options of libavcodec's own encoders for one quantiser throughout."""
    return {"global_quality": str(int(quantiser * 118)), "flags": "+qscale"}


def _quantiser(low: float, centre: float, high: float, rng: Rng) -> float:
    return float(rng.triangular(low, centre, high))


def mpeg2(clip: Planes, rng: Rng, gentle: bool = False) -> Planes:
    """DVD-like: a little blur, as most masters of the time have, then MPEG-2 with B-frames and a short GOP."""
    quantiser = _quantiser(2, 3, 6, rng) if gentle else _quantiser(2, 5, 14, rng)
    options = {"g": str(int(rng.integers(6, 16))), "bf": "2", **_fixed(quantiser)}
    soft = float(rng.uniform(0.35, 0.8) if rng.random() < 0.75 else rng.uniform(0, 0.35))
    return encode(blur(clip, soft), "mpeg2video", options)


def asp(clip: Planes, rng: Rng, gentle: bool = False) -> Planes:
    """MPEG-4 ASP (DivX, XviD)."""
    quantiser = _quantiser(2, 3, 6, rng) if gentle else _quantiser(2, 5, 14, rng)
    group, between = int(rng.choice([8, 12, 48, 250])), int(rng.choice([0, 1, 2]))
    return encode(clip, "mpeg4", {"g": str(group), "bf": str(between), **_fixed(quantiser)})


def web(clip: Planes, rng: Rng, gentle: bool = False) -> Planes:
    """H.264 as video sites make it."""
    crf = _quantiser(20, 23, 27, rng) if gentle else _quantiser(23, 31, 38, rng)
    options = {"crf": f"{crf:.1f}", "preset": str(rng.choice(["veryfast", "faster", "medium"]))}
    if rng.random() < 0.3:
        options["tune"] = "animation"
    if rng.random() < 0.4:
        options["g"] = str(int(rng.integers(6, 13)))
    return encode(clip, "libx264", options)


def hevc(clip: Planes, rng: Rng, gentle: bool = False) -> Planes:
    """H.265."""
    crf = _quantiser(22, 25, 29, rng) if gentle else _quantiser(25, 32, 40, rng)
    quiet = "log-level=none:pools=none:frame-threads=1:wpp=0:rc-lookahead=5:bframes=3"
    return encode(clip, "libx265", {"crf": f"{crf:.1f}", "preset": "ultrafast", "x265-params": quiet})


def jpeg(clip: Planes, rng: Rng, gentle: bool = False) -> Planes:
    """Every frame a JPEG; strength by MJPEG quantiser (about quality 30 to 90)."""
    quantiser = _quantiser(2, 3, 5, rng) if gentle else _quantiser(2, 5, 18, rng)
    return encode(clip, "mjpeg", _fixed(quantiser), full_range=True)


_CODECS: dict[str, Callable[[Planes, Rng, bool], Planes]] = {
    "mpeg2": mpeg2, "web": web, "asp": asp, "hevc": hevc, "jpeg": jpeg,
}  # fmt: skip


def blur(clip: Planes, sigma: float) -> Planes:
    """Gaussian blur of luma by ``sigma`` pixels."""
    if sigma < 0.2:
        return clip
    y = np.stack([np.asarray(cv2.GaussianBlur(frame, (0, 0), sigma), np.uint8) for frame in clip.y])
    return Planes(y=y, uv=clip.uv)


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
    return Planes(y=y.astype(np.uint8), uv=uv.astype(np.uint8))


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
    tape = Planes(y=np.stack(ys).astype(np.uint8), uv=(np.stack(uvs) + np.float32(0.5)).astype(np.uint8))
    luma, chroma = float(rng.triangular(3, 7, 14)), float(rng.uniform(1, 9))
    tape = noise(tape, luma, chroma, float(rng.choice([0.0, 0.0, 0.6, 1.0])), rng)
    capture = str(rng.choice(["asp", "mpeg2", "web"], p=[0.75, 0.15, 0.1]))
    return _CODECS[capture](tape, rng, rng.random() < 0.7)


def pick_kinds(rng: Rng, task: str | None = None) -> tuple[str, str, str, str]:
    """Four kinds of a clip: clean, a codec (mostly mpeg2 and web), vhs, and any; or clean and three of a task's."""
    if task is not None:
        shares = TASK_CODECS[task]
        one, two, three = (str(kind) for kind in rng.choice(list(shares), 3, p=list(shares.values())))
        return "clean", one, two, three
    first = str(rng.choice(CODEC_KINDS, p=[0.38, 0.36, 0.12, 0.09, 0.05]))
    others = [kind for kind in KINDS[1:] if kind != first]
    weights = np.array([{"mpeg2": 5, "web": 5, "vhs": 3}.get(kind, 1.5) for kind in others])
    return "clean", first, "vhs", str(rng.choice(others, p=weights / weights.sum()))


def degrade(clip: Planes, kind: str, rng: Rng, halves: dict[str, Planes] | None = None) -> Planes:
    """The half-size ``kind`` of a sharp clip (planes at full size), with strengths drawn from ``rng``.

    ``clean`` is the antialiased bicubic half. The others are resized by various filters, may carry noise and
    an earlier generation of another codec, and are encoded as a clip, so B-frames and GOPs are real.
    ``halves`` remembers this clip's halves by filter, for callers that make several kinds of one clip.
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
    if rng.random() < 0.2:
        small = blur(small, float(rng.uniform(0.3, 0.9)))
    if rng.random() < 0.12:
        small = noise(small, float(rng.uniform(0.7, 4)), float(rng.uniform(0, 3)), 0.0, rng)
    if rng.random() < 0.2:
        earlier = str(rng.choice(["mpeg2", "asp", "web"]))
        small = _CODECS[earlier](small, rng, True)
    return _CODECS[kind](small, rng, False)
