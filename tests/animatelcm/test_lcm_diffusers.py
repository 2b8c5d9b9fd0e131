"""A window through the pipeline, with tiny random networks, is what diffusers' own pipelines make of it."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

from tests.helpers.lcm_model import export_parts, write_parts
from vsanimup.engines import Engine, Size
from vsanimup.engines.cpu import CpuBackend
from vsanimup.networks.animatelcm.model import AnimateLcm
from vsanimup.networks.animatelcm.noise import field
from vsanimup.networks.animatelcm.pipeline import Enhancer

diffusers: Any = importlib.import_module("diffusers")  # its types say nothing
FRAMES, HEIGHT, WIDTH, SEED = 4, 64, 128, 5
PROMPT, NEGATIVE = "the cat!!", "anime"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Keeping(CpuBackend):
    """Loads each network once for each size."""

    def __init__(self) -> None:
        self.known: dict[Any, Engine] = {}

    def load_file(self, path: Path, *, sizes: Mapping[str, Size], device_id: int, **_: Any) -> Engine:
        key = path, tuple(sorted(sizes.items()))
        if key not in self.known:
            self.known[key] = super().load_file(path, sizes=sizes, device_id=device_id)
        return self.known[key]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield write_parts(tmp_path_factory.mktemp("lcm"), control=True)
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(folder: Path) -> AnimateLcm:
    return AnimateLcm.open(export_parts(folder, control=True))


@pytest.fixture(scope="module")
def made(model: AnimateLcm) -> Callable[..., Enhancer]:
    """An enhancer with some arguments."""
    backend = Keeping()

    def make(width: int = WIDTH, height: int = HEIGHT, **changed: Any) -> Enhancer:
        given: dict[str, Any] = {
            "prompt": PROMPT,
            "negative_prompt": NEGATIVE,
            "seed": SEED,
            "colorfix": "none",
        } | changed
        return Enhancer(model=model, width=width, height=height, backend=backend, **(given | changed))

    return make


@pytest.fixture(scope="module")
def parts(folder: Path) -> dict[str, Any]:
    """Components of diffusers' pipelines."""
    return {
        "vae": diffusers.AutoencoderKL.from_pretrained(folder / "base" / "vae"),
        "text_encoder": transformers.CLIPTextModel.from_pretrained(folder / "base" / "text_encoder"),
        "unet": diffusers.UNet2DConditionModel.from_pretrained(folder / "base" / "unet"),
        "motion_adapter": diffusers.MotionAdapter.from_pretrained(folder / "adapter"),
        "controlnet": diffusers.ControlNetModel.from_pretrained(folder / "control"),
    }


def window(width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.random((FRAMES, 3, height // 8, width // 8)), np.ones((8, 8)))
    return (0.1 + 0.8 * blocks).astype(np.float32)


def run(enhancer: Enhancer, images: NDArray[np.float32], scenes: Sequence[int] = (0,) * FRAMES) -> NDArray[np.float32]:
    return enhancer(images, np.array(scenes), lambda: False)


@torch.no_grad()
def wanted(
    parts: dict[str, Any],
    model: AnimateLcm,
    monkeypatch: pytest.MonkeyPatch,
    images: NDArray[np.float32],
    *,
    cfg: float,
    control: float,
    timesteps: list[int],
) -> NDArray[np.float32]:
    """What diffusers makes of the window, with our noise."""
    vae, text = parts["vae"], parts["text_encoder"]
    scheduler: Any = diffusers.LCMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="linear", original_inference_steps=100, clip_sample=False
    )
    given = {name: part for name, part in parts.items() if name != "controlnet" or control}
    name = "AnimateDiffVideoToVideoControlNetPipeline" if control else "AnimateDiffVideoToVideoPipeline"
    kind: Any = getattr(diffusers, name)
    pipeline = kind(**given, tokenizer=None, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    shape = (4, HEIGHT // 8, WIDTH // 8)
    start, *left = (
        torch.from_numpy(field(SEED, step, shape))[None, :, None].repeat(1, 1, FRAMES, 1, 1)
        for step in range(len(timesteps))
    )
    monkeypatch.setattr("diffusers.schedulers.scheduling_lcm.randn_tensor", lambda shape, **_: left.pop(0))
    latents = vae.encode(torch.from_numpy(images) * 2 - 1).latent_dist.mode() * vae.config.scaling_factor
    latents = scheduler.add_noise(latents.transpose(0, 1)[None], start, torch.tensor(timesteps[:1]))
    tokenizer = model.tokenizer()
    positive, negative = (
        text(torch.from_numpy(tokenizer(said)).long()).last_hidden_state for said in (PROMPT, NEGATIVE)
    )
    more = {}
    if control:
        more = {"conditioning_frames": list(torch.from_numpy(images)), "controlnet_conditioning_scale": control}
    video = pipeline(
        latents=latents,
        timesteps=timesteps,
        num_inference_steps=len(timesteps),
        strength=1.0,
        height=HEIGHT,
        width=WIDTH,
        prompt_embeds=positive,
        negative_prompt_embeds=negative,
        guidance_scale=cfg,
        output_type="pt",
        **more,
    ).frames[0]
    assert not left
    return np.asarray(video, np.float32)


@pytest.mark.parametrize(
    ("cfg", "control", "steps", "timesteps"),
    [(1.0, 0.0, 2, [299, 149]), (1.7, 0.0, 3, [299, 199, 99]), (1.7, 0.8, 2, [299, 149]), (1.0, 1.0, 1, [299])],
)
def test_a_window_is_that_of_diffusers(
    made: Callable[..., Enhancer],
    parts: dict[str, Any],
    model: AnimateLcm,
    monkeypatch: pytest.MonkeyPatch,
    cfg: float,
    control: float,
    steps: int,
    timesteps: list[int],
) -> None:
    images = window()
    found = run(made(cfg=cfg, control=control, steps=steps), images)
    reference = wanted(parts, model, monkeypatch, images, cfg=cfg, control=control, timesteps=timesteps)
    difference = np.abs(found - reference).max()
    print(f"cfg {cfg}, control {control}, {steps} steps: largest difference {difference:.1e}")
    assert difference < 1e-4 and found.std() > 0.1
    if cfg != 1:  # the comparison must notice
        assert np.abs(run(made(cfg=1.0, control=control, steps=steps), images) - reference).max() > 1e-3


def test_scenes_do_not_see_each_other(made: Callable[..., Enhancer]) -> None:
    images, other = window(), window(seed=1)
    other[:2] = images[:2]
    enhancer = made()
    found, changed = (run(enhancer, each, (0, 0, 1, 1)) for each in (images, other))
    assert np.array_equal(found[:2], changed[:2]) and not np.allclose(found[2:], changed[2:], atol=1e-2)
    assert np.abs(run(enhancer, images[:2], (0, 0)) - found[:2]).max() < 1e-4
    assert np.abs(run(enhancer, images)[:2] - found[:2]).max() > 1e-3


def test_tiles_and_threads(made: Callable[..., Enhancer]) -> None:
    """192 samples in tiles of 128: as the picture in one piece where the others have no say, and the same bytes."""
    images = window(192)
    tiled, whole = made(192, tilesize=(128, 64)), made(192)
    assert len(tiled.grid) == 2 and len(whole.grid) == 1
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: run(tiled, images), range(2)))
    assert found[0].tobytes() == found[1].tobytes() == run(tiled, images).tobytes()
    assert np.isfinite(found[0]).all()
    # random networks see far and at random: alike is all that can be asked
    reference = run(whole, images)
    assert np.corrcoef(found[0].ravel(), reference.ravel())[0, 1] > 0.9
