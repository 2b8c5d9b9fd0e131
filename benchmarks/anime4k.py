"""The peers of the package pyanime4k: tiny networks for luma in a SIMD engine of its own, Anime4KCPP."""

from __future__ import annotations

import numpy as np

from benchmarks.upscaler import SCALE, Image, Planes, Upscaler
from vsanimup.packages import PIP_NAMES, need


class Anime4kUpscaler(Upscaler):
    """One of its models, on whole frames; it takes its number of threads itself."""

    channels = 1

    def __init__(self, model: str) -> None:
        try:
            engine = need("pyanime4k.pyac").pyac
            models = engine.specs.ModelNameList
        except (ImportError, AttributeError) as error:  # older versions have another interface
            raise SystemExit(f"peers: {model}: {error}; run: pip install {PIP_NAMES['pyanime4k']}") from None
        if model not in models:  # it would take another one without a word
            raise SystemExit(f"peers: this pyanime4k has no model {model!r}; there are {', '.join(models)}")
        self._processor = engine.core.Processor(processor_type="cpu", device=0, model=model)
        if not self._processor.ok():
            raise SystemExit(f"peers: pyanime4k cannot run {model}: {self._processor.error()}")

    def infer(self, planes: Planes) -> Planes:
        """Luma alone, as the networks themselves take it."""
        result: Planes = np.asarray(self._processor(planes[0], float(SCALE)))[None]
        return result

    def enlarge(self, image: Image) -> Image:
        """RGB as its own program gives it: the engine parts luma from chroma and enlarges the latter."""
        return np.asarray(self._processor(np.ascontiguousarray(image), float(SCALE)), np.uint8)
