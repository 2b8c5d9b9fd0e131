"""Clips to train on, and a corpus to compose such of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from training.data.corpus import Library


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training clips and one for validation, random but smooth, in the clip files' layout."""
    side = 96
    folder = tmp_path_factory.mktemp("clips")
    for name in ("train_00000", "train_00001", "val_000"):
        rng = np.random.default_rng(sum(map(ord, name)))
        hr = np.kron(rng.integers(16, 235, (7, side // 4, side // 4)), np.ones((8, 8))).astype(np.uint8)
        hr_uv = np.full((7, 2, side, side), 128, np.uint8)
        clean = hr.reshape(7, side, 2, side, 2).mean((2, 4)).astype(np.uint8)
        noisy = np.clip(clean + rng.normal(0, 12, (3, *clean.shape)), 0, 255).astype(np.uint8)
        np.savez(
            folder / f"{name}.npz",
            hr_y=hr,
            hr_uv=hr_uv,
            lr_y=np.stack([clean, *noisy]),
            lr_uv=np.full((4, 7, 2, side // 2, side // 2), 128, np.uint8),
            kinds=np.array(["clean", "web", "vhs", "mpeg2"]),
            cut=np.array([0, 0, 0, 1, 0, 0, 0], np.int8),
            sources=np.array(["x"]),
        )
    return folder


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny corpus: cut-outs, scenes and film runs of both splits."""
    from tests.helpers.corpus_files import draw_corpus

    return draw_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def library(drawn: Path) -> Library:
    """The training split of the drawn corpus."""
    from training.data.corpus import Library

    return Library(drawn, "train")
