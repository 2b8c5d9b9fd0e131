"""AnimateLCM's export reads all layouts of its checkpoints alike, and knows files of others by their names."""

import importlib
import importlib.util
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import vapoursynth as vs
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from export.__main__ import app
from export.animatelcm import command, parts
from export.animatelcm.autoencoders import read_tiny_vae, read_vae
from export.animatelcm.checkpoints import open_tensors
from export.animatelcm.loras import read_lora
from export.animatelcm.recognise import REMEDIES
from tests.helpers.clips import core
from tests.helpers.places import ROOT
from vsanimup.architectures.animatelcm.layers import Pooling, sinusoid
from vsanimup.errors import AnimupError

# ---- layouts


@pytest.mark.parametrize(
    "motion",
    [
        "motion.ckpt",
        "module.ckpt",
        "motion.safetensors",
        "unet.safetensors",
        "compiled.ckpt",
        "adapter",
        "adapter.safetensors",
    ],
)
def test_layouts_of_the_motion_module_are_one(made: Path, motion: str) -> None:
    base = parts.open_base(made / "base")
    sources: list[Any] = []
    adapter = importlib.import_module("diffusers").MotionAdapter.from_pretrained(made / "adapter")
    net = parts.read_motion(made / motion, base, Pooling.FRAME, sources)
    wanted = {n: v for n, v in adapter.state_dict().items() if "pos_" not in n}
    found = net.state_dict()
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert len(wanted) == 21 * 26 and sources


def test_layouts_of_the_base_are_one(made: Path) -> None:
    folder, single = parts.open_base(made / "base"), parts.open_base(made / "base.safetensors")
    for key in ("in_channels", "out_channels", "block_out_channels", "cross_attention_dim", "attention_head_dim"):
        assert np.all(np.array(folder.config[key]) == np.array(single.config[key])), key
    pairs = [(folder.unet(), single.unet()), (folder.vae(), single.vae()), (folder.text(1), single.text(1))]
    for mine, other in pairs:
        a, b = mine.state_dict(), other.state_dict()
        assert a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())
    a, b = folder.vae().config, single.vae().config
    assert all(a[key] == b[key] for key in ("scaling_factor", "norm_num_groups", "act_fn"))
    assert parts.unused(single) == ["alphas_cumprod"] and not parts.unused(folder)


def test_what_training_left_in_a_base_is_passed_over(made: Path, tmp_path: Path) -> None:
    tensors = load_file(made / "base.safetensors")
    tensors |= {f"{parts.AUTOENCODER}loss.logvar": torch.ones(1), f"{parts.AUTOENCODER}model_ema.decay": torch.ones(1)}
    tensors |= {"model_ema.decay": torch.ones(1), "model_ema.diffusion_modelout2bias": torch.ones(4)}
    save_file({f"_orig_mod.{name}": value for name, value in tensors.items()}, tmp_path / "base.safetensors")
    found, wanted = (parts.open_base(folder / "base.safetensors").vae().state_dict() for folder in (tmp_path, made))
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("read", "names"),
    [
        (lambda path, made: read_vae(path, []), ["base/vae", "vae.safetensors", "base.safetensors"]),
        (lambda path, made: read_tiny_vae(path, []), ["taesd", "taesd.safetensors"]),
        (
            lambda path, made: parts.read_control(path, parts.open_base(made / "base"), []),
            ["control", "control.safetensors", "control.pth"],
        ),
    ],
    ids=["vae", "tiny", "control"],
)
def test_layouts_of_other_parts_are_one(made: Path, read: Callable[..., Any], names: list[str]) -> None:
    first, *others = (read(made / name, made) for name in names)
    wanted = first.state_dict()
    for other in others:
        found = other.state_dict()
        assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
        assert all(other.config.get(key, 0) == value for key, value in first.config.items() if "scal" in key)


def test_changes_without_alpha_are_taken_at_an_eighth(made: Path, tmp_path: Path) -> None:
    tensors = load_file(made / "lora.safetensors")
    save_file({name: value for name, value in tensors.items() if "alpha" not in name}, tmp_path / "lora.safetensors")
    loras = read_lora(tmp_path / "lora.safetensors")
    assert loras and all(lora.alpha is None for lora in loras.values())
    name, lora = next(iter(loras.items()))
    up, down = (tensors[f"{name}.lora_{way}.weight"].flatten(1) for way in ("up", "down"))
    assert torch.allclose(lora.change(torch.empty(len(up), down.shape[1])), up @ down / 8)


