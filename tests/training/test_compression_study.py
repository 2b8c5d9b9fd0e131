"""Sequence compression: what it leaves out, what it costs, and how a schedule is chosen; the whole command, tiny."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from training.data.dataset import Batch
from training.studies import converged
from training.studies.compression import Cases, Options, Study, Tapes, build, count, main
from training.studies.compression_gradients import choose, contrastive_loss, gradients, measure, part_of
from training.studies.compression_report import reached
from training.studies.vit import CROP, WHOLE, Strategy, Vit, VitConfig, inverse_matrix, resize_embedding, resize_picture
from vsanimup.tasks import TASKS

SIDE = 2 * CROP


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the study runs: threads that wait for each other are slow where other programs run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A training clip and one for validation, random but smooth, in the clip files' layout."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("train_00000", "val_000"):
        rng = np.random.default_rng(sum(map(ord, name)))
        clean = np.kron(rng.integers(16, 235, (7, SIDE // 8, SIDE // 8)), np.ones((8, 8))).astype(np.uint8)
        noisy = np.clip(clean + rng.normal(0, 12, clean.shape), 0, 255).astype(np.uint8)
        np.savez(
            folder / f"{name}.npz",
            hr_y=np.kron(clean, np.ones((2, 2), np.uint8)),
            hr_uv=np.full((7, 2, SIDE, SIDE), 128, np.uint8),
            lr_y=np.stack([clean, noisy]),
            lr_uv=np.full((2, 7, 2, SIDE // 2, SIDE // 2), 128, np.uint8),
            kinds=np.array(["clean", "vhs"]),
            cut=np.zeros(7, np.int8),
            sources=np.array(["x"]),
        )
    return folder


def batch_of(seed: int, size: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.rand(size, *shape, generator=generator)

    goal, colour = noise(1, CROP, CROP), noise(2, CROP // 2, CROP // 2) - 0.5
    y = goal + 0.1 * noise(5, CROP, CROP)
    empty = torch.empty(size, 0)
    return Batch(
        y=y,
        uv=colour.repeat(1, 5, 1, 1),
        goal_y=goal,
        goal_uv=colour,
        sharp_y=empty,
        sharp_uv=empty,
        plain_y=empty,
        plain_uv=empty,
        plain_sharp_y=empty,
        plain_sharp_uv=empty,
        mix=noise(len(TASKS)),
    )


def small_vit() -> Vit:
    torch.manual_seed(0)
    return Vit(VitConfig(width=4, dim=8, depth=2, heads=2))


@pytest.mark.parametrize("patch", [6, 8, 12])
def test_an_enlarged_patch_gives_the_same_token(patch: int) -> None:
    weight, small = torch.randn(5, 3, 16), torch.randn(1, 3, 4, 4)
    large = torch.nn.functional.interpolate(small, size=(patch, patch), mode="bilinear")
    before = torch.einsum("dcp,cp->d", weight, small[0].flatten(1))
    after = torch.einsum("dcp,cp->d", resize_embedding(weight, patch), large[0].flatten(1))
    torch.testing.assert_close(before, after, atol=1e-4, rtol=1e-4)
    inverse_matrix.cache_clear()
    with torch.autocast("cpu", torch.bfloat16):
        assert inverse_matrix(4, patch).dtype == torch.float32
    drawn = resize_picture(weight, patch)[0, 0].reshape(1, 1, patch, patch)
    torch.testing.assert_close(
        drawn, torch.nn.functional.interpolate(weight[:1, :1].reshape(1, 1, 4, 4), size=(patch, patch), mode="bilinear")
    )


@pytest.mark.parametrize(
    "strategy", [WHOLE, Strategy(drop=0.75), Strategy(patch=12), Strategy(windows=2, patch=16), Strategy(windows=1)]
)
def test_the_body_sees_the_tokens_that_are_kept(strategy: Strategy) -> None:
    net, seen = small_vit(), []
    net.body[0].register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    part, places = part_of(batch_of(0), strategy, torch.Generator())
    out = net(part.y, part.uv, part.mix, places, strategy, torch.Generator())
    rows, columns = strategy.size
    assert out.y.shape == (3, 1, rows, columns) == part.goal_y.shape
    assert out.uv.shape == part.goal_uv.shape
    whole = rows * columns // strategy.patch**2
    assert seen == [round((1 - strategy.drop) * whole)]
    if strategy.drop:
        assert out.kept.sum() == 3 * seen[0]


def test_windows_keep_their_positions() -> None:
    net, batch = small_vit(), batch_of(0)
    whole = net._positions(8, torch.zeros(1, 2, dtype=torch.long), 12, 12).reshape(12, 12, 8)
    part, places = part_of(batch, Strategy(windows=1), torch.Generator().manual_seed(3))
    for i, (top, left) in enumerate(places.tolist()):
        torch.testing.assert_close(part.goal_y[i], batch.goal_y[i, :, top : top + 48, left : left + 48])
        torch.testing.assert_close(
            net._positions(8, places, 6, 6)[i].reshape(6, 6, 8),
            whole[top // 8 : top // 8 + 6, left // 8 : left // 8 + 6],
        )


def test_compression_is_cheaper_and_smaller_batches_are() -> None:
    batch = batch_of(0, 2)
    strategies = (WHOLE, Strategy(drop=0.5), Strategy(windows=1, drop=0.5))
    costs, updates = zip(*(count("vit", batch, s, contrast=False) for s in strategies), strict=True)
    assert costs[0] > costs[1] > costs[2]
    assert updates[0] == updates[1] == updates[2] > 0
    whole, window, crop = (
        count("lite", batch, s, contrast=False)[0] for s in (WHOLE, Strategy(windows=1), Strategy(crops=1))
    )
    assert whole == 2 * crop
    assert window < crop


def test_contrast_is_least_where_parts_of_a_picture_agree() -> None:
    pictures = torch.eye(4)[:, None].expand(-1, 4, -1)
    assert contrastive_loss(pictures) < contrastive_loss(torch.randn(4, 4, 4))
    assert contrastive_loss(pictures) < contrastive_loss(pictures.transpose(0, 1))


def test_measured_errors() -> None:
    net = small_vit()
    menu = [WHOLE, WHOLE, Strategy(patch=24), Strategy(crops=1)]
    same, again, coarse, fewer = measure(net, [batch_of(i) for i in range(4)], menu, bf16=False)
    assert same == again
    assert same["bias"] == 0 < coarse["bias"]
    assert fewer["variance"] > same["variance"]
    assert gradients(net, batch_of(0), WHOLE, torch.Generator(), contrast=True, bf16=False) < 0


def test_the_schedule_follows_the_error_for_the_cost() -> None:
    whole, cheap = {"bias": 0.0, "variance": 0.5}, {"bias": 0.01, "variance": 0.8}
    late = {"bias": 0.2, "variance": 0.8}
    stages = [[whole, cheap]] * 3 + [[whole, late]] * 2
    assert choose(stages, [1.0, 0.4], 10) == [1, 1, 0, 0]
    assert choose(stages, [1.0, 0.4], 0.5) == [1, 1, 1, 1]


def test_compute_until_a_score() -> None:
    curve = [{"flops": 10, "psnr": 1.0}, {"flops": 20, "psnr": 2.0}, {"flops": 30, "psnr": 1.5}]
    assert reached(curve, 1.5, "flops") == 15
    assert reached(curve, 3.0, "flops") is None


@pytest.mark.slow
def test_the_command_does_only_what_is_missing(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def run(networks: str) -> dict[Path, int]:
        main(
            data=clips,
            out=out,
            steps=4,
            batch=2,
            clips=1,
            seeds=1,
            lr=0.02,
            samples=2,
            budget=20.0,
            networks=networks,
            bf16=False,
            plot=False,
        )
        return {path: path.stat().st_mtime_ns for path in out.glob("*/* 0.json")}

    first = run("lite")
    assert {path.name for path in first} >= {"whole 0.json", "schedule 0.json", "smaller batch 0.json"}
    assert run("lite") == first
    results = json.loads((out / "results.json").read_text())["lite"]
    assert len(results["gradients"]["schedules"]["20 gradient"]) == 4
    assert {row["name"] for row in results["runs"]} >= {"whole", "schedule", "smaller batch"}
    assert "| whole |" in (out / "table.md").read_text()


def test_smaller_batches_cost_what_the_schedule_does(clips: Path, tmp_path: Path) -> None:
    options = Options(data=clips, out=tmp_path, steps=4, batch=4, clips=1, lr=0.02, bf16=False, samples=2, budget=20.0)
    study = Study("lite", options, Tapes(options), Cases(clips))
    assert study.smaller_batches([WHOLE, Strategy(windows=2)]) == [Strategy(crops=4), Strategy(crops=2)]
    assert isinstance(build("vit"), Vit)


@pytest.mark.slow
def test_tuned_runs_of_both_ways_are_compared(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converged, "RATES", (0.01, 0.02))
    out = tmp_path / "out"

    def run() -> dict[Path, int]:
        converged.main(data=clips, out=out, steps=10, batch=2, clips=1, seeds=1, bf16=False)
        return {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}

    first = run()
    assert run() == first
    tuning, compared = (out / "table.md").read_text().split("\n\n")
    assert len(tuning.splitlines()) == 2 + 2 * 2
    assert len(compared.splitlines()) == 2 + 6
    assert "| smaller crops | 0.4 |" in compared
