"""Short trainings of small lite networks."""

import json
from pathlib import Path
from typing import Any

import torch

from training.lite.train import main as train
from vsanimup.architectures.lite.network import ALIGN

SMALL = {"dim": 16, "depth": 1, "quarter": 16, "half": 8, "inner": 1}


def weights(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(out / "checkpoint.pt", weights_only=True)
    return found


def run(clips: Path, out: Path, steps: int, **kw: Any) -> None:
    options: dict[str, Any] = {"batch": 2, "plain": 2, "crop": 2 * ALIGN, "every": 4, "threads": 1, "size": 0.2}
    train(data=clips, out=out, steps=steps, **(options | kw))


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
