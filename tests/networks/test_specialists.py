"""Networks of their own for some tasks, in the folders of the models that they stand in for."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import vapoursynth as vs

from tests.helpers.clips import core, moving
from tests.helpers.frames import digest, digests
from tests.helpers.ways import settings
from vsanimup.networks.lite.node import lite_node
from vsanimup.networks.manifest import MANIFEST, SHIPPED, open_model
from vsanimup.tasks import DIAGNOSE, Diagnose, TaskMix


def change(folder: Path, **fields: Any) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_two_at_once_call_for_the_model_itself(tmp_path: Path) -> None:
    folder = shutil.copytree(SHIPPED / "lite-restore", tmp_path / "mine")
    change(folder, specialists={"destream": "codecs", "deblock": "codecs", "deblur": "sharp"})
    model = open_model(folder)
    assert model.specialist({"destream": 1.0, "deblur": 1.0}) is None and model.specialist({"deblur": 1.0}) == "deblur"
    assert model.specialist({"destream": 1.0, "deblock": 1.0}) == "destream", "one network serves both"


def test_windows_of_several_lengths_in_one_clip() -> None:
    """Inputs are used again: by networks that see the frames around and by those that do not, in turn."""
    clip, mixes = moving(length=12), ["denoise", "destream", "denoise"]
    model, how = open_model(SHIPPED / "lite-restore"), settings(dedup=False)

    def run(clip: vs.VideoNode, mix: Diagnose | TaskMix) -> list[str]:
        return digests(lite_node(clip.std.SetFrameProps(), "Restore", model, how, mix=mix))

    marked = core.std.Splice([clip[4 * i : 4 * i + 4].std.SetFrameProps(AnimupMix=m) for i, m in enumerate(mixes)])
    wanted = [run(clip, TaskMix({mix: 1.0}))[4 * i : 4 * i + 4] for i, mix in enumerate(mixes)]
    assert run(marked, DIAGNOSE) == [digest for part in wanted for digest in part]


@pytest.mark.parametrize("damage", ["missing", "altered", "other", "nameless"])
def test_damage_is_named_when_the_filter_is_made(tmp_path: Path, damage: str) -> None:
    folder = shutil.copytree(SHIPPED / "lite-restore", tmp_path / "mine")
    wanted = r"codecs"
    if damage == "missing":
        shutil.rmtree(folder / "codecs")
    elif damage == "altered":
        (folder / "codecs" / "network.int8.onnx").write_bytes(b"x")
        wanted = r"codecs.network\.int8\.onnx is damaged"
    elif damage == "other":
        change(folder / "codecs", radius=3)
        wanted = "codecs cannot stand in for lite-restore; get the model again"
    else:
        change(folder, specialists={"destream": "../lite-upscale"})
        wanted = r"file names must be plain, got '\.\./lite-upscale'"
    with pytest.raises(vs.Error, match=rf"Restore: .*{wanted}"):
        core.animup.Restore(moving(length=2), task="destream", model=str(folder))


def test_frames_come_out_the_same_in_any_order() -> None:
    clip = core.animup.Upscale(core.animup.Restore(moving(length=30, cut=17), task="destream"))
    linear = digests(clip)
    again = core.animup.Upscale(core.animup.Restore(moving(length=30, cut=17), task="destream"))
    for n in (29, 3, 17, 16, 0):
        assert digest(again.get_frame(n)) == linear[n]
