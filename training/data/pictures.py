"""Pictures whose truth is soft, painted or textured, type faces and film damage for the corpus, from Debian and PyPI.

``DIR/painted/*.png``  paintings and painted game scenes, RGB 8 bit, longest side at most 1280 px
``DIR/photos/*.png``   photographs, the same
``DIR/fonts/*.ttf``    type faces, by the name of their package's file
``DIR/damage/*.png``   shapes of dust, hairs and scratches, grey, 255 where film is damaged

Painted figures with an alpha channel go to ``art``.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

PICTURE_DEBS = (
    "wesnoth-1.16-data",
    "fillets-ng-data",
    "hedgewars-data",
    "supertux-data",
    "pingus-data",
    "mate-backgrounds",
    "plasma-workspace-wallpapers",
    "gnome-backgrounds",
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "ukui-wallpapers",
)
FONT_DEBS = (
    "fonts-dejavu-core",
    "fonts-liberation2",
    "fonts-lato",
    "fonts-comic-neue",
    "fonts-cantarell",
    "fonts-ebgaramond",
    "fonts-linuxlibertine",
    "fonts-ipafont-gothic",
    "fonts-ipafont-mincho",
    "fonts-oldstandard",
    "fonts-inconsolata",
    "fonts-roboto-slab",
    "fonts-lobster",
    "fonts-tomsontalks",
    "fonts-humor-sans",
    "fonts-dustin",
    "fonts-junction",
    "fonts-quattrocento",
    "fonts-bebas-neue",
)
PICTURE_SIDE = 1280
SKIMAGE = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "grass.png",
    "gravel.png",
    "brick.png",
)
"""Photographs that scikit-image's wheel holds."""

_SOURCES = (
    # source, folder, pattern, class, pixels kept of each (JPEG art is used at half its size)
    ("wesnoth", "usr/share/games/wesnoth/1.16/data/core/images/story", "*.jpg", "painted", 0.5),
    ("wesnoth", "usr/share/games/wesnoth/1.16/data/core/images/maps", "*.*", "painted", 0.5),
    ("wesnoth", "usr/share/games/wesnoth/1.16/data", "**/portraits/**/*.*", "painted", 0.7),
    ("fillets", "usr/share/games/fillets-ng/images", "**/*.png", "painted", 1.0),
    ("supertux", "usr/share/games/supertux2/images/background", "**/*.*", "painted", 0.7),
    ("hedgewars", "usr/share/games/hedgewars/Data/Themes", "**/*.png", "painted", 1.0),
    ("hedgewars", "usr/share/games/hedgewars/Data/Graphics", "**/*.png", "painted", 1.0),
    ("pingus", "usr/share/games/pingus/data/images", "**/*.*", "painted", 1.0),
    ("mate", "usr/share/backgrounds/mate", "**/*.*", "photos", 0.4),
    ("gnome", "usr/share/backgrounds/gnome", "*.webp", "photos", 0.3),
    ("plasma", "usr/share/wallpapers", "**/contents/images*/*.*", "photos", 0.4),
    ("lomiri", "usr/share/backgrounds", "*.jpg", "photos", 0.4),
    ("ukui", "usr/share/backgrounds", "**/*.*", "photos", 0.4),
)
_SKIPPED = re.compile(r"l10n|/icons/|/fonts/|screenshot|thumbnail|flags|preview", re.IGNORECASE)
SMALLEST_BYTES = 60_000
SMALLEST_SIDE = 330


def unpack(packages: Path, names: tuple[str, ...]) -> Path:
    """Downloads Debian packages and unpacks each into a folder of its own, once; the folder of these folders."""
    root = packages / "pictures"
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (root / name).exists():
            continue
        if not list(packages.glob(f"{name}_*.deb")):
            subprocess.run(["apt-get", "download", name], cwd=packages, check=True)
        partial = root / f".{name}"
        shutil.rmtree(partial, ignore_errors=True)
        subprocess.run(["dpkg-deb", "-x", str(next(packages.glob(f"{name}_*.deb"))), str(partial)], check=True)
        partial.rename(root / name)
    return root


