"""Grain: a share of the fine noise that was removed comes back, at the size of the result, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers.clips import drawn, inked
from tests.helpers.frames import digest, digests
from vsanimup.video.grain import with_grain

core = vs.core
DENOISE = {"task": "denoise", "gate": 0}
"""All of the noise is taken, whether the picture's own or not."""


def luma(clip: vs.VideoNode, n: int = 2) -> np.ndarray:
    return np.asarray(clip.get_frame(n)[0]).astype(float)


def flat(plane: Any, *, format: int = vs.GRAY8, size: tuple[int, int] = (128, 96), length: int = 3) -> vs.VideoNode:
    width, height = size
    return drawn(core.std.BlankClip(format=format, width=width, height=height, length=length, keep=True), plane)


def noise(deviation: float, seed: int = 0, soft: bool = False) -> np.ndarray:
    found = np.random.default_rng(seed).normal(0, 1, (96, 128))
    if soft:
        found = sum((np.roll(found, (y, x), (0, 1)) for y in (0, 1) for x in (0, 1)), np.zeros_like(found))
    return found * (deviation / found.std())


def returned(before: np.ndarray, after: np.ndarray, share: float = 1.0, scale: int = 1) -> np.ndarray:
    """What comes back of what ``after`` lacks, both luma in 8-bit steps."""
    clips = [flat(lambda n, i, s, p=p: np.clip(np.rint(p), 0, 255) / 255) for p in (before, after)]
    result = clips[1].resize.Point(128 * scale, 96 * scale)
    fine = result.resize.Point(format=vs.GRAYS)
    return np.asarray(luma(with_grain(fine, clips[0], clips[1], share), 0) - luma(fine, 0)) * 219


def test_nothing_comes_back_unless_asked_for() -> None:
    clip = inked(noise=0.01)
    plain = core.animup.Restore(clip, task="denoise")
    assert digests(core.animup.Restore(clip, task="denoise", grain=0)) == digests(plain)
    assert digests(plain.animup.Upscale(grain=0, original=clip)) == digests(plain.animup.Upscale())


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_deviation_is_the_same_at_any_size(scale: int, soft: bool) -> None:
    after = np.full((96, 128), 120.0)
    before = after + noise(4, soft=soft)
    small, large = returned(before, after), returned(before, after, scale=scale)
    assert small.std() == pytest.approx(4, rel=0.2 if not soft else 0.45)
    assert large.std() == pytest.approx(small.std(), rel=0.08)
    assert returned(before, after, 0.25, scale).std() == pytest.approx(large.std() / 4, rel=0.01)
    assert abs(large.mean()) < 0.1


def test_it_is_the_noise_that_was_there() -> None:
    after, wanted = np.full((96, 128), 120.0), noise(4)
    assert np.corrcoef(returned(after + wanted, after).ravel(), wanted.ravel())[0, 1] > 0.9


def test_neither_blocks_nor_rings_nor_dust_come_back() -> None:
    rows, columns = np.mgrid[:96, :128]
    after = np.where(columns < 60, 60.0, 180.0)
    blocks = np.kron(np.random.default_rng(1).normal(0, 5, (12, 16)), np.ones((8, 8)))
    assert np.abs(returned(after + blocks, after)).max() < 1
    away = np.abs(columns - 60)
    ringing = 12 * np.cos(away * 2.2) * np.exp(-away / 2.5)
    assert returned(after + ringing, after).std() < 0.1 * ringing.std()
    dust = np.where((rows % 32 < 3) & (columns % 32 < 3), 60, 0)
    assert np.abs(returned(after + dust, after)).max() < 3
    # dust that lies in noise is no larger than the noise
    assert np.abs(returned(after + dust + noise(3), after)).max() < 12


def test_lines_keep_their_noise_without_its_rings() -> None:
    _, columns = np.mgrid[:96, :128]
    after, wanted = np.where(columns < 60, 60.0, 180.0), noise(4)
    away = np.abs(columns - 60)
    back = returned(after + wanted + 25 * np.cos(away * 2.2) * np.exp(-away / 2.5), after)
    assert 1 < back[:, 57:63].std() < back[:, 90:].std()


