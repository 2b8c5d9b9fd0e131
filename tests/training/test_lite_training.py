"""The trainers of lite networks, and of what goes on from such: one pass, specialists."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from export import lite as export_lite
from tests.helpers.lite_runs import log_of, run, weights
from training.lite.experts import Codecs
from training.lite.experts import begun as begun_specialist
from training.lite.experts import main as specialise
from training.lite.one_pass import CONFIG, begun
from training.lite.one_pass import main as train_one_pass
from training.lite.upscale import main as enlarge
from vsanimup.architectures.lite.checkpoint import lites, load_checkpoint
from vsanimup.architectures.lite.layers import Round
from vsanimup.architectures.lite.network import ALIGN
from vsanimup.architectures.lite.shipped import shipped
from vsanimup.networks.manifest import open_model
from vsanimup.tasks import TASKS


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(clips: Path, tmp_path: Path) -> None:
    run(clips, tmp_path / "whole", 8)
    part = tmp_path / "part"
    run(clips, part, 8, stop=4)
    assert weights(part)["step"] == 4
    run(clips, part, 8)
    a, b = weights(tmp_path / "whole"), weights(part)
    assert a["step"] == b["step"] == 8
    for name, value in a["average"].items():
        torch.testing.assert_close(value, b["average"][name], rtol=0, atol=1e-6)
    assert [entry["step"] for entry in log_of(part)] == [4, 8]
    assert {"restore vhs", "both web", "backbone mpeg2", "both clean"} <= log_of(part)[0]["scores"].keys()


@pytest.mark.slow
def test_it_learns_to_denoise(clips: Path, tmp_path: Path) -> None:
    run(clips, tmp_path / "run", 160, lr=0.02, every=80)
    first, last = (entry["scores"] for entry in log_of(tmp_path / "run"))
    assert last["restore vhs"] > first["restore vhs"] + 0.2
    assert last["both vhs"] > first["both vhs"] + 2


def test_one_pass_begins_as_the_enlarging_network(clips: Path, tmp_path: Path) -> None:
    run(clips, tmp_path / "run", 3)
    upscale = lites(load_checkpoint(tmp_path / "run" / "checkpoint.pt"))["upscale"]
    with torch.no_grad():
        for p in upscale.out.parameters():
            torch.nn.init.normal_(p, 0, 0.1)
        net = begun(upscale, CONFIG.scaled(0.2))
        y, uv = torch.rand(1, 5, ALIGN, ALIGN), torch.rand(1, 10, ALIGN // 2, ALIGN // 2) - 0.5
        for a, b in zip(net(y, uv), upscale(y[:, 2:3], uv[:, 4:6]), strict=True):
            torch.testing.assert_close(a, b, atol=0.01, rtol=0)
            assert float((b - b.mean()).abs().max()) > 0.1


@pytest.mark.slow
def test_one_pass_trains_goes_on_and_is_exported(clips: Path, tmp_path: Path) -> None:
    run(clips, tmp_path / "run", 3)
    options: dict[str, Any] = {
        "data": clips,
        "start": tmp_path / "run" / "checkpoint.pt",
        "batch": 2,
        "crop": 2 * ALIGN,
        "every": 110,
        "threads": 1,
        "size": 0.2,
        "steps": 440,
        "lr": 0.02,
    }
    out = tmp_path / "one"
    train_one_pass(out=out, stop=110, **options)
    train_one_pass(out=out, **options)
    first, *_, last = (entry["scores"] for entry in log_of(out))
    assert last["vhs"] > first["vhs"] and {"clean", "web", "mpeg2"} <= last.keys()
    export_lite.main(one_pass=out / "checkpoint.pt", out=tmp_path / "models")
    model = open_model(tmp_path / "models" / "lite-one-pass")
    assert (model.scale, model.radius, model.tasks) == (2, 2, TASKS) and model.modulation


def key_of(folder: str) -> str:
    """A model folder's network in a checkpoint."""
    return folder.removeprefix("lite-").replace("-", "_")


