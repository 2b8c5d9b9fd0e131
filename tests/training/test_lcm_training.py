"""The small AnimateLCM: its training in all stages, and its way into a model folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import vapoursynth as vs

from tests.helpers.clips import core, drawn, moving
from tests.helpers.frames import digest, digests, planes_of
from tests.helpers.lcm_runs import SMALL, clips_in, run

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from export import lcm_tiny  # noqa: E402
from training.lcm import data, stages  # noqa: E402
from vsanimup.architectures.animatelcm.graphs import alphas  # noqa: E402
from vsanimup.architectures.lcm_tiny import Tiny, TinyConfig, load  # noqa: E402
from vsanimup.errors import AnimupError  # noqa: E402

pytestmark = pytest.mark.first


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips_in(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def trained(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    for stage in ("autoencoder", "image", "motion"):
        run(clips, out, stage)
    return out


@pytest.fixture(scope="module")
def folder(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    checkpoint = trained / "moved.pt"
    state = torch.load(trained / "motion.pt", weights_only=True)
    for name, value in state["average"].items():
        if "proj_out" in name:  # after two steps motion modules do next to nothing yet
            value.add_(0.1 * torch.randn(value.shape))
    torch.save(state, checkpoint)
    out = tmp_path_factory.mktemp("models") / "tiny"
    list(lcm_tiny.export(checkpoint, out, precision="fp32"))
    return out, checkpoint


def test_stages_train_their_part_only(trained: Path) -> None:
    image, motion = (torch.load(trained / f"{stage}.pt", weights_only=True)["average"] for stage in ("image", "motion"))
    changed = {name for name, value in motion.items() if not torch.equal(value, image[name])}
    assert changed and all(name.startswith("denoiser.motion.") for name in changed)
    coder = torch.load(trained / "autoencoder.pt", weights_only=True)["average"]
    assert all(torch.equal(value, image[name]) for name, value in coder.items() if name.startswith("autoencoder."))
    entries = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert [entry["stage"] for entry in entries] == ["autoencoder", "image", "motion"]
    assert {"psnr", "ssim", "flicker", "plain flicker"} <= entries[-1]["scores"]["mpeg2"].keys()


def test_a_resumed_run_is_the_same(clips: Path, trained: Path, tmp_path: Path) -> None:
    run(clips, tmp_path, "autoencoder", stop=1)
    resumed, whole = run(clips, tmp_path, "autoencoder"), torch.load(trained / "autoencoder.pt", weights_only=True)
    assert resumed["step"] == whole["step"] == 2
    for name, value in whole["average"].items():
        assert torch.equal(value, resumed["average"][name]), name


def test_joint_stage(clips: Path, trained: Path) -> None:
    state = run(clips, trained, "joint", steps=1)
    assert all(torch.isfinite(value).all() for value in state["average"].values())


def test_stages_name_what_is_missing(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"starts from .*autoencoder\.pt"):
        run(clips, tmp_path, "image")
    with pytest.raises(SystemExit, match="--stage must be one of"):
        run(clips, tmp_path, "video")


def test_training_starts_from_the_source() -> None:
    torch.manual_seed(0)
    tiny = Tiny(TinyConfig(**SMALL)).requires_grad_(False)
    picture = torch.rand(2, 3, 64, 64)
    tiny.autoencoder.prepare(2 * picture - 1)
    tiny.prepare(299)
    tiny.denoiser.moving = False
    scene = stages.Scene.of(tiny, data.Pictures(picture, picture, torch.tensor([0, 1])))
    noise = torch.randn(scene.source.shape)
    assert torch.allclose(scene.denoised(scene.noised(scene.source, noise, 299), 299), scene.source, atol=1e-4)


def test_latents_are_scaled_and_centred(clips: Path, trained: Path) -> None:
    tiny = load(trained / "autoencoder.pt")
    crops = data.Crops(clips, windows=2, frames=1, side=64)
    latents = torch.cat([tiny.autoencoder.encode(crops[i].sharp * 2 - 1) for i in range(32)])
    assert latents.std() == pytest.approx(1, abs=0.1)
    assert latents.mean((0, 2, 3)).abs().max() < 0.05


def test_windows_see_themselves_only() -> None:
    mask = data.Pictures(torch.zeros(3), torch.zeros(3), torch.tensor([0, 0, 100])).mask
    assert mask.tolist() == [[0, 0, -10000], [0, 0, -10000], [-10000, -10000, 0]]


def test_windows_weigh_alike_however_far_they_are() -> None:
    distances = torch.tensor([0.01, 0.03, 5.0, 2.0, 8.0], requires_grad=True)
    loss = stages.balanced(distances, torch.tensor([0, 0, 1, 1, 1]), torch.tensor([1, 1, 0, 1, 1]).bool())
    assert float(loss) == pytest.approx(np.log([0.03, 5.01]).mean(), abs=1e-5)
    (gradient,) = torch.autograd.grad(loss, distances)
    assert gradient[2] == 0  # it was not counted
    assert torch.allclose(gradient[:2].sum() * 0.03, gradient[3:].sum() * 5.01)


def test_copies_of_a_drawing_become_one_frame() -> None:
    whole = np.array([1, 1, 2, 2, 2, 1], np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    source = torch.arange(6.0)[:, None, None, None]
    sharp, mean, scenes = data.drawn_once(whole, 10 * source, source, torch.tensor([0, 0, 0, 0, 0, 1]))
    assert sharp.flatten().tolist() == [0, 20, 50] and scenes.tolist() == [0, 0, 1]
    assert mean.flatten().tolist() == [0.5, 3, 5]


def test_a_moving_crop_pans_over_the_picture(clips: Path) -> None:
    crops = data.Crops(clips, windows=1, frames=3, side=64)
    with np.load(crops.files[0]) as file:
        still = {"lr_y": 1, "lr_uv": 1, "hr_y": 0, "hr_uv": 0}
        clip = {name: file[name].take([0] * 7, axis) for name, axis in still.items()}
    low, high = crops._room(clip["lr_y"].shape[-1], 32, 2)
    sharp, source = crops._pan(clip, 1, slice(0, 3), (low, high), (2, -2), 32)
    for pictures, shift in ((sharp, 4), (source, 4)):
        inner = slice(8, -8)
        moved = pictures.roll((shift, -shift), (-2, -1))
        torch.testing.assert_close(pictures[0, :, inner, inner], moved[1, :, inner, inner])
        assert float((pictures[0] - pictures[1]).abs().mean()) > 0.001


def test_doubling() -> None:
    ramp = torch.arange(12.0).expand(1, 12, 12)
    for kernel in (data.CATMULL_ROM, data.MITCHELL):
        centred = data.doubled(ramp, -1, kernel)[0, 0, 6:-6]
        assert torch.allclose(centred, torch.arange(6, 18) / 2 - 0.25, atol=1e-5)
        sited = data.doubled(ramp, -1, kernel, sited=True)[0, 0, 6:-6]
        assert torch.allclose(sited, torch.arange(6, 18) / 2, atol=1e-5)
        assert torch.equal(data.doubled(ramp.mT, -2, kernel), data.doubled(ramp, -1, kernel).mT)


def test_colours() -> None:
    y, uv = np.full((1, 4, 4), 63, np.uint8), np.empty((1, 2, 2, 2), np.uint8)
    uv[:, 0], uv[:, 1] = 102, 240  # pure red in BT.709
    assert torch.allclose(data.to_rgb(y, uv)[0, :, 1, 1], torch.tensor([1.0, 0, 0]), atol=0.01)


def test_the_exported_folder_does_the_same(folder: tuple[Path, Path]) -> None:
    out, checkpoint = folder
    section = json.loads((out / "manifest.json").read_text())["animatelcm"]
    assert (section["factor"], section["latent_channels"], section["control"]) == (4, 4, True)
    tiny = load(checkpoint)
    graphs = {name: ort.InferenceSession(out / f"{name}.onnx") for name in ("encode", "denoise", "control", "decode")}

    def graph(name: str, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
        outputs = [output.name for output in graphs[name].get_outputs()]
        arrays = {key: np.asarray(value, np.float32) for key, value in inputs.items()}
        return dict(zip(outputs, graphs[name].run(None, arrays), strict=True))

    torch.manual_seed(1)
    source = torch.rand(3, 3, 32, 64)
    batch = data.Pictures(source, source, torch.tensor([0, 0, 1]))
    with torch.no_grad():
        wanted = stages.enhanced(tiny, batch, torch.Generator().manual_seed(0))
        still = stages.Scene.of(tiny, batch)
    random = torch.Generator().manual_seed(0)
    latents = torch.tensor(graph("encode", {"image": 2 * source - 1})["latents"])
    for timestep in stages.TIMESTEPS:
        noise = stages.noise_like(latents, random, True)
        alpha = alphas()[timestep].reshape(1)
        seen = {"latents": still.noised(latents, noise, timestep), "timestep": [timestep], "text": still.text}
        residuals = graph("control", {**seen, "image": source, "strength": [1]})
        scalars = {"signal": alpha.sqrt(), "spread": (1 - alpha).sqrt(), "next_signal": [1], "next_spread": [0]}
        found = graph("denoise", {**seen, **scalars, "noise": noise, "mask": batch.mask, **residuals})
        latents = torch.tensor(found["next_latents"])
    picture = graph("decode", {"latents": latents})["image"] / 2 + 0.5
    assert np.abs(picture - wanted.numpy()).max() < 1e-3


def test_flat_areas_keep_their_colour(folder: tuple[Path, Path]) -> None:
    """Through the filter, with an autoencoder that knows pictures and denoisers that have learned next to nothing."""
    levels = (110, 116, 142)
    flat = drawn(moving(width=96, height=96, length=2), lambda n, i, shape: np.full(shape, levels[i] / 255, np.float32))
    result = core.animup.Upscale(flat, model=str(folder[0]))
    assert result.num_frames == flat.num_frames
    for frame in result.frames():
        for plane, level in zip(planes_of(frame), levels, strict=True):
            assert abs(plane.mean(dtype=np.float64) - level) < 1


def test_memory_through_the_filter(folder: tuple[Path, Path]) -> None:
    """The real graphs: any order gives the same, windows behind the first change, and a still scene stays still."""
    clip = moving(width=64, height=64, length=54)

    def made(clip: vs.VideoNode = clip, **kw: Any) -> vs.VideoNode:
        return core.animup.Upscale(clip, model=str(folder[0]), steps=1, memory=0.35, anchor=2, dedup=0, **kw)

    linear = digests(made())
    again = made(num_streams=1)
    assert all(digest(again.get_frame(n)) == linear[n] for n in (53, 40, 3))
    plain = core.animup.Upscale(clip, model=str(folder[0]), steps=1, dedup=0)
    assert digest(plain.get_frame(3)) == linear[3] and digest(plain.get_frame(40)) != linear[40]
    still = moving(width=64, height=64, length=1, noise=0) * 50
    first, last = (
        planes_of(core.animup.Upscale(still, model=str(folder[0]), memory=0.35).get_frame(n))[0].astype(int)
        for n in (0, 49)
    )
    assert abs(first - last).max() <= 1


def test_too_little_memory_for_memory_is_said_at_create(
    folder: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = moving(width=64, height=64, length=2)
    size = sum(path.stat().st_size for path in folder[0].iterdir())
    monkeypatch.setattr(
        "vsanimup.networks.animatelcm.family.total_memory", lambda: size + 128 * 128 * lcm_tiny.BYTES_PER_PIXEL
    )
    assert core.animup.Upscale(clip, model=str(folder[0]), num_streams=1).width == 128
    said = r"for each chain of windows\), this machine has .*: give less memory=, or a smaller anchor="
    with pytest.raises(vs.Error, match=said):
        core.animup.Upscale(clip, model=str(folder[0]), num_streams=1, memory=1, anchor=32)


def test_export_keeps_what_is_no_model(tmp_path: Path, folder: tuple[Path, Path]) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(AnimupError, match="exists and is no model folder"):
        list(lcm_tiny.export(folder[1], tmp_path / "mine", precision="fp32"))
