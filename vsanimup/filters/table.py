"""The arguments of both filters: the one place that knows their names, types, ranges and defaults.

:mod:`vsanimup.filters.arguments` checks by it what scripts give. The plugin's signatures, the reference and the types
for editors are made from it by ``python -m vsanimup.filters.generate``.
"""

from __future__ import annotations

from dataclasses import dataclass

from vsanimup.filters.ranges import ANYTHING, AtLeast, Flag, Pair, Range, Span, Whole, Word
from vsanimup.networks.animatelcm.colour import COLOURFIXES
from vsanimup.networks.animatelcm.windows import BLOCK
from vsanimup.networks.settings import PRECISIONS


@dataclass(frozen=True)
class Argument:
    """One argument; ``clip``, which is never left out, is not among them."""

    name: str
    kind: str
    """As VapourSynth names it, such as ``int[]``."""
    default: object
    """What it is where it is left out; ``None`` where that depends on the clip, the model or the machine."""
    help: str
    """Meaning and range, in Markdown."""
    shown: str = ""
    """What the reference says of the default, where that is more than its value."""
    range: Range = ANYTHING
    """What it may be."""
    families: tuple[str, ...] = ()
    """Families of networks that it goes with, as manifests call their kind; empty for all."""


MOST_OVERLAP = 256
"""More than any network sees to one side; beyond, tiles would be mostly overlap."""
MOST_STREAMS = 64
MOST_CFG, MOST_CONTROL = 30, 2
MOST_SPACING = 32
"""Blocks between two anchors at most: a seek asks for the frames of all of them."""
THRESHOLD = Span(0, 64, low="0 (off)")
"""Steps of 8-bit luma: beyond, nothing of a drawing is left."""
GRAIN = Span(0, 1, low="0 (none comes back)", high="1 (all of it)")


