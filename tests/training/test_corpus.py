"""What training data are drawn from: which sources, into which split, filed how."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.modules import there
from training.data import clips, corpus, dataset, pictures


def test_film_damage_is_drawn_from_its_outlines(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "damage").mkdir()
    corners = [{"x": 100, "y": 50}, {"x": 130, "y": 50}, {"x": 130, "y": 60}, {"x": 100, "y": 60}]
    shapes = {
        "0": {"points": corners, "label": {"name": "Dust"}},
        "1": {"points": corners[:2], "label": {"name": "x"}},
        "2": {"points": [{"x": n, "y": n * n} for n in range(3)], "label": {"name": "Dust"}},
    }
    (tmp_path / "scans" / "Scan (1).json").write_text(json.dumps(shapes))
    assert pictures.damage(tmp_path, tmp_path) == 2, "specks are left out"
    mask = there(cv2.imread(str(tmp_path / "damage" / "damage_b_dust_0.png"), cv2.IMREAD_GRAYSCALE))
    assert abs(mask.astype(float).sum() / 255 - 300) < 30 and mask.max() == 255 and mask[0].max() == 0


def test_shapes_of_damage_are_packed_for_training(
    library: corpus.Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, side in (("damage_a_dust_0", 9), ("damage_a_hair_1", 30)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((side, side), 200, np.uint8))
    monkeypatch.setattr(library, "damage", sorted(tmp_path.glob("*.png")))
    clips.write_damage(library, tmp_path / clips.DAMAGE)
    assert [tuple(shape.shape) for shape in dataset.damage(tmp_path)] == [(9, 9), (30, 30)]


def test_pictures_are_filed_by_class_and_refused_where_evaluation_uses_them(tmp_path: Path) -> None:
    for folder in (*corpus.FOLDERS, "skipped", "in"):
        (tmp_path / folder).mkdir()
    rng = np.random.default_rng(0)
    noise = cv2.resize(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8), (800, 600))
    found = []
    for stem, kind in (("swamp-02", "painted"), ("swamp-01", "painted"), ("dune", "photos"), ("plain", "photos")):
        path = tmp_path / "in" / f"{stem}.png"
        cv2.imwrite(str(path), noise if stem != "plain" else np.full_like(noise, 90))
        found.append((f"x_{stem}", kind, path, 0.8))
    corpus.file_pictures(found, tmp_path)
    filed = {p.name for kind in ("painted", "photos", "scenes", "art") for p in (tmp_path / kind).iterdir()}
    assert filed == {"x_swamp-01.png", "x_dune.png"}
    assert there(cv2.imread(str(tmp_path / "photos" / "x_dune.png"))).shape == (480, 640, 3)


def test_whole_sources_are_kept_for_validation() -> None:
    assert {corpus.split_of(f"{source}_{n}") for source in corpus.VALIDATION_ONLY for n in "abcdef"} == {"val"}


@pytest.mark.parametrize(
    "name",
    [
        "prologue_kid.sif",
        "examples/eye.sif",
        "pirates.sifz",
        "backdrop.sif",
        "concert1.png",
        "game/images/concert3.png",
        "head-0.png",
        "jolly_walker.svg",
        "x/jolly_walker/layer.png",
        "usr/share/games/wesnoth/1.16/data/core/images/story/landscape-bridge_sun.jpg",
        "story/landscape-bridge.jpg",
        "story/landscape-battlefield.jpg",
        "story/landscape-battlefield_nohumans.jpg",
        "story/swamp-02.jpg",
        "AnitaDataset/frame_0001.png",
        "robmikh/showorder/popeye.png",
        "Real-ESRGAN/inputs/0014.jpg",
        "APISR/assets/visual.png",
        "Real-CUGAN/demo.png",
    ],
)
def test_evaluation_sources_are_refused(name: str) -> None:
    assert not corpus.allowed(name)
    assert not corpus.wanted(name, 50_000)


def test_other_sources_are_taken() -> None:
    assert corpus.allowed("macwolfen.sif") and corpus.allowed("eyes.sif")
    assert corpus.wanted("animals/mammals/cow.svg", 50_000)
    assert not corpus.wanted("animals/mammals/cow.svg", 500)
    assert not corpus.wanted("computer/icons/disk.svg", 50_000)


def test_the_evaluated_part_of_the_film_is_refused() -> None:
    assert corpus.film_allowed(10, 11) and corpus.film_allowed(100, 101)
    assert not any(corpus.film_allowed(*span) for span in ((29.9, 30.4), (50, 51), (79.9, 81), (20, 90)))


def test_variants_of_a_drawing_fall_into_one_split() -> None:
    assert corpus.split_of("renpy_eileen_happy") == corpus.split_of("renpy_eileen_vhappy")
    assert corpus.split_of("film_00000") == corpus.split_of("film_00504")
    splits = [corpus.split_of("shape_" + chr(97 + i % 26) + chr(97 + i // 26)) for i in range(600)]
    assert 0.02 < splits.count("val") / 600 < 0.12
