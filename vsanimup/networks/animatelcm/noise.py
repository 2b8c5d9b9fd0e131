"""Gaussian noise as a pure function of its place."""

from __future__ import annotations

import numpy as np

from vsanimup.engines import Array

_WORD = (1 << 64) - 1


def field(seed: int, step: int, shape: tuple[int, int, int]) -> Array:
    """Noise of mean 0 and variance 1, float32 ``[channels, rows, columns]``, for the latents of a whole picture.

    Step 0 is what a run starts from, step i the noise that step i - 1 ends with. ``seed`` is any number of 64 bits.

    Every frame takes the same field: a still scene then comes out still, whichever window it lies in, and a frame in
    two windows has the same noise in both. Tiles are cut out of it, so that they agree where they overlap.

    The random words are those of Philox 4x64, which a key and a counter determine, and not of numpy's generators of
    distributions, which may change from version to version.
    """
    count = shape[0] * shape[1] * shape[2]
    pairs = -(-count // 2)
    words = np.random.Philox(key=np.array([seed & _WORD, step], np.uint64)).random_raw(2 * pairs)
    # 53 bits each, never 0
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    radius, angle = np.sqrt(-2 * np.log(uniform[:pairs])), 2 * np.pi * uniform[pairs:]
    normal = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    return normal[:count].astype(np.float32).reshape(shape)
