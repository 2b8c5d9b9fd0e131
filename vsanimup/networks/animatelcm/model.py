"""Model folders of kind ``animatelcm``, as ``animup export animatelcm`` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsanimup.engines import Backend, Engine, Size
from vsanimup.errors import AnimupError, shown
from vsanimup.networks.animatelcm.memory import Budget, Layout
from vsanimup.networks.animatelcm.schedule import Schedule
from vsanimup.networks.animatelcm.tokenizer import MERGES, VOCABULARY, Tokenizer
from vsanimup.networks.fields import Field, flag, text, whole
from vsanimup.networks.manifest import Model, open_model
from vsanimup.networks.modulation import Modulation

KIND = "animatelcm"
GRAPHS = ("text", "encode", "denoise", "decode")
"""Networks that every model has; one with a ControlNet has ``control`` besides."""
CONTROL = "control"
REMEMBER = "denoise_memory"
"""The denoiser with memory of earlier windows, of the denoiser's weights."""
WINDOW = 16
"""Frames of a window at most, as the filter makes them; an engine for more would only take more memory."""
HALVINGS = 8
"""Sides of latents are multiples of this: the denoiser halves them three times."""


def _rising(value: Any) -> bool:
    """Whether these are two numbers between 0 and 1, the larger last."""
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(number, float) for number in value):
        return False
    first, last = value
    return bool(0 < first <= last < 1)


def _modules(value: Any) -> bool:
    """Whether these are pairs of channels and a divisor of :data:`HALVINGS`."""
    return isinstance(value, list) and len(value) <= 64 and all(map(_module, value))


