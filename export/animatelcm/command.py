"""``animup export animatelcm``: see :mod:`export.animatelcm`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsanimup.errors import AnimupError
from vsanimup.sizes import free_memory, show_bytes

from ..folder import unwritten

if TYPE_CHECKING:
    from . import parts

PRECISIONS = ("fp32", "fp16")
POOLINGS = ("frame", "clip")
TRAINED_FRAMES = 16
MEMORY = 2.0
"""Memory that an export takes at most, of the largest network's weights as float32. Measured as 1.5 (and 0.9 GB for
the programs) in float32 on random weights of a quarter of SD1.5's size; at full size not measured."""
BYTES_PER_PIXEL = 12000
"""Working memory a luma sample of a 16-frame window; reckoned for SD1.5 with 8 slices, not measured."""
UNKNOWN = "LicenseRef-unknown"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command was asked for."""

    base: Path
    motion: Path
    lora: Path
    lora_weight: float
    controlnet: Path | None
    vae: Path | None
    tiny_vae: Path | None
    tokenizer: Path | None
    out: Path
    precision: str
    clip_skip: int
    slices: int
    motion_norm: str
    not_consistency: bool
    """Whether motion modules that are no consistency model are taken."""
    licences: Mapping[str, str]
    """SPDX identifiers by part."""
    memory: bool = True
    """Whether there is to be a denoiser with memory, too."""

    @property
    def extras(self) -> list[Path]:
        """What was given beside base, motion modules and LoRA."""
        return [path for path in (self.controlnet, self.vae, self.tiny_vae) if path]

    def check(self) -> None:
        """Raises :class:`AnimupError` when the arguments contradict one another."""
        if self.precision not in PRECISIONS:
            raise AnimupError(f"--precision must be {' or '.join(PRECISIONS)}, got {self.precision!r}")
        if self.motion_norm not in POOLINGS:
            raise AnimupError(f"--motion-norm must be {' or '.join(POOLINGS)}, got {self.motion_norm!r}")
        if self.slices not in (1, 2, 4, 8, 16, 32, 64):
            raise AnimupError(f"--slices must be a power of two up to 64, got {self.slices}")
        if self.vae and self.tiny_vae:
            raise AnimupError("--vae and --tiny-vae are both given: give one of them")
        if not 0 <= self.lora_weight <= 2:
            raise AnimupError(f"--lora-weight must be 0 to 2, got {self.lora_weight}")
        if self.out.exists() and not (self.out.is_dir() and (self.out / "manifest.json").exists()):
            raise AnimupError(f"--out {self.out} exists and is no model folder: give a new name, or remove it")


def check_resources(largest: int, total: int, request: Request) -> None:
    """``largest`` and ``total`` are the parameters of the largest part, and of all.

    Raises :class:`AnimupError` when memory or disk do not suffice.
    """
    needed, free = int(MEMORY * 4 * largest) + (1 << 30), free_memory()
    if free is not None and free < needed:
        raise AnimupError(
            f"the export needs about {show_bytes(needed)} of memory and {show_bytes(free)} are free: close other "
            "programs, or export on a machine with more and copy the folder"
        )
    place = next(parent for parent in request.out.absolute().parents if parent.exists())
    size, room = total * (2 if request.precision == "fp16" else 4) + (1 << 26), shutil.disk_usage(place).free
    if room < size:
        raise AnimupError(
            f"the model takes about {show_bytes(size)} and {show_bytes(room)} are free at {place}: make room, "
            "give another --out, or --precision fp16"
        )


def check_room(request: Request, base: parts.Base) -> None:
    """Raises :class:`AnimupError` when memory or disk do not suffice for what the files hold."""
    from . import layouts, parts
    from .checkpoints import file_of, open_tensors

    unet_file = base.single.part(layouts.base, parts.UNET) if base.single else base.tensors("unet")
    largest = unet_file.count() + open_tensors(file_of(request.motion)).count()
    # text encoder and autoencoder of SD1.5 are a sixth of its denoiser
    total = largest + unet_file.count() // 4 + sum(open_tensors(file_of(path)).count() for path in request.extras)
    check_resources(largest, total, request)


def licences_by_part(request: Request) -> dict[str, str]:
    """SPDX identifiers of the parts that are used. Raises :class:`AnimupError` where one is given for another."""
    from .checkpoints import named

    names = ["base", "motion", "lora", *(["controlnet"] if request.controlnet else [])]
    names += ["vae"] if request.vae or request.tiny_vae else []
    if strange := request.licences.keys() - set(names):
        raise AnimupError(f"--licence names {named(strange)}; the parts are {', '.join(names)}")
    return {part: request.licences.get(part, UNKNOWN) for part in names}


def sources_of(request: Request, files: Iterable[Path]) -> list[dict[str, str]]:
    """Names and hashes of the files that were read, each once."""
    from ..folder import sha256

    given = (request.base, request.motion, request.lora, *request.extras)

    def name(path: Path) -> str:
        """A component's file has the same name in every folder."""
        return path.name if path in given else f"{path.parent.name}/{path.name}"

    return [{"name": name(path), "sha256": sha256(path)} for path in dict.fromkeys(files)]


