"""Checkpoints of the lite networks."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch

from vsanimup.architectures.lite.network import Lite, LiteConfig

Networks = torch.nn.ModuleDict
"""The networks of a run by name, all of them :class:`Lite`."""
BOTH = "codecs"
"""Name of what mends both kinds of codecs."""
CODEC_TASKS = {"mpeg2": "deblock", "asp": "deblock", "jpeg": "deblock", "web": "destream", "hevc": "destream"}
"""What mends an encoder's degradations: H.264 and HEVC have filters in their loop, which turn blocks into smears."""


def load_checkpoint(path: Path) -> Networks:
    """The averaged networks of a checkpoint, ready to run."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    nets = Networks({name: Lite(LiteConfig(**config)) for name, config in state["config"].items()})
    nets.load_state_dict(state["average"])
    return nets.eval()


def lites(nets: Networks) -> dict[str, Lite]:
    """The networks by name, as what they are."""
    return cast("dict[str, Lite]", dict(nets.items()))
