"""``core.animup.Upscale``: enlarge by 2, 3 or 4."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import vapoursynth as vs

from vsanimup.bridge import log
from vsanimup.diagnosis import PROPERTY
from vsanimup.errors import AnimupError, shown
from vsanimup.filters import arguments
from vsanimup.filters.mix import asked_mix, marked
from vsanimup.networks.image.network import ImageNetwork, find_image
from vsanimup.networks.image.node import image_clip
from vsanimup.networks.lite.node import lite_node
from vsanimup.networks.manifest import Model, find
from vsanimup.networks.settings import Settings
from vsanimup.sizes import count_of, show_bytes, total_memory
from vsanimup.tasks import AUTO, CLEAN, DIAGNOSE, Diagnose, TaskMix
from vsanimup.video import formats
from vsanimup.video.grain import checked_original, checked_share, with_grain
from vsanimup.video.likeness import RESTORED

PLAIN, ONE_PASS = "lite-upscale", "lite-one-pass"
"""What ``model="lite"`` is: enlarging alone, and with a task."""
SPATIAL, SPATIAL_ONE_PASS = 8.0, 12.0
"""Differences evened out unless told otherwise, in steps of 8-bit luma: one pass leaves more noise than two filters,
each of which is followed by its own evening out."""
TEMPORAL, TEMPORAL_ONE_PASS = 0.0, 7.0
"""The same of differences between neighbouring frames: what is enlarged as it is keeps its grain and its texture in
motion. What Restore gives was evened out already, and is so again only where the script says ``temporal_threshold``:
each frame would take two more of Restore's when somebody seeks."""
WIDENED = 2.5
"""Memory that half-precision weights take on CPUs, as a multiple of their size: onnxruntime widens them there.
Measured at full size: 8.8 GB for 3.0 GB of weights and 0.8 GB of work."""


@dataclass(frozen=True, kw_only=True)
class Diffusion:
    """Arguments that only AnimateLCM models take."""

    steps: int = 2
    """Denoising steps, at least 1."""
    strength: float = 0.3
    """How much is drawn anew, 0 to 1; 0 enlarges by plain interpolation."""
    prompt: str = ""
    """What the picture shows."""
    negative_prompt: str = ""
    """What it is to be kept away from; counts only with ``cfg`` other than 1."""
    cfg: float = 1.0
    """Classifier-free guidance; 1 goes by the prompt alone, and takes half the time."""
    seed: int = 0
    """Number of the noise."""
    colorfix: str = "wavelet"
    """How the source's colours are kept: ``wavelet``, ``adain`` or ``none``."""
    control: float | None = None
    """Strength of the ControlNet, for a model that has one; 1 unless given."""
    memory: float = 0.0
    """Share of earlier drawings that motion modules still see, 0 (off: those of the window alone) to 1 (all of the
    chain's)."""
    anchor: int = 4
    """Blocks of 24 frames after which memory begins anew, 1 to 32; it does so at scene cuts, too."""


def create(
    clip: vs.VideoNode,
    *,
    scale: float = 2,
    task: str | None = None,
    grain: float = 0.0,
    original: vs.VideoNode | None = None,
    model: str = "lite",
    format: int | None = None,
    **others: Any,
) -> vs.VideoNode:
    """Build the filter's graph.

    ``scale`` is 2, 3 or 4; ``task``, or ``prompt`` in words, restores in the same pass, and is what ``Restore`` takes;
    without them, what is there is enlarged as it is. ``grain`` 0..1 is the share of the fine noise taken away that
    comes back, at the result's size: by the task, or, where ``original`` is the clip before ``Restore``, by that.
    ``model`` is ``"lite"`` or a model folder, also one of an exported AnimateLCM, which takes the arguments of
    :class:`Diffusion`. The rest: see :func:`vsanimup.filters.arguments.settings`. The result has, unless ``format``
    says otherwise, the clip's format.

    Raises :class:`AnimupError` for anything that cannot work.
    """
    if scale not in (2, 3, 4):
        raise AnimupError(f"scale must be 2, 3 or 4, got {scale:g}")
    whole = int(scale)
    share = checked_share(grain)
    if original is not None:
        checked_original(original, clip)
    elif share and task is None and "prompt" not in others:
        raise AnimupError(
            f"grain={grain:g}: no noise is removed here; give the clip before Restore as original=, or a task="
        )

    def build(work: vs.VideoNode) -> vs.VideoNode:
        result = _graph(work, scale=whole, task=task, model=model, format=format, **others)
        if not share:
            return result
        return with_grain(result, work if original is None else original, None if original is None else work, share)

    return formats.apart_from_colour(formats.checked(clip, "Upscale"), build)


