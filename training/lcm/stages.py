"""What each stage of the training learns: its losses, and how good it is."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.lcm.data import Pictures, luma_of, task_validation, validation
from training.losses import ssim
from vsanimup.architectures.animatelcm.graphs import alphas
from vsanimup.architectures.animatelcm.text import CONTEXT
from vsanimup.architectures.lcm_tiny import TOKENS, Recall, Tiny

SSIM_WEIGHT = 0.05
LATENT_NOISE = 0.04
"""Noise that the autoencoder's latents get in training, as a share of their spread: it makes an error in latents about
as bad as one in pixels, wherever it lies."""
EPS = 1e-6
TIMESTEPS = 299, 149
"""Of the filter's steps at strength 0.3."""
USUAL = 0.7
"""Share of the training steps that are at these."""
HIGHEST = 399
"""Highest timestep that is trained."""
PIXELS = 2.0
"""Weight of the decoded picture beside latents."""
CHANGES = 3.0
"""Weight of changes from frame to frame in it."""
FLOOR = 0.01
"""Added to a distance before its logarithm: without it, what is perfect already would weigh most."""


def pixels(found: Tensor, wanted: Tensor) -> Tensor:
    """Distances of pictures in -1..1, ``[frames]``: smooth L1, and luma's structure."""
    near = ((found - wanted).square() + EPS).sqrt().mean((1, 2, 3))
    return near + SSIM_WEIGHT * (1 - ssim(luma_of(found) / 2 + 0.5, luma_of(wanted) / 2 + 0.5))


def autoencoder_loss(tiny: Tiny, batch: Pictures, random: torch.Generator) -> dict[str, Tensor]:
    """Pictures through noisy latents and back; a quarter of them faulty ones."""
    count = len(batch.sharp) // 4
    image = torch.cat([batch.source[:count], batch.sharp[count:]]) * 2 - 1
    latents = tiny.autoencoder.encoder(image).float()
    spread = latents.detach().std()
    noisy = latents + LATENT_NOISE * spread * torch.randn(latents.shape, generator=random)
    found = tiny.autoencoder.decoder(noisy).float()
    centred = latents.mean((0, 2, 3)).square().mean() + (latents.std() - 1).square()
    return {"pixels": pixels(found, image).mean(), "centre": 0.02 * centred}


def psnr(a: Tensor, b: Tensor) -> float:
    """Of pictures in 0..1."""
    return -10 * math.log10(float((a - b).square().mean()) + 1e-10)


def scores_of(found: Tensor, batch: Pictures) -> dict[str, float]:
    """Luma's PSNR, SSIM and flicker, for pictures in 0..1."""
    a, b = luma_of(found.clamp(0, 1)), luma_of(batch.sharp)
    scores = {"psnr": psnr(a, b), "ssim": float(ssim(a, b).mean())}
    same = batch.scenes[1:] == batch.scenes[:-1]
    if same.any():
        scores["flicker"] = 255 * float(((a[1:] - a[:-1]) - (b[1:] - b[:-1])).abs()[same].mean())
    return scores


@torch.no_grad()
def validate_tasks(tiny: Tiny, data: Path, clips: int, side: int) -> dict[str, dict[str, float]]:
    """Scores by task, and under ``plain`` those of the source; the biases of the task are in force."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    tiny.denoiser.moving = False
    for batch in task_validation(data, side=side, clips=clips):
        tiny.mix = {batch.kinds[0]: 1.0}
        scores = scores_of(enhanced(tiny, batch, torch.Generator().manual_seed(0)), batch)
        plain = {f"plain {name}": value for name, value in scores_of(batch.source, batch).items()}
        found[batch.kinds[0]].append(scores | plain)
    tiny.mix = {}
    return means(found)


def validate_autoencoder(tiny: Tiny, data: Path, clips: int, side: int) -> dict[str, dict[str, float]]:
    """Scores of the sharp pictures coming back, and of faulty ones."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for batch in validation(data, frames=1, side=side, clips=clips):
        if batch.kinds[0] not in ("clean", "vhs"):
            continue
        clean = batch.kinds[0] == "clean"
        image = batch.sharp if clean else batch.source
        back = tiny.autoencoder.decode(tiny.autoencoder.encode(image * 2 - 1)) / 2 + 0.5
        found["sharp" if clean else "faulty"].append(scores_of(back, Pictures(image, image, batch.scenes, batch.kinds)))
    return means(found)


