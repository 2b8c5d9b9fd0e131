"""A tiny AnimateLCM with random weights: its parts as diffusers has them, and the model folder exported of them."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks import animatelcm_files as files
from benchmarks.tokenizer_files import write_tokenizer


def write_parts(folder: Path, control: bool = False) -> Path:
    """Checkpoints: ``base``, ``adapter``, ``lora.safetensors`` and, with ``control``, ``control``."""
    from transformers import CLIPTextModel

    diffusers: Any = importlib.import_module("diffusers")
    torch.manual_seed(0)
    unet, vae, motion, text = files.networks(files.TINY)
    base = folder / "base"
    weights = files.random(unet)
    files.filled(unet, weights).save_pretrained(base / "unet")
    files.filled(vae, files.random(vae)).save_pretrained(base / "vae")
    files.filled(CLIPTextModel(text.config), files.random(text)).save_pretrained(base / "text_encoder")
    write_tokenizer(base / "tokenizer")
    (base / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    files.filled(diffusers.MotionAdapter(block_out_channels=files.TINY.widths), files.random(motion)).save_pretrained(
        folder / "adapter"
    )
    save_file(files.lora_of(weights, 4), folder / "lora.safetensors")
    if control:
        net = diffusers.ControlNetModel(
            block_out_channels=files.TINY.widths, cross_attention_dim=files.TINY.text, attention_head_dim=8
        )
        files.filled(net, files.random(net)).save_pretrained(folder / "control")
    return folder


def export_parts(folder: Path, control: bool = False, memory: bool = False) -> Path:
    """The model folder ``model`` made of the checkpoints in ``folder``, with norms as diffusers has them.

    The LoRA has no share, so that the base is the same for both.
    """
    from export.animatelcm import command

    base = folder / "base"
    request = command.Request(
        base=base,
        motion=folder / "adapter",
        lora=folder / "lora.safetensors",
        lora_weight=0.0,
        controlnet=folder / "control" if control else None,
        vae=None,
        tiny_vae=None,
        tokenizer=None,
        out=folder / ("controlled" if control else "model"),
        precision="fp32",
        clip_skip=1,
        slices=8,
        motion_norm="clip",
        not_consistency=False,
        licences={},
        memory=memory,
    )
    for said in command.export(request):
        print(said)
    return request.out
