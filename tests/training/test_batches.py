"""What the trainer of lite networks draws for a step, and how it weighs results."""

from pathlib import Path

import numpy as np
import pytest
import torch

from training.data.dataset import Batches, map_clip, read_clip, window_indices
from training.data.degradations import DEGRADATIONS, lay
from training.lite.upscale import Singles, light_variants
from training.losses import distance
from vsanimup.architectures.lite.network import ALIGN

SIDE = 96


def test_batches_depend_on_the_step_alone(clips: Path) -> None:
    a, b = (Batches(clips, radius=1, crop=ALIGN, batch=2, plain=1, steps=9, seed=3) for _ in range(2))
    a[0]
    for x, y in zip(vars(a[5]).values(), vars(b[5]).values(), strict=True):
        assert torch.equal(x, y)


def test_a_mapped_clip_is_the_clip(clips: Path) -> None:
    path = clips / "train_00001.npz"
    mapped, whole = map_clip(path), read_clip(path)
    assert mapped.keys() == whole.keys()
    assert all(np.array_equal(mapped[name], array) for name, array in whole.items())
    with pytest.raises(ValueError, match="read-only"):
        mapped["lr_y"][0] = 0


def test_busy_places_are_preferred(clips: Path) -> None:
    path = clips / "train_00000.npz"
    arrays = read_clip(path)
    arrays["lr_y"][0, :, :, SIDE // 2 :] = 128  # half of the picture is even
    batches = Batches(clips, radius=0, crop=ALIGN // 2, batch=1, plain=1, steps=1)
    rng = np.random.default_rng(0)
    lefts = [batches._place(arrays, 3, ALIGN // 2, rng)[1] for _ in range(300)]
    assert np.mean(np.array(lefts) >= SIDE // 2) < 0.25, "of places drawn evenly a third lies in the even half"
    assert max(lefts) >= SIDE // 2, "even places are seen too"


def test_single_frames_are_clean_or_lightly_compressed_as_asked(clips: Path) -> None:
    def frames(share: float) -> list[torch.Tensor]:
        singles = Singles(folder, radius=0, crop=ALIGN, batch=1, plain=24, steps=1)
        singles.light_share = share
        return list(singles[0].plain_y)

    folder = clips.parent / "light"
    folder.mkdir(exist_ok=True)
    clip = read_clip(clips / "train_00000.npz")
    clip["lr_y"][1] = clip["lr_y"][0] // 2 * 2  # by up to one step
    np.savez(folder / "train_00000.npz", **clip)  # type: ignore[arg-type]
    assert light_variants(clip) == [1], "not the tape, and not what was hurt"
    even = [bool((torch.round(y * 219 + 16) % 2 == 0).all()) for y in frames(0.5)]
    assert any(even) and not all(even)
    assert not any(bool((torch.round(y * 219 + 16) % 2 == 0).all()) for y in frames(0.0))


def test_nothing_light_at_all_is_said(clips: Path) -> None:
    singles = Singles(clips, radius=0, crop=ALIGN, batch=1, plain=1, steps=1)
    singles.light_share = 1.0
    with pytest.raises(ValueError, match="lightly compressed"):
        singles[0]


def test_windows_in_training_stop_at_cuts_as_in_the_filter() -> None:
    cut = np.array([0, 0, 0, 1, 0, 0, 0], np.int8)
    assert window_indices(cut, 3, 2) == [3, 3, 3, 4, 5]
    assert window_indices(cut, 2, 2) == [0, 1, 2, 2, 2]
    assert window_indices(cut, 5, 2) == [3, 4, 5, 6, 6]
    assert window_indices(cut, 5, 2, reach=1) == [4, 4, 5, 6, 6]


@pytest.mark.parametrize("task", DEGRADATIONS)
def test_faults_change_the_picture_repeat_by_seed_and_keep_shapes(task: str) -> None:
    torch.manual_seed(0)
    y = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 12), size=(48, 48), mode="bilinear")[0]
    uv = torch.nn.functional.interpolate(torch.rand(1, 6, 6, 6) - 0.5, size=(24, 24), mode="bilinear")[0]
    before = y.clone(), uv.clone()
    changed = 0.0
    for seed in range(4):
        first, again = (lay([task], y, uv, np.random.default_rng(seed)) for _ in range(2))
        assert first[0].shape == y.shape and first[1].shape == uv.shape
        assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
        assert torch.isfinite(first[0]).all() and first[0].min() > -0.1 and first[0].max() < 1.12
        changed += float((first[0] - y).abs().mean() + (first[1] - uv).abs().mean())
    assert torch.equal(y, before[0]) and torch.equal(uv, before[1]), "the source is left alone"
    assert changed > 4 * 2 / 255


def test_the_loss_weighs_relative_gains_alike() -> None:
    goal_y, goal_uv = torch.rand(1, 1, 48, 48), torch.zeros(1, 2, 24, 24)

    def gain(error: float) -> float:
        worse, better = (distance(goal_y + e, goal_uv, goal_y, goal_uv) for e in (error, error / 2))
        return float(worse - better)

    assert gain(0.2) == pytest.approx(gain(0.1), rel=0.15)
