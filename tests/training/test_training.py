"""The networks, the trainer and the export, small."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
import typer

from export import lite as export_lite
from export.folder import write_model
from tests.helpers.clips import core
from training.data.dataset import Batches, map_clip, mix_vector, read_clip, window_indices
from training.data.degradations import DEGRADATIONS, lay
from training.lite.experts import Codecs
from training.lite.experts import begun as begun_specialist
from training.lite.experts import main as specialise
from training.lite.loop import DEAD, activity_of, keep_level, revive, rounding_at
from training.lite.one_pass import CONFIG, begun
from training.lite.one_pass import main as train_one_pass
from training.lite.train import main as train
from training.lite.upscale import main as enlarge
from training.losses import distance
from training.muon import orthogonal
from vsanimup.architectures.lite.checkpoint import load_checkpoint
from vsanimup.architectures.lite.layers import Conv, Round, free_of
from vsanimup.architectures.lite.network import ALIGN, TOKEN, Head, Lite, LiteConfig, TaskConv, evened_out
from vsanimup.architectures.lite.shipped import shipped
from vsanimup.errors import AnimupError
from vsanimup.networks.manifest import open_model
from vsanimup.networks.modulation import Modulation
from vsanimup.tasks import TASKS
from vsanimup.video.sigma import even_out

SIDE = 96
SMALL = {"dim": 16, "depth": 1, "quarter": 16, "half": 8, "inner": 1}


def weights(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(out / "checkpoint.pt", weights_only=True)
    return found


def run(clips: Path, out: Path, steps: int, **kw: Any) -> None:
    options = {"batch": 2, "plain": 2, "crop": 2 * ALIGN, "every": 4, "threads": 1, "size": 0.2}
    train(data=clips, out=out, steps=steps, **(options | kw))


@pytest.fixture(scope="module")
def trained(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a short training that has come to rounding, and beside it the folder ``models`` made of it."""
    folder = tmp_path_factory.mktemp("trained")
    run(clips, folder, 4, round_from=0)
    export_lite.main(checkpoint=folder / "checkpoint.pt", out=folder / "models")
    return folder / "checkpoint.pt"


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


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


def test_batches_depend_on_the_step_alone(clips: Path) -> None:
    a, b = (Batches(clips, radius=1, crop=ALIGN, batch=2, plain=1, steps=9, seed=3) for _ in range(2))
    a[0]
    for x, y in zip(vars(a[5]).values(), vars(b[5]).values(), strict=True):
        assert torch.equal(x, y)


def test_a_mapped_clip_is_the_clip(clips: Path) -> None:
    path = clips / "train_00001.npz"
    mapped, whole = map_clip(path), read_clip(path)
    assert mapped.keys() == whole.keys()
    assert all(np.array_equal(mapped[name], array) for name, array in whole.items())
    with pytest.raises(ValueError, match="read-only"):
        mapped["lr_y"][0] = 0


