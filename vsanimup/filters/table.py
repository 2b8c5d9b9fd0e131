"""The arguments of both filters: what the plugin's signatures, the reference and the types for editors agree with.

``python -m vsanimup.filters.table`` writes the tables into ``docs/reference.md``, and ``vsanimup/functions.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KINDS = {"int": "int", "float": "float", "data": "str", "int[]": "int | Sequence[int]", "vnode": "vs.VideoNode"}
"""Kind of an argument as VapourSynth names it -> its type in Python."""


@dataclass(frozen=True)
class Argument:
    """One argument; ``clip``, which is never left out, is not among them."""

    name: str
    kind: str
    """As VapourSynth names it, see :data:`KINDS`."""
    default: object
    """What it is where it is left out; ``None`` where that depends on the clip, the model or the machine."""
    help: str
    """Meaning and range, in Markdown."""
    shown: str = ""
    """What the reference says of the default, where that is more than its value."""


RESTORE = (
    Argument(
        "task",
        "data",
        None,
        'What to remove: one task, a mix such as `"deblock+0.5*denoise"`, or `"auto"`, which looks at the '
        "clip itself (below).",
        shown='`"auto"`',
    ),
    Argument(
        "prompt",
        "data",
        None,
        'The same in words, instead of `task`: `prompt="remove the blocking and a bit of noise"`, `"old VHS, '
        'but keep the grain"`, `"denoise 75%"`. An unclear one is an error that names the nearest guess, and '
        "so is one that asks to add something.",
        shown="none",
    ),
    Argument(
        "strength",
        "float",
        1.0,
        "Share of the change that is applied, 0 to 1. 0 returns the clip as it is.",
    ),
    Argument(
        "grain",
        "float",
        0.0,
        "Share of the fine noise taken away that comes back, 0 to 1. Only fine noise of luma does: no blocks, "
        "and beside lines, where there are rings, less than elsewhere. `Upscale` after it would take it for "
        "part of the picture: give `grain` there instead.",
    ),
    Argument(
        "model",
        "data",
        "lite",
        '`"lite"`, the name of a shipped model, or a folder with a `manifest.json`.',
    ),
)
"""What only ``Restore`` takes, or takes in its own way."""
UPSCALE = (
    Argument(
        "scale",
        "float",
        2,
        "Enlargement: 2, 3 or 4, no other number. 4 doubles twice; 3 is 4 resized down.",
    ),
    Argument(
        "task",
        "data",
        None,
        "As for `Restore`: restores in the same pass. Without `task` and `prompt` the clip is enlarged as it "
        "is. Lite models only.",
        shown="none",
    ),
    Argument(
        "grain",
        "float",
        0.0,
        "As for `Restore`, at the size of the result. Without a task it needs `original`.",
    ),
    Argument(
        "original",
        "vnode",
        None,
        "The clip before `Restore`, which tells what noise was taken away.",
        shown="none",
    ),
    Argument(
        "model",
        "data",
        "lite",
        "As for `Restore`; also a folder of an exported AnimateLCM.",
    ),
)
"""The same of ``Upscale``."""
DIFFUSION = (
    Argument(
        "steps",
        "int",
        2,
        "Denoising steps.",
    ),
    Argument(
        "strength",
        "float",
        0.3,
        "How much is drawn anew, 0 to 1.",
    ),
    Argument(
        "prompt",
        "data",
        "",
        "What the picture shows.",
    ),
    Argument(
        "negative_prompt",
        "data",
        "",
        "What it must not show; counts only with `cfg` other than 1.",
    ),
    Argument(
        "cfg",
        "float",
        1.0,
        "Classifier-free guidance; other values than 1 take twice the time, and make `negative_prompt` count.",
    ),
    Argument(
        "seed",
        "int",
        0,
        "Number of the noise. One noise for all frames: what stands still in the source stands still in the result.",
    ),
    Argument(
        "colorfix",
        "data",
        "wavelet",
        '`"wavelet"` takes everything coarse from the source, `"adain"` mean and spread; or `"none"`.',
    ),
    Argument(
        "control",
        "float",
        None,
        "Strength of the ControlNet, where the model has one (`--controlnet`).",
        shown="1.0",
    ),
    Argument(
        "memory",
        "float",
        0.0,
        "Share of the earlier drawings that motion modules still see, 0 (off) to 1; `docs/animatelcm.md` has its cost. "
        "That it helps is not shown yet.",
    ),
    Argument(
        "anchor",
        "int",
        4,
        "Blocks of 24 frames after which memory begins anew; it does so at scene cuts, too.",
    ),
)
"""What ``Upscale`` takes with AnimateLCM models; ``prompt`` goes with lite models, too."""
SHARED = (
    Argument(
        "tilesize",
        "int[]",
        None,
        "Width and height of a tile in luma samples (one number for both), rounded up to multiples of 48. "
        "Left out, tiles are as large as 1 GiB of working memory for each stream allows, which is the whole "
        "frame up to about 1080p; on a GPU also no more than a quarter of its memory for all streams "
        "together.",
        shown="automatic",
    ),
    Argument(
        "overlap",
        "int[]",
        None,
        "Samples that neighbouring tiles share, 256 at most; seams are feathered.",
        shown="32",
    ),
    Argument(
        "backend",
        "data",
        "auto",
        '`"tensorrt"` (TensorRT or TensorRT-RTX, see Engines), `"cuda"` (onnxruntime-gpu) or `"cpu"` '
        '(onnxruntime); by name also `"openvino"`, `"directml"`, `"coreml"` and `"migraphx"` '
        '(`docs/engines.md`). `"auto"` takes the first that works; the log says at debugging level which and '
        "why.",
    ),
    Argument(
        "device_id",
        "int",
        0,
        "Which device of the backend.",
    ),
    Argument(
        "num_streams",
        "int",
        None,
        "Frames computed at once.",
        shown="cores",
    ),
    Argument(
        "scenecut",
        "int",
        1,
        "1: the temporal window stops at scene cuts. The properties `_SceneChangePrev` and `_SceneChangeNext` "
        "rule where present, else cuts are detected. 0: it does not stop.",
    ),
    Argument(
        "dedup",
        "int",
        1,
        "1: a run of frames that show one drawing (animation on twos and threes) is averaged, computed once "
        "and served to all of them. Runs are looked for in cells of 12 frames, so a source error spoils its "
        "cell (and, with `temporal_threshold`, the frame on each side). What `Restore` gives is taken as it "
        "is: copies of a drawing are equal there. 0: every frame for itself.",
    ),
    Argument(
        "spatial_threshold",
        "float",
        None,
        "Differences that are evened out after the network, in steps of 8-bit luma (`Restore` / `Upscale` / "
        "`Upscale` with a task): it takes what noise is left in even areas, and grain as faint as that. 0: "
        "none. Lite models only.",
        shown="4 / 8 / 12",
    ),
    Argument(
        "temporal_threshold",
        "float",
        None,
        "The same along time: differences to the frame before and the frame after a drawing, within the "
        "scene, that are evened out. It takes the shimmer that is left, and grain. After `Restore`, which did "
        "it already, `Upscale` does it only when you give it. A frame asked for out of order takes three "
        "computations for it; 0 is none. Lite models only.",
        shown="16 / 0 / 7",
    ),
    Argument(
        "gate",
        "float",
        1.0,
        "How far the network is held back where the source does not support what it adds: soft, painted, "
        "grainy and lightly compressed pictures stay as they are, or as Lanczos enlarges them (see "
        '`docs/networks.md`, "Share of the network"). 0: its full effect everywhere. Lite models only.',
    ),
    Argument(
        "tta",
        "int",
        0,
        "1: the mean over four mirror images of the picture (test-time augmentation), in four times the time: "
        "0.1 dB. Lite models only.",
    ),
    Argument(
        "precision",
        "data",
        "auto",
        '`"int8"`, the default on `cpu` and `openvino`: integers. `"fp32"`: floats, 3 times as slow, less '
        'than 0.1 dB better. With `backend="tensorrt"`: `"fp16"` (the default), `"bf16"` or `"fp32"`.',
    ),
)
"""What both take."""
FORMAT = Argument("format", "int", None, "Format of the result, such as `vs.YUV420P16`.", shown="the clip's")


FUNCTIONS = {
    "Restore": (*RESTORE, *SHARED, FORMAT),
    "Upscale": (*UPSCALE, *DIFFUSION, *SHARED, FORMAT),
}
"""Arguments of each filter, in their order."""
TABLES = {"restore": RESTORE, "upscale": UPSCALE, "diffusion": DIFFUSION, "shared": (*SHARED, FORMAT)}
"""Tables of the reference, by the name in their markers."""


def signature(function: str) -> str:
    """The signature that the native plugin must register."""
    return "clip:vnode;" + "".join(f"{argument.name}:{argument.kind}:opt;" for argument in FUNCTIONS[function])


def markdown(arguments: Sequence[Argument]) -> str:
    """A table for the reference."""
    lines = ["| argument | default | meaning |", "| --- | --- | --- |"]
    for each in arguments:
        default = each.shown or (f'`"{each.default}"`' if isinstance(each.default, str) else f"{each.default:g}")
        lines.append(f"| `{each.name}` | {default} | {each.help} |")
    return "\n".join(lines)


def with_tables(text: str) -> str:
    """The reference with its tables as they are to be, each between ``<!-- NAME -->`` and ``<!-- end -->``."""
    for name, arguments in TABLES.items():
        begin, end = f"<!-- {name} -->\n", "<!-- end -->"
        if text.count(begin) != 1:
            raise ValueError(f"the reference must hold one table {name}, it holds {text.count(begin)}")
        before, after = text.split(begin)
        text = f"{before}{begin}{markdown(arguments)}\n{end}{after.partition(end)[2]}"
    return text


def types() -> str:
    """The source of :mod:`vsanimup.functions`."""
    parts = [HEAD]
    for function, arguments in FUNCTIONS.items():
        given = "".join(f"        {each.name}: {KINDS[each.kind]} = ...,\n" for each in arguments)
        parts.append(
            f"\n    def {function}(\n        self,\n        clip: vs.VideoNode,\n{given}    ) -> vs.VideoNode: ...\n"
        )
    return "".join(parts)


HEAD = '''\
"""The plugin's functions as types, for editors and type checkers: ``python -m vsanimup.filters.table`` made it.

``animup: Animup = core.animup`` makes an editor complete and check what follows ``animup.``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import vapoursynth as vs


class Animup(Protocol):
    """``core.animup``."""
'''

if __name__ == "__main__":
    package = Path(__file__).parents[1]
    (package / "functions.py").write_text(types(), encoding="utf-8")
    reference = package.parent / "docs" / "reference.md"
    reference.write_text(with_tables(reference.read_text("utf-8")), encoding="utf-8")
