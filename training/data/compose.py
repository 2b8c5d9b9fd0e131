"""Moving animation for training, made from cut-outs, backgrounds and film runs; an integer seeds it all.

Every picture is drawn at twice its size and averaged down, so lines are crisp and free of aliasing. A drawing
that is held comes back as *the same array object*, which later steps use to do work only once.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data import lettering, line_art, textures
from training.data.corpus import Library
from training.data.drawing import U8, Rng, affine, bend, cutout, gradient, place, recolour, resize
from training.data.looks import LOOK_SHARES, LOOKS

View = tuple[float, float, float]
"""Corner x, corner y (pixels of the plate) and zoom."""

SIZE = 512
FRAMES = 13
KIND_SHARES = {
    "cutout": 0.20,
    "film": 0.13,
    "lineart": 0.19,
    "lines": 0.06,
    "static": 0.05,
    "flat": 0.03,
    "painted": 0.13,
    "photo": 0.08,
    "fur": 0.05,
    "type": 0.08,
}
"""Shares of the kinds of content; each may have any look of ``looks.py``."""
NEEDS = {"film": "runs", "painted": "painted", "photo": "photos", "type": "fonts"}
"""What of the corpus a kind cannot do without."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A composed clip."""

    frames: list[U8]
    """RGB frames, uint8 [512, 512, 3]; equal drawings are the same object."""
    cut: NDArray[np.int8]
    """[T], 1 where a new scene starts at that frame (never at frame 0)."""
    kind: str
    """One of ``KIND_SHARES``."""
    look: str
    """One of ``LOOK_SHARES``: what belongs to the picture besides."""
    sources: tuple[str, ...]
    """Names of the corpus files in it."""


def background(library: Library, width: int, height: int, rng: Rng, names: list[str]) -> U8:
    """A background plate, RGB [height, width, 3]: painted scene, flat colour, gradient or blurred art."""
    choice = rng.random()
    if choice < 0.62 and library.scenes:
        name = library.scenes[int(rng.integers(len(library.scenes)))]
        names.append(name)
        image = library.picture("scenes", name)
        scale = max(width / image.shape[1], height / image.shape[0])
        scale = max(scale, min(1.0, scale * float(rng.uniform(1, 1.5))))
        image = resize(image, int(np.ceil(image.shape[1] * scale)), int(np.ceil(image.shape[0] * scale)))
        x, y = int(rng.integers(image.shape[1] - width + 1)), int(rng.integers(image.shape[0] - height + 1))
        image = image[y : y + height, x : x + width]
        image = recolour(image, rng) if rng.random() < 0.3 else image
        return np.ascontiguousarray(image[:, ::-1] if rng.random() < 0.5 else image)
    if choice < 0.75:
        return gradient(width, height, rng)
    if choice < 0.85:
        return np.full((height, width, 3), rng.integers(5, 252, 3), np.uint8)
    plate = gradient(width, height, rng)
    for _ in range(int(rng.integers(4, 12))):
        layer = cutout(library, float(rng.uniform(100, 400)), rng, names, inked=0.2)
        at = (float(rng.uniform(0, width)), float(rng.uniform(0, height)))
        place(plate, layer, affine(layer, at, float(rng.normal(0, 0.3)), 1.0, 1.0))
    if rng.random() < 0.6:
        plate = np.asarray(cv2.GaussianBlur(plate, (0, 0), float(rng.uniform(1.5, 8))), np.uint8)
    return plate


