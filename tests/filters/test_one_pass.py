"""Restoring and enlarging in one pass: ``Upscale(task=…)``."""

from typing import Any

import pytest
import vapoursynth as vs

from tests.helpers.clips import core, moving
from tests.helpers.frames import digest, digests
from vsanimup.networks.manifest import SHIPPED, open_model


def test_words_do_as_well() -> None:
    clip = moving(length=3)
    spoken = core.animup.Upscale(clip, prompt="remove the blocking and a bit of noise").get_frame(1)
    named = core.animup.Upscale(clip, task="deblock+0.5*denoise").get_frame(1)
    assert digest(spoken) == digest(named) and spoken.props["AnimupMix"] == "deblock+0.5*denoise"


@pytest.mark.parametrize("arguments", [{"task": "auto"}, {"task": "destream", "precision": "fp32"}])
def test_random_access(arguments: dict[str, Any]) -> None:
    clip = moving(length=30, cut=17)
    linear = digests(core.animup.Upscale(clip, **arguments))
    result = core.animup.Upscale(clip, **arguments)
    for n in (29, 3, 17, 16, 0):
        assert digest(result.get_frame(n)) == linear[n]


@pytest.mark.parametrize("format", [vs.YUV444P16, vs.GRAY8, vs.RGB24])
def test_other_formats(format: int) -> None:
    matrix = {"matrix_in_s": "709"} if format == vs.RGB24 else {}
    clip = moving(length=2).resize.Bicubic(format=format, **matrix)
    frame = core.animup.Upscale(clip, task="deblock").get_frame(1)
    assert frame.format.id == format and (frame.width, frame.height) == (192, 128)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"task": "cook"}, "Upscale: task must be one of deblock.*'cook'"),
        ({"task": ""}, "got ''; leave out what is empty"),
        ({"task": "deblock", "prompt": "noise"}, "task or prompt, not both"),
        ({"prompt": "xyzzy plugh"}, "Upscale: prompt 'xyzzy plugh' is unclear"),
        (
            {"task": "deblock", "model": "lite-upscale"},
            "task='deblock': model='lite-upscale' enlarges alone; use Restore",
        ),
        ({"prompt": "noise", "model": "lite-upscale"}, "prompt='noise': model='lite-upscale' enlarges alone"),
        ({"task": "deblock", "strength": 0.5}, "strength=0.5 goes with AnimateLCM"),
        ({"task": "deblock", "model": "lite-restore"}, "restores, but .* enlarges by 2; give it to Restore"),
    ],
)
def test_what_cannot_be_done_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(vs.Error, match=words):
        core.animup.Upscale(moving(length=2), **arguments)


def test_the_model_named_is_the_model_of_a_task() -> None:
    clip = moving(length=2)
    named = core.animup.Upscale(clip, model="lite-one-pass", task="deblur").get_frame(1)
    assert digest(named) == digest(core.animup.Upscale(clip, task="deblur").get_frame(1))
    assert open_model(SHIPPED / "lite-one-pass").radius == 2
