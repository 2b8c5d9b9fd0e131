"""The peers that are ONNX files, run by onnxruntime itself: nothing of our filters is in what they take."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from benchmarks.upscaler import SCALE, Planes, Upscaler, cores
from vsanimup.errors import AnimupError
from vsanimup.networks.image.network import ImageNetwork, of_file
from vsanimup.packages import need

WANTED = (
    "a network for frames of any size is wanted, with one input [N, 3 (RGB) or 1 (luma), H, W] of 0..1 in float32 or "
    "float16, and one output of twice the size"
)


def files(folder: Path, taken: Collection[str]) -> dict[str, Path]:
    """The ONNX files of a folder by their stems, none of which is ``taken``."""
    found = {path.stem: path for path in sorted(folder.glob("*.onnx"))}
    if not found:
        raise SystemExit(f"peers: --onnx {folder} holds no *.onnx")
    for name, path in found.items():
        if name in taken:
            raise SystemExit(f"peers: --onnx: {path} would be one more {name!r}; rename the file")
    return found


class OnnxUpscaler(Upscaler):
    """An ONNX file, run on whole frames by all cores."""

    def __init__(self, path: Path) -> None:
        self._network = inspect(path)
        self.channels = self._network.channels
        ort = need("onnxruntime")
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = cores()
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def infer(self, planes: Planes) -> Planes:
        """Sides are filled up to what the network divides by, with the frame's outermost samples."""
        _, height, width = planes.shape
        below, beside = (-side % self._network.multiple for side in (height, width))
        given = np.pad(planes, ((0, 0), (0, below), (0, beside)), mode="edge")[None]
        if self._network.half:
            given = given.astype(np.float16)
        (result,) = self._session.run(None, {self._network.input: given})
        cropped: Planes = np.asarray(result, np.float32)[0, :, : height * SCALE, : width * SCALE]
        return cropped


def inspect(path: Path) -> ImageNetwork:
    """What a file's network takes; exits where that is not what can be compared."""
    try:
        network = of_file(str(path))
    except AnimupError as error:
        raise SystemExit(f"peers: --onnx: {str(error).removeprefix('model=')}; {WANTED}") from None
    faults = [
        text
        for wrong, text in (
            (network.scale != SCALE, f"enlarges by {network.scale}"),
            (network.frames > 1, f"takes {network.frames} frames in a row"),
            (network.batch > 1, f"takes {network.batch} frames a run and no other number"),
            (network.tile is not None, f"takes {'x'.join(map(str, network.tile or ()))} and no other size"),
        )
        if wrong
    ]
    if faults:
        raise SystemExit(f"peers: --onnx: '{path}' {' and '.join(faults)}; {WANTED}")
    return network