def means(found: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Of each score of each kind."""
    return {
        kind: {
            name: round(sum(values) / len(values), 4)
            for name in sorted({name for scores in group for name in scores})
            if (values := [scores[name] for scores in group if name in scores])
        }
        for kind, group in sorted(found.items())
    }


def tokens() -> Tensor:
    """The empty prompt."""
    return torch.tensor([[TOKENS - 2] + [TOKENS - 1] * (CONTEXT - 1)])


@dataclass(frozen=True)
class Scene:
    """What stays the same through all steps."""

    tiny: Tiny
    batch: Pictures
    text: Tensor
    source: Tensor
    """Latents of the source."""

    @classmethod
    def of(cls, tiny: Tiny, batch: Pictures) -> Scene:
        """Of a batch."""
        with torch.no_grad():
            text = tiny.text_encoder(tokens())
            return cls(tiny, batch, text, tiny.autoencoder.encode(batch.source * 2 - 1))

    def noised(self, latents: Tensor, noise: Tensor, timestep: int) -> Tensor:
        """Latents as a step at ``timestep`` gets them."""
        alpha = alphas()[timestep]
        return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise

    def denoised(self, latents: Tensor, timestep: int, *, frozen: bool = False, memory: Recall | None = None) -> Tensor:
        """The answer of one step of LCM; with ``frozen`` the ControlNet learns nothing. Motion modules see and fill
        ``memory``."""
        at, one = torch.tensor([float(timestep)]), torch.ones(1)
        alpha = alphas()[timestep].reshape(1)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            residuals = self.tiny.control(latents, at, self.text, self.batch.source, one)
        found = self.tiny.denoise(
            latents,
            latents,
            at,
            alpha.sqrt(),
            (1 - alpha).sqrt(),
            one,
            0 * one,
            self.text,
            self.batch.mask,
            *residuals,
            memory=memory,
        )
        return found


def noise_like(latents: Tensor, random: torch.Generator, shared: bool) -> Tensor:
    """Gaussian noise; ``shared``: the same for all frames, as the filter has it."""
    shape = (1, *latents.shape[1:]) if shared else latents.shape
    return torch.randn(shape, generator=random).expand(latents.shape)


def two_timesteps(random: torch.Generator) -> tuple[int, int]:
    """Those of the filter's two steps mostly, else any two of the grid below :data:`HIGHEST`."""
    usual, first, second = torch.rand(3, generator=random).tolist()
    if usual < USUAL:
        return TIMESTEPS
    high = 1 + int(first * (HIGHEST // 10))
    return 10 * high - 1, 10 * (1 + int(second * high)) - 1


def near(found: Tensor, wanted: Tensor) -> Tensor:
    """Smooth L1 distances of latents, ``[frames]``."""
    return ((found - wanted).square() + 1e-4).sqrt().mean((1, 2, 3))


def changes(found: Tensor, wanted: Tensor) -> Tensor:
    """Distances of what changes from each frame to the next, ``[frames - 1]``; those between scenes mean nothing."""
    wrong = (found[1:] - found[:-1]) - (wanted[1:] - wanted[:-1])
    return (wrong.square() + 1e-5).sqrt().mean((1, 2, 3))


def balanced(distances: Tensor, windows: Tensor, counted: Tensor) -> Tensor:
    """Mean over windows of the logarithm of each window's mean distance.

    ``windows`` numbers the window of each of the ``distances``, rising from 0; what ``counted`` denies is left out. Of
    the logarithm, because what flickers on tapes is ten times what flickers elsewhere: with a plain mean the motion
    modules learned to average frames at any price, and made pans of good sources worse.
    """
    empty = distances.new_zeros(int(windows[-1]) + 1)
    sums = empty.index_add(0, windows, distances * counted)
    counts = empty.index_add(0, windows, counted.to(distances.dtype))
    return (sums / counts.clamp_min(1) + FLOOR).log().mean()


def consistency_loss(
    tiny: Tiny,
    batch: Pictures,
    random: torch.Generator,
    *,
    frozen: bool,
    moving: bool,
    memories: tuple[Recall | None, Recall | None] = (None, None),
) -> dict[str, Tensor]:
    """Two steps as the filter takes them, both of which must come out at the sharp picture's latents.

    The second starts from what the first answered, which is how the filter runs, and learns nothing through it.
    ``memories`` are those of both steps.
    """
    tiny.denoiser.moving = moving
    scene = Scene.of(tiny, batch)
    sharp = batch.sharp * 2 - 1
    with torch.no_grad():
        goal = tiny.autoencoder.encode(sharp)
    high, low = two_timesteps(random)
    latents = scene.noised(scene.source, noise_like(goal, random, moving), high)
    first = scene.denoised(latents, high, frozen=frozen, memory=memories[0])
    latents = scene.noised(first.detach(), noise_like(goal, random, moving), low)
    second = scene.denoised(latents, low, frozen=frozen, memory=memories[1])
    picture = tiny.autoencoder.decode(second)
    every = torch.ones_like(batch.scenes, dtype=torch.bool)
    losses = {
        "first": 0.5 * balanced(near(first, goal), batch.windows, every),
        "second": 0.5 * balanced(near(second, goal), batch.windows, every),
        "pixels": PIXELS * balanced(pixels(picture, sharp), batch.windows, every),
    }
    if moving:
        pairs = batch.windows[1:], batch.scenes[1:] == batch.scenes[:-1]
        losses["first changes"] = 0.5 * balanced(changes(first, goal), *pairs)
        losses["changes"] = CHANGES * balanced(changes(picture, sharp), *pairs)
    return losses


def image_loss(tiny: Tiny, batch: Pictures, random: torch.Generator) -> dict[str, Tensor]:
    """Base and ControlNet, frame by frame."""
    return consistency_loss(tiny, batch, random, frozen=False, moving=False)


def tasks_loss(tiny: Tiny, batch: Pictures, random: torch.Generator) -> dict[str, Tensor]:
    """Base, ControlNet and the biases of the batch's task together, frame by frame."""
    tiny.mix = {batch.kinds[0]: 1.0}
    return consistency_loss(tiny, batch, random, frozen=False, moving=False)


def motion_loss(tiny: Tiny, batch: Pictures, random: torch.Generator) -> dict[str, Tensor]:
    """The motion modules, on windows of frames."""
    return consistency_loss(tiny, batch, random, frozen=True, moving=True)


def joint_loss(tiny: Tiny, batch: Pictures, random: torch.Generator) -> dict[str, Tensor]:
    """All at once."""
    return consistency_loss(tiny, batch, random, frozen=False, moving=True)


def memory_loss(tiny: Tiny, batch: Pictures, random: torch.Generator) -> dict[str, Tensor]:
    """The motion modules, on two windows in sequence of which the second remembers the first.

    What is remembered learns nothing from the second. In half of the steps a random half of it is hidden, as a bounded
    memory lacks some. Both windows have the same noise, as the filter has it.
    """
    first, second = batch.halves()
    seed, memories = random.initial_seed(), (Recall(), Recall())
    losses = consistency_loss(tiny, first, random, frozen=True, moving=True, memories=memories)
    rng = torch.Generator().manual_seed(seed)
    drawn = torch.rand(1 + len(first.scenes), generator=torch.Generator().manual_seed(seed + 1))
    hidden = (drawn[1:] < 0.5) if drawn[0] < 0.5 else torch.zeros(len(first.scenes), dtype=torch.bool)
    seen = (second.scenes[:, None] == first.scenes[None]) & ~hidden
    mask = torch.where(seen, 0.0, -10000.0)
    before = (memories[0].behind(mask), memories[1].behind(mask))
    more = consistency_loss(tiny, second, rng, frozen=True, moving=True, memories=before)
    return {name: loss / 2 for name, loss in losses.items()} | {
        f"{name}, remembering": loss / 2 for name, loss in more.items()
    }


def enhanced(tiny: Tiny, batch: Pictures, random: torch.Generator) -> Tensor:
    """Pictures in 0..1 as the filter's two steps make them."""
    scene = Scene.of(tiny, batch)
    latents = scene.source
    for timestep in TIMESTEPS:
        noise = noise_like(latents, random, True)
        latents = scene.denoised(scene.noised(latents, noise, timestep), timestep)
    return tiny.autoencoder.decode(latents) / 2 + 0.5


def validate(tiny: Tiny, data: Path, clips: int, side: int, frames: int) -> dict[str, dict[str, float]]:
    """Scores by kind, and under ``plain`` those of the source."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    tiny.denoiser.moving = frames > 1
    for batch in validation(data, frames=frames, side=side, clips=clips):
        scores = scores_of(enhanced(tiny, batch, torch.Generator().manual_seed(0)), batch)
        plain = {f"plain {name}": value for name, value in scores_of(batch.source, batch).items()}
        found[batch.kinds[0]].append(scores | plain)
    return means(found)


LOSSES = {
    "autoencoder": autoencoder_loss,
    "image": image_loss,
    "motion": motion_loss,
    "memory": memory_loss,
    "tasks": tasks_loss,
    "joint": joint_loss,
}
