"""The parts of AnimateLCM as loaded networks, from the files that a user has."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from vsanimup.architectures.animatelcm.graphs import MotionModules
from vsanimup.architectures.animatelcm.layers import MOTION_HEADS, POSITIONS, Pooling, sinusoid
from vsanimup.architectures.animatelcm.text import CONTEXT, TextConfig, TextEncoder
from vsanimup.errors import AnimupError
from vsanimup.networks.animatelcm.tokenizer import MERGES, VOCABULARY, Tokenizer

from . import layouts, vocabulary
from .autoencoders import autoencoder_of, read_vae
from .checkpoints import Tensors, built, config_of, file_of, load, named, open_tensors, weights_of
from .recognise import BASE, CONTROL, MOTION, REMEDIES, refuse_others

LEVELS, LAYERS = 4, 2
UNET, AUTOENCODER, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."
"""What the names of tensors start with in a single file."""
REMEDY = REMEDIES[BASE]
HEADS = 8
TEXT_HEAD = 64
"""Channels of a head of CLIP's text encoder."""
POSITION_TABLE = ".pos_encoder."
"""In names of AnimateDiff's layout. diffusers always writes its tables, ``.pos_embed.``, so that they tell nothing."""
PIPELINES = {
    "XL": "of SDXL",
    "VideoDiffusion": "of Stable Video Diffusion",
    "Diffusion3": "of Stable Diffusion 3",
    "Flux": "of Flux",
}
"""What the classes of other pipelines have in their names."""
DOWN = ("CrossAttnDownBlock2D",) * (LEVELS - 1) + ("DownBlock2D",)
UP = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (LEVELS - 1)


def check_base(config: dict[str, Any], path: Path) -> None:
    """Raises :class:`AnimupError` when a denoiser's configuration is not that of SD1.5."""
    text = config.get("cross_attention_dim")
    found = None
    if "SpatioTemporal" in str(config.get("_class_name")):
        found = "of Stable Video Diffusion"
    elif config.get("addition_embed_type") or text == 2048:
        found = "of SDXL"
    elif config.get("use_linear_projection") or text == 1024:
        found = "of Stable Diffusion 2"
    elif config.get("time_cond_proj_dim"):
        found = "a latent consistency model that takes its guidance as an input"
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
            raise AnimupError(f"base {self.path} has no autoencoder: give one with --vae or --tiny-vae")
        return autoencoder_of(tensors, "an SD1.5 base with its autoencoder")

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
                    tokens=found["vocab_size"],
                    channels=found["hidden_size"],
                    inner=found["intermediate_size"],
                    layers=found["num_hidden_layers"],
                    heads=found["num_attention_heads"],
                    eps=found.get("layer_norm_eps", 1e-5),
                    activation=found.get("hidden_act", "quick_gelu"),
                )
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

    def tokenizer(self, folder: Path | None) -> tuple[dict[str, bytes], Path]:
        """``vocab.json`` and ``merges.txt``, and where they come from: ``folder``, else the base, else a package.

        Raises :class:`AnimupError` where they are missing or no tokenizer of CLIP.
        """
        own = self.path / "tokenizer"
        if folder is None and not own.is_dir():
            source = vocabulary.find()
            if source is None:
                packages = " or ".join(vocabulary.PACKAGES.values())
                raise AnimupError(
                    f"base {self.path} holds no tokenizer: install the package {packages}, which brings CLIP's, or "
                    f"give --tokenizer FOLDER with its {VOCABULARY} and {MERGES}"
                )
            return self._fitting(vocabulary.files(source)), source
        source, files = folder or own, {}
        for name in (VOCABULARY, MERGES):
            try:
                files[name] = (source / name).read_bytes()
            except OSError as error:
                raise AnimupError(
                    f"{source / name} cannot be read ({error.strerror}): give --tokenizer FOLDER with CLIP's "
                    f"{VOCABULARY} and {MERGES}"
                ) from error
        return self._fitting(files), source

    def _fitting(self, files: dict[str, bytes]) -> dict[str, bytes]:
        """A tokenizer's files. Raises :class:`AnimupError` where they are damaged or not for this text encoder."""
        last = Tokenizer.from_files(files[VOCABULARY], files[MERGES]).end
        embeddings = "embeddings.token_embedding.weight"
        if self.single:
            known = self.single.part(layouts.text, TEXT).shape(embeddings)[0]
        else:
            known = config_of(self.path / "text_encoder").get("vocab_size", last + 1)
        if last >= known:
            raise AnimupError(
                f"base {self.path}: its text encoder knows {known} tokens, the tokenizer has {last + 1}: "
                "give --tokenizer FOLDER with the one that belongs to it"
            )
        return files


def open_base(path: Path) -> Base:
    """A base from a folder of diffusers or a single file.

    Raises :class:`AnimupError` where it is missing, damaged or not of SD1.5's kind.
    """
    if path.is_dir():
        index = config_of(path, "model_index.json") if (path / "model_index.json").is_file() else {}
        for part, found in PIPELINES.items():
            if part in str(index.get("_class_name")):
                raise AnimupError(f"base {path} is {found}, and AnimateLCM's motion module does not fit it: {REMEDY}")
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
    refuse_others(BASE, path, tensors)
    if UNET + "input_blocks.0.0.weight" not in tensors:
        raise AnimupError(
            f"base {path} is no whole checkpoint: it has {named(tensors) or 'no tensors'}, "
            f"but no {UNET}input_blocks.0.0.weight; {REMEDY}"
        )
    strange = [
        name
        for name in tensors
        if (name.startswith(UNET) and layouts.base(name.removeprefix(UNET)) is None) or name == "v_pred"
    ]
    if strange:
        raise AnimupError(f"base {path} has {named(strange)}, which no SD1.5 has: {REMEDY}")
    unet = tensors.part(layouts.base, UNET)
    config = {
        "in_channels": unet.shape("conv_in.weight")[1],
        "out_channels": unet.shape("conv_out.weight")[0],
        "block_out_channels": [unet.shape(f"down_blocks.{i}.resnets.0.conv1.weight")[0] for i in range(LEVELS)],
        "cross_attention_dim": unet.shape("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight")[1],
        "layers_per_block": LAYERS,
        "attention_head_dim": HEADS,
        "down_block_types": DOWN,
        "up_block_types": UP,
    }
    check_base(config, path)
    return Base(path=path, single=tensors, config=config, sources=[path])


