"""Model folders: what is damaged is named."""

import errno
import hashlib
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers.clips import core, moving
from vsanimup.errors import AnimupError
from vsanimup.networks.find import find
from vsanimup.networks.lite.family import LiteNetwork
from vsanimup.networks.manifest import MANIFEST, SHIPPED, open_model, shipped
from vsanimup.networks.modulation import Modulation


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(SHIPPED / "lite-restore", tmp_path / "mine")


def change(folder: Path, **fields: Any) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_shipped_models_are_whole_and_described() -> None:
    models = {model.name: model for model in shipped()}
    assert {"lite-restore", "lite-upscale"} <= models.keys()
    for model in models.values():
        assert model.files and model.licence and model.source
        for name in model.files:
            assert model.read(name)


def test_find_by_name_and_by_folder(folder: Path) -> None:
    for name, wanted in (("lite", SHIPPED / "lite-restore"), ("lite-upscale", SHIPPED / "lite-upscale")):
        found = find(name, "restore")
        assert isinstance(found, LiteNetwork) and found.model.folder == wanted
    found = find(str(folder))
    assert isinstance(found, LiteNetwork) and found.model.folder == folder


@pytest.mark.parametrize("model", ["", "lit", "no/such/folder", "../models"])
def test_unknown_model_lists_what_there_is(model: str) -> None:
    with pytest.raises(AnimupError, match=r"model.*(lite-restore|manifest)"):
        find(model, "restore")


