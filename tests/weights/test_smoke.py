"""The shipped networks, at a glance: each is worth having, and none makes worse what it enlarges."""

from __future__ import annotations

import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers.clips import core, drawn, inked
from tests.helpers.frames import planes_of

pytestmark = [pytest.mark.weights, pytest.mark.smoke]


def psnr(clip: vs.VideoNode, truth: vs.VideoNode) -> float:
    """Of luma in the middle frame, in dB."""
    middle = truth.num_frames // 2
    a, b = (planes_of(each.get_frame(middle))[0].astype(float) for each in (clip, truth))
    return float(10 * np.log10(255**2 / np.square(a - b).mean()))


def under_noise(clip: vs.VideoNode) -> vs.VideoNode:
    """A short clip of 8 bits with noise of three hundredths."""
    frames = [planes_of(frame) for frame in clip.frames()]
    rng = np.random.default_rng(1)
    grain = [[rng.normal(0, 0.03, plane.shape) for plane in frame] for frame in frames]
    return drawn(clip, lambda n, i, _: np.clip(frames[n][i] / 255 + grain[n][i], 0, 1))


@pytest.mark.parametrize(("task", "gain"), [("denoise", 1.5), ("destream", 0.3)])
def test_restoring_gains(task: str, gain: float) -> None:
    truth, noisy = inked(), inked(noise=0.03)
    assert psnr(core.animup.Restore(noisy, task=task), truth) > psnr(noisy, truth) + gain


def test_restoring_and_enlarging_gains() -> None:
    truth = inked(384, 192)
    noisy = under_noise(truth.resize.Bicubic(192, 96))
    plain = noisy.resize.Lanczos(truth.width, truth.height)
    assert psnr(core.animup.Upscale(noisy, task="denoise"), truth) > psnr(plain, truth) + 1.5


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_enlarging_is_not_worse_than_lanczos(scale: int) -> None:
    truth = inked(96 * scale, 48 * scale)
    small = truth.resize.Bicubic(96, 48)
    plain = small.resize.Lanczos(truth.width, truth.height)
    assert psnr(core.animup.Upscale(small, scale=scale), truth) > psnr(plain, truth) - 0.1
