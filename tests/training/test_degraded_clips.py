"""What training does to sharp clips: halving, codecs, tape, damage."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from training.data import compose, corpus, degradations, media


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


def test_real_damage_lies_on_single_frames_and_leaves_the_rest_alone() -> None:
    y, shapes = torch.full((5, 96, 96), 0.5), [torch.ones(40, 12), torch.ones(9, 9)]
    made = [degradations.dirt(y, shapes, np.random.default_rng(seed)) for seed in range(6)]
    assert all(bad.shape == y.shape and float(bad.min()) >= 0 and float(bad.max()) <= 1 for bad in made)
    hits = torch.stack([bad != y for bad in made]).float()
    assert 0.001 < float(hits.mean()) < 0.4
    assert float((hits[:, 1:] * hits[:, :-1]).mean()) < 0.5 * float(hits.mean()), "other places in every frame"


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


@pytest.mark.parametrize("task", media.TASK_CODECS)
def test_a_tasks_clips_hold_its_codecs_alone(task: str) -> None:
    kinds = [media.pick_kinds(np.random.default_rng(seed), task) for seed in range(40)]
    assert {first for first, *_ in kinds} == {"clean"}
    assert {kind for _, *others in kinds for kind in others} == media.TASK_CODECS[task].keys()
