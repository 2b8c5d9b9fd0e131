"""AnimateLCM's checkpoints with random weights, in every layout that the export reads.

    python -m benchmarks.animatelcm_files FOLDER

makes them at full size (13 GB of memory, 9 GB of disk) for a trial of the export, and says how to run it. Their weights
are random: such a model makes noise.
"""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Module

from benchmarks.tokenizer_files import write_tokenizer

CLIP_TOKENS = 49408


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the networks are."""

    widths: tuple[int, int, int, int]
    """Channels of the denoiser by level."""
    vae: tuple[int, int, int, int]
    """And of the autoencoder."""
    text: int
    """Channels of the text."""
    layers: int
    """Layers of the text encoder."""
    inner: int
    """Channels within them."""
    tokens: int
    """Words that it knows."""
    rank: int
    """Of the LoRA."""


TINY = Sizes(widths=(32, 64, 64, 64), vae=(32, 32, 64, 64), text=64, layers=2, inner=128, tokens=600, rank=4)
FULL = Sizes(
    widths=(320, 640, 1280, 1280),
    vae=(128, 256, 512, 512),
    text=768,
    layers=12,
    inner=3072,
    tokens=CLIP_TOKENS,
    rank=64,
)
WEIGHTS = "diffusion_pytorch_model.safetensors"

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
WHOLE = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def single_base(name: str) -> str:
    """A name of diffusers' UNet in a single file."""
    part, tensor = name.rsplit(".", 1)
    if part in WHOLE:
        return f"{WHOLE[part]}.{tensor}"
    found = re.fullmatch(r"(.+?)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.+)", name)
    assert found, name
    block, kind, rest, number = found[1], found[2], found[4], int(found[3])
    way, _, level = block.partition("_blocks.")
    if block == "mid_block":
        place = f"middle_block.{1 if kind == 'attentions' else 2 * number}"
    elif kind == "downsamplers":
        return f"input_blocks.{3 * int(level) + 3}.0.{rest.replace('conv', 'op')}"
    elif kind == "upsamplers":
        return f"output_blocks.{3 * int(level) + 2}.{1 if level == '0' else 2}.{rest}"
    else:
        first = "input_blocks", 3 * int(level) + number + 1
        if way == "up":
            first = "output_blocks", 3 * int(level) + number
        place = f"{first[0]}.{first[1]}.{0 if kind == 'resnets' else 1}"
    if kind == "resnets":
        part, tensor = rest.rsplit(".", 1)
        rest = f"{RESNET[part]}.{tensor}"
    return f"{place}.{rest}"


def single_vae(name: str) -> str:
    """A name of diffusers' AutoencoderKL in a single file."""
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{3 - int(m[1])}.block", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample", name)
    for new, old in (
        ("mid_block.resnets.0", "mid.block_1"),
        ("mid_block.resnets.1", "mid.block_2"),
        ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"),
        ("mid_block.attentions.0.to_q", "mid.attn_1.q"),
        ("mid_block.attentions.0.to_k", "mid.attn_1.k"),
        ("mid_block.attentions.0.to_v", "mid.attn_1.v"),
        ("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"),
        ("conv_norm_out", "norm_out"),
        ("conv_shortcut", "nin_shortcut"),
    ):
        name = name.replace(new, old)
    return name


def official_motion(name: str) -> str | None:
    """A name of diffusers' MotionAdapter in AnimateLCM's own file; ``None`` for positions, which it has not."""
    if "pos_embed" in name:
        return None
    name = re.sub(r"(motion_modules\.\d\.)", r"\1temporal_transformer.", name)
    for new, old in (
        ("attn1", "attention_blocks.0"),
        ("attn2", "attention_blocks.1"),
        ("norm1", "norms.0"),
        ("norm2", "norms.1"),
        ("norm3", "ff_norm"),
    ):
        name = name.replace(f"transformer_blocks.0.{new}.", f"transformer_blocks.0.{old}.")
    return name