RESTORE = (
    Argument(
        "task",
        "data",
        None,
        'What to remove: one task, a mix such as `"deblock+0.5*denoise"`, or `"auto"`, which looks at the '
        "clip itself (below).",
        shown='`"auto"`',
        families=("lite",),
    ),
    Argument(
        "prompt",
        "data",
        None,
        'The same in words, instead of `task`: `prompt="remove the blocking and a bit of noise"`, `"old VHS, '
        'but keep the grain"`, `"denoise 75%"`. An unclear one is an error that names the nearest guess, and '
        "so is one that asks to add something.",
        shown="none",
        families=("lite",),
    ),
    Argument(
        "strength",
        "float",
        1.0,
        "Share of the change that is applied, 0 to 1. 0 returns the clip as it is.",
        range=Span(0, 1),
    ),
    Argument(
        "grain",
        "float",
        0.0,
        "Share of the fine noise taken away that comes back, 0 to 1. Only fine noise of luma does: no blocks, "
        "and beside lines, where there are rings, less than elsewhere. `Upscale` after it would take it for "
        "part of the picture: give `grain` there instead.",
        range=GRAIN,
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
        range=Whole((2, 3, 4)),
    ),
    Argument(
        "task",
        "data",
        None,
        "As for `Restore`: restores in the same pass. Without `task` and `prompt` the clip is enlarged as it is. Lite "
        "models, and AnimateLCM models that have tasks.",
        shown="none",
        families=("lite", "animatelcm"),
    ),
    Argument(
        "grain",
        "float",
        0.0,
        "As for `Restore`, at the size of the result. Without a task it needs `original`.",
        range=GRAIN,
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
        range=AtLeast(1),
        families=("animatelcm",),
    ),
    Argument(
        "strength",
        "float",
        0.3,
        "How much is drawn anew, 0 to 1.",
        range=Span(0, 1),
        families=("animatelcm",),
    ),
    Argument(
        "prompt",
        "data",
        "",
        "What the picture shows.",
        families=("lite", "animatelcm"),
    ),
    Argument(
        "negative_prompt",
        "data",
        "",
        "What it must not show; counts only with `cfg` other than 1.",
        families=("animatelcm",),
    ),
    Argument(
        "cfg",
        "float",
        1.0,
        "Classifier-free guidance; other values than 1 take twice the time, and make `negative_prompt` count.",
        range=Span(1, MOST_CFG, low="1 (no negative prompt)"),
        families=("animatelcm",),
    ),
    Argument(
        "seed",
        "int",
        0,
        "Number of the noise. One noise for all frames: what stands still in the source stands still in the result.",
        families=("animatelcm",),
    ),
    Argument(
        "colorfix",
        "data",
        "wavelet",
        '`"wavelet"` takes everything coarse from the source, `"adain"` mean and spread; or `"none"`.',
        range=Word(COLOURFIXES),
        families=("animatelcm",),
    ),
    Argument(
        "control",
        "float",
        None,
        "Strength of the ControlNet, where the model has one (`--controlnet`).",
        shown="1.0",
        range=Span(0, MOST_CONTROL),
        families=("animatelcm",),
    ),
    Argument(
        "memory",
        "float",
        0.0,
        "Share of the earlier drawings that motion modules still see, 0 (off) to 1; `docs/animatelcm.md` has its cost. "
        "No gain is shown.",
        range=Span(0, 1, low="0 (off)", high="1 (everything)"),
        families=("animatelcm",),
    ),
    Argument(
        "anchor",
        "int",
        4,
        "Blocks of 24 frames after which memory begins anew; it does so at scene cuts, too.",
        range=Span(1, MOST_SPACING, high=f"{MOST_SPACING} blocks of {BLOCK} frames"),
        families=("animatelcm",),
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
        range=Pair(32, remedy="; leave it out to have it chosen"),
    ),
    Argument(
        "overlap",
        "int[]",
        None,
        "Samples that neighbouring tiles share, 256 at most; seams are feathered.",
        shown="32",
        range=Pair(0, MOST_OVERLAP),
    ),
    Argument(
        "backend",
        "data",
        "auto",
        '`"tensorrt"` (TensorRT or TensorRT-RTX), `"cuda"` (onnxruntime-gpu) or `"cpu"` '
        '(onnxruntime); by name also `"openvino"`, `"directml"`, `"coreml"` and `"migraphx"` '
        '(`docs/engines.md`). `"auto"` takes the first that works; the log says at debugging level which and '
        "why.",
    ),
    Argument(
        "device_id",
        "int",
        0,
        "Which device of the backend.",
        range=AtLeast(0),
    ),
    Argument(
        "num_streams",
        "int",
        None,
        "Frames computed at once.",
        shown="cores",
        range=Span(1, MOST_STREAMS),
    ),
    Argument(
        "scenecut",
        "int",
        1,
        "1: the temporal window stops at scene cuts. The properties `_SceneChangePrev` and `_SceneChangeNext` "
        "rule where present, else cuts are detected. 0: it does not stop.",
        range=Flag(),
    ),
    Argument(
        "dedup",
        "int",
        1,
        "1: a run of frames that show one drawing (animation on twos and threes) is averaged, computed once "
        "and served to all of them. Runs are looked for in cells of 12 frames, so a source error spoils its "
        "cell (and, with `temporal_threshold`, the frame on each side). What `Restore` gives is taken as it "
        "is: copies of a drawing are equal there. Copies with grain of their own are left apart where nothing is "
        "removed, or what a codec did alone (`deblock`, `destream`). 0: every frame for itself.",
        range=Flag(),
    ),
    Argument(
        "spatial_threshold",
        "float",
        None,
        "Differences that are evened out after the network, in steps of 8-bit luma (`Restore` / `Upscale` / "
        "`Upscale` with a task): it takes what noise is left in even areas, and grain as faint as that. 0: "
        "none. Lite models only.",
        shown="4 / 8 / 12",
        range=THRESHOLD,
        families=("lite",),
    ),
    Argument(
        "temporal_threshold",
        "float",
        None,
        "The same along time: differences to the frame before and the frame after a drawing, within the "
        "scene, that are evened out. It takes the shimmer that is left, and grain. By default `Restore` goes by "
        "how much it removed from the frame: 6 for each step of luma in the mean, from 4 (0 where nothing was) to "
        "16. After `Restore`, "
        "which did it already, `Upscale` does it only when you give it. A frame asked for out of order takes "
        "three computations for it; 0 is none. Lite models only.",
        shown="0 to 16 / 0 / 7",
        range=THRESHOLD,
        families=("lite",),
    ),
    Argument(
        "gate",
        "float",
        1.0,
        "How far the network is held back where the source does not support what it adds: soft, painted, "
        "grainy and lightly compressed pictures stay as they are, or as Lanczos enlarges them (see "
        '`docs/networks.md`, "Share of the network"). 0: its full effect everywhere. Lite models only.',
        range=Span(0, 1, low="0 (off)"),
        families=("lite",),
    ),
    Argument(
        "tta",
        "int",
        0,
        "1: the mean over four mirror images of the picture (test-time augmentation), in four times the time: "
        "0.1 dB. Lite models only.",
        range=Flag(),
        families=("lite",),
    ),
    Argument(
        "precision",
        "data",
        "auto",
        '`"int8"`, the default on `cpu` and `openvino`: integers. `"fp32"`: floats, 3 times as slow, less '
        'than 0.1 dB better. With `backend="tensorrt"`: `"fp16"` (the default), `"bf16"` or `"fp32"`.',
        range=Word(PRECISIONS),
    ),
)
"""What both take."""
FORMAT = Argument("format", "int", None, "Format of the result, such as `vs.YUV420P16`.", shown="the clip's")


FUNCTIONS = {
    "Restore": (*RESTORE, *SHARED, FORMAT),
    "Upscale": (*UPSCALE, *DIFFUSION, *SHARED, FORMAT),
}
"""Arguments of each filter, in their order."""
