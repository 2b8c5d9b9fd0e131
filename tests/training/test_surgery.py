"""Networks of another shape that begin as good as those they are made of."""

from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from export import lite as export_lite
from tests.helpers.modules import as_a, there
from training.data.dataset import mix_vector
from training.lite.edit_layers import deeper, main, still
from training.lite.experts import main as specialise
from training.lite.loop import save
from vsanimup.architectures.lite.checkpoint import Networks, lites, load_checkpoint
from vsanimup.architectures.lite.layers import Round
from vsanimup.architectures.lite.network import ALIGN, Lite, LiteConfig, Pair
from vsanimup.networks.lite.inference import INT8
from vsanimup.networks.manifest import SHIPPED, open_model
from vsanimup.tasks import TASKS


@torch.no_grad()
def network(**changed: Any) -> Lite:
    torch.manual_seed(0)
    shape = {"radius": 1, "half": 16, "quarter": 12, "dim": 16, "heads": 1, "depth": 1, "inner": 1, "rank": 1}
    net = Lite(LiteConfig(**shape | changed)).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    for module in net.modules():
        if isinstance(module, Round):
            module.low, module.high = torch.tensor(-4.0), torch.tensor(4.0)
    return net


@torch.no_grad()
def test_without_the_frames_around_as_with_copies_of_the_centre() -> None:
    net = network(tasks=len(TASKS))
    alone = still(net).eval()
    assert alone.config.radius == 0 and alone.head.conv.weight.shape[1] == 6
    y, uv = torch.rand(2, 1, ALIGN, ALIGN), torch.rand(2, 2, ALIGN // 2, ALIGN // 2) - 0.5
    mix = torch.stack([mix_vector({"denoise": 1.0}), mix_vector({"deblur": 0.5})])
    net.set_mix(mix)
    alone.set_mix(mix)
    held = net(y.repeat(1, 3, 1, 1), uv.repeat(1, 3, 1, 1))
    for a, b in zip(alone(y, uv), held, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    moved = net(torch.cat((y + 0.1, y, y), 1), uv.repeat(1, 3, 1, 1))
    assert not torch.allclose(moved[0], held[0], atol=1e-3)


@torch.no_grad()
def test_new_pairs_add_nothing_at_first_and_learn() -> None:
    net = network(scale=2, radius=0)
    deep = deeper(net, 3).eval()
    y, uv = torch.rand(1, 1, ALIGN, ALIGN), torch.rand(1, 2, ALIGN // 2, ALIGN // 2) - 0.5
    for a, b in zip(deep(y, uv), net(y, uv), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    with torch.enable_grad():
        deep(y, uv)[0].square().mean().backward()
    assert all(there(as_a(Pair, deep.last[i]).b.weight.grad).abs().sum() > 0 for i in (1, 2))
    with pytest.raises(ValueError, match="there are 3 pairs already, got 2"):
        deeper(deep, 2)


def test_what_was_reshaped_is_trained_on_and_exported(clips: Path, tmp_path: Path) -> None:
    nets = Networks({"restore": network(tasks=len(TASKS)), "upscale": network(scale=2, radius=0)})
    config = {name: net.config.to_dict() for name, net in lites(nets).items()}
    begun, shaped, models = tmp_path / "begun.pt", tmp_path / "shaped.pt", tmp_path / "models"
    save(begun, {"average": nets.state_dict(), "config": config})
    main(out=shaped, start=begun, alone=True, last=2)
    specialise(data=clips, out=tmp_path / "run", start=shaped, steps=4, batch=2, crop=2 * ALIGN, every=4, threads=1)
    trained = lites(load_checkpoint(tmp_path / "run" / "checkpoint.pt"))
    assert (trained["restore"].config.radius, trained["upscale"].config.last) == (0, 2)
    export_lite.main(checkpoint=begun, out=models)
    specialist = f"destream={tmp_path / 'run' / 'checkpoint.pt'}"
    with pytest.raises(typer.BadParameter, match="another shape"):
        export_lite.main(specialist=[specialist], share=0.5, out=models)
    export_lite.main(specialist=[specialist], out=models)
    model = open_model(models / "lite-restore")
    assert (model.radius, model.of("destream").radius) == (1, 0) and INT8 in model.of("destream").files


@pytest.mark.parametrize(("wrong", "said"), [({"task": "x"}, "deblock"), ({"last": 1}, "at least 3, got 1")])
def test_what_cannot_be_is_refused(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(typer.BadParameter, match=said):
        main(out=tmp_path / "x.pt", models=SHIPPED, **wrong)
    assert not (tmp_path / "x.pt").exists()
