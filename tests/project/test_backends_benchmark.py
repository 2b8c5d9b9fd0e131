"""benchmarks/backends.py, on a small tile."""

from __future__ import annotations

import pytest

from benchmarks import backends
from vsanimup.networks.manifest import shipped


def test_cpu_beside_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "HEIGHT", 48)
    monkeypatch.setattr(backends, "WIDTH", 64)
    monkeypatch.setattr(backends, "RUNS", 1)
    model = min(shipped(), key=lambda model: model.radius)
    integers, floats = ([cell.strip() for cell in row.strip("|").split("|")] for row in backends.compare(model, "cpu"))
    assert len(integers) == len(floats) == len(backends.HEAD)
    assert (integers[0], floats[0]) == (f"`{model.name}`, int8", f"`{model.name}`, fp32")
    for row in (integers, floats):
        assert row[5:7] == ["0.0000", "0.0000"] and row[-1] == "yes"
    assert integers[7] == integers[8] and float(integers[7]) > 0
    assert floats[7:9] == ["0.0000", "0.0000"]
