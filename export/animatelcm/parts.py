"""The parts of AnimateLCM as loaded networks, from the files that a user has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from vsanimup.architectures.animatelcm.graphs import CONTEXT, MotionModules, TextConfig, TextEncoder
from vsanimup.architectures.animatelcm.layers import MOTION_HEADS, Pooling
from vsanimup.errors import AnimupError
from vsanimup.networks.animatelcm.tokenizer import MERGES, VOCABULARY, Tokenizer

from . import layouts
from .checkpoints import Tensors, config_of, load, named, open_tensors, weights_of

LEVELS, LAYERS = 4, 2
UNET, AUTOENCODER, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."
"""What the names of tensors start with in a single file."""
REMEDY = "give one of Stable Diffusion 1.5 or a fine-tuned one of its kind"
SCALING = 0.18215
HEADS = 8
TEXT_HEAD = 64
"""Channels of a head of CLIP's text encoder."""
DOWN = ("CrossAttnDownBlock2D",) * (LEVELS - 1) + ("DownBlock2D",)
UP = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (LEVELS - 1)


def built(make: Callable[[], Any]) -> Any:
    """A module without memory for its weights, which come from a file."""
    with torch.device("meta"):
        return make().eval()


def check_base(config: dict[str, Any], path: Path) -> None:
    """Raises :class:`AnimupError` when a denoiser's configuration is not that of SD1.5."""
    text = config.get("cross_attention_dim")
    found = None
    if config.get("addition_embed_type") or text == 2048:
        found = "of SDXL"
    elif config.get("use_linear_projection") or text == 1024:
        found = "of Stable Diffusion 2"
    elif config.get("in_channels", 4) != 4:
        found = f"for inpainting or the like ({config['in_channels']} input channels)"
    elif (
        len(config.get("block_out_channels", ())) != LEVELS
        or config.get("layers_per_block", LAYERS) != LAYERS
        or tuple(config.get("down_block_types", DOWN)) != DOWN
        or tuple(config.get("up_block_types", UP)) != UP
    ):
        found = "of some other network"
    if found:
        raise AnimupError(f"base {path} is {found}, and AnimateLCM's motion module does not fit it: {REMEDY}")


