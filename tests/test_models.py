"""Model folders: what is damaged is named."""

import json
import shutil

import pytest

from vsanimup.errors import AnimupError
from vsanimup.models import MANIFEST, SHIPPED, find, open_model, shipped


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(SHIPPED / "lite-restore", tmp_path / "mine")


def change(folder, **fields):
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_shipped_models_are_whole_and_described():
    models = {model.name: model for model in shipped()}
    assert {"lite-restore", "lite-upscale"} <= models.keys()
    for model in models.values():
        assert model.files and model.licence and model.source
        for name in model.files:
            assert model.read(name)


def test_find_by_name_and_by_folder(folder):
    assert find("lite", "lite-restore", 1).folder == SHIPPED / "lite-restore"
    assert find("lite-upscale", "lite-restore", 2).scale == 2
    assert find(str(folder), "lite-restore", 1).folder == folder


@pytest.mark.parametrize("model", ["", "lit", "no/such/folder", "../models"])
def test_unknown_model_lists_what_there_is(model):
    with pytest.raises(AnimupError, match=r"model.*(lite-restore|manifest)"):
        find(model, "lite-restore", 1)


def test_model_for_the_other_filter(folder):
    with pytest.raises(AnimupError, match=r"restores.*needs one that enlarges by 2"):
        find(str(folder), "lite-upscale", 2)


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered", "empty"])
def test_damaged_network_is_named(folder, damage):
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
        ({"scale": 7}, "out of range"),
        ({"radius": -1}, "out of range"),
        ({"format": 99}, "format 99"),
        ({"files": {"../../etc/passwd": "0"}}, "must be plain"),
        ({"licence": None}, "licence"),
    ],
)
def test_damaged_manifest_is_named(folder, fields, said):
    change(folder, **fields)
    with pytest.raises(AnimupError, match=said) as caught:
        open_model(folder)
    assert str(folder / MANIFEST) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_manifest_that_is_no_object(folder, text):
    (folder / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(AnimupError, match=r"manifest\.json"):
        open_model(folder)


def test_unknown_kind_and_range(folder):
    change(folder, kind="diffusion")
    with pytest.raises(AnimupError, match="diffusion"):
        find(str(folder), "lite-restore", 1)
    change(folder, kind="lite", value_range="byte")
    with pytest.raises(AnimupError, match="byte"):
        find(str(folder), "lite-restore", 1)


def test_sections_of_other_kinds_are_kept(folder):
    change(folder, kind="other", other={"steps": 4})
    assert open_model(folder).sections["other"] == {"steps": 4}


def test_verify_says_what_read_says(folder):
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
