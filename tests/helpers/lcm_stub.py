"""An AnimateLCM without networks: a model folder of empty graphs, and a backend that computes something simple.

What it computes is the same at every place, so that tiles change nothing but rounding.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tokenizer_files import write_tokenizer
from vsanimup.engines import Array, DeviceMemory, Feed, Size
from vsanimup.engines.base import DeviceArray, Result
from vsanimup.networks.manifest import FORMAT, MANIFEST

FACTOR = 8
SECTION: dict[str, Any] = {
    "precision": "fp32",
    "frames": 16,
    "most_frames": 32,
    "text_channels": 8,
    "control": False,
    "residuals": 0,
    "betas": [0.00085, 0.012],
    "timesteps": 1000,
    "original_steps": 100,
}


def write_stub(folder: Path, control: bool = False, **changed: Any) -> Path:
    """A model folder; ``changed`` are fields of its section."""
    write_tokenizer(folder)
    if "memory" in changed:
        (folder / "denoise_memory.onnx").write_bytes(b"graph with memory")
    for name in ("text", "encode", "denoise", "decode", *(["control"] if control else [])):
        (folder / f"{name}.onnx").write_bytes(b"graph of " + name.encode())
        (folder / f"{name}.weights").write_bytes(b"weights of " + name.encode())
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    section = SECTION | {"control": control, "residuals": 13 if control else 0} | changed
    manifest = {
        "format": FORMAT,
        "name": "stub",
        "kind": "animatelcm",
        "scale": 1,
        "radius": 0,
        "align": 64,
        "value_range": "rgb",
        "tasks": [],
        "bytes_per_pixel": 12000,
        "parameters": 0,
        "licence": "MIT",
        "source": "",
        "files": hashes,
        "animatelcm": section,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def pooled(image: Array) -> Array:
    """Means over squares of 8x8 samples."""
    frames, channels, height, width = image.shape
    return image.reshape(frames, channels, height // FACTOR, FACTOR, width // FACTOR, FACTOR).mean((3, 5))


class StubEngine:
    """One of the networks, by name."""

    backend = "stub"

    def __init__(self, backend: StubBackend, name: str, sizes: Mapping[str, Size]) -> None:
        self.backend_, self.name, self.sizes = backend, name, sizes

    def run(self, inputs: Mapping[str, Feed | DeviceArray], *, keep: Collection[str] = ()) -> dict[str, Result]:
        with self.backend_.lock:
            self.backend_.runs.append(self.name)
        arrays = {name: value for name, value in inputs.items() if isinstance(value, np.ndarray)}
        assert arrays.keys() == inputs.keys()
        for name, value in arrays.items():
            assert value.flags.c_contiguous and value.dtype == (np.int32 if name == "tokens" else np.float32), name
        for name in ("image", "latents"):
            if self.sizes and name in arrays:
                prefix = "image_" if name == "image" else ""
                wanted = (self.sizes[f"{prefix}height"], self.sizes[f"{prefix}width"])
                assert arrays[name].shape[2:] == wanted
        found: dict[str, Result] = getattr(self, self.name)(**arrays)
        return found

    def text(self, tokens: Array) -> dict[str, Array]:
        return {"text": np.full((1, 77, 8), np.sin(tokens[0, 1]), np.float32)}

    def encode(self, image: Array) -> dict[str, Array]:
        assert len(image) == 1 and image.min() >= -1 and image.max() <= 1
        latents = pooled(image)
        return {"latents": np.concatenate([latents, latents[:, :1]], 1)}

    def decode(self, latents: Array) -> dict[str, Array]:
        assert len(latents) == 1
        return {"image": np.ascontiguousarray(latents[:, :3].repeat(FACTOR, 2).repeat(FACTOR, 3))}

    def control(self, latents: Array, timestep: Array, text: Array, image: Array, strength: Array) -> dict[str, Array]:
        assert image.min() >= 0 and image.max() <= 1
        return {"residual_0": strength * (pooled(image)[:, :1] - 0.5)}

    def denoise(
        self,
        latents: Array,
        noise: Array,
        timestep: Array,
        signal: Array,
        spread: Array,
        next_signal: Array,
        next_spread: Array,
        text: Array,
        mask: Array,
        residual_0: Array | int = 0,
    ) -> dict[str, Array]:
        share = np.exp(mask) / np.exp(mask).sum(1, keepdims=True)
        joined = np.einsum("fg,gchw->fchw", share, latents)
        denoised = (0.7 * latents + 0.3 * joined) / (signal + spread) + 0.1 * text.mean() + 0.1 * residual_0
        return {"next_latents": (next_signal * denoised + next_spread * noise).astype(np.float32)}

    def denoise_memory(
        self,
        latents: Array,
        noise: Array,
        timestep: Array,
        signal: Array,
        spread: Array,
        next_signal: Array,
        next_spread: Array,
        text: Array,
        mask: Array,
        memory_mask: Array,
        slot_order: Array,
        frame_order: Array,
        keys_0: Array,
        values_0: Array,
        scores_0: Array,
    ) -> dict[str, Array]:
        """As the graph: attention that goes by nothing but who sees whom, and a score that is the latents' size."""
        frames, slots = len(latents), len(slot_order)
        assert mask.shape == (frames, frames) and memory_mask.shape == (frames, slots) and keys_0.shape[2] == slots
        mine = latents.transpose(2, 3, 0, 1)
        values = np.concatenate([values_0, np.concatenate([mine, mine], -1)], 2)
        weight = np.exp(np.concatenate([memory_mask, mask], 1))
        joined = np.einsum("fs,hwsc->fchw", weight / weight.sum(1, keepdims=True), values[..., :4])
        denoised = (0.7 * latents + 0.3 * joined) / (signal + spread) + 0.1 * text.mean()
        scores = np.concatenate([scores_0, np.abs(mine).mean(-1)], 2)
        best = np.argsort(-(scores + np.concatenate([slot_order, frame_order])), 2, kind="stable")[..., :slots]
        chosen = np.take_along_axis(values, best[..., None], 2)
        return {
            "next_latents": (next_signal * denoised + next_spread * noise).astype(np.float32),
            "next_keys_0": -chosen,
            "next_values_0": chosen,
            "next_scores_0": np.take_along_axis(scores, best, 2),
        }


class StubBackend:
    """Makes such engines, and keeps account."""

    name = "stub"
    builds = False
    integers = True

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.loads: list[str] = []
        self.lock = threading.Lock()

    def unavailable(self) -> None:
        return None

    def streams(self) -> int:
        return 1

    def memory(self, device_id: int) -> DeviceMemory | None:
        return None

    def load(self, *args: Any, **kwargs: Any) -> StubEngine:
        raise NotImplementedError("AnimateLCM's networks are files")

    def load_file(self, path: Path, *, sizes: Mapping[str, Size], device_id: int, **_: Any) -> StubEngine:
        self.loads.append(path.name)
        return StubEngine(self, path.stem, sizes)
