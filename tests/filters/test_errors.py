"""What a user did wrong is said as such: filter, argument, value and remedy, in one readable line."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import vapoursynth as vs
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.helpers.clips import core, inked, moving
from tests.helpers.frames import digests
from vsanimup.bridge import logs
from vsanimup.diagnosis import graph
from vsanimup.engines import device
from vsanimup.errors import LONGEST, AnimupError, cut, guess, shown
from vsanimup.filters.table import MOST_OVERLAP
from vsanimup.video.formats import output_format

FILTERS = ("Restore", "Upscale")


def blank(format: int = vs.YUV420P8, **kw: Any) -> vs.VideoNode:
    return core.std.BlankClip(**({"width": 64, "height": 48, "length": 1, "format": format} | kw))


def wide(bits: int) -> int:
    return int(core.query_video_format(vs.YUV, vs.INTEGER, bits, 1, 1).id)


BOTH = [
    ({"model": "~nobody_here/net.onnx"}, "model='~nobody_here/net.onnx' names no user of this machine; write the path"),
    ({"model": "~nobody_here/folder"}, "model='~nobody_here/folder' names no user"),
    ({"model": "x" * 300}, "model must be one of .* or an .onnx file, got 'x+…"),
    ({"model": "x" * 300 + ".onnx"}, "there is no such file; give the path of an ONNX file"),
    ({"model": "net.pth"}, "model must be one of .* or an .onnx file, got 'net.pth'"),
    ({"model": ""}, "model must be one of .* got ''"),
    ({"model": "/"}, "model='/' has no manifest.json; give a folder that 'animup export' made"),
    ({"model": b"f\xfcr"}, r"model must be text, or bytes in UTF-8, got b'f\\xfcr'"),
    ({"prompt": b"f\xfcr"}, "prompt must be text"),
    ({"task": b"f\xfcr"}, "task must be text"),
    ({"task": "deblok"}, r"got 'deblok' \(nearest guess: deblock\)"),
    ({"task": "auto+denoise"}, r"task: auto finds all tasks by itself and stands alone, got 'auto\+denoise'"),
    ({"task": "AUTO"}, r"got 'AUTO' \(nearest guess: auto\)"),
    ({"task": "denoise+debIur"}, r"got 'debIur' in 'denoise\+debIur' \(nearest guess: deblur\)"),
    ({"model": "lite-restor"}, r"got 'lite-restor' \(nearest guess: lite-restore\)"),
    ({"backend": "tensorrtx"}, r"got 'tensorrtx' \(nearest guess: tensorrt\)"),
    ({"precision": "fp61"}, r"got 'fp61' \(nearest guess: fp16\)"),
    ({"format": -1}, "format must be a VapourSynth format such as vs.YUV420P16, got -1"),
    ({"format": 2**40}, "format must be a VapourSynth format"),
    ({"format": 2**31 - 1}, "format must be a VapourSynth format"),
    ({"overlap": 10**4}, f"overlap must be one or two numbers .* from 0 to {MOST_OVERLAP}, got 10000"),
    ({"overlap": [8, 2**62], "tilesize": 32}, "overlap must be"),
    ({"device_id": 1, "backend": "cpu"}, "device_id must be 0 on the cpu backend, got 1"),
    ({"spatial_threshold": 64.0001}, r"spatial_threshold must lie between 0 \(off\) and 64, got 64.0001"),
]


@pytest.mark.parametrize("function", FILTERS)
@pytest.mark.parametrize(("arguments", "said"), BOTH, ids=lambda value: repr(value)[:40])
def test_mistakes_in_arguments(function: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(vs.Error, match=f"^{function}: .*{said}") as caught:
        getattr(core.animup, function)(blank(), **arguments)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"strength": 0.5}, "strength=0.5 goes with AnimateLCM models, which model='lite' is not: leave it out"),
        ({"steps": 4, "seed": 1}, "steps=4, seed=1 go with AnimateLCM models, .*: leave them out"),
    ],
)
def test_arguments_of_another_kind_of_model(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(vs.Error, match=f"^Upscale: {said}$"):
        core.animup.Upscale(blank(), **arguments)


@pytest.mark.parametrize("format", [wide(24), wide(32), vs.GRAY32])
def test_formats_of_more_than_16_bits_cannot_be_asked_for(format: int) -> None:
    with pytest.raises(AnimupError, match="format must have 8 to 16 bits a sample, or be float, got "):
        output_format(blank(), int(format))


def test_long_arguments_are_cut() -> None:
    for word in ("a" * 5000, "deblock+" * 3000):
        for argument in ("task", "model", "backend", "precision", "prompt"):
            with pytest.raises(vs.Error) as caught:
                core.animup.Restore(blank(), **{argument: word})
            assert len(str(caught.value)) < 600 and word[:LONGEST] not in str(caught.value)
    assert shown("a" * 500) == "'" + "a" * (LONGEST - 2) + "…" and shown(3) == "3"
    assert cut("abc", 3) == "abc" and cut("abcd", 3) == "ab…"
    assert guess("denoize", ["denoise", "deblur"]) == " (nearest guess: denoise)" and guess("qq", ["deblur"]) == ""


@examples(max_examples=60)
@given(
    argument=st.sampled_from(["task", "prompt", "model", "backend", "precision", "negative_prompt", "colorfix"]),
    value=st.text(max_size=40)
    | st.binary(max_size=12)
    | st.sampled_from(["\0", "/dev/zero", "/dev/null", ".onnx", "~"]),
)
def test_no_text_is_an_internal_error(argument: str, value: bytes | str) -> None:
    try:
        core.animup.Upscale(blank(), **{argument: value})
    except vs.Error as error:
        assert str(error).startswith("Upscale: ") and "internal error" not in str(error), error


@pytest.mark.parametrize("function", FILTERS)
def test_tiny_numbers_are_none(function: str) -> None:
    clip = moving(length=2)
    make = getattr(core.animup, function)
    tiny = make(clip, task="denoise", temporal_threshold=1e-46, spatial_threshold=1e-300)
    assert digests(tiny) == digests(make(clip, task="denoise", temporal_threshold=0, spatial_threshold=0))
    if function == "Restore":
        assert digests(make(clip, task="denoise", strength=5e-324)) == digests(clip)


@pytest.mark.parametrize("function", FILTERS)
@pytest.mark.parametrize(
    "wrong",
    [{"_Matrix": 1}, {"_Matrix": -5}, {"_Transfer": 3}, {"_Primaries": 999}],
    ids=str,
)
def test_rgb_may_carry_what_is_left_of_its_yuv(function: str, wrong: dict[str, Any]) -> None:
    clip = moving(vs.RGB24, width=32, height=32, length=1)
    odd = clip.std.SetFrameProps(**wrong)
    make = getattr(core.animup, function)
    assert digests(make(odd, task="denoise")) == digests(make(clip, task="denoise"))
    props = make(odd, task="denoise", format=vs.RGB48).get_frame(0).props
    assert props["_Matrix"] == 0 and all(props[name] == value for name, value in wrong.items() if name != "_Matrix")


@pytest.mark.parametrize("function", FILTERS)
@pytest.mark.parametrize("format", [vs.YUV420P8, vs.YUV444P16, vs.GRAY8, vs.RGB24])
def test_properties_that_no_conversion_can_go_by_are_named(function: str, format: int) -> None:
    make = getattr(core.animup, function)
    for name, value in (("_Range", 7), ("_Range", -1), ("_ChromaLocation", 99)):
        odd = blank(format, length=3).std.SetFrameProps(**{name: value})
        clip = make(core.std.Splice([blank(format, length=3), odd]), task="denoise", dedup=0, temporal_threshold=0)
        assert clip.get_frame(0)
        with pytest.raises(
            vs.Error, match=f"^{function}: frame [345] has {name}={value}, which must be .* set it, as in"
        ):
            clip.get_frame(5)


def test_the_filter_that_was_called_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(frames: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        raise AnimupError("the decision is damaged")

    monkeypatch.setattr(graph, "state_probabilities", fail)
    for function in FILTERS:
        with pytest.raises(vs.Error, match=f"^{function}: the decision is damaged"):
            getattr(core.animup, function)(blank(), task="auto").get_frame(0)


def test_too_little_memory_is_no_internal_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(frames: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        np.empty((1 << 40, 1 << 20), np.float32)

    monkeypatch.setattr(graph, "state_probabilities", fail)
    with pytest.raises(vs.Error, match=r"^Restore: there is too little memory \(Unable to .*give a smaller tilesize"):
        core.animup.Restore(blank()).get_frame(0)


def test_bars_around_a_picture_stay_black() -> None:
    picture = inked(width=96, height=48, length=2)
    for bars in ({"top": 24, "bottom": 24}, {"left": 24, "right": 24}):
        clip = picture.std.AddBorders(**bars, color=[16, 128, 128])
        luma = np.asarray(core.animup.Restore(clip, task="dehaze").get_frame(1)[0]).astype(int)
        bar = luma[:24] if "top" in bars else luma[:, :24]
        assert np.abs(bar - 16).max() <= 1


# --- what is told without being asked

TELLING = """
import vapoursynth as vs
core = vs.core
core.add_log_handler(lambda kind, text: print(int(kind), text.replace("\\n", " ")))
clip = core.std.BlankClip(width=32, height=32, format=vs.YUV420P8, length=1)
core.animup.Upscale(core.animup.Restore(clip), scale=2, task="denoise").get_frame(0)
"""


def test_the_log_is_quiet_where_all_is_well() -> None:
    done = subprocess.run([sys.executable, "-c", TELLING], capture_output=True, text=True, timeout=100, check=True)
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    told = [text for kind, text in lines if int(kind) >= int(vs.MESSAGE_TYPE_INFORMATION)]
    assert len(told) <= 1 and all(len(text) < 100 for text in told)
    assert device.is_there() or (not told and "NVIDIA" not in done.stderr)
    quiet = [text for kind, text in lines if int(kind) == int(vs.MESSAGE_TYPE_DEBUG)]
    assert any("backend='auto' is" in text for text in quiet)
    assert any(text == "Upscale: lite-one-pass, denoise" for text in quiet)


def test_only_the_first_message_of_a_process_is_information(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr(logs, "_informed", threading.Lock())
    said: list[tuple[int, str]] = []
    handle = core.add_log_handler(lambda kind, text: said.append((int(kind), text)))
    try:
        for level in ("info", "info", "warning", "debug"):
            logs.log("hello", level)
    finally:
        core.remove_log_handler(handle)
    kinds = [vs.MESSAGE_TYPE_INFORMATION, vs.MESSAGE_TYPE_DEBUG, vs.MESSAGE_TYPE_WARNING, vs.MESSAGE_TYPE_DEBUG]
    assert [kind for kind, text in said if text == "hello"] == [int(kind) for kind in kinds]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"scale": 2.5}, "scale must be 2, 3 or 4, got 2.5"),
        ({"tilesize": 0}, "tilesize must be one or two numbers .* of at least 32, got 0; leave it out"),
    ],
)
def test_what_was_taken_for_something_else(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(vs.Error, match=f"^Upscale: {said}"):
        vs.core.std.BlankClip(format=vs.YUV420P8, width=64, height=64, length=1).animup.Upscale(**arguments)


def test_a_matrix_that_is_none() -> None:
    clip = vs.core.std.BlankClip(format=vs.YUV420P8, width=64, height=64, length=1)
    for matrix in (3, 99, -1):
        with pytest.raises(
            vs.Error, match=rf"^Restore: frame 0 has _Matrix={matrix}, which must be one of ITU-T H\.273"
        ):
            clip.std.SetFrameProps(_Matrix=matrix).animup.Restore(task="denoise").get_frame(0)
