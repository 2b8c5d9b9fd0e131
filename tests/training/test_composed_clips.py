"""Clips composed for training: their kinds, looks and layers, and their files."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.data import clips, compose, corpus, lettering, line_art, looks, textures


@pytest.mark.parametrize("seed", [1, 3])
def test_compose_is_a_function_of_the_seed(drawn: Path, library: corpus.Library, seed: int) -> None:
    first = compose.compose(library, seed)
    compose.compose(library, seed + 50)
    again = compose.compose(corpus.Library(drawn, "train"), seed)
    assert first.kind == again.kind and first.sources == again.sources
    assert len(first.frames) == compose.FRAMES
    assert all(f.shape == (512, 512, 3) and f.dtype == np.uint8 for f in first.frames)
    assert all(np.array_equal(a, b) for a, b in zip(first.frames, again.frames, strict=True))
    assert np.array_equal(first.cut, again.cut) and first.cut[0] == 0 and first.cut.sum() <= 1


def test_every_kind_of_clip_is_made(library: corpus.Library, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in compose.KIND_SHARES:
        monkeypatch.setattr(compose, "KIND_SHARES", {kind: 1.0})
        clip = compose.compose(library, 4, count=3)
        assert clip.kind == kind and len(clip.frames) == 3


def dressed(library: corpus.Library, look: str) -> np.ndarray:
    """A frame of the clip of line art that a seed gives in a look."""
    clip = compose.compose(library, 6, count=3, kind="lines", look=look)
    assert clip.look == look
    return clip.frames[2]


@pytest.fixture(scope="module")
def plain(library: corpus.Library) -> np.ndarray:
    return dressed(library, "plain")


@pytest.mark.parametrize("look", looks.LOOK_SHARES)
def test_a_look_belongs_to_the_truth(library: corpus.Library, plain: np.ndarray, look: str) -> None:
    frames = plain, dressed(library, look)
    changed = np.abs(frames[0].astype(float) - frames[1]).mean()
    assert (changed > 0.1) == (look != "plain")
    detail = [np.abs(cv2.Laplacian(frame.astype(np.float32), cv2.CV_32F)).mean() for frame in frames]
    if look in ("soft", "focus"):
        assert detail[1] < detail[0]
    if look in ("grain", "paper", "dither"):
        assert detail[1] > detail[0]


@pytest.mark.parametrize("look", sorted(set(looks.LOOKS) - {"grain"}))
def test_a_held_drawing_keeps_its_look(look: str) -> None:
    frame = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    made = looks.LOOKS[look](np.random.default_rng(2))([frame] * 3)
    assert len({id(f) for f in made}) == 1


def test_grain_of_film_is_new_in_every_frame() -> None:
    frame = np.full((64, 64, 3), 120, np.uint8)
    clips_of = [looks.grain(np.random.default_rng(seed))([frame] * 3) for seed in range(20)]
    fresh = [not np.array_equal(made[0], made[1]) for made in clips_of]
    assert 0.5 < np.mean(fresh) < 1, "one in five is held with the drawing"
    assert all(abs(float(made[0].mean()) - 120) < 1 for made in clips_of)


def test_type_rolls_by_its_speed(library: corpus.Library) -> None:
    grounds = [np.full((256, 256, 3), 10, np.uint8)] * 6
    made = [lettering.roll(library, grounds, np.random.default_rng(seed), []) for seed in range(12)]
    assert all((frames[0] != 10).mean() > 0.01 for frames in made), "there is type"
    still = [all(np.array_equal(a, b) for a, b in itertools.pairwise(frames)) for frames in made]
    assert 0 < sum(still) < 12, "some stands, some moves"


def test_fur_follows_the_colours_below() -> None:
    plate = np.zeros((200, 200, 3), np.uint8)
    plate[:, 100:] = (200, 120, 40)
    combed = textures.fur(plate, np.random.default_rng(0)).astype(float)
    assert combed[:, :80].mean() < combed[:, 120:].mean() - 50
    assert np.abs(np.diff(combed[:, 120:, 0])).mean() > 1


def test_a_plate_is_never_enlarged(library: corpus.Library) -> None:
    names = list[str]()
    plate = textures.plate_of(library, "painted", 640, np.random.default_rng(3), names)
    assert plate.shape == (640, 640, 3) and names[0] in library.painted
    assert np.array_equal(plate[600:640], plate[599:559:-1]), "what lacks is mirrored"


def test_cels_are_flat_tones_between_dark_lines() -> None:
    ground = np.full((300, 400, 3), 200, np.uint8)
    plate, again, other = (line_art.plate(ground, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert plate.shape == ground.shape and plate.dtype == np.uint8
    assert np.array_equal(plate, again) and not np.array_equal(plate, other)
    luma = cv2.cvtColor(plate, cv2.COLOR_RGB2GRAY).astype(np.int16)
    steps = np.abs(np.diff(luma, axis=1))
    assert (steps <= 1).mean() > 0.6, "most neighbours are of one tone"
    assert (luma < 45).mean() > 0.05 and (steps > 20).mean() > 0.03, "and there are lines"


def test_a_drawn_figure_is_a_cutout() -> None:
    figure = line_art.figure(150, np.random.default_rng(3))
    assert figure.shape == (300, 300, 4)
    assert (figure[..., :3] <= figure[..., 3:]).all(), "colour is multiplied by alpha"
    assert 0.1 < (figure[..., 3] == 255).mean() < 0.95 and (figure[0, :, 3] == 0).any()


@pytest.mark.parametrize("closed", [False, True])
def test_a_pen_line_is_as_wide_as_asked(closed: bool) -> None:
    rng = np.random.default_rng(0)
    t = np.linspace(0, 2 * np.pi, 400, endpoint=False, dtype=np.float32)
    curve = 200 + 120 * np.stack([np.cos(t), np.sin(t)], 1)
    canvas = np.zeros((400, 400), np.uint8)
    drawn = line_art.ring(curve, 9.0, rng) if closed else [line_art.stroke(curve[:300], 9.0, rng)]
    cv2.fillPoly(canvas, drawn, 255, cv2.LINE_AA, line_art.SHIFT)
    length = 2 * np.pi * 120 * (1 if closed else 0.75)
    width = canvas.sum() / 255 / length
    assert 3 < width < 13 and canvas[200, 200] == 0


@pytest.mark.parametrize("hold", [1, 2, 3])
def test_held_layers_repeat_their_drawing(library: corpus.Library, hold: int) -> None:
    layer = compose.Layer(library, np.random.default_rng(8), [])
    layer.hold, layer.phase, layer.fixed, layer.bending = hold, 0, True, 5.0
    layer.place, layer.speed = np.array([256.0, 256.0]), np.array([3.0, 1.0])
    frames = [np.full((512, 512, 3), 200, np.uint8) for _ in range(12)]
    for t, frame in enumerate(frames):
        layer.render(frame, t, (0.0, 0.0, 1.0), (0.0, 0.0))
    same = [np.array_equal(a, b) for a, b in itertools.pairwise(frames)]
    assert same == [(t + 1) % hold != 0 for t in range(11)]


def test_whole_pixel_views_are_copies() -> None:
    plate = np.random.default_rng(0).integers(0, 255, (600, 600, 3), dtype=np.uint8)
    assert np.array_equal(compose.view(plate, 7.0, 9.0), plate[9:521, 7:519])


def test_a_still_clip_gives_the_same_object_again(library: corpus.Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "KIND_SHARES", {"static": 1.0})
    clip = next(c for c in (compose.compose(library, s) for s in range(9)) if not c.cut.any())
    assert len({id(frame) for frame in clip.frames}) == 1


def test_writing_is_resumable_and_leaves_no_partial_file(drawn: Path, tmp_path: Path) -> None:
    library = corpus.Library(drawn, "train")
    path = tmp_path / "train_00000.npz"
    assert clips.write_clip(library, path, 2)
    first = path.read_bytes()
    assert not clips.write_clip(library, path, 3)
    assert path.read_bytes() == first and [p.name for p in tmp_path.iterdir()] == [path.name]
    with np.load(path) as data:
        assert data["hr_y"].shape == (7, 512, 512) and data["hr_uv"].shape == (7, 2, 256, 256)
        assert data["lr_y"].shape == (5, 7, 256, 256) and data["lr_uv"].shape == (5, 7, 2, 128, 128)
        assert data["kinds"][0] == "clean" and data["kinds"][3] in ("vhs", "composite") and data["cut"].shape == (7,)
        assert len(data["history"]) == 5 and str(data["look"]) in looks.LOOK_SHARES
    path.unlink()
    assert clips.write_clip(library, path, 2) and path.read_bytes() == first


def test_a_failed_write_leaves_nothing_under_the_name(
    library: corpus.Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("training.data.clips.np.savez", broken)
    with pytest.raises(OSError, match="disk full"):
        clips.write_clip(library, tmp_path / "train_00000.npz", 2)
    assert not list(tmp_path.glob("train_*"))
