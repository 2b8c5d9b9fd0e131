"""The benchmark for GPUs, tried on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.places import ROOT


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_small_run_on_the_processor(tmp_path: Path, made: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "checkpoints-small").symlink_to(made)  # saves making the same
    sections = ("lite", "agreement", "order", "filters", "ipt", "animatelcm")
    done = bench(
        "--device",
        "cpu",
        "--small",
        "--work",
        str(tmp_path / "work"),
        "--json",
        str(tmp_path / "gpu.json"),
        "--markdown",
        str(tmp_path / "gpu.md"),
        *(f"--only={section}" for section in sections),
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads((tmp_path / "gpu.json").read_text())
    rows = {(row["section"], row["name"]): row for row in found["rows"]}
    for name in ("lite-restore tiny", "lite-upscale tiny", "AnimateLCM denoise, 64x64, 2 frames"):
        row = rows["networks", name]
        assert row["run_s"] > 0 and row["eager_ratio"] == pytest.approx(row["eager_s"] / row["run_s"])
        assert row["floor_s"] > 0 and row["of_floor"] == pytest.approx(row["floor_s"] / row["run_s"])
    for name in ("lite-restore", "lite-upscale"):
        assert rows["order", name]["right"] and rows["agreement", name]["right"]
        row = rows["filters", f"{name} tiny"]
        assert row["share_of_engine"] == row["frames_per_s"] / rows["networks", f"{name} tiny"]["frames_per_s"]
    assert rows["agreement", "small AnimateLCM"]["largest"] <= 1e-4  # one and the same backend
    table = (tmp_path / "gpu.md").read_text()
    assert "| lite-restore tiny |" in table and "## agreement" in table


def test_flops_of_a_known_network() -> None:
    """A convolution of 3x3 on 8x8 samples from 3 to 5 channels, counted by hand."""
    import numpy as np
    import torch

    from benchmarks.gpu_cases import Case

    case = Case(
        name="",
        inputs={"x": np.zeros((1, 3, 8, 8), np.float32)},
        load=lambda *_: pytest.fail("counting needs no engine"),
        frames=1,
        module=lambda: torch.nn.Conv2d(3, 5, 3, padding=1),
    )
    assert case.flops() == 2 * 3 * 5 * 9 * 64


def test_a_wrong_picture_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from benchmarks import gpu

    monkeypatch.setattr(gpu, "SECTIONS", ("order",))
    monkeypatch.setattr(gpu, "order", lambda bench: bench.add("order", "lite", right=False))
    with pytest.raises(SystemExit, match="wrong: lite"):
        gpu.main(work=tmp_path, device="cpu", small=True)


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    from benchmarks import gpu

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="PyTorch finds no GPU; --device cpu --small tries"):
        gpu.main(work=tmp_path)
    with pytest.raises(SystemExit, match=r"--only must be of lite, agreement, .*, got everything"):
        gpu.main(work=tmp_path, only=["everything"])