def export(request: Request) -> Iterator[str]:
    """Do it; says what it is doing. Raises :class:`AnimupError` where it cannot."""
    request.check()
    import torch

    from vsanimup.architectures.animatelcm import graphs

    from ..folder import called, model_folder
    from . import parts
    from .checkpoints import named
    from .jobs import Networks, jobs
    from .loras import SHARE, read_lora
    from .onnx_files import export as export_graph

    base = parts.open_base(request.base)
    if odd := parts.unused(base):
        yield f"base: left out what is of no use here: {named(odd)}"
    tokenizer, vocabulary = base.tokenizer(request.tokenizer)
    yield f"tokenizer: {vocabulary}"
    if request.clip_skip == 1:
        yield "text encoder: all its layers; many bases for anime were made without the last: --clip-skip 2"
    loras = read_lora(request.lora)
    if plain := sum(lora.alpha is None for lora in loras.values()):
        yield f"LoRA: {plain} changes have no alpha and are taken at {SHARE:g}, as AnimateLCM's own code takes all"
    motion_frames = parts.most_frames(request.motion)
    check_room(request, base)
    licences = licences_by_part(request)

    torch.manual_seed(0)
    networks = Networks(request, base, loras)
    manifest: dict[str, Any] = {}
    differences = {}
    with model_folder(request.out, manifest) as folder:
        for job in jobs(networks):
            for said in export_graph(
                job.make,
                name=job.name,
                folder=folder,
                example=job.inputs(2, 8, 16),
                other=job.inputs(3, 16, 8),
                outputs=job.outputs,
                axes=job.axes,
                precision=request.precision,
                weights_of=graphs.SHARED.get(job.name),
            ):
                yield said
            differences[job.name] = said.rpartition(" ")[2]
        for name, data in tokenizer.items():
            (folder / name).write_bytes(data)
        yield "hashing the sources"
        manifest.update(
            name=request.out.name,
            kind="animatelcm",
            scale=1,
            radius=0,
            align=8 * graphs.LATENT_ALIGN,
            value_range="rgb",
            tasks=[],
            bytes_per_pixel=BYTES_PER_PIXEL,
            licence=" AND ".join(sorted(set(licences.values()))),
            licences=licences,
            source="exported from the files under sources",
            sources=sources_of(request, [*base.sources, *networks.sources]),
            command=called(),
            parameters=networks.parameters,
            animatelcm={
                "precision": request.precision,
                "frames": TRAINED_FRAMES,
                "most_frames": motion_frames,
                "text_channels": base.text_channels,
                "control": request.controlnet is not None,
                "residuals": len(networks.residuals),
                "autoencoder": "tiny" if request.tiny_vae else "full",
                "betas": graphs.BETAS,
                "timesteps": graphs.TIMESTEPS,
                "original_steps": graphs.ORIGINAL_STEPS,
                "lora_weight": request.lora_weight,
                "clip_skip": request.clip_skip,
                "motion_norm": request.motion_norm,
                "not_consistency": request.not_consistency,
                "slices": request.slices,
                "memory": networks.layout if request.memory else [],
                "differences": differences,
            },
        )
    yield f"{request.out}: {networks.parameters} parameters, licence {manifest['licence']}"


def licences_of(texts: list[str]) -> dict[str, str]:
    """``part=SPDX`` apart. Raises :class:`AnimupError` where one is not of that form."""
    found = {}
    for text in texts:
        part, equals, spdx = text.partition("=")
        if not (part and equals and spdx):
            raise AnimupError(f"--licence must be like base=CreativeML-OpenRAIL-M, got {text!r}")
        found[part] = spdx
    return found


def main(
    base: Annotated[Path, typer.Option(help="SD1.5: a folder of diffusers, or a single .safetensors file")],
    motion: Annotated[Path, typer.Option(help="AnimateLCM_sd15_t2v.ckpt, or diffusers' MotionAdapter, folder or file")],
    lora: Annotated[Path, typer.Option(help="AnimateLCM_sd15_t2v_lora.safetensors")],
    out: Annotated[Path, typer.Option(help="model folder to write; an earlier one there is replaced")],
    lora_weight: Annotated[float, typer.Option(help="share of the LoRA that is merged")] = 0.8,
    controlnet: Annotated[Path | None, typer.Option(help="ControlNet for SD1.5, such as tile: folder or file")] = None,
    vae: Annotated[Path | None, typer.Option(help="another autoencoder than the base's: folder or file")] = None,
    tiny_vae: Annotated[Path | None, typer.Option(help="a tiny autoencoder (TAESD) instead: folder or file")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="folder with vocab.json and merges.txt, if not the usual CLIP's")
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32 or fp16")] = "fp16",
    clip_skip: Annotated[int, typer.Option(help="2: without the text encoder's last layer, as many anime bases")] = 1,
    slices: Annotated[int, typer.Option(help="parts that the largest attention is computed in; 1 suits GPUs")] = 8,
    motion_norm: Annotated[
        str, typer.Option(help="frame: norms of motion modules as AnimateLCM's code has them; clip: as diffusers does")
    ] = "frame",
    not_consistency: Annotated[
        bool, typer.Option("--not-consistency", help="take motion modules that are none of AnimateLCM's")
    ] = False,
    licence: Annotated[list[str] | None, typer.Option(help="SPDX identifier of a part, as base=…; repeatable")] = None,
    memory: Annotated[bool, typer.Option(help="also the graph that memory= of the filter needs")] = True,
) -> None:
    """Export AnimateLCM on an SD1.5 base: graphs of text encoder, autoencoder and denoiser, and the tokenizer."""
    try:
        request = Request(
            base=base,
            motion=motion,
            lora=lora,
            lora_weight=lora_weight,
            controlnet=controlnet,
            vae=vae,
            tiny_vae=tiny_vae,
            tokenizer=tokenizer,
            out=out,
            precision=precision,
            clip_skip=clip_skip,
            slices=slices,
            motion_norm=motion_norm,
            not_consistency=not_consistency,
            licences=licences_of(licence or []),
            memory=memory,
        )
        for said in export(request):
            print(said, flush=True)
    except AnimupError as error:
        raise SystemExit(f"animatelcm: {error}") from error
    except (OSError, MemoryError) as error:
        raise SystemExit(f"animatelcm: {unwritten(error, out)}") from error
