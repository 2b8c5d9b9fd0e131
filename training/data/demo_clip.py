"""Draws the demo clip: ``python -m training.data.demo_clip --corpus DIR --out vsanimup/data/demo.mkv``.

Three seconds of a cartoon at 640x360: a panning village street of several layers, a fireman running on twos,
a cut, a cheering girl; then light noise and MPEG-2 as an old disc would have it. Hills, sky, clouds and grass
are drawn here; houses and people come from Openclipart (public domain), and are of those that training never
sees (``split_of`` is ``"val"``). The same corpus gives the same frames.
"""

from __future__ import annotations

import argparse
import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from training.data.corpus import Library
from training.data.drawing import U8, Rng, bend, over, premultiply, resize
from training.data.media import noise, to_planes

WIDTH, HEIGHT, RATE = 640, 360, 24
BIG = 2
"""Everything is drawn so many times as large, then averaged down."""
W, H = BIG * WIDTH, BIG * HEIGHT
CUT, COUNT = 40, 74
"""First frame of the second scene; number of frames."""
INK = (34, 24, 28)
SEED = 7
GRAIN = 2.2
"""Standard deviation of the noise before encoding, in 8-bit steps."""
BITRATE = 1_000_000
DRAWINGS = {
    "fireman": "clipart_people_fireman_alarm_mimooh_01",
    "girl": "clipart_unsorted_ragazza_rossa",
    "tall": "clipart_buildings_homes_home1",
    "villa": "clipart_buildings_homes_home5",
    "hut": "clipart_buildings_homes_home6",
}


class Artist:
    """Holds the drawings and the random numbers."""

    def __init__(self, corpus: Path) -> None:
        self.library = Library(corpus, "val")
        self.rng: Rng = np.random.default_rng(SEED)

    def drawing(self, name: str, height: int) -> U8:
        """A drawing, premultiplied RGBA, ``height`` pixels of the final picture tall, with room around it."""
        image = self.library.picture("art", DRAWINGS[name])
        scale = BIG * height / image.shape[0]
        image = resize(image, round(image.shape[1] * scale), round(image.shape[0] * scale))
        around = (0, 0, 0, 0)
        padded = cv2.copyMakeBorder(image, 40, 40, 40, 40, cv2.BORDER_CONSTANT, value=around)
        return premultiply(np.asarray(padded, np.uint8))

    def ridge(self, width: int, base: float, rough: float, waves: tuple[float, ...]) -> np.ndarray:
        """Heights of a line of hills, in big pixels from the top."""
        x = np.arange(width, dtype=np.float32)
        line = np.full(width, base * BIG, np.float32)
        for wave in waves:
            line += rough * BIG * np.sin(x / (wave * BIG) + self.rng.uniform(0, 7)) * wave / max(waves)
        return line


def sky(top: tuple[int, int, int], bottom: tuple[int, int, int]) -> U8:
    """A vertical gradient, RGB."""
    part = np.linspace(0, 1, H, dtype=np.float32)[:, None, None]
    column = np.array(top, np.float32) * (1 - part) + np.array(bottom, np.float32) * part
    return np.repeat((column + 0.5).astype(np.uint8), W, axis=1)


def empty(width: int) -> U8:
    """A transparent layer, RGBA."""
    return np.zeros((H, width, 4), np.uint8)


def hills(line: np.ndarray, light: tuple[int, int, int], dark: tuple[int, int, int], pen: int) -> U8:
    """A layer filled below ``line``, lighter at the top, with an ink outline."""
    layer = empty(len(line))
    rows = np.arange(H, dtype=np.float32)[:, None]
    depth = np.clip((rows - line[None]) / (120 * BIG), 0, 1)[..., None]
    tone = np.floor(depth * 5) / 5  # painted in bands, as cels are
    layer[..., :3] = np.array(light) * (1 - tone) + np.array(dark) * tone
    layer[..., 3] = np.clip(rows - line[None] + 1, 0, 1) * 255
    layer = premultiply(layer)
    points = np.stack([np.arange(len(line)), line], 1)[:: 2 * BIG].astype(np.int32)
    cv2.polylines(layer, [points], False, (*INK, 255), pen, cv2.LINE_AA)
    return layer


def cloud(layer: U8, x: float, y: float, size: float, puffs: int, rng: Rng) -> None:
    """One cloud, white with an ink outline and a shaded foot, into a layer."""
    offsets = np.linspace(-1, 1, puffs)
    circles = []
    for offset in offsets:
        radius = size * (0.42 + 0.25 * (1 - offset * offset) + 0.08 * rng.random()) * BIG
        circles.append((int((x + offset * size) * BIG), int(y * BIG - radius * 0.35), int(radius)))
    for grow, colour in ((5, INK), (0, (214, 226, 240))):
        for cx, cy, reach in circles:
            cv2.circle(layer, (cx, cy), reach + grow, (*colour, 255), -1, cv2.LINE_AA)
    for cx, cy, reach in circles:
        cv2.circle(layer, (cx - 4, cy - 9), reach - 9, (252, 253, 255, 255), -1, cv2.LINE_AA)


