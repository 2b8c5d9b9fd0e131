"""Backends over onnxruntime's other providers, and what the doctor says of GPUs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from vsanimup.cli import doctor, gpus
from vsanimup.engines import BACKENDS, choose, on_host
from vsanimup.engines.providers import PROVIDERS, ProviderBackend
from vsanimup.errors import AnimupError
from vsanimup.networks.manifest import SHIPPED

NETWORK = SHIPPED / "lite-upscale" / "network.onnx"
SIZES = {"height": 48, "width": 96, "half_height": 24, "half_width": 48}


def feed() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    y = rng.random((1, 1, 48, 96), dtype=np.float32)
    return {"y": y, "uv": rng.random((1, 2, 24, 48), dtype=np.float32) - np.float32(0.5)}


def test_gives_what_the_cpu_backend_gives() -> None:
    """The engine itself, on the one provider that every onnxruntime has."""
    plain = ProviderBackend(
        name="plain", provider="CPUExecutionProvider", package="onnxruntime", systems=(sys.platform,)
    )
    assert plain.unavailable() is None
    made = plain.load_file(NETWORK, sizes=SIZES, device_id=0)
    wanted = BACKENDS["cpu"].load_file(NETWORK, sizes=SIZES, device_id=0).run(feed())
    found = made.run(feed())
    assert made.backend == "plain" and found.keys() == wanted.keys()
    assert all(np.allclose(on_host(found[name]), on_host(wanted[name]), atol=1e-6) for name in wanted)
    with pytest.raises(AnimupError, match="failed on the plain backend"):
        made.run({"y": feed()["y"]})
    with pytest.raises(AnimupError, match="device_id must be 0 on the plain backend, got 3"):
        plain.load_file(NETWORK, sizes=SIZES, device_id=3)
    with pytest.raises(AnimupError, match="cannot load the network broken on the plain backend"):
        plain.load(b"no network", origin="broken", sizes=SIZES, device_id=0)


@pytest.mark.parametrize("backend", PROVIDERS, ids=lambda backend: backend.name)
def test_refused_with_the_remedy(backend: ProviderBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime as ort

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(sys, "platform", backend.systems[0])
    remedy = f"pip install {backend.package}$"
    with pytest.raises(AnimupError, match=f"^backend='{backend.name}' cannot be used: .*{backend.provider}.*{remedy}"):
        choose(backend.name)
    monkeypatch.setattr(sys, "platform", "plan9")
    with pytest.raises(AnimupError, match="for this system"):
        choose(backend.name)


def test_auto_never_takes_them() -> None:
    names = list(BACKENDS)
    assert all(names.index(backend.name) > names.index("cpu") for backend in PROVIDERS)


def card(folder: Path, number: int, maker: str) -> None:
    place = folder / f"card{number}" / "device"
    place.mkdir(parents=True)
    (place / "vendor").write_text(f"{maker}\n")


def test_gpus_and_what_they_need(tmp_path: Path) -> None:
    assert gpus.makers("linux", tmp_path) == []
    for number, maker in enumerate(("0x8086", "0x1002", "0x1af4", "0x1002")):
        card(tmp_path, number, maker)
    assert gpus.makers("linux", tmp_path) == ["AMD", "Intel"]
    assert gpus.advice("AMD", "win32") == ("directml", gpus.RUNTIMES["AMD", "win32"][1])
    assert gpus.advice("AMD", "darwin") is None
    for (maker, system), (backend, _) in gpus.RUNTIMES.items():
        assert backend in BACKENDS, (maker, system)


def test_doctor_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "makers", lambda: ["Intel"])
    monkeypatch.setattr(gpus, "advice", lambda maker: gpus.RUNTIMES[maker, "linux"])
    (check,) = doctor._gpus({"cpu"})
    assert check.state == "note" and "onnxruntime-openvino" in check.remedy
    (check,) = doctor._gpus({"cpu", "openvino"})
    assert (check.state, check.remedy) == ("ok", "")


def test_report_has_no_personal_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path("/home/ada lovelace")
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.setattr("platform.node", lambda: "ada-pc")
    checks = [
        doctor.Check(name="vspipe", state="fail", found=f"{home}/v/bin/vspipe: none on ada-pc", remedy=f"cd {home}"),
        doctor.Check(name="free disk", state="ok", found=f"3 GB in {Path.cwd()}/x, {sys.prefix}/bin"),
    ]
    told = doctor.report(checks)
    assert "HOME/v/bin/vspipe" in told and "FOLDER/x, PYTHON/bin" in told and "fail  vspipe" in told
    assert not any(word in told for word in ("ada", str(Path.cwd()), sys.prefix))
