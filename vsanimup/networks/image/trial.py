"""Trying a network of others on small pictures: what it makes of them, and whether that is a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsanimup.errors import AnimupError, cut

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SIZES = {
    1: 53,
    2: 58,
    3: 57,
    4: 52,
    6: 66,
    8: 56,
    12: 60,
    16: 80,
    24: 72,
    32: 96,
    48: 144,
    64: 192,
    128: 384,
}
"""What a side may have to divide by, and a side that divides by that and by little else."""
FAR = (-1.0, 2.0)
"""Values that no picture in 0..1 has, whatever overshoots at its lines: where a hundredth lies beyond, it is none."""


def try_sizes(
    session: InferenceSession,
    shape: tuple[int, int],
    channels: int,
    fixed: tuple[int, int] | None,
    kind: type[Any],
    where: str,
) -> tuple[int, int]:
    """Enlargement, and what sides must divide by, of a network for inputs of ``shape`` (batch, channels).

    Its result has ``channels``. ``fixed`` is (rows, columns) where it takes no other, ``kind`` the type of its input.
    ``where`` begins errors.
    Raises :class:`AnimupError` where it runs on no size, or its result is no picture or not always the same.
    """
    (given,), said = session.get_inputs(), ""
    tries = [(1, *fixed)] if fixed else [(step, side, side + step) for step, side in SIZES.items()]
    for step, rows, columns in tries:
        try:
            picture = np.broadcast_to(test_picture(rows, columns), (*shape, rows, columns)).astype(kind)
            result = session.run(None, {given.name: picture})[0]
            again = session.run(None, {given.name: picture})[0]
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            said = cut(error)
            continue
        times = result.shape[2] // rows if result.ndim == 4 else 0
        if times and result.shape == (shape[0], channels, rows * times, columns * times):
            _check(result, again, where)
            return times, step
        said = f"its result for {columns}x{rows} is no multiple of that, or has other channels"
    raise AnimupError(f"{where} ran on none of the sizes that were tried: {said}")


def test_picture(rows: int, columns: int) -> NDArray[np.float32]:
    """Grey, with a ramp from black to white across and a patch of each: ``[rows, columns]`` in 0..1."""
    picture = np.full((rows, columns), 0.5, np.float32)
    picture[: rows // 2] = np.linspace(0, 1, columns, dtype=np.float32)
    picture[: rows // 4, : columns // 4] = 0
    picture[: rows // 4, -(columns // 4) or columns :] = 1
    return picture


def _check(result: NDArray[Any], again: NDArray[Any], where: str) -> None:
    if not np.isfinite(result).all():
        raise AnimupError(f"{where} gives NaN or infinity for a grey ramp; export it again, or use another network")
    low, high = (float(value) for value in np.quantile(result.astype(np.float32), (0.01, 0.99)))
    if low < FAR[0] or high > FAR[1]:
        raise AnimupError(
            f"{where} gives values from {low:.3g} to {high:.3g} for a grey ramp; a network that takes and gives "
            "0..1 is needed"
        )
    if result.tobytes() != again.tobytes():
        raise AnimupError(f"{where} gives another result each time it runs, and frames must not; use another network")
