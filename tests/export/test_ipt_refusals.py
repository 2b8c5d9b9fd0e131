"""IPT's export refuses what it cannot use, names it, and leaves nothing half-written."""

import contextlib
import errno
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from export.animatelcm import onnx_files
from export.animatelcm.checkpoints import load, open_tensors
from export.ipt.checkpoint import read
from export.ipt.command import export, main
from tests.helpers import ipt_files as files
from vsanimup.architectures.ipt import Ipt
from vsanimup.errors import AnimupError

LINEAR = "body.encoder.layers.1.linear1.weight"


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, torch.Tensor]]:
    """Tensors of a fine-tuned checkpoint that restores, of one that doubles, and of six tasks."""
    return {name: files.state(files.layout(name)) for name in ("x1", "x2", "six")}


@pytest.fixture
def refuse(tmp_path: Path) -> Callable[..., Any]:
    """Says what the command says of tensors; checks that it writes nothing."""

    def said(state: list[torch.Tensor] | dict[str, Any], task: str = "denoise30", **more: Any) -> str:
        torch.save(state, tmp_path / "ipt.pt")
        return refused(tmp_path / "ipt.pt", tmp_path / "out", task, **more)

    return said


def refused(checkpoint: Path, out: Path, task: str = "denoise30", **more: Any) -> str:
    """What the command says of a file, while it leaves the folder of ``out`` as it was."""
    before = sorted(out.parent.iterdir()) if out.parent.is_dir() else None
    with pytest.raises(SystemExit) as stopped:
        main(checkpoint=checkpoint, task=task, out=out, **more)
    assert (sorted(out.parent.iterdir()) if out.parent.is_dir() else None) == before
    return str(stopped.value)


@pytest.mark.parametrize(
    ("name", "task", "left_out", "said"),
    [
        ("x1", "denoise30", LINEAR, f"it lacks {LINEAR}"),
        ("x1", "denoise30", "sub_mean.bias", "it lacks sub_mean.bias"),
        ("x1", "denoise30", "head.0.2.body.0.weight", "it lacks head.0.2.body.0.weight"),
        ("x1", "denoise30", "tail.0.1.bias", "it lacks tail.0.1.bias"),
        ("x1", "denoise30", "body.encoder.layers.0.linear1.weight", "lacks the tensor body.encoder.layers.0.linear1."),
        ("x2", "x2", "tail.0.0.0.weight", "lacks the tensor tail.0.0.0.weight"),
        ("x2", "x2", "tail.0.0.0.bias", "it lacks tail.0.0.0.bias"),
        ("six", "denoise50", "head.5.1.body.2.bias", "it lacks head.5.1.body.2.bias"),
        ("six", "x4", "tail.2.0.2.weight", "it lacks tail.2.0.2.weight"),
        ("x1", "denoise30", "head.0.0.weight", "no IPT checkpoint: it lacks head.0.0.weight;"),
        ("x1", "denoise30", "body.query_embed.weight", "no IPT checkpoint: it lacks body.query_embed.weight;"),
    ],
)
def test_missing_tensors_are_named_as_in_the_file(
    states: dict[str, dict[str, torch.Tensor]],
    refuse: Callable[..., Any],
    name: str,
    task: str,
    left_out: str,
    said: str,
) -> None:
    whole = states[name]
    assert left_out in whole
    assert said in refuse({key: value for key, value in whole.items() if key != left_out}, task)


