"""What a posterised picture's texture was: a small network (``vsanimup/architectures/bands.py``), on the CPU.

It goes over a plane in strips of all its columns, each with as many rows around as the network sees, so that strips
change nothing, and memory is bounded whatever the frame's size.
"""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Final

import numpy as np

from vsanimup.engines import BACKENDS, Array, Engine, on_host
from vsanimup.shipped import verified
from vsanimup.sizes import round_up

FILE: Final = Path(__file__).parents[1] / "models" / "deband.onnx"
DIGEST: Final = "cade0e2dba3806eb655265c8fbe6b4cf2b2acf40f5fd6461640a2a104597181e"
"""SHA-256 of the file; ``python -m training.deband.train`` prints it."""
INPUTS: Final = "plane", "smooth", "distance"
OUTPUT: Final = "change"
ALIGN: Final = 4
"""Rows and columns of the network's input must divide by this."""
MARGIN: Final = 32
"""Samples on each side that tell of a sample; a plane is continued by them at its edges."""
ROWS: Final = 256
"""Rows of a strip."""
FARTHEST: Final = 1e6
"""Distances of levels that the network is told of at most."""
WIDEST: Final = 16.0
"""Distance of levels, in steps of 8 bits, that the network calls 1."""


@functools.cache
def _shipped() -> bytes:
    return verified(FILE, DIGEST, "leave out deband")


class Network:
    """The network, for planes of any size. Safe to call from several threads; equal input gives equal bytes."""

    def __init__(self, streams: int) -> None:
        """``streams`` calls run at once. Raises :class:`vsanimup.errors.AnimupError` where its file is damaged."""
        self._network, self._streams = _shipped(), streams
        self._engines: dict[tuple[int, int], Engine] = {}
        self._loading = threading.Lock()

    def _engine(self, rows: int, columns: int) -> Engine:
        """The engine for strips of a size, made on first use."""
        with self._loading:
            if (rows, columns) not in self._engines:
                self._engines[rows, columns] = BACKENDS["cpu"].load(
                    self._network,
                    origin=str(FILE),
                    sizes={"height": rows, "width": columns},
                    device_id=0,
                    streams=self._streams,
                )
            return self._engines[rows, columns]

    def __call__(self, plane: Array, smooth: Array, distance: float, level: float) -> Array:
        """What a plane's samples were, given what smoothing its ramps makes of it, ``[rows, columns]``.

        ``distance`` is that of the levels, in samples; ``level`` a sample's step in those of 8 bits.
        """
        rows, columns = plane.shape
        strip, wide = min(ROWS, round_up(rows, ALIGN)), round_up(columns, ALIGN)
        count = -(-rows // strip)
        around = (MARGIN, MARGIN + count * strip - rows), (MARGIN, MARGIN + wide - columns)
        far = np.float32(FARTHEST * distance)  # floats may be of any size
        own, smoothing = (
            np.pad(np.clip(part, -far, far) / np.float32(distance), around, mode="edge")
            for part in (plane, smooth - plane)
        )
        engine = self._engine(strip + 2 * MARGIN, wide + 2 * MARGIN)
        unit = np.full((1, 1, 1, 1), distance * level / WIDEST, np.float32)
        result = np.empty((count * strip, wide), np.float32)
        for top in range(0, count * strip, strip):
            parts = (part[None, None, top : top + strip + 2 * MARGIN] for part in (own, smoothing))
            found = engine.run(dict(zip(INPUTS, (*map(np.ascontiguousarray, parts), unit), strict=True)))
            result[top : top + strip] = on_host(found[OUTPUT])[0, 0, MARGIN:-MARGIN, MARGIN:-MARGIN]
        result = result[:rows, :columns]
        result *= np.float32(distance)
        result += plane
        return result
