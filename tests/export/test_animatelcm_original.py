"""A checkpoint of AnimateLCM's own classes, at small width, gives through the export what those classes gave.

``tests/data/animatelcm_original.npz`` holds answers of the public repository's ``UNet3DConditionModel`` and
``LCMScheduler`` (G-U-N/AnimateLCM, folder ``animatelcm_sd15``), with the options of its ``inference-t2v.yaml``, 32, 64,
64, 64 channels and a text of 64, to inputs and weights that :mod:`tests.helpers.keyed` makes of names. It was run on
PyTorch 2.15 and diffusers 0.42.1 with two changes: ``CrossAttention``, ``FeedForward`` and what they need were those of
diffusers 0.11.1, which the repository asks for, and ``diffusers.models.modeling_utils`` stood in for
``diffusers.modeling_utils``. None of its code is here.
"""

import shutil
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from benchmarks import animatelcm_files as files
from export.__main__ import app
from tests.helpers.keyed import given, keyed
from tests.helpers.places import DATA
from vsanimup.architectures.animatelcm import graphs

ORIGINAL = np.load(DATA / "animatelcm_original.npz")
"""``noise_T``, the network's answer at timestep T, and ``denoised_T``, the scheduler's, each [frames, 4, 8, 16]."""
FRAMES, ROWS, COLUMNS = 5, 8, 16


def weights_of(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Keyed weights of a network of diffusers that the original names alike."""
    return {name: torch.from_numpy(keyed(name, tuple(like.shape))) for name, like in net.state_dict().items()}


@pytest.fixture(scope="module")
def session(made: Path, tmp_path_factory: pytest.TempPathFactory) -> ort.InferenceSession:
    folder = tmp_path_factory.mktemp("original")
    shutil.copytree(made / "base", folder / "base")
    unet, _, motion, _ = files.networks(files.TINY)
    save_file(weights_of(unet), folder / "base" / "unet" / "diffusion_pytorch_model.safetensors")
    official = {
        name: torch.from_numpy(keyed(name, tuple(like.shape)))
        for old, like in motion.state_dict().items()
        if (name := files.official_motion(old))
    }
    assert len(official) == 21 * 26
    torch.save(official, folder / "AnimateLCM_sd15_t2v.ckpt")
    files_of = {
        "base": folder / "base",
        "motion": folder / "AnimateLCM_sd15_t2v.ckpt",
        "lora": made / "lora.safetensors",
    }
    # norms are left to the command's default, which has to be the original's way
    arguments = [f"--{name}={path}" for name, path in files_of.items()] + ["--lora-weight=0", "--precision=fp32"]
    done = CliRunner().invoke(app, ["animatelcm", *arguments, f"--out={folder / 'model'}"])
    assert done.exit_code == 0, done.output
    return ort.InferenceSession(folder / "model" / "denoise.onnx", providers=["CPUExecutionProvider"])


@pytest.mark.slow
@pytest.mark.parametrize("timestep", [499, 249])
def test_the_original_gives_the_same(session: ort.InferenceSession, timestep: int) -> None:
    latents = given("latents", (1, 4, FRAMES, ROWS, COLUMNS))[0].swapaxes(0, 1)
    alpha = float(graphs.alphas()[timestep])
    scalars = {
        "timestep": timestep,
        "signal": alpha**0.5,
        "spread": (1 - alpha) ** 0.5,
        "next_signal": 1,
        "next_spread": 0,
    }
    inputs = {
        "latents": np.ascontiguousarray(latents),
        "noise": np.zeros_like(latents, order="C"),
        "text": given("text", (1, 77, files.TINY.text)),
        "mask": np.zeros((FRAMES, FRAMES)),
    }
    inputs |= {name: np.array([value]) for name, value in scalars.items()}
    (denoised,) = session.run(["next_latents"], {name: value.astype(np.float32) for name, value in inputs.items()})
    assert np.abs(denoised - ORIGINAL[f"denoised_{timestep}"]).max() < 1e-4
    # the noise that the network saw, out of the consistency function
    scaled = 10.0 * timestep
    skip, out = 0.25 / (scaled**2 + 0.25), scaled / (scaled**2 + 0.25) ** 0.5
    noise = (latents - (denoised - skip * latents) / out * alpha**0.5) / (1 - alpha) ** 0.5
    assert np.abs(noise - ORIGINAL[f"noise_{timestep}"]).max() < 1e-4
