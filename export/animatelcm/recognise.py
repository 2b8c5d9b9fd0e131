"""What a file of tensors is, by their names: so that a file given for another is refused by its name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vsanimup.errors import AnimupError

BASE, MOTION, LORA = "base", "motion module", "LoRA"
CONTROL, VAE, TINY_VAE = "ControlNet", "autoencoder", "tiny autoencoder"
"""What files are given as, see :data:`REMEDIES`."""
REMEDIES = {
    BASE: "give one of Stable Diffusion 1.5 or a fine-tuned one of its kind",
    MOTION: "give AnimateLCM_sd15_t2v.ckpt, or the same for diffusers (MotionAdapter)",
    LORA: "give AnimateLCM_sd15_t2v_lora.safetensors, or one in kohya's layout "
    "(lora_unet_….lora_down.weight, .lora_up.weight, .alpha)",
    CONTROL: "give one for SD1.5, such as control_v11f1e_sd15_tile",
    VAE: "give one of SD1.5, such as vae-ft-mse-840000-ema-pruned.safetensors",
    TINY_VAE: "give TAESD as diffusers has it (madebyollin/taesd), the folder or its file",
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of file."""

    what: str
    """For sentences, after "is"."""
    patterns: tuple[str, ...]
    """Regular expressions, each of which the name of some tensor holds."""
    option: str = ""
    """The option that takes such a file."""
    roles: tuple[str, ...] = ()
    """What it can be given as."""


KINDS: Sequence[Kind] = (
    Kind(what="AnimateLCM-I2V's, which starts from an image", patterns=(r"(^|\.)img_encoder\.",)),
    Kind(
        what="of Stable Video Diffusion, as AnimateLCM-SVD is",
        patterns=(r"\.(time_stack|time_mixer|temporal_res_block|temporal_transformer_blocks)\.",),
    ),
    Kind(what="of Stable Diffusion 3", patterns=(r"(^|\.)joint_blocks\.",)),
    Kind(what="of Flux", patterns=(r"(^|\.)(double_blocks|single_transformer_blocks)\.",)),
    Kind(what="a motion LoRA of AnimateDiff, for moves of the camera", patterns=(r"motion_modules\..+lora",)),
    Kind(what="a LoRA for SDXL", patterns=(r"^lora_te[12]_",)),
    Kind(what="a LyCORIS, which is no plain LoRA", patterns=(r"\.(hada_w1_a|lokr_w[12]|oft_blocks|lora_mid)\b",)),
    Kind(what="a DoRA, which is no plain LoRA", patterns=(r"\.(dora_scale|lora_magnitude_vector)\b",)),
    Kind(what="a Control-LoRA", patterns=(r"^lora_controlnet",)),
    Kind(
        what="a LoRA in the layout of diffusers or PEFT",
        patterns=(r"\.(lora_[AB]|lora\.(down|up)|lora_linear_layer|\w+_lora\.(down|up))\.",),
    ),
    Kind(what="a LoRA", patterns=(r"^lora_(unet|te)_",), option="--lora", roles=(LORA,)),
    Kind(what="of SDXL", patterns=(r"^conditioner\.|(^|\.)(label_emb|add_embedding)\.",)),
    Kind(what="of Stable Diffusion 2", patterns=(r"^cond_stage_model\.model\.",)),
    Kind(
        what="a latent consistency model that takes its guidance as an input",
        patterns=(r"(^|\.)(time_embed|time_embedding)\.cond_proj\.",),
    ),
    Kind(what="an IP-Adapter", patterns=(r"^(image_proj|ip_adapter)\.",)),
    Kind(what="a T2I-Adapter", patterns=(r"^(adapter\.)?body\.\d+\.(resnets|in_conv|block1)",)),
    Kind(what="a ControlNet as the difference to its base", patterns=(r"^difference$",)),
    Kind(what="a SparseCtrl of AnimateDiff", patterns=(r"controlnet_cond_embedding\.", r"motion_modules\.")),
    Kind(
        what="a ControlNet",
        option="--controlnet",
        roles=(CONTROL,),
        patterns=(r"^control_model\.|(^|\.)(zero_convs|input_hint_block|controlnet_cond_embedding)\.",),
    ),
    Kind(what="a whole checkpoint", option="--base", roles=(BASE, VAE), patterns=(r"^model\.diffusion_model\.",)),
    Kind(
        what="a denoiser alone, in the layout of diffusers (a base is the folder with model_index.json)",
        patterns=(r"^(unet\.)?down_blocks\.0\.resnets\.",),
    ),
    Kind(what="a motion module", patterns=(r"motion_modules\.",), option="--motion", roles=(MOTION,)),
    Kind(
        what="a tiny autoencoder (TAESD)",
        option="--tiny-vae",
        roles=(TINY_VAE,),
        patterns=(r"^(en|de)coder\.layers\.\d+\.",),
    ),
    Kind(
        what="one half of TAESD in its first layout",
        patterns=(r"^(taesd_(en|de)coder\.)?\d+\.(conv\.\d+\.)?(weight|bias)$",),
    ),
    Kind(
        what="an autoencoder",
        option="--vae",
        roles=(VAE,),
        patterns=(r"^(first_stage_model\.)?(encoder|decoder)\.(conv_in|mid|mid_block)\.",),
    ),
    Kind(what="a text encoder alone", patterns=(r"^(cond_stage_model\.transformer\.)?text_model\.",)),
)
"""From the particular to the common: the first that fits counts."""


def kind_of(names: Iterable[str]) -> Kind | None:
    """What tensors of these names are; ``None`` where that is not known."""
    every = list(names)
    return next(
        (kind for kind in KINDS if all(any(re.search(pattern, name) for name in every) for pattern in kind.patterns)),
        None,
    )


def refuse_others(role: str, path: Path, names: Iterable[str]) -> None:
    """Raises :class:`AnimupError` where a file given as ``role`` is known to be something else."""
    kind = kind_of(names)
    if kind is None or role in kind.roles:
        return
    place = f"that goes with {kind.option}; " if kind.option else ""
    raise AnimupError(f"{role} {path} is {kind.what}: {place}{REMEDIES[role]}")
