"""Scene cuts and the windows that must not cross them."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from vsanimup.video.scenes import is_cut, scene_window, thumbnail


@dataclass
class Picture:
    luma: np.ndarray
    props: dict[str, int] = field(default_factory=dict)

    @property
    def planes(self) -> tuple[np.ndarray, ...]:
        return (self.luma,)

    def prop(self, name: str, default: int | None = None) -> int | None:
        return self.props.get(name, default)


def textured(seed: int, level: float = 0.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    blocks = rng.random((6, 8)).astype(np.float32) * 0.6 + level - 0.3
    return np.kron(blocks, np.ones((40, 40), np.float32))


@pytest.mark.parametrize(
    ("window", "cuts", "expected"),
    [
        ((5, 2, 2), set(), [0, 1, 2, 3, 4]),
        ((5, 2, 2), {2}, [2, 2, 2, 3, 4]),
        ((5, 2, 2), {3}, [0, 1, 2, 2, 2]),
        ((5, 2, 2), {2, 3}, [2, 2, 2, 2, 2]),
        ((5, 2, 2), {1}, [1, 1, 2, 3, 4]),
        ((3, 0, 2), set(), [0, 0, 0, 1, 2]),
        ((3, 2, 2), set(), [0, 1, 2, 2, 2]),
        ((1, 0, 1), set(), [0, 0, 0]),
        ((1, 0, 0), set(), [0]),
    ],
)
def test_window_stays_within_scene_and_clip(window: tuple[int, int, int], cuts: set[int], expected: list[int]) -> None:
    count, centre, radius = window
    assert scene_window(count, centre, radius, lambda a, b: b in cuts) == expected


def test_different_scenes_are_told_from_motion_and_noise() -> None:
    scene = textured(1)
    assert is_cut(Picture(scene), Picture(textured(2)))
    assert not is_cut(Picture(scene), Picture(np.roll(scene, 8, 1)))
    noise = np.random.default_rng(3).normal(0, 0.06, scene.shape).astype(np.float32)
    assert not is_cut(Picture(scene), Picture(scene + noise))


@pytest.mark.filterwarnings("error")
def test_infinite_samples_are_no_cut() -> None:
    endless = Picture(np.full((48, 64), np.inf, np.float32))
    assert not is_cut(endless, endless)


def test_properties_rule_over_the_picture() -> None:
    a, b = textured(1), textured(2)
    assert not is_cut(Picture(a, {"_SceneChangeNext": 0}), Picture(b, {"_SceneChangePrev": 0}))
    assert not is_cut(Picture(a), Picture(b, {"_SceneChangePrev": 0}))
    assert is_cut(Picture(a), Picture(a, {"_SceneChangePrev": 1}))
    assert is_cut(Picture(a, {"_SceneChangeNext": 1}), Picture(a, {"_SceneChangePrev": 0}))


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (8, 300), (360, 640)])
def test_thumbnail_of_any_size(size: tuple[int, int]) -> None:
    small = thumbnail(np.full(size, 0.25, np.float32))
    assert small.size >= 1
    np.testing.assert_allclose(small, 0.25)