@pytest.mark.parametrize(
    "surplus",
    [
        "body.decoder.layers.0.norm4.weight",
        "tail.0.2.weight",
        "tail.7.1.weight",
        "head.odd",
        "task_bias.derain.U",
        "body.encoder.layers.0.linear1.lora_A.weight",
    ],
)
def test_surplus_tensors_are_named(
    states: dict[str, dict[str, torch.Tensor]], refuse: Callable[..., Any], surplus: str
) -> None:
    said = refuse(states["x1"] | {surplus: torch.ones(3, 2)})
    assert "is not an IPT for denoise30: it has " + surplus + ", which nothing takes" in said


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        (LINEAR, (4, 72), f"{LINEAR} is [4, 72], wanted ["),
        ("body.query_embed.weight", (1, 7), "body.query_embed.weight is [1, 7], wanted [1, 18432]"),
        ("body.query_embed.weight", (7,), "body.query_embed.weight is [7], wanted 2 dimensions"),
        ("body.position_encoding.pe.weight", (256,), "pe.weight is [256], wanted 2 dimensions"),
        ("body.position_encoding.pe.weight", (255, 72), "pe.weight is [255, 72], which is no square of tokens of 8"),
        ("head.0.0.weight", (0, 3, 3, 3), "head.0.0.weight is [0, 3, 3, 3], wanted 4 dimensions"),
        ("head.0.0.weight", (9, 3, 3, 3), "which is no square of tokens of 9 features, as many as head.0.0.weight has"),
        ("head.0.0.weight", (), "head.0.0.weight is [], wanted 4 dimensions"),
        ("body.encoder.layers.0.linear1.weight", (), "linear1.weight is [], wanted 2 dimensions"),
        ("tail.0.0.0.weight", (32,), "tail.0.0.0.weight is [32], wanted 4 dimensions"),
        ("tail.0.0.0.weight", (200, 8, 3, 3), "[200, 8, 3, 3], of no enlargement by 2, 3 or 4"),
        ("tail.0.0.0.weight", (72, 8, 3, 3), "enlarges by 3; give --task x3"),
    ],
)
def test_tensors_of_another_shape_are_named(
    states: dict[str, dict[str, torch.Tensor]], refuse: Callable[..., Any], name: str, shape: tuple[int, ...], said: str
) -> None:
    assert said in refuse(states["x2"] | {name: torch.ones(shape)}, "x2")


def test_numbers_that_are_none(states: dict[str, dict[str, torch.Tensor]], refuse: Callable[..., Any]) -> None:
    assert "is torch.int8; give weights" in refuse(states["x1"] | {LINEAR: states["x1"][LINEAR].to(torch.int8)})
    assert f"{LINEAR}.T holds numbers that are no numbers" in refuse(
        states["x1"] | {LINEAR: torch.full_like(states["x1"][LINEAR], torch.nan)}
    )


