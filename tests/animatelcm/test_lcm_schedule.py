"""Schedules are those of diffusers; noise is Gaussian and depends on its place alone."""

import importlib
from typing import Any

import numpy as np
import pytest

from vsanimup.errors import AnimupError
from vsanimup.networks.animatelcm.noise import field
from vsanimup.networks.animatelcm.schedule import Schedule


@pytest.fixture(scope="module")
def scheduler() -> Any:
    return importlib.import_module("diffusers").LCMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="linear", original_inference_steps=100, clip_sample=False
    )


def test_known_schedules() -> None:
    assert Schedule(2, 0.3).timesteps == (299, 149)
    assert Schedule(4, 1.0).timesteps == (999, 749, 499, 249)
    assert Schedule(1, 0.01).timesteps == (9,)


@pytest.mark.parametrize("strength", [0.01, 0.07, 0.25, 0.29, 0.3, 0.57, 0.58, 0.6, 0.99, 1.0])
def test_schedule_is_that_of_diffusers(scheduler: Any, strength: float) -> None:
    alphas = scheduler.alphas_cumprod.double().numpy()
    for steps in range(1, 101):
        try:
            scheduler.set_timesteps(steps, original_inference_steps=100, strength=strength)
        except ValueError:
            with pytest.raises(AnimupError, match="steps must be 1 to"):
                Schedule(steps, strength)
            continue
        schedule = Schedule(steps, strength)
        wanted = scheduler.timesteps.tolist()
        found = list(schedule)
        assert list(schedule.timesteps) == wanted == [step.timestep for step in found] and len(schedule) == steps
        for step, following in zip(found, [*wanted[1:], None], strict=True):
            here, there = alphas[step.timestep], 1.0 if following is None else alphas[following]
            values = [here**0.5, (1 - here) ** 0.5, there**0.5, (1 - there) ** 0.5]
            scalars = step.inputs()
            given = [scalars[name] for name in ("signal", "spread", "next_signal", "next_spread")]
            assert all(value.dtype == np.float32 and value.shape == (1,) for value in given)
            assert np.allclose(np.concatenate(given), values, rtol=1e-5, atol=0)
            assert scalars["timestep"].tolist() == [step.timestep]


@pytest.mark.parametrize(
    ("steps", "strength", "said"),
    [
        (40, 0.3, r"steps must be 1 to 30 at strength=0\.3, got 40; give fewer steps, or a higher strength"),
        (101, 1.0, "steps must be 1 to 100 at strength=1, got 101$"),
        (2, 0.0, r"strength must lie between 0\.01 and 1, got 0$"),
        (2, 0.009, "strength"),
    ],
)
def test_wrong_schedule(steps: int, strength: float, said: str) -> None:
    with pytest.raises(AnimupError, match=said):
        Schedule(steps, strength)


def test_noise_is_gaussian() -> None:
    noise = field(7, 0, (4, 256, 256)).astype(np.float64)
    count = noise.size
    assert abs(noise.mean()) < 4 / count**0.5 and abs(noise.var() - 1) < 4 * (2 / count) ** 0.5
    assert abs((noise**3).mean()) < 4 * (15 / count) ** 0.5 and abs((noise**4).mean() - 3) < 4 * (96 / count) ** 0.5
    assert 4 < np.abs(noise).max() < 7
    for axis in range(3):  # neighbours know nothing of each other
        a, b = (np.take(noise, range(i, noise.shape[axis] - 1 + i), axis).ravel() for i in (0, 1))
        assert abs((a * b).mean()) < 5 / a.size**0.5
    spectrum = np.abs(np.fft.fft2(noise[0])) ** 2 / noise[0].size
    assert spectrum.max() < 25


def test_noise_depends_on_its_place_alone() -> None:
    noise = field(7, 1, (4, 9, 5))
    assert noise.dtype == np.float32 and noise.shape == (4, 9, 5) and np.isfinite(noise).all()
    assert np.array_equal(noise, field(7, 1, (4, 9, 5)))
    count = noise.size**-0.5
    for seed, step in ((8, 1), (7, 0), (7, 2), (-7, 1), (7 + (1 << 63), 1)):
        assert abs((noise * field(seed, step, (4, 9, 5))).mean()) < 4 * count, (seed, step)
    assert np.array_equal(field(-1, 0, (1, 2, 2)), field((1 << 64) - 1, 0, (1, 2, 2)))


def test_noise_stays_the_same_in_other_versions() -> None:
    """Written down once: a saved film must be computable again."""
    wanted = [2.2844415, -1.5494508, 1.9245853, -0.6637518]
    assert np.allclose(field(0, 0, (1, 1, 4)).ravel(), wanted, atol=1e-6)
