"""Lite networks become model folders."""

import shutil
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
import typer

from export import lite as export_lite
from export.folder import write_model
from tests.helpers.lite_runs import SMALL, run
from training.data.dataset import mix_vector
from vsanimup.architectures.lite.checkpoint import lites, load_checkpoint
from vsanimup.architectures.lite.network import ALIGN, TOKEN, Lite, LiteConfig
from vsanimup.architectures.lite.shipped import shipped
from vsanimup.errors import AnimupError
from vsanimup.networks.manifest import open_model
from vsanimup.networks.modulation import Modulation
from vsanimup.tasks import TASKS


@pytest.fixture(scope="module")
def trained(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a short training that has come to rounding, and beside it the folder ``models`` made of it."""
    folder = tmp_path_factory.mktemp("trained")
    run(clips, folder, 4, round_from=0)
    export_lite.main(checkpoint=folder / "checkpoint.pt", out=folder / "models")
    return folder / "checkpoint.pt"


def randomised(scale: int, tasks: int = 0) -> Lite:
    torch.manual_seed(scale)
    net = Lite(LiteConfig(scale=scale, radius=1, heads=1, tasks=tasks, rank=1, **SMALL)).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    return net


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("size", [(ALIGN, ALIGN), (2 * ALIGN, 3 * ALIGN), (3 * TOKEN, ALIGN + TOKEN)])
def test_export_agrees_with_torch_at_any_size(scale: int, size: tuple[int, int]) -> None:
    net = randomised(scale)
    assert export_lite.largest_difference(net, export_lite.to_onnx(net), *size) < 1e-4


def test_merging_into_the_file_is_what_torch_computes(tmp_path: Path) -> None:
    net = randomised(1, len(TASKS))
    network = export_lite.to_onnx(net)
    write_model(tmp_path / "m", *export_lite.folder_of(net, {export_lite.FLOAT: network}, "m", "MIT"))
    model = open_model(tmp_path / "m")
    mix = {"denoise": 1.0, "desnow": 0.5}
    merged = Modulation(model).merge(export_lite.FLOAT, network, mix)
    net.set_mix(mix_vector(mix)[None])
    # the task weights are stored in half precision
    assert export_lite.largest_difference(net, merged) < 5e-3
    assert export_lite.largest_difference(net, network) > 5e-2


def test_export_writes_whole_model_folders(trained: Path, tmp_path: Path) -> None:
    out = shutil.copytree(trained.with_name("models"), tmp_path / "models")
    (out / "lite-restore" / "old").touch()
    export_lite.main(checkpoint=trained, out=out)
    assert not (out / "lite-restore" / "old").exists(), "the new folder takes the place of the old one"
    assert sorted(path.name for path in out.iterdir()) == ["lite-restore", "lite-upscale"], "nothing temporary is left"
    restore, upscale = (open_model(out / name) for name in ("lite-restore", "lite-upscale"))
    assert (restore.scale, restore.radius, restore.tasks) == (1, 2, TASKS)
    assert (upscale.scale, upscale.radius, upscale.tasks) == (2, 0, ())
    for model in (restore, upscale):
        frames = 2 * model.radius + 1
        y, uv = torch.rand(1, frames, ALIGN, ALIGN).numpy(), torch.zeros(1, 2 * frames, ALIGN // 2, ALIGN // 2).numpy()
        results = []
        for file in (export_lite.FLOAT, export_lite.INT8):
            network = Modulation(model).merge(file, model.read(file), {"denoise": 1.0} if model.tasks else {})
            session = ort.InferenceSession(network, providers=["CPUExecutionProvider"])
            results.append(session.run(["result_y"], {"y": y, "uv": uv})[0])
        np.testing.assert_allclose(results[0], results[1], atol=0.02)


def test_a_model_folder_gives_its_network_back(trained: Path) -> None:
    nets = lites(load_checkpoint(trained))
    assert nets.keys() == {"restore", "upscale"}
    for name, net in nets.items():
        back = shipped(trained.with_name("models") / f"lite-{name}")
        assert back.config == net.config
        for (key, value), (other, wanted) in zip(back.state_dict().items(), net.state_dict().items(), strict=True):
            assert key == other
            # files have 10 bits of mantissa
            torch.testing.assert_close(value, wanted, atol=1e-3 if "task_" in key else 0, rtol=2**-10)


def test_an_export_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="nothing to export"):
        export_lite.main(out=tmp_path)
    for text in ("destream", "sharpen=x.pt", "destream="):
        with pytest.raises(typer.BadParameter, match="must be TASK=PATH"):
            export_lite.main(specialist=[text], out=tmp_path)
    for share in (0, 1.5):
        with pytest.raises(typer.BadParameter, match="--share must be above 0 and at most 1"):
            export_lite.main(specialist=["destream=x.pt"], share=share, out=tmp_path)


def test_a_bad_export_is_refused(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_lite, "largest_difference", lambda *a: 0.5)
    with pytest.raises(SystemExit, match="nothing was written"):
        export_lite.main(checkpoint=trained, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AnimupError):
        write_model(tmp_path / "out", {"network.onnx": b"1"}, {"name": "incomplete"})
    assert list(Path(tmp_path).iterdir()) == []