def _module(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    return all(type(number) is int and 0 < number < 1 << 16 for number in value) and HALVINGS % value[1] == 0


FIELDS = {
    "precision": text(),
    "frames": whole(1, 1024),
    "most_frames": whole(1, 1024),
    "text_channels": whole(1, 1 << 16),
    "control": flag(),
    "residuals": whole(0, 64),
    "betas": Field("two numbers between 0 and 1, the larger last", _rising),
    "timesteps": whole(2, 1 << 16),
    "original_steps": whole(1, 1 << 16),
    "factor": whole(1, 64, default=8),
    "latent_channels": whole(1, 1024, default=4),
    "memory": Field(f"a list of pairs of channels and a divisor of {HALVINGS}", _modules, default=[]),
}
"""What the section of a manifest says of a model."""


@dataclass(frozen=True, kw_only=True)
class AnimateLcm:
    """A model folder of kind ``animatelcm`` whose manifest and small files have been checked."""

    model: Model
    """The folder and what every manifest has."""
    precision: str
    """Precision inside the graphs, such as ``fp16``."""
    frames: int
    """Frames of the windows that it was trained on."""
    most_frames: int
    """Frames that a window may have at most."""
    text_channels: int
    """Channels of the text that the denoiser sees."""
    control: bool
    """Whether there is a ControlNet."""
    residuals: int
    """Tensors that the ControlNet hands to the denoiser; 0 without one."""
    betas: tuple[float, float]
    """First and last β; they grow linearly."""
    timesteps: int
    """Training timesteps."""
    original_steps: int
    """Steps of the grid that the consistency model was distilled on."""
    factor: int
    """Samples of a picture that one of latents stands for, along each axis."""
    latent_channels: int
    """Channels of latents."""
    memory: Layout
    """Channels of each motion module, and the factor by which its pictures are smaller than latents; none where the
    model has no denoiser with memory."""

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.model.folder

    @property
    def align(self) -> int:
        """Width and height of what the networks see are multiples of this many samples."""
        return HALVINGS * self.factor

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of its graphs."""
        return (*GRAPHS, *((CONTROL,) if self.control else ()), *((REMEMBER,) if self.memory else ()))

    @classmethod
    def open(cls, folder: Path) -> AnimateLcm:
        """Open a folder.

        Raises :class:`AnimupError` as :meth:`of` does, or when the manifest cannot be read.
        """
        return cls.of(open_model(folder))

    @classmethod
    def of(cls, model: Model) -> AnimateLcm:
        """The same of a model whose manifest was read already.

        Raises :class:`AnimupError` when it is of another kind, a field is missing or out of range, a file is missing,
        or a small one is damaged. Weights are verified by :meth:`load`.
        """
        if model.kind != KIND:
            raise AnimupError(f"model {model.folder} is of kind {shown(model.kind)}; this needs one of kind {KIND!r}")
        found = cls(model=model, **model.section(KIND, FIELDS))
        if found.control and not found.residuals:
            raise model.refusal(f"{KIND}.residuals must be a whole number from 1 with a ControlNet, got 0")
        if found.original_steps > found.timesteps:
            raise model.refusal(f"{KIND}.original_steps must be {found.timesteps} at most, got {found.original_steps}")
        for name in (*(f"{network}.onnx" for network in found.networks), VOCABULARY, MERGES):
            model.read(name)
        for network in found.networks:
            if not found.modulated(network):
                model.path(_weights(network))
        for name in model.files:
            if not (model.folder / name).is_file():
                raise AnimupError(f"model file {model.folder / name} is missing; get the model again")
        return found

    def check_memory(self, budget: Budget | None) -> None:
        """Raises :class:`AnimupError` where memory is asked for that the model cannot have."""
        if budget is not None and not self.memory:
            raise AnimupError(
                f"memory needs a model with a graph for it, which {self.model.name} has not: export it again with this "
                "version, or leave memory out"
            )

    def schedule(self, steps: int, strength: float) -> Schedule:
        """The steps of a run, see :class:`vsanimup.networks.animatelcm.schedule.Schedule`."""
        return Schedule(
            steps, strength, betas=self.betas, trained=self.timesteps, original_steps=self.original_steps
        )  # fmt: skip

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of its text encoder.

        Raises :class:`AnimupError` when its files are damaged.
        """
        return Tokenizer.from_files(self.model.read(VOCABULARY), self.model.read(MERGES))

    def load(
        self, network: str, backend: Backend, *, sizes: Mapping[str, Size], device_id: int, streams: int = 1,
        mix: Mapping[str, float] | None = None,
    ) -> Engine:  # fmt: skip
        """One of its networks, such as ``denoise``, on a backend; ``sizes`` are those of ``Backend.load_file``, where
        the number of frames may be left out. ``mix`` are tasks whose biases are merged into the denoiser's weights.

        Graph and weights are verified first, every time. Raises :class:`AnimupError` when they are damaged or the
        backend cannot load them.
        """
        if backend.builds:
            sizes = {**self.frame_sizes(network), **sizes}
        if self.modulated(network):
            graph, weights = self.merged(network, {} if mix is None else mix, builds=backend.builds)
            return backend.load(
                graph, origin=str(self.folder / f"{network}.onnx"), sizes=sizes, device_id=device_id, streams=streams,
                weights=weights,
            )  # fmt: skip
        self.model.verify(_weights(network))
        path = self.model.verify(f"{network}.onnx")
        return backend.load_file(path, sizes=sizes, device_id=device_id, streams=streams)

    def modulated(self, network: str) -> bool:
        """Whether tasks put biases on a network; its weights lie in the graph then."""
        return bool(self.model.modulation) and network in ("denoise", REMEMBER)

    def merged(
        self, network: str, mix: Mapping[str, float], *, builds: bool
    ) -> tuple[bytes, Mapping[str, NDArray[np.float32]] | None]:
        """A modulated network's bytes with a mix of tasks merged in; for backends that build the bytes as they are, and
        the weights in force.

        Raises :class:`AnimupError` when files are damaged or do not fit one another.
        """
        file = f"{network}.onnx"
        graph, modulation = self.model.read(file), Modulation(self.model)
        if builds:
            return graph, modulation.weights(mix)
        return modulation.merge(file, graph, mix), None

    def frame_sizes(self, network: str) -> dict[str, Size]:
        """The number of frames that an engine of one of its networks must serve."""
        if network == "text":
            return {}
        if network in ("encode", "decode"):
            return {"frames": 1}
        most = min(self.most_frames, max(self.frames, WINDOW))
        return {"frames": (1, min(self.frames, most), most)}


def _weights(network: str) -> str:
    return f"{'denoise' if network == REMEMBER else network}.weights"