def test_busy_places_are_preferred(clips: Path) -> None:
    path = clips / "train_00000.npz"
    arrays = read_clip(path)
    arrays["lr_y"][0, :, :, SIDE // 2 :] = 128  # half of the picture is even
    batches = Batches(clips, radius=0, crop=ALIGN // 2, batch=1, plain=1, steps=1)
    rng = np.random.default_rng(0)
    lefts = [batches._place(arrays, 3, ALIGN // 2, rng)[1] for _ in range(300)]
    assert np.mean(np.array(lefts) >= SIDE // 2) < 0.25, "of places drawn evenly a third lies in the even half"
    assert max(lefts) >= SIDE // 2, "even places are seen too"


def test_windows_in_training_stop_at_cuts_as_in_the_filter() -> None:
    cut = np.array([0, 0, 0, 1, 0, 0, 0], np.int8)
    assert window_indices(cut, 3, 2) == [3, 3, 3, 4, 5]
    assert window_indices(cut, 2, 2) == [0, 1, 2, 2, 2]
    assert window_indices(cut, 5, 2) == [3, 4, 5, 6, 6]
    assert window_indices(cut, 5, 2, reach=1) == [4, 4, 5, 6, 6]


@pytest.mark.parametrize("task", DEGRADATIONS)
def test_faults_change_the_picture_repeat_by_seed_and_keep_shapes(task: str) -> None:
    torch.manual_seed(0)
    y = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 12), size=(48, 48), mode="bilinear")[0]
    uv = torch.nn.functional.interpolate(torch.rand(1, 6, 6, 6) - 0.5, size=(24, 24), mode="bilinear")[0]
    before = y.clone(), uv.clone()
    changed = 0.0
    for seed in range(4):
        first, again = (lay([task], y, uv, np.random.default_rng(seed)) for _ in range(2))
        assert first[0].shape == y.shape and first[1].shape == uv.shape
        assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
        assert torch.isfinite(first[0]).all() and first[0].min() > -0.1 and first[0].max() < 1.12
        changed += float((first[0] - y).abs().mean() + (first[1] - uv).abs().mean())
    assert torch.equal(y, before[0]) and torch.equal(uv, before[1]), "the source is left alone"
    assert changed > 4 * 2 / 255


def test_the_loss_weighs_relative_gains_alike() -> None:
    goal_y, goal_uv = torch.rand(1, 1, 48, 48), torch.zeros(1, 2, 24, 24)

    def gain(error: float) -> float:
        worse, better = (distance(goal_y + e, goal_uv, goal_y, goal_uv) for e in (error, error / 2))
        return float(worse - better)

    assert gain(0.2) == pytest.approx(gain(0.1), rel=0.15)


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("radius", [0, 1, 2])
def test_network_starts_as_interpolation_and_keeps_shapes(scale: int, radius: int) -> None:
    net = Lite(LiteConfig(scale=scale, radius=radius, heads=1, **SMALL))
    frames = 2 * radius + 1
    y, uv = torch.full((2, frames, ALIGN, 2 * ALIGN), 0.3), torch.full((2, 2 * frames, ALIGN // 2, ALIGN), -0.2)
    out_y, out_uv = net(y, uv)
    assert out_y.shape == (2, 1, ALIGN * scale, 2 * ALIGN * scale)
    assert out_uv.shape == (2, 2, ALIGN * scale // 2, ALIGN * scale)
    torch.testing.assert_close(out_y, torch.full_like(out_y, 0.3))
    torch.testing.assert_close(out_uv, torch.full_like(out_uv, -0.2))


def test_the_heads_change_of_basis_loses_nothing() -> None:
    head = Head(3, 8)
    assert torch.linalg.matrix_rank(head.basis_y.flatten(1)) == 12
    assert torch.linalg.matrix_rank(head.basis_uv.flatten(1)) == 6


def test_steps_of_the_optimizer_are_about_orthogonal() -> None:
    torch.manual_seed(0)
    for shape in ((4, 12, 40), (4, 40, 12)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert values.min() > 0.6 and values.max() < 1.3


def test_rounding_leaves_256_levels_and_zero() -> None:
    layer = Round()
    x = torch.randn(4, 3, 50, 50)
    assert layer(x) is x
    layer.mode = Round.WATCH
    layer(x)
    layer.mode = Round.ROUND
    x.requires_grad_()
    rounded = layer(x)
    assert 100 < len(rounded.unique()) <= 256 and 0 in rounded
    step = float(layer.high - layer.low) / 255
    inside = (x > layer.low + step) & (x < layer.high - step)
    assert float((rounded - x)[inside].abs().max()) <= 0.501 * step
    rounded.sum().backward()
    assert torch.equal(x.grad[inside], torch.ones_like(x.grad[inside])), "rounding is left out of the gradient"
    assert 0 in x.grad, "but not clipping"


def test_rounding_is_torchs_own() -> None:
    layer = Round()
    layer.low.fill_(-0.7)
    layer.high.fill_(2.1)
    layer.mode = Round.ROUND
    x = torch.randn(5, 1000) * 2
    scale = 2.8 / 255
    torch.testing.assert_close(layer(x), torch.fake_quantize_per_tensor_affine(x, scale, round(0.7 / scale), 0, 255))


def test_clipping_is_rounding_without_levels() -> None:
    layer = Round()
    layer.low.fill_(-0.7)
    layer.high.fill_(2.1)
    x = torch.randn(5, 1000) * 2
    layer.mode = Round.CLIP
    clipped = layer(x)
    assert float(clipped.min()) == pytest.approx(-0.7) and float(clipped.max()) == pytest.approx(2.1)
    layer.mode = Round.ROUND
    assert float((layer(x) - clipped).abs().max()) < 0.6 * 2.8 / 255


def test_a_range_follows_what_is_seen() -> None:
    layer = Round()
    layer.mode = Round.WATCH
    layer(torch.linspace(-10, 30, 1000))
    assert float(layer.high) == pytest.approx(30, abs=0.1)
    for _ in range(300):
        layer(torch.linspace(-1, 3, 1000))
    assert float(layer.low) == pytest.approx(-1, abs=0.1) and float(layer.high) == pytest.approx(3, abs=0.2)


def test_training_evens_out_as_the_filter_does() -> None:
    core.animup.Version()  # hands the native functions over
    y = torch.randn(1, 1, 40, 56).mul(0.02).add(0.5)
    filtered = y[0, 0].numpy().copy()
    even_out(filtered, 8 / 219)
    np.testing.assert_allclose(evened_out(y, 8 / 219)[0, 0].numpy(), filtered, atol=1e-6)


def test_dead_channels_are_found_and_revived() -> None:
    torch.manual_seed(0)
    net = Lite(LiteConfig(radius=0, heads=1, **SMALL))
    window = torch.rand(1, 1, ALIGN, ALIGN), torch.rand(1, 2, ALIGN // 2, ALIGN // 2) - 0.5
    layer = net.get_submodule("behind.0.a")
    with torch.no_grad():
        layer.bias[:5] = -100
    found = activity_of(net, lambda: net(*window))
    assert (found["behind.0.a"] < DEAD).nonzero().flatten().tolist() == [0, 1, 2, 3, 4]
    before = net(*window)
    assert revive(net, found) == sum(int((shares < DEAD).sum()) for shares in found.values())
    for a, b in zip(before, net(*window), strict=True):
        torch.testing.assert_close(a, b, atol=0.02, rtol=0)
    assert float(activity_of(net, lambda: net(*window))["behind.0.a"].min()) > DEAD


def test_gradients_leave_the_level_of_rectifiers_alone() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(Conv(3, 5, 3, relu=True), Conv(5, 2, 3))
    level = torch.tensor([2.0, -1.0, 0.5])
    net(torch.randn(4, 3, 32, 32) * 0.1 + level[:, None, None]).square().sum().backward()
    torch.testing.assert_close(net[0].mean, level, atol=0.01, rtol=0)
    before = net[0].weight.grad.clone(), net[1].weight.grad.clone()
    keep_level(net)
    assert float((before[0].sum((2, 3)) @ level).abs().max()) > 1
    assert float((net[0].weight.grad.sum((2, 3)) @ net[0].mean).abs().max()) < 1e-3
    torch.testing.assert_close(net[0].weight.grad, free_of(before[0], net[0].mean))
    assert torch.equal(net[1].weight.grad, before[1]), "where no rectifier follows nothing is taken out"


def test_rounding_begins_after_watching_and_watches_on() -> None:
    modes = [rounding_at(step, 2000, 1000) for step in range(2000)]
    assert set(modes[:1000]) == {Round.OFF} and set(modes[1000:1200]) == {Round.WATCH}
    assert modes[1200:1700].count(Round.WATCH) == 50 and modes[1200:1700].count(Round.ROUND) == 450
    assert set(modes[1700:]) == {Round.ROUND}, "ranges stay in the end"


def randomised(scale: int, tasks: int = 0) -> Lite:
    torch.manual_seed(scale)
    net = Lite(LiteConfig(scale=scale, radius=1, heads=1, tasks=tasks, rank=1, **SMALL)).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    return net


def test_a_mix_of_tasks_is_the_sum_of_their_biases() -> None:
    layer = TaskConv(4, 6, 3, len(TASKS), 2)
    torch.nn.init.normal_(layer.task_b)
    torch.nn.init.normal_(layer.task_c)
    x = torch.randn(1, 4, 9, 9)
    plain = layer(x)
    layer.mix = torch.stack([mix_vector(m) for m in ({"denoise": 1}, {"dehaze": 0.5}, {"denoise": 1, "dehaze": 0.5})])
    one, other, both = layer(x.expand(3, -1, -1, -1)) - plain
    torch.testing.assert_close(one + other, both, atol=1e-4, rtol=1e-4)
    assert float(one.abs().mean()) > 0.1


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


def test_one_pass_begins_as_the_enlarging_network(clips: Path, tmp_path: Path) -> None:
    run(clips, tmp_path / "run", 3)
    upscale = load_checkpoint(tmp_path / "run" / "checkpoint.pt")["upscale"]
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
    options = {
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


def test_a_model_folder_gives_its_network_back(trained: Path) -> None:
    nets = load_checkpoint(trained)
    assert nets.keys() == {"restore", "upscale"}
    for name, net in nets.items():
        back = shipped(trained.with_name("models") / f"lite-{name}")
        assert back.config == net.config
        for (key, value), (other, wanted) in zip(back.state_dict().items(), net.state_dict().items(), strict=True):
            assert key == other
            # files have 10 bits of mantissa
            torch.testing.assert_close(value, wanted, atol=1e-3 if "task_" in key else 0, rtol=2**-10)


@pytest.mark.slow
@pytest.mark.parametrize("one_pass", [False, True])
def test_specialists_go_on_from_the_models_and_into_their_folders(clips: Path, tmp_path: Path, one_pass: bool) -> None:
    run(clips, tmp_path / "run", 4, round_from=0)
    made, checkpoint = tmp_path / "models", tmp_path / "run" / "checkpoint.pt"
    if one_pass:
        small = {"batch": 2, "crop": 2 * ALIGN, "every": 4, "threads": 1, "size": 0.2, "steps": 4, "round_from": 0}
        train_one_pass(data=clips, out=tmp_path / "one", start=checkpoint, **small)
    export_lite.main(checkpoint=checkpoint, one_pass=tmp_path / "one" / "checkpoint.pt" if one_pass else None, out=made)
    options = {
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
        wanted = load_checkpoint(tmp_path / "own" / "checkpoint.pt")[name.removeprefix("lite-").replace("-", "_")]
        wanted.set_rounding(Round.CLIP)
        assert export_lite.largest_difference(wanted, own.read(export_lite.FLOAT)) < 5e-4
    assert not list(made.rglob("*.partial"))
    export_lite.main(specialist=[f"destream={tmp_path / 'own' / 'checkpoint.pt'}"], share=0.25, out=made)
    for name in names:
        mean, itself = shipped(made / name / "destream"), shipped(made / name)
        wanted = load_checkpoint(tmp_path / "own" / "checkpoint.pt")[name.removeprefix("lite-").replace("-", "_")]
        for found, mine, theirs in zip(mean.parameters(), wanted.parameters(), itself.parameters(), strict=True):
            torch.testing.assert_close(found, 0.25 * mine + 0.75 * theirs, atol=2e-3, rtol=1e-3)
    # of several for a task the mean is taken
    paths = [tmp_path / "own" / "checkpoint.pt"] * 2 + [tmp_path / "one" / "checkpoint.pt" if one_pass else checkpoint]
    export_lite.main(specialist=[f"destream={path}" for path in paths], out=made)
    for name in names:
        key = name.removeprefix("lite-").replace("-", "_")
        first, _, last = (load_checkpoint(path)[key].parameters() for path in paths)
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
    options = {"data": clips, "models": made, "batch": 2, "crop": 2 * ALIGN, "every": 4, "threads": 1, "steps": 4}
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
