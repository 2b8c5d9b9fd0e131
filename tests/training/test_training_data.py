"""The training data: composing, degrading and writing clips, with cut-outs drawn on the spot."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")
pytest.importorskip("av")
pytest.importorskip("PIL")
torch = pytest.importorskip("torch")

from PIL import Image, ImageFont  # noqa: E402

from training.data import (  # noqa: E402
    clips,
    compose,
    corpus,
    dataset,
    degradations,
    lettering,
    line_art,
    looks,
    media,
    pictures,
    textures,
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny corpus: a dozen cut-outs, scenes and film runs of both splits."""
    root = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(5)
    for folder in ("art", "scenes", "runs"):
        (root / folder).mkdir()
    letters = "abcdefghijklmnopqrstuvwxyz"
    for i in range(40):
        image = np.zeros((400, 400, 4), np.uint8)
        for _ in range(6):
            corners = rng.integers(20, 380, (5, 1, 2)).astype(np.int32)
            cv2.fillPoly(image, [corners], (*(int(c) for c in rng.integers(0, 255, 3)), 255), cv2.LINE_AA)
            cv2.polylines(image, [corners], True, (10, 10, 10, 255), 3, cv2.LINE_AA)
        name = f"shape_{letters[i % 26]}{letters[i // 26]}x"
        cv2.imwrite(str(root / "art" / f"{name}.png"), image)
        if i < 4:
            cv2.imwrite(str(root / "scenes" / f"{name}.png"), cv2.resize(image[..., :3], (800, 700)))
    for folder in ("painted", "photos"):
        (root / folder).mkdir()
        for name in ("hills", "woods"):
            picture = cv2.GaussianBlur(rng.integers(0, 255, (600, 800, 3), dtype=np.uint8), (0, 0), 2)
            cv2.imwrite(str(root / folder / f"{name}.png"), cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX))
    (root / "fonts").mkdir()
    font = ImageFont.load_default(20)
    assert isinstance(font, ImageFont.FreeTypeFont) and isinstance(font.path, io.BytesIO)
    (root / "fonts" / "Plain.ttf").write_bytes(font.path.getvalue())
    np.save(root / "runs" / "film_00000.npy", rng.integers(0, 255, (13, 360, 640, 3), dtype=np.uint8))
    return root


@pytest.fixture(scope="module")
def library(drawn: Path) -> corpus.Library:
    """The training split of the drawn corpus."""
    return corpus.Library(drawn, "train")