def tree(layer: U8, x: float, foot: float, size: float, leaves: tuple[int, int, int], rng: Rng) -> None:
    """A round tree with ink outlines into a layer."""
    left, right = int((x - size * 0.09) * BIG), int((x + size * 0.09) * BIG)
    top, low = int((foot - size) * BIG), int(foot * BIG)
    cv2.rectangle(layer, (left, top), (right, low), (112, 72, 44, 255), -1)
    cv2.rectangle(layer, (left, top), (right, low), (*INK, 255), 5, cv2.LINE_AA)
    spots = [(rng.normal(0, 0.22), rng.normal(0, 0.16), rng.uniform(0.3, 0.42)) for _ in range(9)]
    spots.append((0, 0, 0.45))
    dark = tuple(int(v * 0.72) for v in leaves)
    light = (-int(size * 0.16), -int(size * 0.11), leaves)
    for grow, shift, colour in ((6, 0, INK), (0, 0, dark), light):
        for dx, dy, radius in spots:
            centre = (int((x + dx * size) * BIG) + shift, int((foot - size * (1.15 + dy)) * BIG) + shift)
            wide = max(int(radius * size * BIG) + grow, 2)
            cv2.circle(layer, centre, wide, (*colour, 255), -1, cv2.LINE_AA)


def grass(layer: U8, foot: float, tufts: int, rng: Rng) -> None:
    """Tufts and flowers along the lower edge of a layer."""
    for _ in range(tufts):
        x, y = int(rng.uniform(0, layer.shape[1])), int(rng.uniform(foot, HEIGHT + 4) * BIG)
        for lean in rng.normal(0, 9, 5):
            tip = (int(x + lean * BIG), int(y - rng.uniform(9, 20) * BIG))
            cv2.line(layer, (x, y), tip, (*INK, 255), 9, cv2.LINE_AA)
            cv2.line(layer, (x, y), tip, (66, 140, 52, 255), 5, cv2.LINE_AA)
        if rng.random() < 0.45:
            petals = ((236, 86, 74), (250, 214, 70), (246, 240, 236), (206, 110, 200))[int(rng.integers(4))]
            head = np.array([x, y - int(rng.uniform(17, 26) * BIG)])
            cv2.line(layer, (x, y), (int(head[0]), int(head[1])), (*INK, 255), 4, cv2.LINE_AA)
            ring = [head + 11 * np.array([np.cos(a), np.sin(a)]) for a in np.arange(5) * 2 * np.pi / 5]
            for radius, colour in ((11, INK), (8, petals)):
                for at in ring:
                    cv2.circle(layer, (int(at[0]), int(at[1])), radius, (*colour, 255), -1, cv2.LINE_AA)
            cv2.circle(layer, (int(head[0]), int(head[1])), 7, (*INK, 255), -1, cv2.LINE_AA)
            cv2.circle(layer, (int(head[0]), int(head[1])), 5, (250, 190, 50, 255), -1, cv2.LINE_AA)


def shifted(layer: U8, x: float) -> U8:
    """The part of a wide layer that the camera sees at ``x`` (final pixels)."""
    start = round(x * BIG)
    return layer[:, start : start + W]