@pytest.mark.parametrize("format", [vs.GRAY16, vs.GRAYS, vs.YUV444P8, vs.RGB24, vs.YUV420P10])
def test_formats_agree(format: int) -> None:
    wanted = noise(4)
    steps = 219 / 255 if format == vs.GRAYS else 1.0
    clips = [
        flat(lambda n, i, s, p=p: 0.5 + (p / 255 if i == 0 or format == vs.RGB24 else 0), format=format)
        for p in (wanted / steps, 0 * wanted)
    ]
    result = with_grain(clips[1], clips[0], None, 1.0)
    scale = {vs.GRAYS: 219, vs.GRAY16: 1 / 257, vs.YUV420P10: 1 / 4}.get(format, 1)
    back = (luma(result) - luma(clips[1])) * scale
    assert result.format.id == format
    assert np.abs(back - returned(120 + wanted, np.full((96, 128), 120.0))).mean() < 0.6
    for index in range(1, result.format.num_planes):
        same = np.array_equal(np.asarray(result.get_frame(0)[index]), np.asarray(clips[1].get_frame(0)[index]))
        assert same == (format != vs.RGB24)


def chains(clip: vs.VideoNode) -> dict[str, vs.VideoNode]:
    restored = core.animup.Restore(clip, **DENOISE)
    return {
        "Restore": core.animup.Restore(clip, grain=0.5, **DENOISE),
        "both": restored.animup.Upscale(grain=0.5, original=clip),
        "one pass": core.animup.Upscale(clip, grain=0.5, **DENOISE),
    }


def test_each_frame_is_its_own() -> None:
    clip = inked(noise=0.015, length=4)
    for name, made in chains(clip).items():
        again = chains(clip)[name]
        backward = [digest(again.get_frame(n)) for n in (3, 1, 0, 2)]
        assert [backward[2], backward[1], backward[3], backward[0]] == digests(made), name


def test_filters_give_back_what_they_took() -> None:
    clip = inked(noise=0.015)
    bare = core.animup.Restore(clip, **DENOISE)
    removed = (luma(clip) - luma(bare))[:, :60].std()
    half = (luma(chains(clip)["Restore"]) - luma(bare))[:, :60].std()
    doubled = (luma(chains(clip)["both"]) - luma(bare.animup.Upscale()))[:, :120].std()
    once = (luma(chains(clip)["one pass"]) - luma(core.animup.Upscale(clip, **DENOISE)))[:, :120].std()
    assert 0.3 * removed < half < 0.55 * removed
    assert doubled == pytest.approx(half, rel=0.15) and once == pytest.approx(half, rel=0.35)


def test_frames_of_one_drawing_have_grain_of_their_own() -> None:
    still = inked(length=1) * 4
    noisy = drawn(still, lambda n, i, s: 0.5 + np.random.default_rng((n, i)).normal(0, 0.015, s))
    assert len(set(digests(core.animup.Restore(noisy, **DENOISE)))) < 4
    grained = core.animup.Restore(noisy, grain=1, **DENOISE)
    assert len(set(digests(grained))) == 4
    assert "AnimupRestored" not in grained.get_frame(0).props and "AnimupMix" in grained.get_frame(0).props


def test_what_cannot_be() -> None:
    clip = inked(length=2)
    for value in (-0.1, 1.5, float("nan")):
        with pytest.raises(vs.Error, match=r"^Restore: grain must lie between 0 .* and 1 .*, got"):
            core.animup.Restore(clip, grain=value)
    with pytest.raises(vs.Error, match=r"^Upscale: grain=0.5: no noise is removed here; give the clip before Restore"):
        core.animup.Upscale(clip, grain=0.5)
    for other, said in (
        (clip.resize.Point(96, 96), "width is 96, not 192"),
        (clip[:1], "length is 1, not 2"),
        (clip.std.ShufflePlanes(0, vs.GRAY), "colour family is GRAY, not YUV"),
    ):
        with pytest.raises(vs.Error, match=f"^Upscale: original must be the clip as it was before Restore: its {said}"):
            core.animup.Upscale(clip, grain=0.5, original=other)
