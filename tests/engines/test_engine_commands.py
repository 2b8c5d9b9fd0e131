"""Engines that are built ahead, by command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.helpers.engine_networks import GPU, command
from vsanimup.cli.engines import _room
from vsanimup.engines import DeviceMemory
from vsanimup.engines.tensorrt.plans import Target
from vsanimup.networks.family import Build
from vsanimup.networks.find import find
from vsanimup.networks.lite.inference import Inference, ranges
from vsanimup.networks.manifest import SHIPPED, open_model
from vsanimup.networks.settings import OVERLAP
from vsanimup.tiling.budget import memory_of_tile


@pytest.mark.slow
def test_commands(folder: Path) -> None:
    code, said = command(
        "build",
        "lite-restore",
        "--task",
        "denoise",
        "--size",
        "90x90",
        "--size",
        "100x92",
        "--compute-capability",
        "8.9",
    )
    assert code == 0 and "there is none yet" in said and f"1 engine is in {folder}" in said
    code, said = command("list")
    assert code == 0 and "lite-restore_fp16_96x96..288x288_trt-rtx-" in said and "1 engine" in said
    assert command("prune")[1].startswith("0 engines deleted")
    about = next(folder.glob("*.json"))
    old = json.loads(about.read_text())
    old["key"]["library_version"] = "0.9"
    about.write_text(json.dumps(old))
    assert "1 engine deleted" in command("prune")[1]
    assert list(folder.glob("*.engine")) == [] == list(folder.glob("*.json"))


ODD_ABOUT = [
    {"format": 1, "key": {"a": 1}, "sha256": 5, "built": "y", "seconds": None},
    {"format": 1, "key": {"a": 1}, "built": float("nan"), "seconds": 1},
    {"format": 1, "key": {"a": 1}, "built": 1e300, "seconds": -1},
    {"format": 1, "key": {"gpu": [1], "job": {}}, "built": True, "seconds": 1},
    {"format": 1, "key": 3},
    [],
]


def test_odd_json_beside_an_engine_is_damage(folder: Path) -> None:
    folder.mkdir()
    texts = [*map(json.dumps, ODD_ABOUT), "[" * 100_000, ""]
    for number, text in enumerate(texts):
        (folder / f"odd{number}_00000000.engine").write_bytes(b"x")
        (folder / f"odd{number}_00000000.json").write_text(text)
    code, said = command("list")
    assert code == 0 and f"{len(texts)} engines" in said and said.count("damaged") == len(texts)
    assert all(f"odd{number}_00000000.engine" in said for number in range(len(texts)))
    assert f"{len(texts)} engines deleted" in command("prune")[1]


def test_engines_are_built_ahead_as_a_filter_cuts_its_frames(tmp_path: Path) -> None:
    """Tiles of a GPU of 4 GiB are smaller than those of one with plenty, and so are those that are built for it."""
    model, frame, gigabyte = open_model(SHIPPED / "lite-restore"), (1920, 1080), 1 << 30
    seen = set()
    for total, streams in ((24, 2), (4, 2), (4, 1), (2, 2)):
        room = DeviceMemory(total=total * gigabyte, free=total * gigabyte)
        backend = SimpleNamespace(name="tensorrt", builds=True, integers=False, memory=lambda _, room=room: room)
        inference = Inference(
            model,
            width=frame[0],
            height=frame[1],
            has_chroma=True,
            tilesize=None,
            overlap=(OVERLAP, OVERLAP),
            backend=backend,
            device_id=0,
            streams=streams,
        )
        wanted = ranges(inference.grid.rows.tile, inference.grid.columns.tile)
        target = Target(gpu=replace(GPU, total_memory=room.total))
        for most in (memory_of_tile(_room(target, None), streams), memory_of_tile(_room(Target(), total), streams)):
            (request,) = find("lite-restore").requests(Build(sizes=[frame], most=most))
            assert request.sizes == wanted
        seen.add(str(wanted))
    assert len(seen) >= 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lite-restore", "--size", "big"], "--size must be WIDTHxHEIGHT"),
        (["lite-restore", "--compute-capability", "ada"], "--compute-capability must be such as 8.9, or any"),
        (["lite-restore", "--compute-capability", "3.5", "--size", "90x90"], "builds for compute capabilities 7.5, "),
        (["x.onnx", "--dim", "n=4..2..9", "--compute-capability", "any"], "--dim n=4..2..9: the numbers must not fall"),
        (["lite-restore", "--precision", "fp7", "--compute-capability", "any"], "precision must be one of auto, fp32"),
        (["nowhere", "--compute-capability", "any"], "nowhere"),
        (["nowhere", "--memory", "1.5"], "memory must lie between 0 (off) and 1 (everything), got 1.5"),
        (["nowhere", "--anchor", "33"], "anchor must lie between 1 and 32 blocks of 24 frames, got 33"),
    ],
)
def test_commands_refuse(folder: Path, arguments: list[str], message: str) -> None:
    code, said = command("build", *arguments)
    assert code == 1 and message in said, said