def _graph(
    clip: vs.VideoNode, *, scale: int, task: str | None, model: str, format: int | None, **others: Any
) -> vs.VideoNode:
    """As :func:`create`, of a clip that was checked."""
    target = formats.output_format(clip, format, scale)
    mine = {field.name: others.pop(field.name) for field in fields(Diffusion) if field.name in others}
    network = find_image(model)
    if network is not None:
        if task is not None:
            raise AnimupError(f"task={shown(task)}: model={shown(model)} does one thing; leave task out")
        _refuse_of_diffusion(mine, model)
        return _image(clip, scale, network, model, target, others)
    found = find(model, PLAIN if task is None and "prompt" not in mine else ONE_PASS, scale=2, diffusion=True)
    if found.kind == "animatelcm":
        return _diffusion(clip, scale, found, target, Diffusion(**mine), others, _lcm_mix(task, found, model))
    prompt = mine.pop("prompt", None)
    _refuse_of_diffusion(mine, model)
    if not found.modulation and (task is not None or prompt is not None):
        said = f"prompt={shown(prompt)}" if task is None else f"task={shown(task)}"
        raise AnimupError(f"{said}: model={shown(model)} enlarges alone; use Restore before it, or model='lite'")
    again = "temporal_threshold" in others
    settings = arguments.settings(**{"spatial_threshold": SPATIAL, "temporal_threshold": TEMPORAL} | others)
    if not found.modulation:
        return _lite(clip, scale, found, target, settings, CLEAN, again)
    once = arguments.settings(
        **{"spatial_threshold": SPATIAL_ONE_PASS, "temporal_threshold": TEMPORAL_ONE_PASS} | others
    )
    mix = asked_mix(task, prompt, found)
    clip = marked(clip, mix, "Upscale", found)
    restored = _lite(clip, scale, found, target, once, mix, again)
    if mix is not DIAGNOSE:
        return restored
    plain = _lite(clip, scale, find("lite", PLAIN, scale=2), target, settings, CLEAN, again)

    def choose(n: int, f: vs.VideoFrame) -> vs.VideoNode:
        return restored if f.props.get(PROPERTY) else plain

    return vs.core.std.FrameEval(restored, choose, prop_src=clip, clip_src=[restored, plain])


def _refuse_of_diffusion(given: dict[str, Any], model: str) -> None:
    if given:
        said = ", ".join(f"{name}={shown(value)}" for name, value in given.items())
        verb, out = ("goes", "it") if len(given) == 1 else ("go", "them")
        raise AnimupError(f"{said} {verb} with AnimateLCM models, which model={shown(model)} is not: leave {out} out")


def _lite(
    clip: vs.VideoNode, scale: int, model: Model, target: vs.VideoFormat, settings: Settings, mix: TaskMix | Diagnose,
    again: bool,
) -> vs.VideoNode:  # fmt: skip
    """A lite network's way: 4 doubles twice, 3 is 4 resized down. What restores does so once."""
    second = find("lite", PLAIN, scale=2) if model.modulation and scale != 2 else model

    def enlarge(work: vs.VideoNode, to: int) -> vs.VideoNode:
        if scale == 2:
            return lite_node(work, "Upscale", model, settings, to, mix, again)
        work = lite_node(work, "Upscale", model, settings, formats.floats(work), mix, again)
        # what restoring left is gone, and copies of a drawing are equal
        work = work.std.SetFrameProps(**{RESTORED: model.name})
        return lite_node(work, "Upscale", second, replace(settings, temporal_threshold=0.0), to)

    if scale != 3:
        return formats.through_network(clip, scale, target, enlarge).std.RemoveFrameProps(RESTORED)
    fine = vs.core.query_video_format(
        clip.format.color_family, vs.FLOAT, 32, clip.format.subsampling_w, clip.format.subsampling_h
    )
    large = formats.through_network(clip, 4, fine, enlarge).std.RemoveFrameProps(RESTORED)
    return large.resize.Spline36(format=target.id, width=clip.width * 3, height=clip.height * 3)


def _image(
    clip: vs.VideoNode, scale: int, network: ImageNetwork, model: str, target: vs.VideoFormat, shared: dict[str, Any]
) -> vs.VideoNode:
    """The way of a network from one picture to one; one that doubles does so twice for 4, and 3 is 4 resized down."""
    if network.scale not in (2, scale):
        does = f"enlarges by {network.scale}" if network.scale > 1 else "restores: give it to Restore"
        raise AnimupError(f"scale={scale}, but model={shown(model)} {does}")
    settings = arguments.image_settings(**shared)
    given = "overlap" in shared
    log(f"Upscale: {network.name}", "debug")
    if network.scale == scale:
        return image_clip(clip, "Upscale", network, settings, target, given)
    fine = vs.core.get_video_format(formats.floats(clip))
    large = image_clip(clip, "Upscale", network, settings, fine, given)
    if scale == 4:
        return image_clip(large, "Upscale", network, settings, target, given)
    large = image_clip(large, "Upscale", network, settings, fine, given)
    return large.resize.Spline36(format=target.id, width=clip.width * 3, height=clip.height * 3)