@pytest.mark.parametrize(
    ("name", "task", "more", "said"),
    [
        ("x1", "denoise", {}, "--task must be one of x2, x3, x4, derain, denoise30, denoise50, got 'denoise'"),
        ("x1", "x2", {}, "restores at the same size; give --task derain or denoise30 or denoise50"),
        ("x2", "x4", {}, "enlarges by 2; give --task x2"),
        ("x2", "x2", {"query": 1}, "has 1 heads and 1 queries, so none of index 1: give --query"),
        ("six", "x2", {"query": 1}, "enlarges by 3; give --task x3"),
        ("x1", "derain", {"heads": 7}, "--heads 7 does not divide the width of 72: published networks have 12"),
        ("x1", "derain", {"stride": 49}, "--stride must lie between 1 and 48, the side of a patch, got 49"),
        ("x1", "derain", {"precision": "int8"}, "--precision must be fp32 or fp16, got 'int8'"),
    ],
)
def test_bad_arguments(
    states: dict[str, dict[str, torch.Tensor]],
    refuse: Callable[..., Any],
    name: str,
    task: str,
    more: dict[str, Any],
    said: str,
) -> None:
    assert said in refuse(states[name], task, **more)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (
            {"state_dict": {"module.mid_block.motion_modules.0.temporal_transformer.norm.weight": torch.ones(8)}},
            "AnimateLCM's motion module: animup export animatelcm takes that",
        ),
        ({"lora_unet_mid_block.lora_down.weight": torch.ones(2, 2)}, "it looks like a LoRA"),
        ({"model.diffusion_model.out.2.bias": torch.ones(4)}, "it looks like a Stable Diffusion model"),
        # as training.lite.train writes them
        ({"step": 3, "restore": {"body.weight": torch.ones(2)}, "optimizer": {}}, "(python -m export lite)"),
        ({"a": torch.ones(1), "b": torch.ones(1)}, "its tensors are called a, b and so on"),
        ([torch.ones(1)], "holds no tensors but a list"),
        ({"a": object}, "holds more than tensors, which could run foreign code"),
    ],
)
def test_other_checkpoints_are_recognised(
    refuse: Callable[..., Any], state: list[torch.Tensor] | dict[str, Any], said: str
) -> None:
    assert said in refuse(state)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.pt", None, "a.pt does not exist: give the checkpoint's path"),
        ("", None, "is no file: give the checkpoint's path"),
        ("a.pt", b"", "download it again"),
        ("a.pt", b"\x89PNG\r\n\x1a\n nonsense", "is no PyTorch file, whatever its name says: download it again"),
        ("a.pt", b"<!DOCTYPE html><html>sign in</html>", "is no PyTorch file, whatever its name says"),
        ("a.pt", b"\x80\x02e.", "is no whole PyTorch file (pop from empty list): download it again"),
        ("a.ckpt", b"PK\x05\x06" + bytes(18), "is no whole PyTorch file"),
        ("a.safetensors", b"nonsense", "no whole safetensors file"),
        ("a.onnx", b"nonsense", "must be a .safetensors, .ckpt, .pt, .pth or .bin file"),
    ],
)
def test_no_checkpoint_at_all(tmp_path: Path, name: str, data: bytes | None, said: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    found = refused(tmp_path / name, tmp_path / "out")
    assert str(tmp_path) in found and any(each in found for each in said.split("|"))


def test_a_file_that_is_cut_short(states: dict[str, dict[str, torch.Tensor]], tmp_path: Path) -> None:
    torch.save(states["x1"], tmp_path / "whole.pt")
    (tmp_path / "a.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:-1000])
    assert "download it again" in refused(tmp_path / "a.pt", tmp_path / "out")


def test_whatever_is_damaged_in_a_file_is_said(tmp_path: Path) -> None:
    rng, path = random.Random(0), tmp_path / "a.pt"
    torch.save({"a": torch.ones(3), 7: torch.ones(1)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    assert list(open_tensors(path)) == ["a"]
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(1, len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
        with contextlib.suppress(AnimupError):
            open_tensors(path)


def test_files_of_old_pytorch_are_read(states: dict[str, dict[str, torch.Tensor]], tmp_path: Path) -> None:
    torch.save(states["x1"], tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    sizes, tensors = read(tmp_path / "old.pt", "derain", heads=12)
    with torch.device("meta"):
        net = Ipt(sizes)
    load(net, tensors, "an IPT")
    assert torch.equal(net.get_parameter(LINEAR), states["x1"][LINEAR])


@pytest.fixture
def checkpoint(states: dict[str, dict[str, torch.Tensor]], tmp_path: Path) -> Path:
    torch.save(states["x1"], tmp_path / "x1.pt")
    return tmp_path / "x1.pt"


def test_places_that_cannot_be_written_to(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("mine")
    (tmp_path / "folder").mkdir()
    for name in ("plain", "folder"):
        assert "exists and is no model folder: give a new name, or remove it" in refused(checkpoint, tmp_path / name)
    said = refused(checkpoint, tmp_path / "plain" / "out")
    assert "nothing was written to" in said and "give another --out" in said
    assert (tmp_path / "plain").read_text() == "mine"
    if sys.platform == "linux":
        assert "nothing was written to /proc/ipt" in refused(checkpoint, type(tmp_path)("/proc/ipt"))


def test_an_earlier_folder_outlives_an_export_that_fails(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    list(export(checkpoint, "derain", out))
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    errors = [OSError(errno.ENOSPC, "No space left"), MemoryError()]

    def fail(*_: Any, **__: Any) -> None:
        (next(tmp_path.glob(".out.*")) / "new" / "network.weights").write_bytes(b"half")
        raise errors.pop(0)

    monkeypatch.setattr(onnx_files, "store", fail)
    for said in ("No space left", "out of memory"):
        assert f"ipt: {said}; nothing was written to {out}: " in refused(checkpoint, out)
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_graph_that_differs_is_not_written(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_files, "run", lambda path, inputs: [inputs["image"].numpy() + 1])
    assert "above the tolerance" in refused(checkpoint, tmp_path / "out")


def test_errors_are_of_one_kind(tmp_path: Path) -> None:
    with pytest.raises(AnimupError, match="does not exist"):
        list(export(tmp_path / "a.pt", "x2", tmp_path / "out"))
