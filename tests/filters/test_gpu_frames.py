"""Clips whose frames lie in video memory: VapourSynth brings them to main memory in front of animup's filters."""

import pytest
import vapoursynth as vs

from tests.helpers.clips import core, moving
from tests.helpers.frames import digests


def test_filters_take_and_give_frames_in_main_memory() -> None:
    """``vnode:gpu`` or ``vnode:all`` would mean frames without planes that the plugin could read."""
    functions = {function.name: function for function in core.animup.functions()}
    assert functions.keys() >= {"Restore", "Upscale"} and "clip:vnode" in functions["Restore"].signature
    for function in functions.values():
        for part in f"{function.signature}{function.return_signature}".split(";"):
            assert ":gpu" not in part and ":all" not in part, (function.name, part)


def test_gpu_clips_give_the_same_bytes() -> None:
    clip = moving(width=48, height=32, length=3)
    try:
        on_gpu = core.std.GPUUpload(clip)
    except vs.Error as error:
        pytest.skip(f"no Vulkan 1.4 here: {error}")
    for filtered in (lambda c: core.animup.Restore(c, task="deblock"), core.animup.Upscale):
        assert digests(filtered(on_gpu)) == digests(filtered(clip))
