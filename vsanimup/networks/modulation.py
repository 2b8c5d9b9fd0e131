"""Weight modulation: task biases merged into a network's weights, for one mix of tasks.

After Instruct-IPT (arXiv 2407.00676). A model folder holds, for every modulated layer, the backbone's weight ``W``
and offset ``b`` and for every task ``t`` low-rank factors ``A[t]``, ``B[t]`` and an offset ``c[t]``. In force are
``W + sum of mix[t] B[t] A[t]`` and ``b + sum of mix[t] c[t]``. They are written into the bytes of the ONNX file, whose
places the manifest gives, when an engine is made; per frame nothing is paid.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsanimup.errors import AnimupError, cut, shown
from vsanimup.networks.fields import Field, text
from vsanimup.networks.manifest import Model

F32 = NDArray[np.float32]

LEVELS = 64
"""Largest integer of an 8-bit weight. Half the range: kernels for CPUs without VNNI add pairs of products in
16 bits, which larger ones would overflow."""


def quantise_weight(weight: F32) -> tuple[NDArray[np.int8], F32]:
    """8-bit integers and one scale an output channel, for a weight ``[outputs, ...]``."""
    scale = np.abs(weight).reshape(len(weight), -1).max(1).clip(1e-12) / np.float32(LEVELS)
    levels = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1))).clip(-LEVELS, LEVELS)
    return levels.astype(np.int8), scale.astype(np.float32)


REMEDY = "get the model again"


def _objects(value: Any) -> bool:
    """Whether this is an object of objects."""
    return isinstance(value, dict) and all(isinstance(each, dict) for each in value.values())


FIELDS = {"file": text(default=""), "layers": Field("objects", _objects, default={})}
"""What the manifest says of task biases: the file of their arrays, and where each layer lies in each graph."""


def _arrays(model: Model, name: str) -> dict[str, F32]:
    """The arrays of a model's file, which must be numbers."""
    content = model.read(name)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as data:
            return {key: data[key].astype(np.float32) for key in data.files}
    except Exception as error:  # numpy's and zipfile's have no common base
        raise AnimupError(f"model file {model.folder / name} holds no arrays that can be read; {REMEDY}") from error


class Modulation:
    """The task biases of one model."""

    def __init__(self, model: Model) -> None:
        """Read and check them.

        Raises :class:`AnimupError` when the model's file of weights is damaged or does not fit its manifest.
        """
        self._model = model
        section = model.section("modulation", FIELDS)
        self._layers: dict[str, dict[str, Any]] = section["layers"]
        self._arrays = _arrays(model, section["file"]) if self._layers else {}

    def layer(self, name: str, mix: Mapping[str, float]) -> tuple[F32, F32]:
        """Weight ``[outputs, inputs, rows, columns]`` and offset ``[outputs]`` in force for a mix.

        Raises :class:`AnimupError` when the file of weights does not hold them.
        """
        try:
            weight, bias, a, b, c = (self._arrays[f"{name}.{part}"] for part in ("weight", "bias", "a", "b", "c"))
            weight, bias = weight.copy(), bias.copy()
            # what comes of it is looked at below; and some of numpy's kernels for ARM say of products that they divided
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                for task, share in mix.items():
                    t = self._model.tasks.index(task)
                    weight += np.float32(share) * (b[t] @ a[t]).reshape(weight.shape)
                    bias += np.float32(share) * c[t]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise AnimupError(
                f"model {self._model.folder}: its weights of layer {name} do not fit ({cut(repr(error))}); {REMEDY}"
            ) from error
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise AnimupError(
                f"model {self._model.folder}: its weights of layer {name} are no finite numbers; {REMEDY}"
            )
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
                raise ValueError(f"there is no place {shown(place)}")
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
                if not (np.isfinite(bias_scale).all() and (bias_scale > 0).all()):
                    raise ValueError(f"there is no scale {shown(places['input_scale'])}")
                write(places["weight"], levels)
                write(places["weight_scale"], scale)
                write(places["bias_scale"], bias_scale)
                write(places["bias"], np.rint(bias / bias_scale).clip(-(2**31), 2**31 - 1).astype(np.int32))
        except AnimupError:
            raise
        except (KeyError, IndexError, ValueError, TypeError, OverflowError) as error:
            raise AnimupError(
                f"model {self._model.folder}: its manifest does not fit {file} ({cut(repr(error))}); {REMEDY}"
            ) from error
        return bytes(merged)
