"""Names of tensors: from the layouts that checkpoints come in to those of diffusers, which the graphs have.

Each function takes one name and gives the new one, or ``None`` for one that has no place there.
"""

from __future__ import annotations

import re

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_FIXED = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_MIDDLE = {"0": "mid_block.resnets.0", "1": "mid_block.attentions.0", "2": "mid_block.resnets.1"}
_AUTOENCODER_BLOCK = re.compile(r"(encoder|decoder)\.(down|up)\.(\d+)\.(block|downsample|upsample)\.(.+)")
_AUTOENCODER_MIDDLE = re.compile(r"(encoder|decoder)\.mid\.(block_1|block_2|attn_1)\.(.+)")
_MIDDLE_PARTS = {"block_1": "resnets.0", "block_2": "resnets.1", "attn_1": "attentions.0"}
_ATTENTION = {
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}
"""The autoencoder's attention: names of single files, and old ones of diffusers."""
AUTOENCODER_LEVELS = 4


def _resnet(place: str, rest: str) -> str | None:
    """``in_layers.0.weight`` of a residual block at ``place``."""
    part, _, tensor = rest.rpartition(".")
    return f"{place}.{_RESNET[part]}.{tensor}" if part in _RESNET else None


def base(name: str) -> str | None:
    """A base's denoiser in a single file, without ``model.diffusion_model.``."""
    part, _, tensor = name.rpartition(".")
    if part in _FIXED:
        return f"{_FIXED[part]}.{tensor}"
    matched = re.fullmatch(r"middle_block\.(\d)\.(.+)", name)
    if matched and matched[1] in _MIDDLE:
        place = _MIDDLE[matched[1]]
        return f"{place}.{matched[2]}" if "attentions" in place else _resnet(place, matched[2])
    matched = re.fullmatch(r"(input|output)_blocks\.(\d+)\.(\d)\.(.+)", name)
    if not matched:
        return None
    number, sub, rest = int(matched[2]), int(matched[3]), matched[4]
    if matched[1] == "input":
        block, layer = divmod(number - 1, 3)
        if layer == 2:
            return rest.replace("op.", f"down_blocks.{block}.downsamplers.0.conv.") if rest.startswith("op.") else None
        place = f"down_blocks.{block}"
    else:
        block, layer = divmod(number, 3)
        place = f"up_blocks.{block}"
        if rest.startswith("conv."):
            return f"{place}.upsamplers.0.{rest}"
    return _resnet(f"{place}.resnets.{layer}", rest) if sub == 0 else f"{place}.attentions.{layer}.{rest}"


_HINTS = {0: "conv_in", 14: "conv_out", **{2 * i + 2: f"blocks.{i}" for i in range(6)}}
"""Layers that take a ControlNet's picture, of which every other one is an activation."""


def control(name: str) -> str | None:
    """A ControlNet in its authors' layout, with ``control_model.`` before it or not, or in that of diffusers."""
    name = re.sub(r"^(control_model|controlnet)\.", "", name)
    matched = re.fullmatch(r"input_hint_block\.(\d+)\.(.+)", name)
    if matched and int(matched[1]) in _HINTS:
        return f"controlnet_cond_embedding.{_HINTS[int(matched[1])]}.{matched[2]}"
    matched = re.fullmatch(r"zero_convs\.(\d+)\.0\.(.+)", name)
    if matched:
        return f"controlnet_down_blocks.{matched[1]}.{matched[2]}"
    if name.startswith("middle_block_out.0."):
        return name.replace("middle_block_out.0.", "controlnet_mid_block.")
    return base(name) or name


def autoencoder(name: str) -> str | None:
    """An autoencoder in a single file, with ``first_stage_model.`` before it or not, or in a layout of diffusers.

    ``None`` for what its training left behind.
    """
    name = re.sub(r"^(first_stage_model|vae)\.", "", name)
    if name.startswith(("loss.", "model_ema.")):
        return None
    matched = _AUTOENCODER_BLOCK.fullmatch(name)
    if matched:
        half, way, level, kind, rest = matched.groups()
        # single files count the decoder's blocks from the picture on
        place = f"{half}.{way}_blocks.{int(level) if way == 'down' else AUTOENCODER_LEVELS - 1 - int(level)}"
        if kind == "block":
            return f"{place}.resnets.{rest}".replace("nin_shortcut", "conv_shortcut")
        return f"{place}.{kind}rs.0.{rest}"
    matched = _AUTOENCODER_MIDDLE.fullmatch(name)
    if matched:
        name = f"{matched[1]}.mid_block.{_MIDDLE_PARTS[matched[2]]}.{matched[3]}"
    head, found, rest = name.partition(".attentions.0.")
    if found:
        part, _, tensor = rest.rpartition(".")
        return f"{head}.attentions.0.{_ATTENTION.get(part, part)}.{tensor}"
    return re.sub(r"^(encoder|decoder)\.norm_out\.", r"\1.conv_norm_out.", name)


def text(name: str) -> str | None:
    """A text encoder, of transformers or a single file (without its prefix); ``None`` for what is not used."""
    name = name.removeprefix("transformer.").removeprefix("text_model.")
    unused = ("embeddings.position_ids", "text_projection", "logit_scale")
    return None if name.startswith(unused) else name


_MOTION = re.compile(r"((?:(?:down|up)_blocks\.\d+|mid_block)\.motion_modules\.\d+)\.(?:temporal_transformer\.)?(.+)")
_MOTION_PARTS = (
    ("attention_blocks.0.", "attn1."),
    ("attention_blocks.1.", "attn2."),
    ("norms.0.", "norm1."),
    ("norms.1.", "norm2."),
    ("ff_norm.", "norm3."),
)


def motion(name: str) -> str | None:
    """A motion module in AnimateLCM's own layout, with ``unet.`` before it or not, or as diffusers' MotionAdapter.

    ``None`` for tables of positions, which are computed. A name that is neither comes back as it is.
    """
    name = name.removeprefix("unet.")
    if ".pos_encoder." in name or ".pos_embed." in name:
        return None
    matched = _MOTION.fullmatch(name)
    if not matched:
        return name
    rest = matched[2]
    for old, new in _MOTION_PARTS:
        rest = rest.replace(f"transformer_blocks.0.{old}", f"transformer_blocks.0.{new}")
    return f"{matched[1]}.{rest}"


def kohya(prefix: str, module: str) -> str:
    """What kohya's LoRA files call a module: ``lora_unet_mid_block_attentions_0_proj_in``."""
    return f"{prefix}_{module.replace('.', '_')}"
