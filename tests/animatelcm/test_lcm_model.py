"""Model folders of AnimateLCM: what is missing or damaged is named before anything runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.lcm_stub import StubBackend, write_stub
from vsanimup.errors import AnimupError
from vsanimup.networks.animatelcm.model import AnimateLcm
from vsanimup.networks.manifest import MANIFEST, SHIPPED, open_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_stub(tmp_path)


def change(folder: Path, **fields: Any) -> None:
    path = folder / MANIFEST
    manifest = json.loads(path.read_text())
    for name, value in fields.items():
        section = manifest["animatelcm"] if name in manifest["animatelcm"] or name not in manifest else manifest
        section[name] = value
    path.write_text(json.dumps(manifest))


def test_open(folder: Path) -> None:
    model = AnimateLcm.open(folder)
    assert (model.factor, model.latent_channels, model.align) == (8, 4, 64)
    assert (model.frames, model.most_frames, model.betas) == (16, 32, (0.00085, 0.012))
    assert model.networks == ("text", "encode", "denoise", "decode") and model.folder == folder
    assert model.schedule(2, 0.3).timesteps == (299, 149)
    assert model.tokenizer()("the cat").shape == (1, 77)
    change(folder, factor=16, latent_channels=16, precision="fp16")
    model = AnimateLcm.of(open_model(folder))
    assert (model.factor, model.latent_channels, model.align, model.precision) == (16, 16, 128, "fp16")


def test_a_controlnet_is_a_network_more(tmp_path: Path) -> None:
    assert AnimateLcm.open(write_stub(tmp_path, control=True)).networks[-1] == "control"
    (tmp_path / "control.weights").unlink()
    with pytest.raises(AnimupError, match=r"control\.weights is missing; get the model again"):
        AnimateLcm.open(tmp_path)


def test_another_kind(tmp_path: Path) -> None:
    folder = shutil.copytree(SHIPPED / "lite-restore", tmp_path / "mine")
    with pytest.raises(AnimupError, match="is of kind 'lite'; this needs one of kind 'animatelcm'"):
        AnimateLcm.open(folder)


@pytest.mark.parametrize("name", ["text.onnx", "denoise.onnx", "denoise.weights", "vocab.json", "merges.txt"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(AnimupError, match="get the model again") as caught:
        AnimateLcm.open(folder)
    assert str(folder / name) in str(caught.value)


@pytest.mark.parametrize("name", ["decode.onnx", "encode.weights"])
def test_a_file_that_the_manifest_does_not_name(folder: Path, name: str) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["files"][name]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(AnimupError, match=f"names no file {name}; get the model again"):
        AnimateLcm.open(folder)


@pytest.mark.parametrize("name", ["decode.onnx", "vocab.json"])
def test_a_small_damaged_file_is_found_at_once(folder: Path, name: str) -> None:
    with (folder / name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(AnimupError, match=r"is damaged: its \d+ bytes .*get the model again") as caught:
        AnimateLcm.open(folder)
    assert str(folder / name) in str(caught.value)


def test_damaged_weights_are_found_before_they_are_loaded(folder: Path) -> None:
    (folder / "denoise.weights").write_bytes(b"weights of another")
    model, backend = AnimateLcm.open(folder), StubBackend()
    model.load("encode", backend, sizes={}, device_id=0)
    with pytest.raises(AnimupError, match=r"denoise\.weights is damaged: its 18 bytes .*get the model again"):
        model.load("denoise", backend, sizes={}, device_id=0)
    (folder / "decode.weights").unlink()
    with pytest.raises(AnimupError, match=r"decode\.weights cannot be read \(No such file"):
        model.load("decode", backend, sizes={}, device_id=0)
    assert backend.loads == ["encode.onnx"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"animatelcm": []}, r"animatelcm must be an object, got \[\]"),
        ({"precision": 16}, "animatelcm.precision must be a text, got 16"),
        ({"frames": "16"}, "animatelcm.frames must be a whole number from 1"),
        ({"frames": True}, "animatelcm.frames"),
        ({"most_frames": 0}, "animatelcm.most_frames"),
        ({"text_channels": 7.5}, "animatelcm.text_channels"),
        ({"control": 1}, "animatelcm.control must be true or false, got 1"),
        ({"control": True}, "animatelcm.residuals must be a whole number from 1"),
        ({"betas": [0.1]}, "animatelcm.betas must be two numbers"),
        ({"betas": [0.2, 0.1]}, "animatelcm.betas"),
        ({"betas": [0.2, float("nan")]}, "animatelcm.betas"),
        ({"timesteps": None}, "animatelcm.timesteps"),
        ({"original_steps": 2000}, "animatelcm.original_steps must be 1000 at most"),
        ({"factor": 0}, "animatelcm.factor"),
        ({"latent_channels": "4"}, "animatelcm.latent_channels"),
    ],
)
def test_a_damaged_manifest_is_named(folder: Path, fields: dict[str, Any], said: str) -> None:
    change(folder, **fields)
    with pytest.raises(AnimupError, match=said) as caught:
        AnimateLcm.open(folder)
    assert str(folder / MANIFEST) in str(caught.value)
