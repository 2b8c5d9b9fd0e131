"""The shipped models' networks of their own for some tasks."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers.clips import core, disc, moving
from tests.helpers.frames import digests
from vsanimup.networks.manifest import MANIFEST, SHIPPED, Model, open_model, shipped

pytestmark = pytest.mark.weights


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """Copies of the shipped models that have no specialists."""
    for model in shipped():
        folder = shutil.copytree(
            model.folder, tmp_path / model.name, ignore=shutil.ignore_patterns("codecs", "destream", "deblock")
        )
        change(folder, specialists={})
    return tmp_path


def beside(model: Model, task: str) -> Path:
    """The folder of a model's network for a task."""
    return model.folder / model.specialists[task]


def change(folder: Path, **fields: Any) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    ("mix", "task"),
    [
        ({}, None),
        ({"denoise": 1.0}, None),
        ({"destream": 1.0}, "destream"),
        ({"destream": 0.5}, None),
        ({"destream": 1.0, "denoise": 0.5}, "destream"),
    ],
)
def test_full_weight_calls_for_the_specialist(mix: dict[str, float], task: str | None) -> None:
    assert len(shipped()) >= 3
    for model in shipped():
        assert model.specialist(mix) == task
        assert model.of(model.specialist(mix)).folder == (beside(model, task) if task else model.folder)


def test_every_model_has_one_for_each_kind_of_codec() -> None:
    assert len(shipped()) >= 3
    for model in shipped():
        assert model.specialist({"deblock": 1.0}) == "deblock" and model.specialist({"destream": 1.0}) == "destream"
        one = beside(model, "deblock") == beside(model, "destream")
        assert model.specialist({"deblock": 1.0, "destream": 1.0}) == ("deblock" if one else None)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_it_alone_serves_its_task(alone: Path, precision: str) -> None:
    clip = moving(length=4)
    for filter, name in (("Restore", "lite-restore"), ("Upscale", "lite-one-pass")):

        def run(model: Path, task: str, filter: str = filter) -> list[str]:
            return digests(getattr(core.animup, filter)(clip, model=str(model), task=task, precision=precision)[2])

        own, network = run(SHIPPED / name, "destream"), beside(open_model(SHIPPED / name), "destream")
        assert own == run(network, "destream") != run(alone / name, "destream")
        assert run(SHIPPED / name, "denoise+0.5*deblock") == run(alone / name, "denoise+0.5*deblock")
        assert run(SHIPPED / name, "destream+denoise") == run(network, "destream+denoise")


@pytest.mark.parametrize("task", ["destream", "deblock"])
@pytest.mark.parametrize("format", [vs.YUV420P8, vs.YUV444P16, vs.RGBS])
def test_enlarging_knows_what_restored(alone: Path, format: int, task: str) -> None:
    clip = moving(format, length=3)
    restored = core.animup.Restore(clip, task=task)
    assert restored.get_frame(1).props["AnimupRestored"] == task
    enlarged = core.animup.Upscale(restored)
    assert "AnimupRestored" not in enlarged.get_frame(1).props
    assert enlarged.get_frame(1).props["AnimupMix"] == task
    whole = digests(core.animup.Upscale(restored, gate=0))
    network = beside(open_model(SHIPPED / "lite-upscale"), task)
    assert whole == digests(core.animup.Upscale(restored, model=str(network), gate=0))
    assert whole != digests(core.animup.Upscale(restored, model=str(alone / "lite-upscale"), gate=0))
    for how, said in (({"task": "denoise"}, "lite-restore"), ({"task": task, "strength": 0.5}, None)):
        other = core.animup.Restore(clip, **how)
        assert other.get_frame(1).props.get("AnimupRestored") == said
        network = SHIPPED / "lite-upscale" / "restored" if said else alone / "lite-upscale"
        assert digests(core.animup.Upscale(other, gate=0)) == digests(
            core.animup.Upscale(other, model=str(network), gate=0)
        )


def test_doubling_again_is_plain(alone: Path) -> None:
    streamed = core.animup.Restore(moving(length=2), task="destream")
    twice = core.animup.Upscale(streamed, scale=4, format=vs.YUV420PS)
    once = core.animup.Upscale(streamed, format=vs.YUV420PS)
    again = core.animup.Upscale(once, model=str(alone / "lite-upscale"), dedup=0, temporal_threshold=0)
    a, b = (np.asarray(clip.get_frame(1)[0]) for clip in (twice, again))
    assert np.array_equal(a, b)


@pytest.mark.parametrize("task", ["destream", "deblock"])
def test_what_codecs_leave_is_told_by_the_frame_alone(task: str) -> None:
    clip = moving(length=4)
    alone = [core.animup.Restore(clip[n], task=task, temporal_threshold=0) for n in range(4)]
    assert digests(core.animup.Restore(clip, task=task, temporal_threshold=0, dedup=0)) == [
        digests(one)[0] for one in alone
    ]


def test_what_is_clean_names_none() -> None:
    assert "AnimupRestored" not in core.animup.Restore(disc()).get_frame(1).props
