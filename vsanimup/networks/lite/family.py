"""Lite networks as the filters and the command line see them: restoring, enlarging, and both at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import vapoursynth as vs

from vsanimup.diagnosis import PROPERTY
from vsanimup.errors import AnimupError, shown
from vsanimup.networks.family import Build, Call, as_it_is
from vsanimup.networks.lite.inference import FLOAT, ranges, tile_grid
from vsanimup.networks.lite.mix import asked_mix, marked
from vsanimup.networks.lite.node import lite_node
from vsanimup.networks.manifest import SHIPPED, Model, open_model
from vsanimup.networks.modulation import Modulation
from vsanimup.networks.settings import OVERLAP, Settings
from vsanimup.tasks import CLEAN, DIAGNOSE, Diagnose, TaskMix
from vsanimup.video import formats
from vsanimup.video.deband import TASK as DEBAND
from vsanimup.video.deband import debanded
from vsanimup.video.likeness import RESTORED

if TYPE_CHECKING:
    from vsanimup.engines.tensorrt.plans import Request

PLAIN = SHIPPED / "lite-upscale"
"""What enlarges alone, where a network that also restores has nothing to restore."""
SPATIAL_RESTORE, SPATIAL_PLAIN, SPATIAL_ONE_PASS = 4.0, 8.0, 12.0
"""Differences evened out unless told otherwise, in steps of 8-bit luma. After restoring that is of use alone, and no
harm before enlarging. One pass leaves more noise than two filters, each of which is followed by its own evening out."""
TEMPORAL_RESTORE, TEMPORAL_PLAIN, TEMPORAL_ONE_PASS = 16.0, 0.0, 7.0
"""The same of differences between neighbouring frames, for Restore the most: what is enlarged as it is keeps its grain
and its texture in motion. What Restore gives was evened out already, and is so again only where the script says
``temporal_threshold``: each frame would take two more of Restore's when somebody seeks."""


@dataclass(frozen=True)
class LiteNetwork:
    """A model folder of kind ``lite``."""

    model: Model

    @property
    def kind(self) -> str:
        """Its family."""
        return self.model.kind

    @classmethod
    def of_folder(cls, model: Model) -> LiteNetwork:
        """The network of a folder. Raises :class:`AnimupError` where it is of another version."""
        if model.value_range != "unit":
            raise AnimupError(
                f"model {model.folder} has value_range {shown(model.value_range)}; this version reads 'unit'"
            )
        return cls(model)

    def node(self, clip: vs.VideoNode, call: Call) -> vs.VideoNode:
        """See :class:`vsanimup.networks.family.Network`."""
        needed = min(call.scale, 2)  # doubling twice is how the others come about
        if self.model.scale != needed:
            does, wanted = ("restores" if s == 1 else f"enlarges by {s}" for s in (self.model.scale, needed))
            remedy = "Restore" if self.model.scale == 1 else "Upscale"
            raise AnimupError(
                f"model={call.model} {does}, but this filter needs one that {wanted}; give it to {remedy}"
            )
        if needed == 1:
            return self._restored(clip, call)
        return self._one_pass(clip, call) if self.model.modulation else self._plain(clip, call)

    def requests(self, build: Build) -> Iterator[Request]:
        """See :class:`vsanimup.networks.family.Network`."""
        from vsanimup.engines.tensorrt.plans import Request

        asked = build.mix(self.model.tasks)
        mix = _for_network(asked)
        if asked and not mix:
            raise AnimupError(f"task={shown(build.task)}: bands go without a network, so there is nothing to build")
        model = self.model.of(self.model.specialist(mix))
        network, weights = model.read(FLOAT), Modulation(model).weights(mix) or None
        grids = [tile_grid(model, *frame, None, (OVERLAP, OVERLAP), build.most) for frame in build.sizes]
        for shape in dict.fromkeys(tuple(ranges(grid.rows.tile, grid.columns.tile).items()) for grid in grids):
            yield Request(
                network=network,
                origin=str(model.folder / FLOAT),
                sizes=dict(shape),
                precision=build.precision,
                weights=weights,
            )

    def _restored(self, clip: vs.VideoNode, call: Call) -> vs.VideoNode:
        settings = Settings.of(
            call.values,
            spatial_threshold=SPATIAL_RESTORE,
            temporal_threshold=TEMPORAL_RESTORE,
            share=call.values["strength"],
        )
        mix = asked_mix(call.get("task"), call.get("prompt"), self.model)
        if settings.share == 0:
            return as_it_is(clip, call.target)
        clip = _without_bands(marked(clip, mix, call.function, self.model), call, settings, mix)
        rest = mix if mix is DIAGNOSE else _for_network(mix)
        if mix and not rest:
            return formats.to_format(clip, call.target)
        by_noise = "temporal_threshold" not in call.given

        def restore(work: vs.VideoNode, to: int) -> vs.VideoNode:
            return lite_node(work, call.function, self.model, settings, to, rest, by_noise=by_noise)

        return formats.through_network(clip, 1, call.target, restore)

    def _plain(self, clip: vs.VideoNode, call: Call) -> vs.VideoNode:
        """Enlarged as it is."""
        for name in ("task", "prompt"):
            if name in call.given:
                raise AnimupError(
                    f"{name}={shown(call.values[name])}: model={call.model} enlarges alone; use Restore before it, or "
                    "model='lite'"
                )
        return _enlarged(clip, call, self.model, _plain_settings(call), CLEAN)

    def _one_pass(self, clip: vs.VideoNode, call: Call) -> vs.VideoNode:
        """Restored and enlarged at once; a diagnosis leaves frames that need no restoring to another network."""
        settings = Settings.of(call.values, spatial_threshold=SPATIAL_ONE_PASS, temporal_threshold=TEMPORAL_ONE_PASS)
        mix = asked_mix(call.get("task"), call.get("prompt"), self.model)
        clip = _without_bands(marked(clip, mix, call.function, self.model), call, settings, mix)
        rest = mix if mix is DIAGNOSE else _for_network(mix)

        def plainly() -> vs.VideoNode:
            return _enlarged(clip, call, open_model(PLAIN), _plain_settings(call), CLEAN)

        if mix and not rest:
            return plainly()
        restored = _enlarged(clip, call, self.model, settings, rest)
        if mix is not DIAGNOSE:
            return restored
        plain = plainly()

        def choose(n: int, f: vs.VideoFrame) -> vs.VideoNode:
            return restored if f.props.get(PROPERTY) else plain

        return vs.core.std.FrameEval(restored, choose, prop_src=clip, clip_src=[restored, plain])


