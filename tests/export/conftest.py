"""Requests to AnimateLCM's export."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from export.animatelcm.command import Request


@pytest.fixture(scope="session")
def request_of(made: Path) -> Callable[..., Any]:
    """What the command is asked for, with some of it changed."""

    def make(**changed: Any) -> Request:
        whole = Request(
            base=made / "base.safetensors",
            motion=made / "motion.ckpt",
            lora=made / "lora.safetensors",
            lora_weight=0.8,
            controlnet=None,
            vae=None,
            tiny_vae=None,
            tokenizer=made / "base" / "tokenizer",
            out=made / "out",
            precision="fp32",
            clip_skip=1,
            slices=2,
            motion_norm="frame",
            licences={},
            not_consistency=False,
        )
        return replace(whole, **changed)

    return make
