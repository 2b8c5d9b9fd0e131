"""Taking hidden channels out of pairs of convolutions."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from export import lite as export_lite
from tests.helpers.modules import as_a, there
from training.data.dataset import Batch, mix_vector
from training.lite.experts import main as specialise
from training.lite.prune import chosen, prune
from training.lite.prune import main as slim_main
from training.lite.train import main as train
from vsanimup.architectures.lite.checkpoint import lites, load_checkpoint
from vsanimup.architectures.lite.network import ALIGN, Lite, LiteConfig, Pair
from vsanimup.architectures.lite.shipped import shipped
from vsanimup.tasks import TASKS

pytestmark = pytest.mark.first
MIXES = [{"denoise": 1.0}, {}, {"deblur": 0.5, "desnow": 1.0}]


def windows(count: int = 4) -> list[Batch]:
    """Batches of noise, each window under a mix of its own; nothing of what they should become."""
    torch.manual_seed(1)
    nothing = {field.name: torch.empty(0) for field in fields(Batch)}
    return [
        Batch(
            **nothing
            | {
                "y": torch.rand(3, 3, ALIGN, ALIGN),
                "uv": torch.rand(3, 6, ALIGN // 2, ALIGN // 2) - 0.5,
                "mix": torch.stack([mix_vector(mix) for mix in MIXES]),
            }
        )
        for _ in range(count)
    ]


@torch.no_grad()
def random_network() -> Lite:
    torch.manual_seed(0)
    config = LiteConfig(radius=1, half=16, quarter=12, dim=16, heads=1, depth=1, inner=1, tasks=len(TASKS), rank=1)
    net = Lite(config).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    return net


def slimmed(net: Lite, half: int, quarter: int) -> Lite:
    batches = windows()
    return prune(net, batches, 4, chosen(net, batches, 4, half, quarter))


@torch.no_grad()
def results(net: Lite) -> torch.Tensor:
    (batch,) = windows(1)
    net.set_mix(batch.mix)
    found: torch.Tensor = net(batch.y, batch.uv)[0]
    return found


@torch.no_grad()
def test_what_others_repeat_goes_without_a_loss() -> None:
    net = random_network()
    for pair in (module for module in net.modules() if isinstance(module, Pair)):
        half = len(pair.a.weight) // 2
        values = [pair.a.weight, there(pair.a.bias)]
        if pair.a.task_b is not None:
            values += [pair.a.task_b.transpose(0, 1), there(pair.a.task_c).T]
            there(pair.b.task_b).zero_()  # the second convolution's biases stay as they are, and would lose what goes
        for value in values:
            value[half:] = value[:half]
    lean = slimmed(net, 8, 6)
    assert lean.config.half_hidden == 8 and lean.config.quarter_hidden == 6
    assert sum(p.numel() for p in lean.parameters()) < 0.9 * sum(p.numel() for p in net.parameters())
    torch.testing.assert_close(results(lean), results(net), atol=2e-3, rtol=0)


@torch.no_grad()
def test_the_least_useful_go_and_the_rest_make_up_for_them() -> None:
    net = random_network()
    useless = [1, 5, 6]
    for pair in (as_a(Pair, net.first[0]), as_a(Pair, net.last[0])):
        pair.b.weight[:, useless] = 0.0
        there(pair.b.task_a).view(len(TASKS), 1, 16, 9)[:, :, useless] = 0.0
    lean = slimmed(net, 13, 12)
    kept = [k for k in range(16) if k not in useless]
    first, before = (as_a(Pair, each.first[0]).a.weight for each in (lean, net))
    torch.testing.assert_close(first, before[kept])
    torch.testing.assert_close(results(lean), results(net), atol=2e-3, rtol=0)
    wanted, cut = results(net), slimmed(net, 8, 8)
    bare = slimmed(net, 8, 8)
    for name, module in bare.named_modules():  # the same channels, the weights of before
        if isinstance(module, Pair):
            whole = as_a(Pair, net.get_submodule(name))
            gone = (module.a.weight[:, None] - whole.a.weight[None]).abs().sum((2, 3, 4)).argmin(1)
            module.b.weight.copy_(whole.b.weight[:, gone])
            there(module.b.bias).copy_(there(whole.b.bias))
    assert float((results(cut) - wanted).square().mean()) < 0.7 * float((results(bare) - wanted).square().mean())


def test_training_goes_on_from_what_is_left(clips: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"data": clips, "batch": 2, "crop": 2 * ALIGN, "every": 4, "threads": 1, "steps": 4}
    train(out=tmp_path / "run", size=0.2, plain=2, round_from=0, **options)
    models, lean = tmp_path / "models", tmp_path / "lean.pt"
    export_lite.main(checkpoint=tmp_path / "run" / "checkpoint.pt", out=models)
    slim_main(data=clips, out=lean, models=models, half=8, quarter=8, count=2, threads=1)
    before = lites(load_checkpoint(lean))
    train(out=tmp_path / "on", start=lean, alone=True, plain=2, round_from=0, **options)
    after = lites(load_checkpoint(tmp_path / "on" / "checkpoint.pt"))
    assert after["restore"].config == before["restore"].config and after["restore"].config.half_hidden == 8
    changed = {
        name: any(not torch.equal(a, b) for a, b in zip(net.parameters(), before[name].parameters(), strict=True))
        for name, net in after.items()
    }
    assert changed == {"restore": True, "upscale": False}
    slim_main(data=clips, out=lean, task="destream", models=models, half=8, quarter=8, count=2, threads=1)
    specialise(out=tmp_path / "own", start=lean, **options)
    export_lite.main(specialist=[f"destream={tmp_path / 'own' / 'checkpoint.pt'}"], out=models)
    assert shipped(models / "lite-restore" / "destream").config.half_hidden == 8
    # the model's own network with the same channels, so that a mean of both makes sense
    slim_main(
        data=clips, out=tmp_path / "same.pt", task="destream", own=True, like=lean, models=models, count=2, threads=1
    )
    both = [torch.load(path, weights_only=True) for path in (lean, tmp_path / "same.pt")]
    assert both[0]["kept"] == both[1]["kept"] and both[0]["config"] == both[1]["config"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"half": 0}, "half"), ({"half": 99}, "99"), ({"quarter": -1}, "-1"), ({"task": "x"}, "deblock")],
)
def test_what_cannot_be_is_refused(clips: Path, tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(typer.BadParameter, match=said):
        slim_main(data=clips, out=tmp_path / "lean.pt", **wrong)
    assert not (tmp_path / "lean.pt").exists()