def _for_network(mix: TaskMix) -> TaskMix:
    """What of a mix is the network's: bands it sees too little of."""
    return TaskMix({task: weight for task, weight in mix.items() if task != DEBAND})


def _without_bands(clip: vs.VideoNode, call: Call, settings: Settings, mix: TaskMix | Diagnose) -> vs.VideoNode:
    """The clip, debanded where a mix asks for that. Bands came last, so they go first."""
    weight = 0.0 if mix is DIAGNOSE else mix.get(DEBAND, 0.0)
    return debanded(clip, call.function, weight * settings.share, settings.num_streams) if weight else clip


def _plain_settings(call: Call) -> Settings:
    return Settings.of(call.values, spatial_threshold=SPATIAL_PLAIN, temporal_threshold=TEMPORAL_PLAIN)


def _enlarged(
    clip: vs.VideoNode, call: Call, model: Model, settings: Settings, mix: TaskMix | Diagnose
) -> vs.VideoNode:
    """4 doubles twice, 3 is 4 resized down. What restores does so once."""
    again = "temporal_threshold" in call.given
    second = open_model(PLAIN) if model.modulation and call.scale != 2 else model

    def enlarge(work: vs.VideoNode, to: int) -> vs.VideoNode:
        if call.scale == 2:
            return lite_node(work, call.function, model, settings, to, mix, again)
        work = lite_node(work, call.function, model, settings, formats.floats(work), mix, again)
        # what restoring left is gone, and copies of a drawing are equal
        work = work.std.SetFrameProps(**{RESTORED: model.name})
        return lite_node(work, call.function, second, replace(settings, temporal_threshold=0.0), to)

    if call.scale != 3:
        return formats.through_network(clip, call.scale, call.target, enlarge).std.RemoveFrameProps(RESTORED)
    own = clip.format
    fine = vs.core.query_video_format(own.color_family, vs.FLOAT, 32, own.subsampling_w, own.subsampling_h)
    large = formats.through_network(clip, 4, fine, enlarge).std.RemoveFrameProps(RESTORED)
    return large.resize.Spline36(format=call.target.id, width=clip.width * 3, height=clip.height * 3)