@dataclass(frozen=True, kw_only=True)
class Base:
    """An SD1.5 base whose parts are loaded when asked for."""

    path: Path
    """Folder or single file."""
    single: Tensors | None
    """The tensors of a single file; ``None`` for a folder."""
    config: dict[str, Any]
    """The denoiser's configuration, for diffusers."""
    sources: list[Path] = field(default_factory=list)
    """Files whose tensors were used."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the down blocks."""
        return tuple(self.config["block_out_channels"])

    @property
    def text_channels(self) -> int:
        """Channels of the text."""
        return int(self.config["cross_attention_dim"])

    def tensors(self, folder: str, stem: str = "diffusion_pytorch_model") -> Tensors:
        """All tensors of one component of a folder, noted as a source."""
        path = weights_of(self.path / folder, stem)
        self.sources.append(path)
        return open_tensors(path)

    def unet(self) -> UNet2DConditionModel:
        """The denoiser."""
        net: UNet2DConditionModel = built(lambda: UNet2DConditionModel.from_config(self.config))
        tensors = self.single.part(layouts.base, UNET) if self.single else self.tensors("unet")
        load(net, tensors, "the denoiser of an SD1.5 base")
        return net

    def vae(self) -> AutoencoderKL:
        """The autoencoder. Raises :class:`AnimupError` where the base has none."""
        if self.single is None:
            return read_vae(self.path / "vae", self.sources)
        tensors = self.single.part(layouts.autoencoder, AUTOENCODER)
        if not tensors:
            raise AnimupError(f"base {self.path} has no autoencoder: give one with --vae FOLDER or --tiny-vae FOLDER")
        widths = [tensors.shape(f"encoder.down_blocks.{i}.resnets.0.conv1.weight")[0] for i in range(LEVELS)]
        config = {
            "block_out_channels": widths, "layers_per_block": LAYERS, "latent_channels": 4, "scaling_factor": SCALING,
            "down_block_types": ["DownEncoderBlock2D"] * LEVELS, "up_block_types": ["UpDecoderBlock2D"] * LEVELS,
        }  # fmt: skip
        net: AutoencoderKL = built(lambda: AutoencoderKL.from_config(config))
        load(net, tensors, "an SD1.5 base with its autoencoder")
        return net

    def text(self, clip_skip: int) -> TextEncoder:
        """The text encoder without its last ``clip_skip - 1`` layers.

        Raises :class:`AnimupError` where it is not CLIP's or has not as many layers.
        """
        if self.single:
            tensors = self.single.part(layouts.text, TEXT)
            if not tensors:
                raise AnimupError(f"base {self.path} has no text encoder: give a whole checkpoint, not a pruned one")
            tokens, channels = tensors.shape("embeddings.token_embedding.weight")
            inner = tensors.shape("encoder.layers.0.mlp.fc1.weight")[0]
            layers = 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("encoder.layers."))
            config = TextConfig(
                tokens=tokens, channels=channels, inner=inner, layers=layers, heads=max(1, channels // TEXT_HEAD)
            )
        else:
            folder = self.path / "text_encoder"
            found = config_of(folder)
            tensors = self.tensors("text_encoder", "model").part(layouts.text)
            try:
                config = TextConfig(
                    tokens=found["vocab_size"], channels=found["hidden_size"], inner=found["intermediate_size"],
                    layers=found["num_hidden_layers"], heads=found["num_attention_heads"],
                    eps=found.get("layer_norm_eps", 1e-5), activation=found.get("hidden_act", "quick_gelu"),
                )  # fmt: skip
            except KeyError as error:
                raise AnimupError(f"{folder / 'config.json'} is no text encoder of CLIP: it lacks {error}") from error
        if config.activation not in {"quick_gelu", "gelu"}:
            raise AnimupError(f"base {self.path}: its text encoder has the activation {config.activation}; {REMEDY}")
        if config.channels != self.text_channels:
            raise AnimupError(
                f"base {self.path}: its text encoder has {config.channels} channels, its denoiser wants "
                f"{self.text_channels}: they do not belong together"
            )
        if not 1 <= clip_skip <= config.layers:
            raise AnimupError(f"--clip-skip must be 1 to {config.layers}, got {clip_skip}")
        kept = config.layers - clip_skip + 1

        def keep(name: str) -> str | None:
            parts = name.split(".")
            return None if name.startswith("encoder.layers.") and kept <= int(parts[2]) < config.layers else name

        shape = TextConfig(**{**config.__dict__, "layers": kept})
        net = built(lambda: TextEncoder(shape))
        load(net, tensors.part(keep), f"the text encoder of an SD1.5 base with {CONTEXT} positions")
        assert isinstance(net, TextEncoder)
        return net.prepared()

    def tokenizer(self, folder: Path | None) -> dict[str, bytes]:
        """``vocab.json`` and ``merges.txt``: those of ``folder``, else the base's own.

        Raises :class:`AnimupError` where they are missing or no tokenizer of CLIP.
        """
        if folder is None:
            if self.single:
                raise AnimupError(
                    f"base {self.path} is a single file, which holds no tokenizer: give --tokenizer FOLDER with "
                    f"CLIP's {VOCABULARY} and {MERGES}, such as the folder tokenizer/ of any SD1.5 for diffusers"
                )
            folder = self.path / "tokenizer"
        files = {}
        for name in (VOCABULARY, MERGES):
            try:
                files[name] = (folder / name).read_bytes()
            except OSError as error:
                raise AnimupError(
                    f"{folder / name} cannot be read ({error.strerror}): give --tokenizer FOLDER with CLIP's "
                    f"{VOCABULARY} and {MERGES}"
                ) from error
        Tokenizer.from_files(files[VOCABULARY], files[MERGES])
        return files


def open_base(path: Path) -> Base:
    """A base from a folder of diffusers or a single file.

    Raises :class:`AnimupError` where it is missing, damaged or not of SD1.5's kind.
    """
    if path.is_dir():
        if "XL" in str(
            (path / "model_index.json").is_file() and config_of(path, "model_index.json").get("_class_name")
        ):
            raise AnimupError(f"base {path} is of SDXL, and AnimateLCM's motion module does not fit it: {REMEDY}")
        config = config_of(path / "unet")
        check_base(config, path)
        scheduler = path / "scheduler" / "scheduler_config.json"
        if scheduler.is_file():
            kind = config_of(scheduler.parent, scheduler.name).get("prediction_type", "epsilon")
            if kind != "epsilon":
                raise AnimupError(
                    f"base {path} predicts {kind!r}, AnimateLCM needs one that predicts the noise: {REMEDY}"
                )
        return Base(path=path, single=None, config=config)
    tensors = open_tensors(path)
    for start, found in (
        ("conditioner.", "of SDXL"), (UNET + "label_emb.", "of SDXL"),
        ("cond_stage_model.model.", "of Stable Diffusion 2"),
    ):  # fmt: skip
        if any(name.startswith(start) for name in tensors):
            raise AnimupError(f"base {path} is {found}, and AnimateLCM's motion module does not fit it: {REMEDY}")
    if UNET + "input_blocks.0.0.weight" not in tensors:
        raise AnimupError(
            f"base {path} is no whole checkpoint: it has {named(tensors) or 'no tensors'}, "
            f"but no {UNET}input_blocks.0.0.weight; {REMEDY}"
        )
    strange = [
        name for name in tensors
        if (name.startswith(UNET) and layouts.base(name.removeprefix(UNET)) is None) or name == "v_pred"
    ]  # fmt: skip
    if strange:
        raise AnimupError(f"base {path} has {named(strange)}, which no SD1.5 has: {REMEDY}")
    unet = tensors.part(layouts.base, UNET)
    config = {
        "in_channels": unet.shape("conv_in.weight")[1],
        "out_channels": unet.shape("conv_out.weight")[0],
        "block_out_channels": [unet.shape(f"down_blocks.{i}.resnets.0.conv1.weight")[0] for i in range(LEVELS)],
        "cross_attention_dim": unet.shape("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight")[1],
        "layers_per_block": LAYERS, "attention_head_dim": HEADS, "down_block_types": DOWN, "up_block_types": UP,
    }  # fmt: skip
    check_base(config, path)
    return Base(path=path, single=tensors, config=config, sources=[path])


def unused(base: Base) -> list[str]:
    """Tensors of a single file that belong to none of its parts."""
    known = (UNET, AUTOENCODER, TEXT, "model_ema.")
    return [name for name in base.single or () if not name.startswith(known)]


def read_motion(path: Path, base: Base, pooling: Pooling, sources: list[Path]) -> MotionModules:
    """The motion modules, from AnimateLCM's own file or a folder of diffusers' MotionAdapter.

    Raises :class:`AnimupError` where they are not AnimateLCM's for text, or do not fit the base.
    """
    groups = 32
    if path.is_dir():
        config = config_of(path)
        heads = config.get("motion_num_attention_heads", MOTION_HEADS)
        if heads != MOTION_HEADS or config.get("motion_layers_per_block", LAYERS) != LAYERS:
            raise AnimupError(
                f"motion module {path} has {heads} heads or other layers than AnimateLCM's: give AnimateLCM's"
            )
        groups = int(config.get("motion_norm_num_groups", groups))
        file = weights_of(path)
    else:
        file = path
    everything = open_tensors(file)
    if any("img_encoder." in name for name in everything):
        raise AnimupError(
            f"motion module {path} is AnimateLCM-I2V's (it has img_encoder.…), which starts from an image: "
            "give AnimateLCM_sd15_t2v.ckpt"
        )
    if any("lora_" in name for name in everything):
        raise AnimupError(f"motion module {path} is a LoRA: give it with --lora, and AnimateLCM_sd15_t2v.ckpt here")
    tensors = everything.part(layouts.motion)
    norms = [f"down_blocks.{i}.motion_modules.0.norm.weight" for i in range(LEVELS)]
    if not any(name in tensors for name in norms):
        raise AnimupError(
            f"{path} is no motion module: it has {named(everything) or 'no tensors'}; give AnimateLCM_sd15_t2v.ckpt "
            "or a folder of diffusers' MotionAdapter"
        )
    widths = tuple(tensors.shape(name)[0] if name in tensors else 0 for name in norms)
    if 0 not in widths and widths != base.widths:
        raise AnimupError(
            f"motion module {path} is for a base with {list(widths)} channels, {base.path} has {list(base.widths)}: "
            "give two that belong together, AnimateLCM's and an SD1.5"
        )
    middle = any(name.startswith("mid_block.") for name in tensors)
    net = built(lambda: MotionModules(base.widths, LAYERS, groups, middle, pooling))
    load(net, tensors, "AnimateLCM's motion module")
    sources.append(file)
    assert isinstance(net, MotionModules)
    return net


def read_vae(path: Path, sources: list[Path]) -> AutoencoderKL:
    """An autoencoder of SD1.5 from a folder of diffusers. Raises :class:`AnimupError` where it is none."""
    config = config_of(path)
    if config.get("latent_channels", 4) != 4 or len(config.get("block_out_channels", ())) != LEVELS:
        raise AnimupError(f"autoencoder {path} is not of SD1.5: its latents have other channels or another size")
    net: AutoencoderKL = built(lambda: AutoencoderKL.from_config(config))
    file = weights_of(path)
    load(net, open_tensors(file).part(layouts.autoencoder), "an autoencoder of SD1.5")
    sources.append(file)
    return net


def read_tiny_vae(path: Path, sources: list[Path]) -> AutoencoderTiny:
    """A small autoencoder (TAESD) from a folder of diffusers. Raises :class:`AnimupError` where it is none."""
    config = config_of(path)
    widths = config.get("encoder_block_out_channels", ())
    if config.get("latent_channels", 4) != 4 or len(widths) != LEVELS:
        raise AnimupError(f"tiny autoencoder {path} is not for SD1.5: give the folder of TAESD (madebyollin/taesd)")
    net: AutoencoderTiny = built(lambda: AutoencoderTiny.from_config(config))
    file = weights_of(path)
    load(net, open_tensors(file), "a tiny autoencoder for SD1.5")
    sources.append(file)
    return net


def read_control(path: Path, base: Base, sources: list[Path]) -> ControlNetModel:
    """A ControlNet from a folder of diffusers. Raises :class:`AnimupError` where it does not fit the base."""
    config = config_of(path)
    widths, text = tuple(config.get("block_out_channels", ())), config.get("cross_attention_dim")
    if widths != base.widths or text != base.text_channels or config.get("addition_embed_type"):
        raise AnimupError(
            f"ControlNet {path} does not fit the base: it has {list(widths)} channels and texts of {text}, the base "
            f"{list(base.widths)} and {base.text_channels}; give one for SD1.5, such as control_v11f1e_sd15_tile"
        )
    net: ControlNetModel = built(lambda: ControlNetModel.from_config(config))
    file = weights_of(path)
    load(net, open_tensors(file), "a ControlNet for SD1.5")
    sources.append(file)
    return net