def unused(base: Base) -> list[str]:
    """Tensors of a single file that belong to none of its parts."""
    known = (UNET, AUTOENCODER, TEXT, "model_ema.")
    return [name for name in base.single or () if not name.startswith(known)]


def read_motion(
    path: Path, base: Base, pooling: Pooling, sources: list[Path], *, consistent: bool = True
) -> MotionModules:
    """The motion modules, from AnimateLCM's own file, or diffusers' MotionAdapter (its folder or file).

    ``consistent`` refuses those that are told to be no consistency model. Raises :class:`AnimupError` where they are
    not AnimateLCM's for text, or do not fit the base.
    """
    groups, file = 32, file_of(path)
    if path.is_dir():
        config = config_of(path)
        heads = config.get("motion_num_attention_heads", MOTION_HEADS)
        if heads != MOTION_HEADS or config.get("motion_layers_per_block", LAYERS) != LAYERS:
            raise AnimupError(
                f"motion module {path} has {heads} heads or other layers than AnimateLCM's: give AnimateLCM's"
            )
        groups = int(config.get("motion_norm_num_groups", groups))
    everything = open_tensors(file)
    refuse_others(MOTION, path, everything)
    tensors = everything.part(layouts.motion)
    norms = [f"down_blocks.{i}.motion_modules.0.norm.weight" for i in range(LEVELS)]
    if not any(name in tensors for name in norms):
        raise AnimupError(f"{path} is no motion module: it has {named(everything) or 'no tensors'}; {REMEDIES[MOTION]}")
    widths = tuple(tensors.shape(name)[0] if name in tensors else 0 for name in norms)
    if norms[-1] not in tensors or (0 not in widths and widths != base.widths):
        raise AnimupError(
            f"motion module {path} is for a base with {[width for width in widths if width]} channels, {base.path} has "
            f"{list(base.widths)}: give two that belong together, AnimateLCM's and an SD1.5"
        )
    middle = any(name.startswith("mid_block.") for name in tensors)
    positions = next((name for name in everything if POSITION_TABLE in name), None)
    if consistent and (positions or not middle):
        said = f"has position encodings ({positions})" if positions else "has no module for the middle block"
        raise AnimupError(
            f"motion module {path} {said}, as AnimateDiff's and none of AnimateLCM's: it is no consistency model and "
            f"draws badly in few steps; {REMEDIES[MOTION]}, or say --not-consistency"
        )
    net = built(lambda: MotionModules(base.widths, LAYERS, groups, middle, pooling))
    load(net, tensors, "AnimateLCM's motion module")
    sources.append(file)
    assert isinstance(net, MotionModules)
    return net


def most_frames(path: Path) -> int:
    """Frames that motion modules given as ``path`` can see at once: as many as have a position.

    Raises :class:`AnimupError` where their file has positions that were trained.
    """
    tensors, most = open_tensors(file_of(path)), POSITIONS
    for name in tensors:
        if POSITION_TABLE in name:
            _, length, channels = tensors.shape(name)
            if not torch.allclose(tensors[name][0].float(), sinusoid(length, channels), atol=1e-2):
                raise AnimupError(
                    f"motion module {path} has positions of its own in {name}, and not the usual waves, which are what "
                    f"graphs have: {REMEDIES[MOTION]}"
                )
            most = min(most, length)
    return most


def read_control(path: Path, base: Base, sources: list[Path]) -> ControlNetModel:
    """A ControlNet from a folder of diffusers or a single file.

    Raises :class:`AnimupError` where it is none, or does not fit the base.
    """
    file = file_of(path)
    tensors = open_tensors(file)
    refuse_others(CONTROL, path, tensors)
    tensors = tensors.part(layouts.control)
    config = config_of(path) if path.is_dir() else _control_config(tensors)
    widths, text = tuple(config.get("block_out_channels", ())), config.get("cross_attention_dim")
    if widths != base.widths or text != base.text_channels or config.get("addition_embed_type"):
        raise AnimupError(
            f"ControlNet {path} does not fit the base: it has {list(widths)} channels and texts of {text}, the base "
            f"{list(base.widths)} and {base.text_channels}; {REMEDIES[CONTROL]}"
        )
    net: ControlNetModel = built(lambda: ControlNetModel.from_config(config))
    load(net, tensors, "a ControlNet for SD1.5")
    sources.append(file)
    return net


def _control_config(tensors: Tensors) -> dict[str, Any]:
    """For diffusers, what the shapes of a ControlNet tell."""
    hints = ["conv_in", *(f"blocks.{i}" for i in (1, 3, 5))]
    return {
        "block_out_channels": [tensors.shape(f"down_blocks.{i}.resnets.0.conv1.weight")[0] for i in range(LEVELS)],
        "cross_attention_dim": tensors.shape("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight")[1],
        "conditioning_embedding_out_channels": [
            tensors.shape(f"controlnet_cond_embedding.{name}.weight")[0] for name in hints
        ],
        "layers_per_block": LAYERS,
        "attention_head_dim": HEADS,
        "down_block_types": DOWN,
    }