def test_old_names_in_an_autoencoder(made: Path, tmp_path: Path) -> None:
    tensors = load_file(made / "base" / "vae" / "diffusion_pytorch_model.safetensors")
    for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        tensors = {name.replace(f"attentions.0.{new}.", f"attentions.0.{old}."): v for name, v in tensors.items()}
    save_file(tensors, tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_bytes((made / "base" / "vae" / "config.json").read_bytes())
    found, wanted = read_vae(tmp_path, []).state_dict(), parts.open_base(made / "base").vae().state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


# ---- files of others


def one(name: str, *shape: Any) -> dict[str, torch.Tensor]:
    return {name: torch.ones(shape or (1,))}


OTHERS = {
    "i2v": (one("down_blocks.0.motion_modules.0.norm.weight") | one("img_encoder.conv.weight"), "AnimateLCM-I2V's"),
    "svd": (one("model.diffusion_model.input_blocks.1.1.time_stack.0.norm1.weight"), "of Stable Video Diffusion"),
    "svd of diffusers": (one("mid_block.attentions.0.temporal_transformer_blocks.0.ff.weight"), "Stable Video"),
    "sd3": (one("model.diffusion_model.joint_blocks.0.x"), "of Stable Diffusion 3"),
    "flux": (one("double_blocks.0.img_attn.qkv.weight"), "of Flux"),
    "sdxl": (one("model.diffusion_model.label_emb.0.0.weight") | one("conditioner.embedders.0.x"), "of SDXL"),
    "sd2": (one("cond_stage_model.model.positional_embedding"), "of Stable Diffusion 2"),
    "lcm": (one("model.diffusion_model.time_embed.cond_proj.weight"), "takes its guidance as an input"),
    "motion lora": (one("down_blocks.0.motion_modules.0.x.processor.to_q_lora.down.weight"), "a motion LoRA"),
    "sdxl lora": (one("lora_te1_text_model_x.lora_down.weight"), "a LoRA for SDXL"),
    "loha": (one("lora_unet_x.hada_w1_a"), "a LyCORIS"),
    "dora": (one("lora_unet_x.dora_scale") | one("lora_unet_x.lora_down.weight"), "a DoRA"),
    "peft": (one("unet.mid_block.attentions.0.to_q.lora_A.weight"), "a LoRA in the layout of diffusers or PEFT"),
    "old diffusers": (one("unet.mid_block.processor.to_q_lora.down.weight"), "a LoRA in the layout of diffusers"),
    "control lora": (one("lora_controlnet"), "a Control-LoRA"),
    "ip adapter": (one("image_proj.proj.weight"), "an IP-Adapter"),
    "t2i adapter": (one("body.0.block1.weight"), "a T2I-Adapter"),
    "difference": (one("difference") | one("control_model.zero_convs.0.0.weight"), "as the difference to its base"),
    "sparse": (
        one("controlnet_cond_embedding.conv_in.weight") | one("down_blocks.0.motion_modules.0.x"),
        "a SparseCtrl",
    ),
    "denoiser": (one("down_blocks.0.resnets.0.conv1.weight"), "a denoiser alone, in the layout of diffusers"),
    "text encoder": (one("text_model.embeddings.position_embedding.weight"), "a text encoder alone"),
    "half of taesd": (one("1.conv.0.weight"), "one half of TAESD"),
}
READ: dict[str, Callable[[Path, Path], object]] = {
    "base": lambda path, made: parts.open_base(path),
    "motion module": lambda path, made: parts.read_motion(path, parts.open_base(made / "base"), Pooling.FRAME, []),
    "LoRA": lambda path, made: read_lora(path),
    "ControlNet": lambda path, made: parts.read_control(path, parts.open_base(made / "base"), []),
    "autoencoder": lambda path, made: read_vae(path, []),
    "tiny autoencoder": lambda path, made: read_tiny_vae(path, []),
}


@pytest.mark.parametrize("other", OTHERS)
def test_files_of_others_are_refused_by_their_names(made: Path, tmp_path: Path, other: str) -> None:
    tensors, what = OTHERS[other]
    save_file(tensors, tmp_path / "a.safetensors")
    for role, read in READ.items():
        with pytest.raises(AnimupError, match=f"^{role} .*a.safetensors is .*{what}") as caught:
            read(tmp_path / "a.safetensors", made)
        assert str(caught.value).endswith(REMEDIES[role])


FILES = {
    "base": ("base.safetensors", "--base"),
    "motion module": ("motion.ckpt", "--motion"),
    "LoRA": ("lora.safetensors", "--lora"),
    "ControlNet": ("control.safetensors", "--controlnet"),
    "autoencoder": ("vae.safetensors", "--vae"),
    "tiny autoencoder": ("taesd.safetensors", "--tiny-vae"),
}


@pytest.mark.parametrize("role", FILES)
def test_files_in_one_anothers_places_are_refused_with_their_option(made: Path, role: str) -> None:
    for other, (name, option) in FILES.items():
        if other == role or (other, role) == ("base", "autoencoder"):
            READ[role](made / FILES[role][0], made)
            continue
        with pytest.raises(AnimupError, match=f"^{role} .* that goes with {option}; give"):
            READ[role](made / name, made)


DOWN = "down_blocks.0.motion_modules.0.temporal_transformer"
TABLE = f"{DOWN}.transformer_blocks.0.attention_blocks.0.pos_encoder.pe"


def animatediff(made: Path, path: Path, table: torch.Tensor, middle: bool = True) -> Path:
    """A motion module of AnimateDiff: with a table of positions, in versions 1 and 3 without the middle block."""
    tensors = dict(open_tensors(made / "motion.ckpt")) | {TABLE: table}
    torch.save({name: value for name, value in tensors.items() if middle or "mid_block" not in name}, path)
    return path


@pytest.mark.parametrize("middle", [True, False])
def test_modules_that_are_no_consistency_model(made: Path, tmp_path: Path, middle: bool) -> None:
    path = animatediff(made, tmp_path / "mm.ckpt", sinusoid(24, 32)[None], middle)
    base = parts.open_base(made / "base")
    said = re.escape(f"mm.ckpt has position encodings ({TABLE})")
    with pytest.raises(AnimupError, match=f"{said}.*is no consistency model.*or say --not-consistency"):
        parts.read_motion(path, base, Pooling.FRAME, [])
    net = parts.read_motion(path, base, Pooling.FRAME, [], consistent=False)
    assert len(net.mid_block.motion_modules) == middle
    assert parts.most_frames(path) == 24 and parts.most_frames(made / "motion.ckpt") == 32


def test_modules_without_a_middle_and_positions_that_were_trained(made: Path, tmp_path: Path) -> None:
    tensors = {name: value for name, value in open_tensors(made / "motion.ckpt").items() if "mid_block" not in name}
    save_file(tensors, tmp_path / "v3.safetensors")
    with pytest.raises(AnimupError, match=r"has no module for the middle block.*--not-consistency"):
        parts.read_motion(tmp_path / "v3.safetensors", parts.open_base(made / "base"), Pooling.FRAME, [])
    path = animatediff(made, tmp_path / "mm.ckpt", torch.ones(1, 24, 32))
    with pytest.raises(AnimupError, match=f"positions of its own in {re.escape(TABLE)}"):
        parts.most_frames(path)


@pytest.mark.parametrize(
    ("component", "change", "said"),
    [
        ("unet", {"_class_name": "UNetSpatioTemporalConditionModel", "in_channels": 8}, "of Stable Video Diffusion"),
        ("unet", {"time_cond_proj_dim": 256}, "takes its guidance as an input"),
        ("", {"_class_name": "StableVideoDiffusionPipeline"}, "of Stable Video Diffusion"),
        ("", {"_class_name": "StableDiffusion3Pipeline"}, "of Stable Diffusion 3"),
        ("vae", {"scaling_factor": 0.13025}, r"scales latents by 0\.13025 \(SDXL's"),
    ],
)
def test_folders_of_others(
    made: Path, tmp_path: Path, component: str, change: dict[str, float | str], said: str
) -> None:
    name = "config.json" if component else "model_index.json"
    for folder in ("unet", "vae"):
        (tmp_path / folder).mkdir()
        for file in (made / "base" / folder).iterdir():
            (tmp_path / folder / file.name).symlink_to(file)
    known = json.loads((made / "base" / component / name).read_text())
    (tmp_path / component / name).unlink(missing_ok=True)
    (tmp_path / component / name).write_text(json.dumps(known | change))
    with pytest.raises(AnimupError, match=said):
        parts.open_base(tmp_path).vae()


def test_autoencoders_of_other_latents(made: Path, tmp_path: Path) -> None:
    tensors = load_file(made / "vae.safetensors") | {"decoder.conv_in.weight": torch.ones(64, 16, 3, 3)}
    save_file(tensors, tmp_path / "vae.safetensors")
    with pytest.raises(AnimupError, match=r"its latents have 16 channels; give one of SD1\.5"):
        read_vae(tmp_path / "vae.safetensors", [])


# ---- what is said


def test_a_tokenizer_for_fewer_tokens_or_none_at_all(
    request_of: Callable[..., Any], made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AnimupError, match="its text encoder knows 600 tokens, the tokenizer has 49408: give --tok"):
        list(command.export(request_of(tokenizer=None)))
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "clip" in name else found(name))
    with pytest.raises(AnimupError, match="install the package open-clip-torch or clip-anytorch, which brings CLIP's"):
        list(command.export(request_of(tokenizer=None)))
    assert not request_of().out.exists()


def readme_command() -> str:
    """What the README says to type."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands: list[str] = re.findall(r"^    (animup export animatelcm(?:.*\\\n)*.*)$", text, re.MULTILINE)
    (found,) = commands
    return found.replace("\\\n", " ")


@pytest.mark.slow
def test_the_command_of_the_readme_works_as_printed(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "official.safetensors": "base.safetensors",
        "motion.ckpt": "AnimateLCM_sd15_t2v.ckpt",
        "lora.safetensors": "AnimateLCM_sd15_t2v_lora.safetensors",
    }
    for source, name in given.items():
        (tmp_path / name).symlink_to(made / source)
    monkeypatch.chdir(tmp_path)
    typed = readme_command().replace("FOLDER_OR_SAFETENSORS", "base.safetensors").replace("--out FOLDER", "--out model")
    _, export, *arguments = shlex.split(typed)
    assert export == "export"
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "bpe_simple_vocab_16e6.txt.gz" in done.output and "--clip-skip 2" in done.output
    clip = core.std.BlankClip(width=32, height=32, length=2, format=vs.YUV420P8, color=[90, 120, 130])
    result = core.animup.Upscale(clip, model=str(tmp_path / "model"), steps=1, prompt="a cat")
    assert result.get_frame(1).width == 64
