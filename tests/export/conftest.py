"""Requests to AnimateLCM's export."""

from dataclasses import replace

import pytest


@pytest.fixture(scope="session")
def request_of(made):
    """What the command is asked for, with some of it changed."""
    from export.animatelcm.command import Request

    def make(**changed):
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