def sources(root: Path) -> Iterator[tuple[str, str, Path, float]]:
    """Yields (name, class, file, share of its size to keep) of all pictures in the unpacked packages worth looking at.

    Of wallpapers in several sizes the largest file counts.
    """
    seen: dict[str, tuple[str, str, Path, float]] = {}
    folders = [folder for folder in sorted(root.iterdir()) if not folder.name.startswith(".")]
    for source, folder, pattern, kind, share in _SOURCES:
        for package in (f for f in folders if f.name.startswith(source)):
            for path in sorted((package / folder).glob(pattern)):
                known = path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")
                if not known or path.is_symlink() or _SKIPPED.search(str(path)):
                    continue
                if path.stat().st_size < SMALLEST_BYTES:
                    continue
                inner = path.relative_to(package / folder)
                # a wallpaper's files are called by their sizes, its folder by its name
                parts = inner.with_suffix("").parts
                text = "_".join(parts[-2:] if source == "wesnoth" else parts)
                text = re.sub(r"(contents|images\w*|\d{3,4}x\d{3,4})", "", text)
                name = f"{source}_{re.sub(r'[^A-Za-z0-9]+', '_', text).strip('_')}"
                if name not in seen or seen[name][2].stat().st_size < path.stat().st_size:
                    seen[name] = (name, kind, path, share)
    yield from seen.values()


def photographs() -> Iterator[tuple[str, str, Path, float]]:
    """The photographs of scikit-image as :func:`sources` gives them."""
    import skimage

    for name in SKIMAGE:
        path = Path(skimage.__file__).parent / "data" / name
        if path.exists():
            yield f"skimage_{path.stem}", "photos", path, 1.0


def read(path: Path, share: float) -> Image | None:
    """RGB or RGBA, 8 bit, at ``share`` of its size and with its longest side at most 1280 px; None: not worth it."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint8 or min(image.shape[:2]) < 64:
        return None
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    image = cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    scale = min(share, PICTURE_SIDE / max(image.shape[:2]))
    if scale < 1:
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(image, np.uint8) if min(image.shape[:2]) >= SMALLEST_SIDE else None


def textured(image: Image) -> bool:
    """True for a picture with something in it: no plain gradient."""
    grey = cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_RGB2GRAY)
    return float(grey.std()) > 10 and float((cv2.Canny(grey, 40, 110) > 0).mean()) > 0.002


def fonts(root: Path, out: Path) -> None:
    """Copies the type faces."""
    for package in FONT_DEBS:
        for path in sorted((root / package).rglob("*.[to]tf")):
            if not (out / "fonts" / path.name).exists():
                shutil.copy(path, out / "fonts" / path.name)


def damage(checkout: Path, out: Path) -> int:
    """Draws the shapes of film damage outlined in a checkout of FilmDamageSimulator (MIT); returns how many there are.

    Its annotations are outlines on scans of empty 35 mm film. Shapes of 5 to 500 samples are kept, at the scans' size.
    """
    count = 0
    for notes in sorted((checkout / "scans").glob("*.json")):
        scan = re.sub(r"[^0-9]+", "", notes.stem)
        for number, shape in json.loads(notes.read_text(encoding="utf-8")).items():
            outline = np.array([(point["x"], point["y"]) for point in shape["points"]], np.float32)
            low, high = outline.min(0) - 2, outline.max(0) + 3
            size = (high - low).astype(int)
            if not 10 <= max(size) <= 505:
                continue
            canvas = np.zeros((4 * size[1], 4 * size[0]), np.uint8)
            cv2.fillPoly(canvas, [np.round(4 * (outline - low) + 2).astype(np.int32)], 255)
            mask = cv2.resize(canvas, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
            label = re.sub(r"[^a-z]+", "", str(shape["label"]["name"]).lower())
            name = f"damage_{'abcdefghijklmnopqrstuvwxyz'[int(scan) % 26]}_{label}_{number}.png"
            cv2.imwrite(str(out / "damage" / name), mask)
            count += 1
    return count