def _diffusion(
    clip: vs.VideoNode, scale: int, model: Model, target: vs.VideoFormat, chosen: Diffusion, shared: dict[str, Any],
    mix: TaskMix,
) -> vs.VideoNode:  # fmt: skip
    """AnimateLCM's way: interpolation, then few steps of diffusion over windows of drawings."""
    from vsanimup.networks.animatelcm.chains import held
    from vsanimup.networks.animatelcm.memory import Budget
    from vsanimup.networks.animatelcm.model import AnimateLcm
    from vsanimup.networks.animatelcm.node import Memory, diffusion_clip
    from vsanimup.networks.animatelcm.pipeline import Enhancer

    arguments.refuse_precision(shared, "an AnimateLCM model")
    arguments.refuse_of_lite(shared)
    settings = arguments.settings(**shared)
    width, height = clip.width * scale, clip.height * scale
    options = {field.name: getattr(chosen, field.name) for field in fields(chosen)}
    retention, spacing = options.pop("memory"), options.pop("anchor")
    budget = Budget.of(retention, spacing)
    if chosen.strength == 0:
        return clip.resize.Bicubic(width, height, format=target.id, filter_param_a=0, filter_param_b=0.5)

    def in_result(pair: tuple[int, int]) -> tuple[int, int]:
        return pair[0] * scale, pair[1] * scale

    opened = AnimateLcm.of(model)
    enhancer = Enhancer(
        model=opened, width=width, height=height,
        tilesize=settings.tilesize and in_result(settings.tilesize), overlap=in_result(settings.overlap),
        backend=settings.backend, device_id=settings.device_id, streams=settings.num_streams,
        budget=budget, mix=mix, **options,
    )  # fmt: skip
    widened = settings.backend.name == "cpu" and opened.precision == "fp16"
    weights = int(model.size() * (WIDENED if widened else 1))
    room = settings.backend.memory(settings.device_id)
    _check_memory(
        model, weights, enhancer.grid.rows.tile * enhancer.grid.columns.tile, settings.num_streams,
        total_memory() if room is None else room.total, "this machine" if room is None else "this device",
        enhancer.memory_size, enhancer.memory_work,
    )  # fmt: skip
    said = f"{count_of(chosen.steps, 'step')} from strength {chosen.strength:g}, seed {chosen.seed}"
    log(f"Upscale: {model.name}, {said}", "debug")
    if budget is None:
        return diffusion_clip(clip, scale, target, settings, enhancer)
    log(
        f"Upscale: memory={retention:g} keeps {budget.recent} recent drawings and {budget.previous} of those before, "
        f"{show_bytes(enhancer.memory_size)} for each of {held(settings.num_streams)} chains at most"
    )
    return diffusion_clip(clip, scale, target, settings, enhancer, Memory(budget=budget, spacing=spacing))


def _lcm_mix(task: str | None, found: Model, model: str) -> TaskMix:
    """The tasks of an AnimateLCM that are in force.

    Raises :class:`AnimupError` for tasks that it does not know.
    """
    if task is None:
        return CLEAN
    if not found.tasks:
        raise AnimupError(
            f"task={shown(task)} goes with lite models, model={shown(model)} is one of AnimateLCM without tasks: leave "
            "task out"
        )
    if task == AUTO:
        raise AnimupError(f"task={shown(task)} goes with lite models; this model takes {', '.join(found.tasks)}")
    return TaskMix.parse(task, found.tasks)


def _check_memory(
    model: Model, weights: int, samples: int, streams: int, memory: int | None, where: str, chain: int, chain_work: int
) -> None:
    """Refuse what there is not the memory for: weights, a tile of ``samples`` for each stream, and earlier windows:
    ``chain`` bytes for each chain and ``chain_work`` for each stream while it computes."""
    plain = model.bytes_per_pixel * samples
    work = plain + chain_work
    # there is a chain for each stream and one more
    each, once = work + chain, weights + chain
    need = once + each * streams
    if memory is None or need <= memory:
        return
    if once + each <= memory:
        remedy = f"use num_streams={max(1, (memory - once) // each)}"
    elif chain and weights + plain <= memory:
        remedy = "give less memory=, or a smaller anchor="
    else:
        remedy = "use a smaller tilesize" if weights < memory else "a machine with more is needed"
    remembered = f", {show_bytes(chain)} for each chain of windows" if chain else ""
    raise AnimupError(
        f"model {model.name} needs about {show_bytes(need)} of memory ({show_bytes(weights)} for weights, "
        f"{show_bytes(work)} for each of num_streams={streams}{remembered}), {where} has {show_bytes(memory)}: {remedy}"
    )
