"""Weight modulation: task biases merged into a network's weights, for one mix of tasks.

After Instruct-IPT (arXiv 2407.00676). A model folder holds, for every modulated layer, the backbone's weight ``W``
and offset ``b`` and for every task ``t`` low-rank factors ``A[t]``, ``B[t]`` and an offset ``c[t]``. In force are
``W + sum of mix[t] B[t] A[t]`` and ``b + sum of mix[t] c[t]``. They are written into the bytes of the ONNX file, whose
places the manifest gives, when an engine is made; per frame nothing is paid.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsanimup.errors import AnimupError
from vsanimup.models import Model

F32 = NDArray[np.float32]

LEVELS = 64
"""Largest integer of an 8-bit weight. Half the range: kernels for processors without VNNI add pairs of products in
16 bits, which larger ones would overflow."""


def quantise_weight(weight: F32) -> tuple[NDArray[np.int8], F32]:
    """8-bit integers and one scale an output channel, for a weight ``[outputs, ...]``."""
    scale = np.abs(weight).reshape(len(weight), -1).max(1).clip(1e-12) / np.float32(LEVELS)
    levels = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1))).clip(-LEVELS, LEVELS)
    return levels.astype(np.int8), scale.astype(np.float32)


class Modulation:
    """The task biases of one model."""

    def __init__(self, model: Model) -> None:
        """Read and check them.

        Raises :class:`AnimupError` when the model's file of weights is damaged or does not fit its manifest.
        """
        self._model = model
        self._layers: dict[str, dict[str, Any]] = model.modulation.get("layers", {})
        name = str(model.modulation.get("file", ""))
        self._arrays: dict[str, F32] = {}
        if self._layers:
            try:
                with np.load(io.BytesIO(model.read(name)), allow_pickle=False) as data:
                    self._arrays = {key: data[key].astype(np.float32) for key in data.files}
            except (ValueError, OSError, zipfile.BadZipFile) as error:
                raise AnimupError(f"model file {model.folder / name} cannot be read: {error}") from error

    def layer(self, name: str, mix: Mapping[str, float]) -> tuple[F32, F32]:
        """Weight ``[outputs, inputs, rows, columns]`` and offset ``[outputs]`` in force for a mix."""
        weight, bias, a, b, c = (self._arrays[f"{name}.{part}"] for part in ("weight", "bias", "a", "b", "c"))
        weight, bias = weight.copy(), bias.copy()
        for task, share in mix.items():
            t = self._model.tasks.index(task)
            weight += np.float32(share) * (b[t] @ a[t]).reshape(weight.shape)
            bias += np.float32(share) * c[t]
        return weight, bias

    def weights(self, mix: Mapping[str, float]) -> dict[str, F32]:
        """What stands in the float network for a mix: the initialisers of all modulated layers, by name.

        They are named as the layers are, ``….weight`` and ``….bias``. The same names for every mix, also an empty one.
        """
        found = {}
        for name in self._layers:
            found[f"{name}.weight"], found[f"{name}.bias"] = self.layer(name, mix)
        return found

    def merge(self, file: str, network: bytes, mix: Mapping[str, float]) -> bytes:
        """``network``, the bytes of the model's ``file``, with the biases of a mix of its tasks merged in.

        Raises :class:`AnimupError` when the manifest does not fit the files.
        """
        if not mix or not self._layers:
            return network
        merged = bytearray(network)

        def write(place: object, values: NDArray[Any]) -> None:
            data = values.tobytes()
            if not isinstance(place, int) or not 0 <= place <= len(merged) - len(data):
                raise ValueError(f"there is no place {place!r}")
            merged[place : place + len(data)] = data

        try:
            for name, files in self._layers.items():
                places = files[file]
                weight, bias = self.layer(name, mix)
                if "weight_scale" not in places:
                    write(places["weight"], weight)
                    write(places["bias"], bias)
                    continue
                levels, scale = quantise_weight(weight)
                bias_scale = scale * np.float32(places["input_scale"])
                write(places["weight"], levels)
                write(places["weight_scale"], scale)
                write(places["bias_scale"], bias_scale)
                write(places["bias"], np.rint(bias / bias_scale).clip(-(2**31), 2**31 - 1).astype(np.int32))
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise AnimupError(
                f"model {self._model.folder}: its manifest does not fit {file} ({error!r}); get the model again"
            ) from error
        return bytes(merged)