@pytest.fixture(scope="module")
def sharp(library: corpus.Library) -> media.Planes:
    """A sharp moving clip of 512x512 planes, never flat."""
    rng, names = np.random.default_rng(11), list[str]()
    plate = compose.line_plate(library, 640, rng, names)
    return media.to_planes([compose.view(plate, 2.0 * t, 3.0 * t) for t in range(13)])


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal to noise ratio in dB of 8-bit pictures."""
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9)))


def enlarged(picture: np.ndarray) -> np.ndarray:
    """Twice the size by Lanczos."""
    height, width = picture.shape
    return np.asarray(Image.fromarray(picture).resize((2 * width, 2 * height), Image.Resampling.LANCZOS))


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


@pytest.mark.parametrize("look", looks.LOOK_SHARES)
def test_a_look_belongs_to_the_truth(library: corpus.Library, look: str) -> None:
    plain, dressed = (compose.compose(library, 6, kind="lines", look=name) for name in ("plain", look))
    changed = np.abs(plain.frames[5].astype(float) - dressed.frames[5]).mean()
    assert dressed.look == look and (changed > 0.1) == (look != "plain")
    detail = [np.abs(cv2.Laplacian(c.frames[5].astype(np.float32), cv2.CV_32F)).mean() for c in (plain, dressed)]
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
    mask = cv2.imread(str(tmp_path / "damage" / "damage_b_dust_0.png"), cv2.IMREAD_GRAYSCALE)
    assert abs(mask.astype(float).sum() / 255 - 300) < 30 and mask.max() == 255 and mask[0].max() == 0


def test_real_damage_lies_on_single_frames_and_leaves_the_rest_alone() -> None:
    y, shapes = torch.full((5, 96, 96), 0.5), [torch.ones(40, 12), torch.ones(9, 9)]
    made = [degradations.dirt(y, shapes, np.random.default_rng(seed)) for seed in range(6)]
    assert all(bad.shape == y.shape and float(bad.min()) >= 0 and float(bad.max()) <= 1 for bad in made)
    hits = torch.stack([bad != y for bad in made]).float()
    assert 0.001 < float(hits.mean()) < 0.4
    assert float((hits[:, 1:] * hits[:, :-1]).mean()) < 0.5 * float(hits.mean()), "other places in every frame"


def test_shapes_of_damage_are_packed_for_training(library: corpus.Library, tmp_path: Path) -> None:
    for name, side in (("damage_a_dust_0", 9), ("damage_a_hair_1", 30)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((side, side), 200, np.uint8))
    library.damage = sorted(tmp_path.glob("*.png"))
    clips.write_damage(library, tmp_path / clips.DAMAGE)
    assert [tuple(shape.shape) for shape in dataset.damage(tmp_path)] == [(9, 9), (30, 30)]
    library.damage = []


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
    assert cv2.imread(str(tmp_path / "photos" / "x_dune.png")).shape == (480, 640, 3)


def test_whole_sources_are_kept_for_validation() -> None:
    assert {corpus.split_of(f"{source}_{n}") for source in corpus.VALIDATION_ONLY for n in "abcdef"} == {"val"}


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


def test_grey_stays_grey_and_levels_are_limited() -> None:
    planes = media.to_planes([np.full((64, 64, 3), level, np.uint8) for level in (0, 128, 255)])
    assert [int(y[0, 0]) for y in planes.y] == [16, 126, 235]
    assert (planes.uv == 128).all()


def test_halving_keeps_the_chroma_left_sited() -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8)[None] * 3, (64, 1))
    clip = media.Planes(y=np.zeros((1, 128, 128), np.uint8), uv=np.stack([ramp, ramp])[None])
    row = media.halve(clip).uv[0, 0, 16].astype(float)
    expected = 3 * (2 * np.arange(32) + 0.25)
    assert np.abs(row - expected)[3:-3].max() < 1.0


def test_clean_lies_exactly_on_the_sharp_clip(sharp: media.Planes) -> None:
    low = media.degrade(sharp, "clean", np.random.default_rng(0))
    assert low.y.shape == (13, 256, 256) and low.uv.shape == (13, 2, 128, 128)
    window = np.outer(np.hanning(512), np.hanning(512))
    (x, y), _ = cv2.phaseCorrelate(sharp.y[5].astype(float), enlarged(low.y[5]).astype(float), window)
    assert abs(x) < 0.1 and abs(y) < 0.1


@pytest.mark.parametrize("kind", media.CODEC_KINDS)
def test_an_encoders_strengths_reach_from_unseen_to_ruin(sharp: media.Planes, kind: str) -> None:
    low = media.halve(sharp).y
    scores = [
        np.mean([psnr(media.encoded(sharp, kind, np.random.default_rng(seed), span).y, low) for seed in range(2)])
        for span in ((0.0, 0.0), (0.5, 0.5), (1.0, 1.0))
    ]
    assert scores[0] > 37 and scores[0] > scores[1] + 3 > scores[2] + 5, scores


def test_a_clip_tells_what_was_done_to_it(sharp: media.Planes) -> None:
    bad = media.degrade(sharp, "web", np.random.default_rng(3))
    assert bad.history[0] in media.FILTERS and bad.history[-1].startswith("libx264 crf=")
    assert bad.window(2, 3).history == bad.history


@pytest.mark.parametrize("kind", media.KINDS[1:])
def test_degraded_clips_keep_count_order_place_and_level(sharp: media.Planes, kind: str) -> None:
    low = media.halve(sharp)
    bad = media.degrade(sharp, kind, np.random.default_rng(3))
    assert bad.y.shape == low.y.shape and bad.uv.shape == low.uv.shape
    scores = np.array([[psnr(b, c) for c in low.y] for b in bad.y])
    assert (scores.argmax(1) == np.arange(13)).all()
    assert 15 < scores.diagonal().mean() < 46
    window = np.outer(np.hanning(256), np.hanning(256))
    (x, y), _ = cv2.phaseCorrelate(low.y[5].astype(float), bad.y[5].astype(float), window)
    assert abs(x) < 0.1 and abs(y) < 0.1
    assert abs(float(bad.y.mean()) - float(low.y.mean())) < 1.5
    assert np.abs(bad.uv.mean((0, 2, 3)) - low.uv.mean((0, 2, 3))).max() < 1.5


def test_degrading_is_a_function_of_the_seed(sharp: media.Planes) -> None:
    for kind in ("mpeg2", "web", "vhs"):
        a, b = (media.degrade(sharp, kind, np.random.default_rng(9)) for _ in range(2))
        assert np.array_equal(a.y, b.y) and np.array_equal(a.uv, b.uv)


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


@pytest.mark.parametrize("task", media.TASK_CODECS)
def test_a_tasks_clips_hold_its_codecs_alone(task: str) -> None:
    kinds = [media.pick_kinds(np.random.default_rng(seed), task) for seed in range(40)]
    assert {first for first, *_ in kinds} == {"clean"}
    assert {kind for _, *others in kinds for kind in others} == media.TASK_CODECS[task].keys()


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
