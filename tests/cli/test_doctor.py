"""``animup doctor``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.command import run
from vsanimup.cli import doctor
from vsanimup.encoding import vspipe
from vsanimup.errors import AnimupError
from vsanimup.networks import manifest


def test_doctor_finds_all_well() -> None:
    code, text = run("doctor")
    assert code == 0, text
    for word in ("VapourSynth", "animup plugin", "backend cpu", "model lite-restore", "vspipe", "CPU cores"):
        assert word in text
    assert "FAIL" not in text and "64x64 to 128x128" in text


def test_doctor_finds_damaged_and_missing_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "lite-restore"
    folder.mkdir()
    text = (
        '{"format": 1, "name": "lite-restore", "kind": "lite", "scale": 1, "radius": 1, "align": 32, "parameters": 1,'
        '"value_range": "unit", "tasks": ["deblock"], "bytes_per_pixel": 1, "licence": "MIT", "source": "-",'
        '"files": {"network.onnx": "00"}}'
    )
    (folder / manifest.MANIFEST).write_text(text)
    (folder / "network.onnx").write_bytes(b"wrong")
    monkeypatch.setattr(manifest, "SHIPPED", tmp_path)
    monkeypatch.setattr(doctor, "_look", lambda: {"crash": "Segmentation fault"})
    monkeypatch.setattr(doctor, "_try_vspipe", lambda: doctor.Check(name="vspipe", state="ok", found="-"))
    states = {check.name: check for check in doctor.examine()}
    assert "SHA-256" in states["model lite-restore"].found and states["model lite-restore"].state == "fail"
    assert states["model lite-upscale"].state == "fail" and "missing" in states["model lite-upscale"].found
    assert states["VapourSynth"].state == "fail" and "Segmentation fault" in states["VapourSynth"].found
    code, shown = run("doctor")
    assert code == 1 and "FAIL" in shown and "pip install" in shown


def test_doctor_without_vspipe(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise AnimupError("vspipe is nowhere; get it with  pip install vapoursynth")

    monkeypatch.setattr(vspipe, "vspipe_path", none)
    check = doctor._try_vspipe()
    assert check.state == "fail" and "pip install vapoursynth" in check.remedy
