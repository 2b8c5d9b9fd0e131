"""Task biases on the small AnimateLCM's denoiser: trained with it, merged at create."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import vapoursynth as vs

from tests.helpers.clips import core, moving
from tests.helpers.frames import digest
from tests.helpers.lcm_runs import SMALL, clips_in, run
from tests.helpers.modules import there

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from export import lcm_tiny  # noqa: E402
from training.lcm import data, train  # noqa: E402
from training.studies import denoiser_tasks  # noqa: E402
from vsanimup.architectures.animatelcm import graphs  # noqa: E402
from vsanimup.architectures.lcm_tiny import TASKS, Tiny, TinyConfig  # noqa: E402
from vsanimup.errors import AnimupError  # noqa: E402
from vsanimup.networks.animatelcm.model import AnimateLcm  # noqa: E402

pytestmark = pytest.mark.first


def with_biases() -> Tiny:
    torch.manual_seed(0)
    tiny = Tiny(TinyConfig(**SMALL, rank=2)).requires_grad_(False).eval()
    for name, parameter in there(tiny.biases).named_parameters():
        if name.endswith(("_b", "_c")):
            parameter.normal_(0, 0.2)
    return tiny


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips_in(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tiny, Path]:
    tiny, folder = with_biases(), tmp_path_factory.mktemp("tasks")
    torch.save({"config": tiny.config.to_dict(), "average": tiny.state_dict()}, folder / "tasks.pt")
    list(lcm_tiny.export(folder / "tasks.pt", folder / "model", precision="fp32"))
    return tiny, folder / "model"


def enlarged(folder: Path, **kw: Any) -> str:
    clip = moving(width=48, height=48, length=2)
    return digest(core.animup.Upscale(clip, model=str(folder), steps=1, **kw).get_frame(1))


def test_each_task_changes_the_picture(model: tuple[Tiny, Path]) -> None:
    _, folder = model
    results = {task: enlarged(folder, task=task) for task in ("denoise", "dehaze", "denoise+0.5*dehaze")}
    assert len({*results.values(), enlarged(folder)}) == 4
    assert enlarged(folder, task="0*dehaze+denoise") == results["denoise"]
    assert enlarged(folder, task="denoise", memory=0.35) == results["denoise"]  # a chain's first window


def test_merged_weights_do_what_training_does(model: tuple[Tiny, Path]) -> None:
    tiny, folder = model
    tiny.mix = {"derain": 1.0, "desnow": 0.25}
    for name in ("denoise", "denoise_memory"):
        graph, weights = AnimateLcm.open(folder).merged(name, tiny.mix, builds=False)
        assert weights is None
        inputs = graphs.example_of_denoise((16,) * 4, 8, 2, 8, 8, True, channels=4, layers=1)
        wanted = tiny.denoise(*inputs.values())
        if name == "denoise_memory":
            inputs = graphs.example_of_memory(tiny.denoiser.motion_layout, inputs, 2)
            inputs["memory_mask"][:] = -10000
        session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
        found = session.run(["next_latents"], {key: value.numpy() for key, value in inputs.items()})[0]
        assert np.abs(found - wanted.numpy()).max() < 1e-4 * max(1.0, float(wanted.abs().max()))
    graph, weights = AnimateLcm.open(folder).merged("denoise", tiny.mix, builds=True)
    assert graph == (folder / "denoise.onnx").read_bytes() and weights is not None and "unet.conv_in.weight" in weights
    tiny.mix = {}


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("destream", r"Upscale: task must be one of denoise, deblur, derain, dehaze, desnow.*got 'destream'"),
        ("auto", "Upscale: task='auto' goes with lite models; this model takes denoise, deblur, derain"),
    ],
)
def test_tasks_that_it_does_not_know(model: tuple[Tiny, Path], task: str, said: str) -> None:
    with pytest.raises(vs.Error, match=said):
        enlarged(model[1], task=task)


def test_a_damaged_file_of_biases_is_named_at_create(model: tuple[Tiny, Path], tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(model[1], tmp_path / "mine")
    (folder / "tasks.npz").write_bytes(b"no arrays")
    with pytest.raises(vs.Error, match=r"Upscale: model file .*tasks\.npz is damaged"):
        enlarged(folder, task="denoise")


def test_half_precision_is_refused(model: tuple[Tiny, Path], tmp_path: Path) -> None:
    with pytest.raises(AnimupError, match="--precision fp16: a model with task biases is exported with"):
        list(lcm_tiny.export(model[1].parent / "tasks.pt", tmp_path / "half", precision="fp16"))


@pytest.mark.slow
def test_training(clips: Path, tmp_path: Path) -> None:
    for stage in ("autoencoder", "image"):
        run(clips, tmp_path, stage)
    denoiser_tasks.main(
        data=clips, base=tmp_path, out=tmp_path / "runs", steps=2, windows=2, side=64, rank=2, seeds=2, clips=1
    )
    with_them, without = (
        torch.load(tmp_path / "runs" / f"rank{rank}-seed1" / "tasks.pt", weights_only=True) for rank in (2, 0)
    )
    assert with_them["config"]["rank"] == 2 and not any(name.startswith("biases") for name in without["average"])
    moved = [
        n for n, value in with_them["average"].items() if n.startswith("biases.") and n.endswith("_c") and value.any()
    ]
    assert moved
    trained = [task for task in range(len(TASKS)) if with_them["average"][moved[0]][task].any()]
    assert trained and len(trained) < len(TASKS)  # one a step


def test_pictures_of_a_task(clips: Path) -> None:
    crops = data.TaskCrops(clips, windows=2, frames=1, side=64)
    batches = [crops[step] for step in range(8)]
    assert len({batch.kinds[0] for batch in batches} & set(TASKS)) >= 3 and all(len(set(b.kinds)) == 1 for b in batches)
    again = data.TaskCrops(clips, windows=2, frames=1, side=64)[5]
    assert torch.equal(again.source, batches[5].source) and not torch.equal(again.source, again.sharp)
    kinds = [batch.kinds[0] for batch in data.task_validation(clips, side=64, clips=1)]
    assert tuple(kinds) == TASKS


def test_report() -> None:
    scores = {task: {"psnr": 30.0, "ssim": 0.9, "plain psnr": 25.0, "plain ssim": 0.8} for task in TASKS}
    better = {task: values | {"psnr": 32.0} for task, values in scores.items()}
    results = {(False, 1): scores, (False, 2): scores, (True, 1): better, (True, 2): scores}
    lines = denoiser_tasks.report(results).splitlines()
    assert lines[2] == ("| denoise | 25.00 / 0.800 | 30.00 ± 0.00 / 0.900 ± 0.000 | 31.00 ± 1.00 / 0.900 ± 0.000 |")
    assert train.BEFORE["tasks"][-1] == "image" and json.dumps(len(lines)) == "7"