def view(plate: U8, x: float, y: float, zoom: float = 1.0) -> U8:
    """The 512x512 view of ``plate`` whose corner is at (x, y); whole-pixel views are exact copies."""
    if zoom == 1.0 and x == int(x) and y == int(y):
        return np.ascontiguousarray(plate[int(y) : int(y) + SIZE, int(x) : int(x) + SIZE])
    half = SIZE / 2 - 0.5
    matrix = np.array([[zoom, 0, half - zoom * (x + half)], [0, zoom, half - zoom * (y + half)]], np.float32)
    lanczos, mirror = cv2.INTER_LANCZOS4, cv2.BORDER_REFLECT
    return np.asarray(cv2.warpAffine(plate, matrix, (SIZE, SIZE), flags=lanczos, borderMode=mirror), np.uint8)


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A camera over a plate: start (pixels), speed (pixels a frame), zoom a frame; moves every ``hold``."""

    start: tuple[float, float]
    speed: tuple[float, float]
    zoom: float
    hold: int

    @classmethod
    def draw(cls, count: int, rng: Rng, width: int, height: int) -> Camera:
        """A random camera that stays on a plate of ``width`` x ``height`` pixels for ``count`` frames."""
        kind = str(rng.choice(["still", "whole", "fraction", "zoom"], p=[0.4, 0.27, 0.23, 0.1]))
        speed, zoom = np.zeros(2), 0.0
        room = np.array([width - SIZE, height - SIZE], float)
        if kind in ("whole", "fraction"):
            size = float(rng.triangular(0.3, 2, 10))
            angle = float(rng.choice([0, np.pi / 2, rng.uniform(0, 2 * np.pi)]))
            speed = size * np.array([np.cos(angle), np.sin(angle)]) * rng.choice([-1, 1])
            speed = np.clip(speed, -room / count, room / count)
            speed = np.trunc(speed + 0.5) if kind == "whole" else speed
        if kind == "zoom":
            zoom = float(rng.uniform(-0.012, 0.015))
        travel = speed * (count - 1)
        start = np.floor(rng.uniform(np.maximum(0, -travel), np.minimum(room, room - travel) + 1e-3))
        hold = int(rng.choice([1, 1, 1, 2]))
        return cls(start=(start[0], start[1]), speed=(speed[0], speed[1]), zoom=zoom, hold=hold)

    def at(self, t: int) -> View:
        """Corner x, corner y (pixels of the plate) and zoom at frame ``t``."""
        step = t // self.hold * self.hold
        x, y = self.start[0] + self.speed[0] * step, self.start[1] + self.speed[1] * step
        return x, y, 1.0 + self.zoom * step + (0.16 if self.zoom < 0 else 0.0)


class Layer:
    """A cut-out whose drawing changes on ones, twos, threes or never; it may be fixed to the camera.

    With probability ``drawn`` it is one of ``line_art.py``, not of the corpus.
    """

    def __init__(self, library: Library, rng: Rng, names: list[str], drawn: float = 0.0) -> None:
        side = float(rng.triangular(60, 260, 560))
        self.image = line_art.figure(side, rng) if rng.random() < drawn else cutout(library, side, rng, names)
        self.hold = int(rng.choice([1, 2, 3, 10_000], p=[0.22, 0.38, 0.2, 0.2]))
        self.phase = int(rng.integers(0, 3))
        self.place = rng.uniform(-20, SIZE + 20, 2)
        kind = rng.random()
        self.speed = rng.normal(0, 2.0, 2) if kind < 0.6 else np.zeros(2)
        if kind < 0.25:
            self.speed = np.round(self.speed)
        self.turn = float(rng.normal(0, 0.15)) * float(rng.random() < 0.6)
        self.turning, self.squashing = float(rng.normal(0, 0.02)), float(abs(rng.normal(0, 0.03)))
        self.bending = float(rng.uniform(1, 7)) if rng.random() < 0.45 else 0.0
        self.waves = (float(rng.uniform(0.008, 0.03)), float(rng.uniform(0.008, 0.03)))
        self.pace = float(rng.uniform(0.25, 0.9))
        self.fixed = bool(rng.random() < 0.5)
        self._bent: tuple[int, U8] = (-1, self.image)

    def defocus(self, sigma: float) -> None:
        """Blurs the drawing by ``sigma`` pixels."""
        room = int(5 * sigma) + 1
        padded = np.pad(self.image, ((room, room), (room, room), (0, 0)))
        self.image = np.asarray(cv2.GaussianBlur(padded, (0, 0), 2 * sigma), np.uint8)
        self._bent = (-1, self.image)

    def step(self, t: int) -> int:
        """The frame at which the drawing shown at frame ``t`` first came."""
        return (t + self.phase) // self.hold * self.hold

    def render(self, frame: U8, t: int, view_at: View, origin: tuple[float, float]) -> None:
        """Draws the layer into ``frame`` (RGB, in place) as the camera at ``view_at`` sees it."""
        step = self.step(t)
        at, zoom = self.place + self.speed * step, view_at[2]
        if not self.fixed:
            at = at - (np.array(view_at[:2]) - np.array(origin))
        at = (at - SIZE / 2) * zoom + SIZE / 2
        if self.bending and self._bent[0] != step:
            self._bent = (step, bend(self.image, self.bending, self.pace * step, self.waves))
        stretch = 1 + self.squashing * float(np.sin(self.pace * step))
        matrix = affine(self.image, (at[0], at[1]), self.turn + self.turning * step, stretch, zoom)
        place(frame, self._bent[1], matrix)


def scene(
    library: Library,
    count: int,
    rng: Rng,
    names: list[str],
    plate: U8,
    drawn: float = 0.0,
    blurred: float = 0.0,
    near: bool = False,
    most: int = 5,
) -> list[U8]:
    """Layered cut-outs over a plate, filmed by a camera; the layers are held independently of each other.

    ``drawn`` is the share of the layers that ``line_art.py`` draws. With ``blurred`` (pixels) the plate is out of
    focus, or with ``near`` all layers are; there are up to ``most`` of them, none only where at most two are asked for.
    """
    if blurred and not near:
        plate = np.asarray(cv2.GaussianBlur(plate, (0, 0), blurred), np.uint8)
    camera = Camera.draw(count, rng, plate.shape[1], plate.shape[0])
    layers = [Layer(library, rng, names, drawn) for _ in range(int(rng.integers(0 if most < 3 else 1, most + 1)))]
    for layer in layers if blurred and near else ():
        layer.defocus(blurred)
    gain = np.ones(count)
    if rng.random() < 0.08:
        gain = np.linspace(1, float(rng.uniform(0.3, 0.9)), count)[:: int(rng.choice([-1, 1]))]
    frames: list[U8] = []
    before: tuple[object, ...] = ()
    for t in range(count):
        state = (camera.at(t), tuple(layer.step(t) for layer in layers), float(gain[t]))
        if state == before:
            frames.append(frames[-1])
            continue
        before = state
        frame = view(plate, *camera.at(t))
        for layer in layers:
            layer.render(frame, t, camera.at(t), camera.start)
        frames.append(frame if gain[t] == 1 else np.asarray(frame * np.float32(gain[t]) + 0.5, np.uint8))
    return frames


def film(library: Library, count: int, rng: Rng, names: list[str]) -> list[U8]:
    """Two film runs, one above the other (each 512x256)."""
    halves = []
    for _ in range(2):
        name = library.runs[int(rng.integers(len(library.runs)))]
        names.append(name)
        x, y = int(rng.integers(640 - SIZE + 1)), int(rng.integers(360 - SIZE // 2 + 1))
        part = library.run(name)[:count, y : y + SIZE // 2, x : x + SIZE]
        part = part[:, :, ::-1] if rng.random() < 0.5 else part
        halves.append(part[::-1] if rng.random() < 0.3 else part)
    return list(np.ascontiguousarray(np.concatenate(halves, axis=1)))


def line_plate(library: Library, side: int, rng: Rng, names: list[str]) -> U8:
    """A plate dense with thin ink: small drawings, strokes of text, hatching. RGB [side, side, 3]."""
    dark = rng.random() < 0.2
    paper, pen = rng.uniform(170, 255, 3), rng.uniform(0, 70, 3)
    paper, pen = (pen, paper) if dark else (paper, pen)
    big = np.empty((2 * side, 2 * side, 3), np.uint8)
    big[:] = paper.astype(np.uint8)

    def colour() -> tuple[float, ...]:
        return tuple(float(v) for v in (pen if rng.random() < 0.7 else rng.uniform(0, 255, 3)))

    for _ in range(int(rng.integers(3, 10))):
        x, y, step = (int(v) for v in rng.integers([0, 0, 6], [2 * side, 2 * side, 22]))
        width, lean, pick = int(rng.integers(2, 6)), int(rng.integers(-300, 300)), colour()
        length = int(rng.integers(120, 500))
        for i in range(int(rng.integers(8, 40))):
            cv2.line(big, (x + i * step, y), (x + i * step + lean, y + length), pick, width, cv2.LINE_AA)
    for _ in range(int(rng.integers(4, 16))):
        text = "".join(chr(int(c)) for c in rng.integers(48, 123, int(rng.integers(4, 16))))
        at = (int(rng.integers(-50, 2 * side)), int(rng.integers(0, 2 * side)))
        font, scale = int(rng.integers(0, 8)), float(rng.uniform(0.7, 3))
        cv2.putText(big, text, at, font, scale, colour(), int(rng.integers(2, 7)), cv2.LINE_AA)
    for _ in range(int(rng.integers(4, 20))):
        centre = (int(rng.integers(0, 2 * side)), int(rng.integers(0, 2 * side)))
        axes = (int(rng.integers(20, 300)), int(rng.integers(20, 300)))
        turn, stop = float(rng.uniform(0, 360)), float(rng.uniform(60, 360))
        cv2.ellipse(big, centre, axes, turn, 0, stop, colour(), int(rng.integers(2, 6)), cv2.LINE_AA)
    plate = np.asarray(cv2.resize(big, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    outlines = rng.random() < 0.5
    for _ in range(int(rng.integers(20, 50))):
        layer = cutout(library, float(rng.uniform(50, 190)), rng, names, inked=0.6)
        if outlines:
            bright = (layer[..., :3].max(2) > 70)[..., None] & (layer[..., 3:] > 250)
            layer = np.where(np.dstack([bright, bright, bright, bright]), np.uint8(255), layer)
        at_x, at_y = rng.uniform(0, side, 2)
        place(plate, layer, affine(layer, (at_x, at_y), float(rng.normal(0, 0.2)), 1.0, 1.0))
    return plate


def flat(count: int, rng: Rng) -> list[U8]:
    """Colour bars, a gradient or one flat colour, sometimes with a disc that moves across."""
    choice = int(rng.integers(3))
    plate = gradient(SIZE, SIZE, rng) if choice == 0 else np.full((SIZE, SIZE, 3), rng.integers(0, 256, 3), np.uint8)
    if choice == 1:
        rows, columns = int(rng.integers(1, 4)), int(rng.integers(3, 24))
        bars = rng.integers(0, 256, (rows, columns, 3)).astype(np.uint8)
        plate = np.asarray(cv2.resize(bars, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST), np.uint8)
    if rng.random() < 0.5:
        return [plate] * count
    at, speed, radius = rng.uniform(0, SIZE, 2), rng.normal(0, 5, 2), int(rng.integers(15, 120))
    colour, frames = tuple(float(v) for v in rng.uniform(0, 255, 3)), []
    for t in range(count):
        frame = plate.copy()
        x, y = (int(v * 16) for v in at + speed * t)
        cv2.circle(frame, (x, y), radius * 16, colour, -1, cv2.LINE_AA, 4)
        frames.append(frame)
    return frames


def ground(library: Library, kind: str, rng: Rng, names: list[str]) -> U8:
    """The plate of a clip of a kind."""
    side = SIZE + 128
    if kind == "lines":
        return line_plate(library, side, rng, names)
    if kind in ("painted", "photo"):
        return textures.plate_of(library, "painted" if kind == "painted" else "photos", side, rng, names)
    if kind == "fur":
        folder = "photos" if rng.random() < 0.5 else "painted"
        plate = background(library, side, side, rng, names)
        plate = textures.plate_of(library, folder, side, rng, names) if rng.random() < 0.7 else plate
        return textures.fur(plate, rng)
    if kind == "type" and rng.random() < 0.3:
        tone = rng.integers(0, 40) if rng.random() < 0.7 else rng.integers(0, 256, 3)
        return np.full((side, side, 3), tone, np.uint8)
    if kind == "type" and rng.random() < 0.5:
        return textures.plate_of(library, "painted", side, rng, names)
    plate = background(library, side, side, rng, names)
    return line_art.plate(plate, rng) if kind == "lineart" else plate


def compose(library: Library, seed: int, count: int = FRAMES, kind: str | None = None, look: str | None = None) -> Clip:
    """The clip of a seed: ``count`` frames (at most 13 for film), of a kind of ``KIND_SHARES`` or any, and a look.

    The seed and the corpus decide all.
    """
    rng = np.random.default_rng([seed, 77])
    shares = {k: v for k, v in KIND_SHARES.items() if k not in NEEDS or getattr(library, NEEDS[k])}
    any_kind = str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))
    kind = any_kind if kind is None else kind
    any_look = str(rng.choice(list(LOOK_SHARES), p=list(LOOK_SHARES.values())))
    look = any_look if look is None else look
    names: list[str] = []

    def part(length: int) -> list[U8]:
        if kind == "film":
            return film(library, length, rng, names)
        if kind == "flat":
            return flat(length, rng)
        plate = ground(library, kind, rng, names)
        blurred = float(np.exp(rng.uniform(np.log(1.2), np.log(8)))) if look == "focus" else 0.0
        near = bool(rng.random() < 0.25)
        drawn = {"lineart": 0.6, "painted": 0.1, "photo": 0.1, "fur": 0.2}.get(kind, 0.0)
        most = {"painted": 2, "photo": 2, "fur": 2, "type": 1}.get(kind, 5)
        still = kind == "static"
        frames = scene(library, 1 if still else length, rng, names, plate, drawn, blurred, near, most)
        frames = frames * length if still else frames
        return lettering.roll(library, frames, rng, names) if kind == "type" else frames

    cut = np.zeros(count, np.int8)
    if rng.random() < 0.15 and count >= 8:
        at = int(rng.integers(3, count - 3))
        cut[at] = 1
        frames = part(at) + part(count - at)
    else:
        frames = part(count)
    for name in look.split("+"):
        if name in LOOKS:
            frames = LOOKS[name](rng)(frames)
    return Clip(frames=frames, cut=cut, kind=kind, look=look, sources=tuple(dict.fromkeys(names)))