@pytest.mark.slow
@pytest.mark.parametrize("one_pass", [False, True])
def test_specialists_go_on_from_the_models_and_into_their_folders(clips: Path, tmp_path: Path, one_pass: bool) -> None:
    run(clips, tmp_path / "run", 4, round_from=0)
    made, checkpoint = tmp_path / "models", tmp_path / "run" / "checkpoint.pt"
    if one_pass:
        small: dict[str, Any] = {
            "batch": 2,
            "crop": 2 * ALIGN,
            "every": 4,
            "threads": 1,
            "size": 0.2,
            "steps": 4,
            "round_from": 0,
        }
        train_one_pass(data=clips, out=tmp_path / "one", start=checkpoint, **small)
    export_lite.main(checkpoint=checkpoint, one_pass=tmp_path / "one" / "checkpoint.pt" if one_pass else None, out=made)
    options: dict[str, Any] = {
        "data": clips,
        "out": tmp_path / "own",
        "models": made,
        "one_pass": one_pass,
        "batch": 2,
        "crop": 2 * ALIGN,
        "every": 60,
        "threads": 1,
        "steps": 120,
        "lr": 0.08,
    }
    specialise(stop=60, **options)
    specialise(**options)
    first, *_, last = (entry["scores"] for entry in log_of(tmp_path / "own"))
    assert last["web psnr"] > first["web psnr"] and ("web restored" in last) != one_pass
    names = ["lite-one-pass"] if one_pass else ["lite-restore", "lite-upscale"]
    before = {name: open_model(made / name) for name in names}
    export_lite.main(specialist=[f"destream={tmp_path / 'own' / 'checkpoint.pt'}"], out=made)
    for name in names:
        model = open_model(made / name)
        assert model.specialists == {"destream": "destream"} and not before[name].specialists
        assert model.read(export_lite.INT8) == before[name].read(export_lite.INT8), "the model itself stays"
        own = model.of("destream")
        assert own.name == f"{name}-destream" and own.read(export_lite.INT8) != model.read(export_lite.INT8)
        wanted = lites(load_checkpoint(tmp_path / "own" / "checkpoint.pt"))[key_of(name)]
        wanted.set_rounding(Round.CLIP)
        assert export_lite.largest_difference(wanted, own.read(export_lite.FLOAT)) < 5e-4
    assert not list(made.rglob("*.partial"))
    export_lite.main(specialist=[f"destream={tmp_path / 'own' / 'checkpoint.pt'}"], share=0.25, out=made)
    for name in names:
        mean, itself = shipped(made / name / "destream"), shipped(made / name)
        wanted = lites(load_checkpoint(tmp_path / "own" / "checkpoint.pt"))[key_of(name)]
        for found, mine, theirs in zip(mean.parameters(), wanted.parameters(), itself.parameters(), strict=True):
            torch.testing.assert_close(found, 0.25 * mine + 0.75 * theirs, atol=2e-3, rtol=1e-3)
    # of several for a task the mean is taken
    paths = [tmp_path / "own" / "checkpoint.pt"] * 2 + [tmp_path / "one" / "checkpoint.pt" if one_pass else checkpoint]
    export_lite.main(specialist=[f"destream={path}" for path in paths], out=made)
    for name in names:
        first, _, last = (load_checkpoint(path)[key_of(name)].parameters() for path in paths)
        for found, mine, theirs in zip(shipped(made / name / "destream").parameters(), first, last, strict=True):
            torch.testing.assert_close(found, (2 * mine + theirs) / 3, atol=2e-3, rtol=1e-3)
    # training on begins from what is there for the task
    nets = begun_specialist(made, "destream", one_pass)
    for name, net in nets.items():
        there = shipped(made / export_lite.FOLDERS[name] / "destream")
        assert all(torch.equal(a, b) for a, b in zip(net.parameters(), there.parameters(), strict=True))


@pytest.mark.slow
def test_one_pair_for_both_kinds_of_codecs_takes_the_place_of_two(clips: Path, tmp_path: Path) -> None:
    run(clips, tmp_path / "run", 4, round_from=0)
    made, checkpoint = tmp_path / "models", tmp_path / "run" / "checkpoint.pt"
    export_lite.main(checkpoint=checkpoint, out=made)
    export_lite.main(specialist=[f"{task}={checkpoint}" for task in ("destream", "deblock")], out=made)
    options: dict[str, Any] = {
        "data": clips,
        "models": made,
        "batch": 2,
        "crop": 2 * ALIGN,
        "every": 4,
        "threads": 1,
        "steps": 4,
    }
    specialise(task="codecs", out=tmp_path / "own", **options)
    assert {"web psnr", "mpeg2 psnr"} <= log_of(tmp_path / "own")[-1]["scores"].keys()
    export_lite.main(specialist=[f"codecs={tmp_path / 'own' / 'checkpoint.pt'}"], out=made)
    # a model that is exported again keeps its specialists
    enlarge(out=tmp_path / "upscale", **options)
    assert {"psnr", "lowest psnr"} <= log_of(tmp_path / "upscale")[-1]["scores"].keys()
    export_lite.main(checkpoint=tmp_path / "upscale" / "checkpoint.pt", out=made)
    for name in ("lite-restore", "lite-upscale"):
        model = open_model(made / name)
        assert model.specialists == {"deblock": "codecs", "destream": "codecs"}
        assert {p.name for p in model.folder.iterdir() if p.is_dir()} == {"codecs"}
        assert model.of("deblock").name == f"{name}-codecs"
    drawn = (Codecs(clips, radius=0, crop=ALIGN, batch=1, plain=1, steps=1, seed=s) for s in range(20))
    kinds = {codecs._degradation(np.random.default_rng(s))[0] for s, codecs in enumerate(drawn)}
    assert kinds <= {"web", "hevc"}
