"""Networks from one picture, or a few in a row, to one: folders of kind ``image``, and ONNX files of other projects."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsanimup.engines.base import on_host
from vsanimup.engines.shapes import side_range
from vsanimup.errors import AnimupError, cut, shown
from vsanimup.networks.fields import Field, text, whole
from vsanimup.networks.image.operators import RANDOM, operators
from vsanimup.networks.image.trial import try_sizes
from vsanimup.networks.manifest import MANIFEST, Model, path_of

if TYPE_CHECKING:
    from vsanimup.engines import Backend, Engine, Size

Array = NDArray[np.float32]

KIND = "image"
BATCH = 8
"""Pictures a run, where a network of fixed size takes any number."""
BYTES_PER_PIXEL = 16 << 10
"""Working memory a sample of input that a network is supposed to take when nothing is known of it."""
MOST_BATCH = 64
MOST_SIDE = 8192
"""Pictures, and samples of a side, that a network of fixed size may take at most."""
MOST_FRAMES = 31
"""Pictures in a row that a network may take."""
FIELDS = {
    "file": text(),
    "weights": text(default=""),
    "input": text(),
    "output": text(),
    "channels": Field("1 or 3", lambda value: type(value) is int and value in (1, 3)),
    "frames": Field(
        f"an odd number up to {MOST_FRAMES}, and 1 with one channel",
        lambda value: type(value) is int and value in range(1, MOST_FRAMES + 1, 2),
        default=1,
    ),
    "tile": whole(1, MOST_SIDE),
    "overlap": whole(0, MOST_SIDE),
    "batch": whole(1, MOST_BATCH),
}
"""What the section of a manifest says of a network."""
FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclass(frozen=True, kw_only=True)
class ImageNetwork:
    """What a network takes, ``[batch, frames * channels, rows, columns]`` of values in 0..1, and what it gives.

    That is ``[batch, channels, rows, columns]``, the middle one of the pictures in a row, enlarged.
    """

    path: Path
    """The ONNX file."""
    name: str
    """For logs and errors."""
    input: str
    output: str
    channels: int
    """3 is RGB, 1 is luma."""
    frames: int
    """Pictures in a row, an odd number; 1 for most."""
    scale: int
    tile: tuple[int, int] | None
    """Width and height, where it takes no other."""
    multiple: int
    """Sides must divide by this."""
    batch: int
    """Pictures a run."""
    overlap: int | None
    """Samples that tiles share unless told otherwise."""
    half: bool
    """Whether input is float16."""
    axes: tuple[tuple[int, str], ...]
    """Symbolic axes of the input by their place."""
    bytes_per_pixel: int
    model: Model | None
    """The folder that it is of."""

    @property
    def radius(self) -> int:
        """Frames that it sees on each side."""
        return self.frames // 2

    def load(
        self, backend: Backend, device_id: int, tile: tuple[int, int], *, streams: int = 1, precision: str = "auto"
    ) -> Engine:
        """An engine for tiles of (width, height); ``precision`` counts where engines are built."""
        if self.model is not None:
            section = self.model.sections[KIND]
            for name in (section["file"], section.get("weights")):
                if name:
                    self.model.verify(name)
        return backend.load_file(
            self.path,
            sizes=self.sizes(tile, backend.builds),
            device_id=device_id,
            streams=streams,
            precision=precision if backend.builds else "auto",
        )

    def sizes(self, tile: tuple[int, int], ranges: bool) -> dict[str, Size]:
        """Symbolic dimensions for tiles of (width, height), or ``ranges`` around them; none where they contradict."""
        wanted: dict[int, Size] = {0: self.batch, 2: tile[1], 3: tile[0]}
        if ranges and self.tile is None:
            wanted |= {axis: side_range(side, self.multiple) for axis, side in ((2, tile[1]), (3, tile[0]))}
        found: dict[str, Size] = {}
        for axis, name in self.axes:
            if found.setdefault(name, wanted[axis]) != wanted[axis]:
                return {}
        return found

    def run(self, engine: Engine, pictures: Array) -> Array:
        """Pictures ``[batch, frames * channels, rows, columns]`` through an engine of :meth:`load`."""
        given: Any = pictures.astype(np.float16) if self.half else pictures
        results = engine.run({self.input: given})
        if self.output not in results:
            named = ", ".join(results)
            raise AnimupError(f"the network {self.path} gives {named} and no {self.output}, which {MANIFEST} names")
        result = on_host(results[self.output]).astype(np.float32, copy=False)
        batch, _, rows, columns = pictures.shape
        wanted = (batch, self.channels, rows * self.scale, columns * self.scale)
        if result.shape != wanted:
            raise AnimupError(f"the network {self.path} gave {list(result.shape)} where {list(wanted)} was wanted")
        if not np.isfinite(result).all() and np.isfinite(pictures).all():
            raise AnimupError(f"the network {self.path} gave NaN or infinity; use one of 32 bits, or another network")
        return result


def of_file(model: str) -> ImageNetwork:
    """The network of an ONNX file, which ``model`` names.

    Raises :class:`AnimupError` where there is none or it cannot be used.
    """
    path = path_of(model)
    if path is None or not path.is_file():
        raise AnimupError(f"model={shown(model)}: there is no such file; give the path of an ONNX file")
    if not os.access(path, os.R_OK):
        raise AnimupError(f"model={shown(model)} cannot be read; see to its permissions")
    status = path.stat()
    return _inspect(path.resolve(), status.st_size, status.st_mtime_ns)


def of_folder(model: Model) -> ImageNetwork:
    """The network of a folder of kind ``image``. Raises :class:`AnimupError` where its manifest does not say it."""
    section = model.section(KIND, FIELDS)
    if section["overlap"] >= section["tile"]:
        raise model.refusal(f"{KIND}.overlap must be below {KIND}.tile, {section['tile']}, got {section['overlap']}")
    if section["frames"] > 1 and section["channels"] == 1:
        raise model.refusal(f"{KIND}.frames must be {FIELDS['frames'].wanted}, got {section['frames']}")
    tile = section["tile"]
    return ImageNetwork(
        path=model.path(section["file"]),
        name=model.name,
        input=section["input"],
        output=section["output"],
        channels=section["channels"],
        frames=section["frames"],
        scale=model.scale,
        tile=(tile, tile),
        multiple=1,
        batch=section["batch"],
        overlap=section["overlap"],
        half=False,
        axes=((0, "batch"),),
        bytes_per_pixel=model.bytes_per_pixel,
        model=model,
    )


@functools.lru_cache(maxsize=16)
def _inspect(path: Path, size: int, changed: int) -> ImageNetwork:
    """What the graph of a file tells, and what trying it on small pictures does."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4  # that sizes do not fit is no fault
    options.intra_op_num_threads = 1
    where = f"model={shown(str(path))}"
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base of their own
        raise AnimupError(f"{where} is no network that onnxruntime can load: {cut(error)}") from error
    if random := RANDOM & operators(path):
        raise AnimupError(
            f"{where} has random operators ({', '.join(sorted(random))}), and frames must not depend on chance; "
            "export it without them"
        )
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        names = [cut(", ".join(each.name for each in every)) for every in (inputs, outputs)]
        raise AnimupError(
            f"{where} has {len(inputs)} inputs ({names[0]}) and {len(outputs)} outputs ({names[1]}); "
            "a network with one picture in and one out is needed"
        )
    (given,), (result,) = inputs, outputs
    for each in (given, result):
        if each.type not in FLOATS:
            raise AnimupError(f"{where}: {each.name} is {each.type}; float32 or float16 in 0..1 is needed")
    shape = given.shape
    channels, frames = _pictures(shape, f"{where}: {given.name}")
    fixed = [isinstance(side, int) and side > 0 for side in shape[2:]]
    if fixed[0] != fixed[1]:
        raise AnimupError(f"{where}: {given.name} has the shape {shape}, with only one side fixed; both or none may be")
    any_batch = not isinstance(shape[0], int) or shape[0] < 1
    batch = 1 if any_batch else shape[0]
    if batch > MOST_BATCH or (fixed[0] and max(shape[2:]) > MOST_SIDE):
        raise AnimupError(
            f"{where}: {given.name} has the shape {shape}; {MOST_BATCH} pictures with sides of {MOST_SIDE} at most are "
            "possible"
        )
    kind = FLOATS[given.type]
    scale, multiple = try_sizes(
        session, (batch, frames * channels), channels, tuple(shape[2:]) if fixed[0] else None, kind, where
    )
    tile = (shape[3], shape[2]) if fixed[0] else None
    if scale > 4:
        raise AnimupError(f"{where} enlarges by {scale}; 1 to 4 are possible")
    axes = tuple((i, shape[i]) for i in (0, 2, 3) if isinstance(shape[i], str) and shape[i])
    return ImageNetwork(
        path=path,
        name=path.name,
        input=given.name,
        output=result.name,
        channels=channels,
        frames=frames,
        scale=scale,
        tile=tile,
        multiple=multiple,
        batch=BATCH if any_batch and tile else batch,
        overlap=None,
        half=kind is np.float16,
        axes=axes,
        bytes_per_pixel=BYTES_PER_PIXEL,
        model=None,
    )


def _pictures(shape: Sequence[Any], where: str) -> tuple[int, int]:
    """Channels of a picture, and pictures in a row, of a network whose input has this shape.

    ``where`` begins errors. Raises :class:`AnimupError` for other shapes.
    """
    given = shape[1] if len(shape) == 4 else None
    if given in (1, 3):
        return int(given), 1
    if isinstance(given, int) and given > 0 and given % 3 == 0:
        frames = given // 3
        if frames % 2 and frames <= MOST_FRAMES:
            return 3, frames
        raise AnimupError(
            f"{where} has {given} channels, {frames} pictures of RGB in a row; an odd number up to {MOST_FRAMES} is "
            "needed, the middle one of which comes out"
        )
    more = "; a channel more for a noise map, as DPIR has it, cannot be given" if given in (2, 4) else ""
    raise AnimupError(
        f"{where} has the shape {list(shape)}; [batch, 3 (RGB) or 1 (luma), rows, columns] is needed, or 3·k channels "
        f"for k frames of RGB{more}"
    )