def official_motions(motion: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of such a file, positions left out."""
    return {new: value for name, value in motion.items() if (new := official_motion(name))}


def single_control(name: str) -> str:
    """A name of diffusers' ControlNetModel in its authors' file, without ``control_model.``."""
    part, tensor = name.rsplit(".", 1)
    if part.startswith("controlnet_cond_embedding."):
        layer = part.removeprefix("controlnet_cond_embedding.")
        number = {"conv_in": 0, "conv_out": 14}.get(layer, 2 + 2 * int(layer[-1]) if layer[-1].isdigit() else 0)
        return f"input_hint_block.{number}.{tensor}"
    if part.startswith("controlnet_down_blocks."):
        return f"zero_convs.{part.rsplit('.', 1)[1]}.0.{tensor}"
    return f"middle_block_out.0.{tensor}" if part == "controlnet_mid_block" else single_base(name)


def networks(sizes: Sizes) -> tuple[Any, Any, Any, Any]:
    """Base, autoencoder and motion modules of diffusers, and the text encoder of transformers, without weights."""
    from transformers import CLIPTextConfig, CLIPTextModel

    diffusers: Any = importlib.import_module("diffusers")  # its constructors have no types
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(
            block_out_channels=sizes.widths, cross_attention_dim=sizes.text, attention_head_dim=8
        )
        vae = diffusers.AutoencoderKL(
            block_out_channels=sizes.vae,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
        )
        motion = diffusers.MotionAdapter(block_out_channels=sizes.widths)
        text = CLIPTextModel(
            CLIPTextConfig(
                hidden_size=sizes.text,
                intermediate_size=sizes.inner,
                num_hidden_layers=sizes.layers,
                num_attention_heads=sizes.text // 64,
                max_position_embeddings=77,
                vocab_size=sizes.tokens,
                hidden_act="quick_gelu",
            )
        )
    return unet, vae, motion, text


def random(net: Module, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Weights that keep numbers about as large as they come in; the keys are the network's."""
    weights = {}
    for name, like in net.state_dict().items():
        if name.endswith(("pos_embed.pe", "position_ids")):
            continue
        if like.ndim == 1:
            value = 0.1 * torch.randn(like.shape) + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
        else:
            value = torch.randn(like.shape) * (0.1 if "embedding" in name else 0.7 / like[0].numel() ** 0.5)
        weights[name] = value.to(dtype)
    return weights


def single(unet: Mapping[str, Tensor], vae: Mapping[str, Tensor], text: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dictionaries as one file has them."""
    whole = {f"model.diffusion_model.{single_base(name)}": value for name, value in unet.items()}
    for name, value in vae.items():
        convolution = "attentions.0.to_" in name and name.endswith("weight")
        whole[f"first_stage_model.{single_vae(name)}"] = value[..., None, None] if convolution else value
    for name, value in text.items():
        whole[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = value
    whole["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    whole["alphas_cumprod"] = torch.ones(1000)
    return {name: value.contiguous() for name, value in whole.items()}


def official(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As official files are: half precision, and as many tokens as CLIP has."""
    whole = {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
    tokens = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
    more = torch.randn(CLIP_TOKENS - len(whole[tokens]), whole[tokens].shape[1]) * 0.1
    return whole | {tokens: torch.cat([whole[tokens], more.half()])}


def lora_of(
    unet: Mapping[str, Tensor], rank: int, text: Mapping[str, Tensor] | None = None, alpha: float | None = None
) -> dict[str, Tensor]:
    """A LoRA in kohya's layout for attention and a convolution of ``unet`` and layers of ``text``."""
    lora: dict[str, Tensor] = {}
    found = [
        ("lora_unet", name, value)
        for name, value in unet.items()
        if re.search(r"(to_[qkv]|to_out\.0|resnets\.0\.conv1|proj_in)\.weight$", name)
    ]
    found += [("lora_te", name, value) for name, value in (text or {}).items() if name.endswith("q_proj.weight")]
    for prefix, name, value in found:
        module = name.removesuffix(".weight").removeprefix("text_model.").replace(".", "_")
        key = f"{prefix}_{module}" if prefix == "lora_unet" else f"{prefix}_text_model_{module}"
        down = torch.randn(rank, *value.shape[1:]) * 0.1
        up = torch.randn(value.shape[0], rank, *(1,) * (value.ndim - 2)) * 0.1
        lora |= {f"{key}.lora_down.weight": down.to(value.dtype), f"{key}.lora_up.weight": up.to(value.dtype)}
        lora[f"{key}.alpha"] = torch.tensor(float(alpha if alpha is not None else rank / 8))
    return lora


def filled(net: Any, weights: Mapping[str, Tensor]) -> Any:
    """A network with these weights."""
    missing, surplus = net.load_state_dict(weights, strict=False, assign=True)
    assert not surplus and all("pos_embed" in name or "position_ids" in name for name in missing)
    return net.eval().requires_grad_(False)


def saved(kind: Any, folder: Path, **config: Any) -> Path:
    """A network of diffusers with random weights, in a folder."""
    net = kind(**config)
    filled(net, random(net)).save_pretrained(folder)
    return folder


def write_all(folder: Path) -> None:
    """Checkpoints of one tiny model in every layout."""
    from transformers import CLIPTextConfig, CLIPTextModel

    diffusers: Any = importlib.import_module("diffusers")
    torch.manual_seed(0)
    unet, vae, motion, text = networks(TINY)
    weights = {"unet": random(unet), "vae": random(vae), "text": random(text)}
    base = folder / "base"
    filled(unet, weights["unet"]).save_pretrained(base / "unet")
    filled(vae, weights["vae"]).save_pretrained(base / "vae")
    kinds = CLIPTextConfig(**{**text.config.to_dict(), "torch_dtype": None})
    filled(CLIPTextModel(kinds), weights["text"]).save_pretrained(base / "text_encoder")
    write_tokenizer(base / "tokenizer")
    (base / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    whole = single(*weights.values())
    save_file(whole, folder / "base.safetensors")
    save_file(official(whole), folder / "official.safetensors")
    bare = {name.removeprefix("first_stage_model."): value for name, value in whole.items() if "first_stage" in name}
    left_behind = {"loss.logvar": torch.zeros(1), "loss.discriminator.main.0.weight": torch.ones(2, 2)}
    save_file(bare | left_behind, folder / "vae.safetensors")

    moves = random(motion)
    filled(diffusers.MotionAdapter(block_out_channels=TINY.widths), moves).save_pretrained(folder / "adapter")
    motions = official_motions(moves)
    torch.save(motions, folder / "motion.ckpt")
    torch.save({"state_dict": {f"module.{n}": v for n, v in motions.items()}}, folder / "module.ckpt")
    save_file(motions, folder / "motion.safetensors")
    save_file({f"unet.{name}": value for name, value in motions.items()}, folder / "unet.safetensors")
    compiled = {
        name.replace("temporal_transformer.", "_orig_mod.temporal_transformer."): motions[name] for name in motions
    }
    torch.save({f"module._orig_mod.{name}": value for name, value in compiled.items()}, folder / "compiled.ckpt")
    shutil.copy(folder / "adapter" / WEIGHTS, folder / "adapter.safetensors")
    save_file(lora_of(weights["unet"], 4, weights["text"]), folder / "lora.safetensors")
    widths = TINY.widths
    saved(
        diffusers.ControlNetModel,
        folder / "control",
        block_out_channels=widths,
        cross_attention_dim=TINY.text,
        attention_head_dim=8,
    )
    control = load_file(folder / "control" / WEIGHTS)
    found = {f"control_model.{single_control(name)}": value for name, value in control.items()}
    save_file(found, folder / "control.safetensors")
    torch.save({name.removeprefix("control_model."): value for name, value in found.items()}, folder / "control.pth")
    tiny = {"encoder_block_out_channels": (16,) * 4, "decoder_block_out_channels": (16,) * 4}
    saved(
        diffusers.AutoencoderTiny,
        folder / "taesd",
        **tiny,
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    )
    shutil.copy(folder / "taesd" / WEIGHTS, folder / "taesd.safetensors")


def main(folder: Path) -> None:
    """Full size, float16, as the official files are."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    unet, vae, motion, text = networks(FULL)
    weights = random(unet, torch.float16)
    save_file(lora_of(weights, FULL.rank), folder / "AnimateLCM_sd15_t2v_lora.safetensors")
    save_file(single(weights, random(vae, torch.float16), random(text, torch.float16)), folder / "base.safetensors")
    del weights
    torch.save(official_motions(random(motion)), folder / "AnimateLCM_sd15_t2v.ckpt")
    print(
        f"/usr/bin/time -v python -m export animatelcm --base {folder}/base.safetensors --motion "
        f"{folder}/AnimateLCM_sd15_t2v.ckpt --lora {folder}/AnimateLCM_sd15_t2v_lora.safetensors "
        f"--out {folder}/model"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
