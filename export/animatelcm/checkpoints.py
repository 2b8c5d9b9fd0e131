"""Reading checkpoints: tensors one by one, and errors that say what is wrong with a file and what to do."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vsanimup.errors import AnimupError, cut

FLOATS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}
NAMED = 6
"""How many names of tensors an error holds."""
WRAPPERS = re.compile(r"^(module\.)+|(?<![^.])_orig_mod\.")
"""What training on several devices and ``torch.compile`` add to names."""


class Tensors(Mapping[str, Tensor]):
    """The tensors of a file, read when they are asked for."""

    def __init__(self, path: Path, names: Iterable[str], read: Callable[[str], Tensor]) -> None:
        self.path = path
        self._names = dict.fromkeys(names)
        self._read = read

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def part(self, rename: Callable[[str], str | None], prefix: str = "") -> Tensors:
        """The tensors whose names start with ``prefix`` under new names; those renamed to ``None`` are left out."""
        names = {}
        for old in self._names:
            new = rename(old.removeprefix(prefix)) if old.startswith(prefix) else None
            if new is not None:
                names[new] = old
        return Tensors(self.path, names, lambda name: self._read(names[name]))

    def count(self) -> int:
        """How many numbers they are."""
        return sum(self[name].numel() for name in self._names)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one tensor. Raises :class:`AnimupError` where there is none."""
        if name not in self._names:
            raise AnimupError(f"{self.path} lacks the tensor {name}: it is no model of the kind that is wanted here")
        return tuple(self[name].shape)


def open_tensors(path: Path) -> Tensors:
    """The tensors of a ``.safetensors`` file, or of a ``.ckpt``, ``.pt``, ``.pth`` or ``.bin`` that holds tensors only.

    Raises :class:`AnimupError` where it cannot be read.
    """
    if not path.is_file():
        raise AnimupError(f"{path} {'is no file' if path.exists() else 'does not exist'}: give the checkpoint's path")
    if path.suffix == ".safetensors":
        try:
            file = safe_open(path, "pt")
            names = list(file.keys())  # type: ignore[no-untyped-call]
        except (SafetensorError, OSError) as error:
            raise AnimupError(f"{path} is no whole safetensors file ({error}): download it again") from error
        return unwrapped(Tensors(path, names, file.get_tensor))
    if path.suffix not in {".ckpt", ".pt", ".pth", ".bin"}:
        raise AnimupError(f"{path} must be a .safetensors, .ckpt, .pt, .pth or .bin file")
    tensors: Any = _unpickled(path)
    while isinstance(tensors, dict) and isinstance(tensors.get("state_dict"), dict):
        tensors = tensors["state_dict"]
    if not isinstance(tensors, dict):
        raise AnimupError(f"{path} holds no tensors but a {type(tensors).__name__}")
    found = {name: value for name, value in tensors.items() if isinstance(name, str) and isinstance(value, Tensor)}
    return unwrapped(Tensors(path, found, found.__getitem__))


def _unpickled(path: Path) -> object:
    """What a file of PyTorch holds, if that is tensors and plain values. Raises :class:`AnimupError`."""
    try:
        archive = zipfile.is_zipfile(path)
        with path.open("rb") as file:
            if not archive and file.read(1) != pickle.PROTO:
                raise AnimupError(f"{path} is no PyTorch file, whatever its name says: download it again")
        # files from before PyTorch 1.6 are no archives and cannot be mapped
        return torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except pickle.UnpicklingError as error:
        said = cut(str(error).partition("\n")[0])
        raise AnimupError(
            f"{path} holds more than tensors, which could run foreign code, and is not loaded: "
            f"convert it to safetensors where you trust it ({said})"
        ) from error
    except (AnimupError, MemoryError):
        raise
    except Exception as error:  # of a damaged file, the reader raises whatever it comes upon
        raise AnimupError(f"{path} is no whole PyTorch file ({cut(error)}): download it again") from error


def unwrapped(tensors: Tensors) -> Tensors:
    """The same under names without :data:`WRAPPERS`, unless two would have the same."""
    bare = tensors.part(lambda name: WRAPPERS.sub("", name))
    return bare if len(bare) == len(tensors) else tensors


def config_of(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """A component's configuration. Raises :class:`AnimupError` where there is none."""
    path = folder / name
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnimupError(
            f"{path} cannot be read ({error.strerror}): give a folder as diffusers saves it, with its {name}"
        ) from error
    except ValueError as error:
        raise AnimupError(f"{path} is damaged: {error}") from error
    if not isinstance(config, dict):
        raise AnimupError(f"{path} is damaged: it holds no object")
    return config


def weights_of(folder: Path, stem: str = "diffusion_pytorch_model") -> Path:
    """The file with a component's weights in a folder of diffusers or transformers.

    Raises :class:`AnimupError` where there is none.
    """
    stems = (stem, "pytorch_model") if stem == "model" else (stem,)
    names = [f"{s}{variant}{end}" for end in (".safetensors", ".bin") for variant in ("", ".fp16") for s in stems]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    if list(folder.glob("*.index.json")):
        raise AnimupError(f"{folder} holds its weights in several pieces: save it again with a larger max_shard_size")
    raise AnimupError(f"{folder} has no weights: it needs one of {', '.join(names[:2])} (or .bin)")


def file_of(path: Path) -> Path:
    """The file itself, or that with the weights in a component's folder of diffusers."""
    return weights_of(path) if path.is_dir() else path


def named(names: Iterable[str]) -> str:
    """Some names and how many there are besides."""
    every = sorted(names)
    more = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return ", ".join(every[:NAMED]) + more


def built(make: Callable[[], Any]) -> Any:
    """A module without memory for its weights, which come from a file."""
    with torch.device("meta"):
        return make().eval()


def load(net: nn.Module, tensors: Tensors, what: str) -> None:
    """Give ``net``, built on the device ``meta``, its weights as float32, one tensor at a time.

    Raises :class:`AnimupError` naming tensors that are missing, surplus, of another shape or no floats.
    """
    wanted = dict(net.named_parameters())
    missing, surplus = wanted.keys() - tensors.keys(), tensors.keys() - wanted.keys()
    if missing or surplus:
        parts = [f"lacks {named(missing)}"] if missing else []
        parts += [f"has {named(surplus)}, which nothing takes"] if surplus else []
        raise AnimupError(f"{tensors.path} is not {what}: it {'; it '.join(parts)}")
    for name, parameter in wanted.items():
        value = tensors[name]
        if value.dtype not in FLOATS:
            raise AnimupError(f"{tensors.path}: {name} is {value.dtype}; give weights in float32, float16 or bfloat16")
        if value.shape != parameter.shape:
            # the autoencoder's attention was convolutions once
            if value.shape[: parameter.ndim] != parameter.shape or value.numel() != parameter.numel():
                raise AnimupError(
                    f"{tensors.path} is not {what}: {name} is {list(value.shape)}, wanted {list(parameter.shape)}"
                )
            value = value.reshape(parameter.shape)
        module, _, own = name.rpartition(".")
        setattr(net.get_submodule(module), own, nn.Parameter(value.to(torch.float32), requires_grad=False))
