"""The studies: their parts, and the whole command, tiny and stopped in between."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.modules import as_a, there
from training.studies import tasks as study
from training.studies.weights import (
    BiasedConv,
    bias_parameters,
    cost,
    cut_change,
    energies,
    groups,
    layers,
    put_biases,
    recommend,
)
from vsanimup.architectures.lite.layers import Conv
from vsanimup.architectures.lite.network import ALIGN, Lite, LiteConfig

SIDE = 2 * ALIGN


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A training clip and one for validation, in the clip files' layout."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for seed, name in enumerate(("train_00000", "val_000")):
        rng = np.random.default_rng(seed)
        clean = np.kron(rng.integers(40, 200, (7, SIDE // 8, SIDE // 8)), np.ones((8, 8))).astype(np.uint8)
        noisy = np.clip(clean + rng.normal(0, 12, clean.shape), 16, 235).astype(np.uint8)
        np.savez(
            folder / f"{name}.npz",
            lr_y=np.stack([clean, noisy]),
            lr_uv=np.full((2, 7, 2, SIDE // 2, SIDE // 2), 128, np.uint8),
            kinds=np.array(["clean", "web"]),
            cut=np.zeros(7, np.int8),
        )
    return folder


def small() -> Lite:
    torch.manual_seed(0)
    net = Lite(LiteConfig().scaled(0.2))
    torch.nn.init.normal_(net.out.weight, std=0.01)  # it is zero in the beginning, and all results would be the input
    return net


def test_biases_start_at_nothing_and_are_the_sum_they_say() -> None:
    net = small()
    y, uv = torch.rand(2, 5, ALIGN, ALIGN), torch.rand(2, 10, ALIGN // 2, ALIGN // 2) - 0.5
    plain = net(y, uv)[0]
    ranks = {"down": 1, "body.0.fc1": 2, "before.0.a": 2}
    expected = sum(cost(layers(net)[name], rank, 3) for name, rank in ranks.items())
    put_biases(net, ranks, 3)
    assert sum(p.numel() for p in bias_parameters(net)) == expected
    net.set_mix(torch.eye(3)[:2])
    assert torch.equal(net(y, uv)[0], plain)
    for p in bias_parameters(net):
        torch.nn.init.normal_(p, std=0.1)
    biased = net(y, uv)[0]
    for task in range(2):
        merged = small()
        for name in ranks:
            conv, target = as_a(BiasedConv, net.get_submodule(name)), as_a(Conv, merged.get_submodule(name))
            delta = (there(conv.task_b)[task] @ there(conv.task_a)[task]).view_as(conv.weight)
            target.weight.data += delta.detach()
            there(target.bias).data += there(conv.task_c)[task].detach()
        assert torch.allclose(merged(y, uv)[0][task], biased[task], atol=1e-5)


def test_energies_cuts_and_the_choice_of_ranks() -> None:
    delta = torch.zeros(4, 2, 3, 3)
    delta[0, 0, 0, 0], delta[1, 1, 1, 1] = 3.0, 4.0
    assert energies(delta).tolist()[:2] == pytest.approx([16 / 25, 1.0])
    before = {"w": torch.zeros_like(delta), "b": torch.zeros(4), "position": torch.zeros(1, 2, 2)}
    after = {"w": delta, "b": torch.ones(4), "position": torch.ones(1, 2, 2)}
    cut = cut_change(before, after, 1)
    assert cut["w"].square().sum() == pytest.approx(16)
    assert cut["b"].equal(after["b"]) and cut["position"].equal(before["position"])
    assert cut_change(before, after, None)["w"].equal(delta)

    net = small()
    kept = {name: {1: 0.5, 2: 0.8, 64: 1.0} for name in layers(net)}
    gains = dict.fromkeys(groups(net), 0.0) | {"down": 0.2, "up": 0.1, "head": -0.1}
    budget = 0.05
    ranks = recommend(net, gains, kept, 2, budget)
    assert set(ranks) <= {"down", "up"} and max(ranks.values()) <= 2
    assert sum(cost(layers(net)[name], rank, 2) for name, rank in ranks.items()) <= budget * sum(
        p.numel() for p in net.parameters()
    )


@pytest.mark.slow
def test_the_command_goes_on_where_it_was(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "TASKS", ("deblock", "denoise"))
    monkeypatch.setattr(study, "TUNING_LRS", (0.005,))
    monkeypatch.setattr(study, "RANKS", (1, 2))
    monkeypatch.setattr(study, "groups", lambda net: {name: groups(net)[name] for name in ("behind", "out")})
    monkeypatch.setattr(study, "recommended", lambda bench, results: {"behind.0.a": 2})
    sizes: dict[str, Any] = {"clips": 1, "base": 2, "tune": 1, "group": 1, "trial": 1, "size": 0.2, "crop": ALIGN}
    out = tmp_path / "out"
    study.main(data=clips, out=out, **sizes)
    results, tables = json.loads((out / "results.json").read_text()), (out / "tables.md").read_text()
    assert "(c) biases of rank 2" in tables and "share of (b)'s gain" in tables
    for name in ("sensitivity/out/all", "cut/muon/denoise/2", "energy/muon/deblock"):
        assert results.pop(name)
    results["joint"] = {"deblock": 1.0, "denoise": 1.0}  # is there, so it is not made again
    (out / "results.json").write_text(json.dumps(results))
    study.main(data=clips, out=out, **sizes)
    again = json.loads((out / "results.json").read_text())
    assert again["joint"]["deblock"] == 1.0 and "energy/muon/deblock" in again and "sensitivity/out/all" in again
    with pytest.raises(ValueError, match="another plan"):
        study.main(data=clips, out=out, **(sizes | {"base": 3}))
