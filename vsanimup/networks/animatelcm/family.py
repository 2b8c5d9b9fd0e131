"""AnimateLCM as the filters and the command line see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import vapoursynth as vs

from vsanimup.bridge import log
from vsanimup.errors import AnimupError, shown
from vsanimup.networks.animatelcm.chains import held
from vsanimup.networks.animatelcm.memory import Budget
from vsanimup.networks.animatelcm.model import KIND, AnimateLcm
from vsanimup.networks.animatelcm.node import Memory, diffusion_clip
from vsanimup.networks.animatelcm.pipeline import Enhancer, network_grids, network_sizes
from vsanimup.networks.family import Build, Call
from vsanimup.networks.manifest import Model
from vsanimup.networks.settings import Settings
from vsanimup.sizes import count_of, show_bytes, total_memory
from vsanimup.tasks import AUTO, CLEAN, TaskMix

if TYPE_CHECKING:
    from vsanimup.engines import Size
    from vsanimup.engines.tensorrt.plans import Request

OWN = ("steps", "strength", "prompt", "negative_prompt", "cfg", "seed", "colorfix", "control")
"""Arguments that go to the pipeline as they are."""
WIDENED = 2.5
"""Memory that half-precision weights take on CPUs, as a multiple of their size: onnxruntime widens them there.
Measured at full size: 8.8 GB for 3.0 GB of weights and 0.8 GB of work."""


@dataclass(frozen=True)
class DiffusionNetwork:
    """A model folder of kind ``animatelcm``."""

    opened: AnimateLcm

    @property
    def kind(self) -> str:
        """Its family."""
        return KIND

    @property
    def name(self) -> str:
        """The model's."""
        return self.opened.model.name

    @classmethod
    def of_folder(cls, model: Model) -> DiffusionNetwork:
        """The network of a folder. Raises :class:`AnimupError` where it cannot be used."""
        return cls(AnimateLcm.of(model))

    def node(self, clip: vs.VideoNode, call: Call) -> vs.VideoNode:
        """Interpolation, then few steps of diffusion over windows of drawings.

        See :class:`vsanimup.networks.family.Network`.
        """
        mix = self._mix(call)
        call.refuse_precision()
        settings = Settings.of(call.values)
        retention, spacing = call.values["memory"], call.values["anchor"]
        budget = Budget.of(retention, spacing)
        if call.values["strength"] == 0:
            width, height = clip.width * call.scale, clip.height * call.scale
            return clip.resize.Bicubic(width, height, format=call.target.id, filter_param_a=0, filter_param_b=0.5)
        enhancer = self._enhancer(clip, call, settings, budget, mix)
        _check_memory(self.opened, settings, enhancer)
        said = f"{count_of(call.values['steps'], 'step')} from strength {call.values['strength']:g}"
        log(f"{call.function}: {self.name}, {said}, seed {call.values['seed']}", "debug")
        if budget is None:
            return diffusion_clip(clip, call.scale, call.target, settings, enhancer)
        log(
            f"{call.function}: memory={retention:g} keeps {budget.recent} recent drawings and {budget.previous} of "
            f"those before, {show_bytes(enhancer.memory_size)} for each of {held(settings.num_streams)} chains at most"
        )
        memory = Memory(budget=budget, spacing=spacing)
        return diffusion_clip(clip, call.scale, call.target, settings, enhancer, memory)

    def requests(self, build: Build) -> Iterator[Request]:
        """See :class:`vsanimup.networks.family.Network`."""
        from vsanimup.engines.tensorrt.plans import Request

        opened, budget = self.opened, Budget.of(build.memory, build.anchor)
        opened.check_memory(budget)
        mix = build.mix(opened.model.tasks)
        dimensions: dict[tuple[str, str], Mapping[str, Size]] = {("text", ""): {}}
        for width, height in build.sizes:
            for name, grid in network_grids(opened, width * build.scale, height * build.scale, budget).items():
                fixed: Mapping[str, Size] = {**opened.frame_sizes(name), **network_sizes(opened, name, grid, budget)}
                dimensions[name, str(fixed)] = fixed
        for (name, _), wanted in dimensions.items():
            file = opened.folder / f"{name}.onnx"
            network, weights = opened.merged(name, mix, builds=True) if opened.modulated(name) else (file, None)
            yield Request(network=network, origin=str(file), sizes=wanted, precision=build.precision, weights=weights)

    def _mix(self, call: Call) -> TaskMix:
        """The tasks in force. Raises :class:`AnimupError` for those that the model does not know."""
        task, known = call.get("task"), self.opened.model.tasks
        if task is None:
            return CLEAN
        if not known:
            raise AnimupError(
                f"task={shown(task)} goes with lite models, model={call.model} is one of AnimateLCM without tasks: "
                "leave task out"
            )
        if task == AUTO:
            raise AnimupError(f"task={shown(task)} goes with lite models; this model takes {', '.join(known)}")
        return TaskMix.parse(task, known)

    def _enhancer(
        self, clip: vs.VideoNode, call: Call, settings: Settings, budget: Budget | None, mix: TaskMix
    ) -> Enhancer:
        def in_result(pair: tuple[int, int]) -> tuple[int, int]:
            return pair[0] * call.scale, pair[1] * call.scale

        return Enhancer(
            model=self.opened,
            width=clip.width * call.scale,
            height=clip.height * call.scale,
            tilesize=settings.tilesize and in_result(settings.tilesize),
            overlap=in_result(settings.overlap),
            backend=settings.backend,
            device_id=settings.device_id,
            streams=settings.num_streams,
            budget=budget,
            mix=mix,
            **{name: call.values[name] for name in OWN},
        )


def _check_memory(opened: AnimateLcm, settings: Settings, enhancer: Enhancer) -> None:
    """Refuse what there is not the memory for: weights, a tile for each stream, and earlier windows."""
    model, streams = opened.model, settings.num_streams
    room = settings.backend.memory(settings.device_id)
    there, where = (total_memory(), "this machine") if room is None else (room.total, "this device")
    widened = settings.backend.name == "cpu" and opened.precision == "fp16"
    weights = int(model.size() * (WIDENED if widened else 1))
    plain = model.bytes_per_pixel * enhancer.grid.rows.tile * enhancer.grid.columns.tile
    chain, work = enhancer.memory_size, plain + enhancer.memory_work
    # there is a chain for each stream and one more
    each, once = work + chain, weights + chain
    need = once + each * streams
    if there is None or need <= there:
        return
    if once + each <= there:
        remedy = f"use num_streams={max(1, (there - once) // each)}"
    elif chain and weights + plain <= there:
        remedy = "give less memory=, or a smaller anchor="
    else:
        remedy = "use a smaller tilesize" if weights < there else "a machine with more is needed"
    remembered = f", {show_bytes(chain)} for each chain of windows" if chain else ""
    raise AnimupError(
        f"model {model.name} needs about {show_bytes(need)} of memory ({show_bytes(weights)} for weights, "
        f"{show_bytes(work)} for each of num_streams={streams}{remembered}), {where} has {show_bytes(there)}: {remedy}"
    )