def test_model_for_the_other_filter(folder: Path) -> None:
    with pytest.raises(vs.Error, match=r"restores.*needs one that enlarges by 2"):
        core.animup.Upscale(moving(length=1), model=str(folder))


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered", "empty"])
def test_damaged_network_is_named(folder: Path, damage: str) -> None:
    path = folder / "network.onnx"
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "altered":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "truncated" else b"")
    with pytest.raises(AnimupError, match=r"network\.onnx") as caught:
        open_model(folder).read("network.onnx")
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scale": "two"}, "scale must be a whole number"),
        ({"scale": 7}, "scale must be a whole number from 1 to 4, got 7; get the model again"),
        ({"radius": 10**30}, "radius must be a whole number from 0 to 64, got 10"),
        ({"align": 7}, "align must be a whole number from 2 to 4096, even, got 7"),
        ({"bytes_per_pixel": 0}, "bytes_per_pixel must be a whole number from 1 to"),
        ({"tasks": [1]}, r"tasks must be texts, got \[1\]"),
        ({"tasks": [[]]}, "tasks must be texts"),
        ({"name": None}, "name must be a text, got None"),
        ({"kind": ["x" * 5000]}, "kind must be a text, got .*…"),
        ({"radius": -1}, "radius must be a whole number from 0 to 64, got -1"),
        ({"format": 99}, "format 99"),
        ({"files": {"../../etc/passwd": "0"}}, "must be plain"),
        ({"licence": None}, "licence"),
    ],
)
def test_damaged_manifest_is_named(folder: Path, fields: dict[str, Any], said: str) -> None:
    change(folder, **fields)
    with pytest.raises(AnimupError, match=said) as caught:
        open_model(folder)
    assert str(folder / MANIFEST) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff", "[" * 100_000, '{"a":' * 100_000, "1" * 5000])
def test_manifest_that_is_no_object(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(AnimupError, match=r"manifest\.json"):
        open_model(folder)


def test_unknown_kind_and_range(folder: Path) -> None:
    change(folder, kind="diffusion")
    with pytest.raises(AnimupError, match="diffusion"):
        find(str(folder))
    change(folder, kind="lite", value_range="byte")
    with pytest.raises(AnimupError, match="byte"):
        find(str(folder))


def test_sections_of_other_kinds_are_kept(folder: Path) -> None:
    change(folder, kind="other", other={"steps": 4})
    assert open_model(folder).sections["other"] == {"steps": 4}


def test_verify_says_what_read_says(folder: Path) -> None:
    model = open_model(folder)
    assert model.verify("network.onnx") == folder / "network.onnx"
    (folder / "network.onnx").write_bytes(b"x")
    said = []
    for check in (model.read, model.verify):
        with pytest.raises(AnimupError, match="is damaged: its 1 bytes") as caught:
            check("network.onnx")
        said.append(str(caught.value))
    assert said[0] == said[1]
    with pytest.raises(AnimupError, match="names no file x"):
        model.verify("x")


@pytest.mark.parametrize("place", ["folder", "loop", "pipe", "none"])
def test_a_manifest_that_is_no_file(folder: Path, place: str) -> None:
    path = folder / MANIFEST
    path.unlink()
    if place == "folder":
        path.mkdir()
    elif place == "loop":
        path.symlink_to(MANIFEST)
    elif place == "pipe":
        os.mkfifo(path)
    with pytest.raises(
        AnimupError, match=r"manifest\.json (is no file|cannot be read|; give a folder that)|has no manifest"
    ):
        find(str(folder))


def test_what_may_not_be_looked_at_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an ordinary user sees it, whoever runs the tests."""
    look, read = Path.stat, Path.read_text

    def denied(self: Path, *args: Any, **kwargs: Any) -> os.stat_result:
        if folder in (self, *self.parents):
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return look(self, *args, **kwargs)

    monkeypatch.setattr(Path, "stat", denied)
    for name in (folder, folder / "net.onnx"):
        with pytest.raises(AnimupError, match=r"^model='.*' cannot be looked at \(Permission denied\); see to its"):
            find(str(name))
    monkeypatch.setattr(Path, "stat", look)
    monkeypatch.setattr(
        Path, "read_text", lambda self, **kw: denied(self) if self.name == MANIFEST else read(self, **kw)
    )
    with pytest.raises(
        AnimupError, match=r"manifest\.json cannot be read \(Permission denied\); see to its permissions"
    ):
        find(str(folder))


def weights_of(folder: Path, content: bytes) -> Modulation:
    """Replace a model's file of weights, with a digest that fits: another author's model, not a damaged one."""
    (folder / "tasks.npz").write_bytes(content)
    files = json.loads((folder / MANIFEST).read_text())["files"]
    change(folder, files=files | {"tasks.npz": hashlib.sha256(content).hexdigest()})
    return Modulation(open_model(folder))


def saved(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def test_odd_weights_are_refused(folder: Path) -> None:
    whole = dict(np.load(folder / "tasks.npz"))
    single = io.BytesIO()
    np.save(single, np.zeros(3))
    for content in (b"", b"PK", b"x" * 2000, single.getvalue(), saved(a=np.array([{}], object))):
        with pytest.raises(
            AnimupError, match=r"tasks\.npz holds no arrays that can be read; get the model again"
        ) as said:
            weights_of(folder, content)
        assert "pickle" not in str(said.value)
    network = (folder / "network.onnx").read_bytes()
    for values, words in (
        ({}, "weights of layer .* do not fit"),
        ({name: value[:1] for name, value in whole.items()}, "weights of layer .* do not fit"),
        ({name: np.full_like(value, np.nan) for name, value in whole.items()}, "are no finite numbers"),
        ({name: value.astype(np.float32) * np.float32(1e30) for name, value in whole.items()}, "are no finite numbers"),
    ):
        odd = weights_of(folder, saved(**values))
        with pytest.raises(AnimupError, match=words):
            odd.weights({"denoise": 1.0})
        with pytest.raises(AnimupError, match=words):
            odd.merge("network.onnx", network, {"denoise": 1.0})


@pytest.mark.parametrize("layers", [5, [1], {"head.conv": 3}])
def test_odd_layers_are_refused(folder: Path, layers: dict[str, int] | int | list[int]) -> None:
    change(folder, modulation={"file": "tasks.npz", "layers": layers})
    with pytest.raises(AnimupError, match=r"modulation\.layers must be objects"):
        Modulation(open_model(folder))