def stamp(layer: U8, image: U8, x: float, foot: float) -> None:
    """Lay a premultiplied drawing into a premultiplied layer, its foot at (x, foot), in final pixels."""
    height, width = image.shape[:2]
    top, left = round(foot * BIG) - height + 40, round(x * BIG) - width // 2
    rows = slice(max(top, 0), min(top + height, H))
    columns = slice(max(left, 0), min(left + width, layer.shape[1]))
    part = image[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    under = layer[rows, columns]
    keep = 255 - part[..., 3:].astype(np.uint16)
    layer[rows, columns] = np.minimum((under * keep + 127) // 255 + part, 255).astype(np.uint8)


def pose(image: U8, step: int, turn: float, squash: float, wave: float) -> U8:
    """One drawing of a moving figure: turned, squashed and bent."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height * 0.8), turn, 1.0)
    matrix = np.vstack([matrix, [0, 0, 1]])
    foot = height - 40.0
    press = np.array([[1 / squash, 0, width / 2 * (1 - 1 / squash)], [0, squash, foot * (1 - squash)]])
    moved = cv2.warpAffine(image, press @ matrix, (width, height), flags=cv2.INTER_LINEAR)
    return bend(np.asarray(moved, np.uint8), wave, step * 1.1, (0.011, 0.014))


def street(artist: Artist) -> list[U8]:
    """The first scene: a fireman runs through a village, ringing."""
    rng, wide = artist.rng, W + 700
    back = sky((96, 168, 226), (236, 240, 214))
    cv2.circle(back, (1010, 150), 84, (*INK,), -1, cv2.LINE_AA)
    cv2.circle(back, (1010, 150), 78, (255, 222, 92), -1, cv2.LINE_AA)
    clouds = empty(wide)
    for x, y, size, puffs in ((90, 78, 52, 5), (330, 50, 38, 4), (505, 108, 46, 5), (760, 66, 50, 5)):
        cloud(clouds, x, y, size, puffs, rng)
    far = hills(artist.ridge(wide, 186, 22, (33, 88, 140)), (150, 190, 176), (120, 160, 160), 5)
    near = hills(artist.ridge(wide, 226, 14, (41, 120)), (132, 190, 92), (84, 146, 70), 6)
    for x in (40, 150, 300, 420, 560, 700, 850):
        tree(near, x + rng.uniform(-20, 20), 236, rng.uniform(34, 50), (94, 164, 66), rng)
    houses = empty(wide)
    for name, x, foot, height in (
        ("tall", 78, 290, 176),
        ("hut", 300, 292, 138),
        ("villa", 545, 290, 128),
        ("tall", 800, 288, 170),
    ):
        stamp(houses, artist.drawing(name, height), x, foot)
    road = hills(artist.ridge(wide, 286, 2, (90, 200)), (226, 202, 152), (176, 140, 98), 6)
    front = empty(wide + 700)
    grass(front, 340, 46, rng)
    runner = artist.drawing("fireman", 186)
    frames, before = [], -1
    for t in range(CUT):
        frame = back.copy()
        for layer, speed in ((clouds, 0.5), (far, 1.0), (near, 1.5), (houses, 2.5), (road, 2.5)):
            over(frame, shifted(layer, 6 + speed * t))
        step = t // 2
        if step != before:
            before, beat = step, step % 4
            drawing = pose(runner, step, (5, 0, -4, 1)[beat], (1.0, 1.05, 0.97, 0.94)[beat], 3.0)
            actor = empty(W)
            stamp(actor, drawing, 150 + 5.6 * 2 * step, 336 - (0, 13, 17, 6)[beat])
        over(frame, actor)
        over(frame, shifted(front, 10 + 6 * t))
        frames.append(frame)
    return frames


def cheer(artist: Artist) -> list[U8]:
    """The second scene: a girl cheers, nearer to the camera; the camera drifts."""
    rng, wide = artist.rng, W + 400
    back = sky((246, 182, 112), (250, 234, 196))
    far = hills(artist.ridge(wide, 178, 20, (47, 110)), (206, 150, 128), (168, 112, 118), 5)
    near = hills(artist.ridge(wide, 236, 12, (55, 130)), (152, 176, 84), (96, 128, 66), 6)
    for x in (20, 210, 470, 640, 760):
        tree(near, x + rng.uniform(-12, 12), 250, rng.uniform(48, 66), (206, 132, 56), rng)
    houses = empty(wide)
    stamp(houses, artist.drawing("hut", 208), 128, 334)
    stamp(houses, artist.drawing("villa", 190), 590, 330)
    front = empty(wide + 200)
    grass(front, 346, 30, rng)
    girl = artist.drawing("girl", 430)
    frames, before = [], -1
    for t in range(COUNT - CUT):
        frame = back.copy()
        for layer, speed in ((far, 0.5), (near, 1.0), (houses, 1.5)):
            over(frame, shifted(layer, 60 - speed * t))
        step = t // 2
        if step != before:
            before, beat = step, step % 6
            squash = (0.96, 1.0, 1.03, 1.03, 1.0, 0.97)[beat]
            drawing = pose(girl, step, (-2, -1, 1, 2, 1, -1)[beat], squash, 4.0)
            actor = empty(W)
            stamp(actor, drawing, 328, 452 - (0, 8, 18, 20, 12, 3)[beat])
        over(frame, actor)
        over(frame, shifted(front, 90 - 2.5 * t))
        frames.append(frame)
    return frames


def frames(corpus: Path) -> list[U8]:
    """The clean clip, RGB frames."""
    artist = Artist(corpus)
    drawn = street(artist) + cheer(artist)
    return [np.asarray(cv2.resize(f, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8) for f in drawn]


def write(clean: list[U8], out: Path) -> None:
    """Add noise, encode as MPEG-2 with BT.709 tags, and put the file in place whole."""
    planes = noise(to_planes(clean), GRAIN, GRAIN / 2, 0.4, np.random.default_rng(SEED))
    partial = out.with_name(f".{out.stem}.part{out.suffix}")
    exact = {"fflags": "+bitexact"}
    with av.open(str(partial), "w", format="matroska", container_options=exact) as container:
        options = {"g": "12", "bf": "2", "maxrate": str(BITRATE * 3 // 2), "bufsize": "1835008"}
        stream = container.add_stream("mpeg2video", rate=RATE, options={**options, "flags": "+bitexact"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", BITRATE
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 1
        context.color_range, context.thread_count = 1, 1
        for index in range(len(planes.y)):
            flat = np.concatenate([planes.y[index].reshape(-1), planes.uv[index].reshape(-1)])
            picture = av.VideoFrame.from_ndarray(flat.reshape(-1, WIDTH), format="yuv420p")
            picture.pts, picture.time_base, picture.color_range = index, Fraction(1, RATE), 1
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    os.replace(partial, out)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Draw the demo clip.")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    clean = frames(arguments.corpus)
    write(clean, arguments.out)
    print(f"{arguments.out}: {len(clean)} frames, {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
