"""Networks from one picture to one as the filters and the command line see them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import vapoursynth as vs

from vsanimup.bridge import log
from vsanimup.engines import choose
from vsanimup.errors import AnimupError
from vsanimup.networks.family import Build, Call, as_it_is
from vsanimup.networks.image.network import KIND, ImageNetwork, of_file, of_folder
from vsanimup.networks.image.node import grid_of, image_clip
from vsanimup.networks.manifest import Model
from vsanimup.networks.settings import Settings
from vsanimup.video import formats

if TYPE_CHECKING:
    from vsanimup.engines.tensorrt.plans import Request


@dataclass(frozen=True)
class PictureNetwork:
    """A model folder of kind ``image``, or an ONNX file."""

    network: ImageNetwork

    @property
    def kind(self) -> str:
        """Its family."""
        return KIND

    @property
    def name(self) -> str:
        """The network's."""
        return self.network.name

    @classmethod
    def of_folder(cls, model: Model) -> PictureNetwork:
        """The network of a folder. Raises :class:`AnimupError` where it cannot be used."""
        return cls(of_folder(model))

    @classmethod
    def of_file(cls, model: str) -> PictureNetwork:
        """The network of an ONNX file. Raises as :meth:`of_folder`."""
        return cls(of_file(model))

    def node(self, clip: vs.VideoNode, call: Call) -> vs.VideoNode:
        """See :class:`vsanimup.networks.family.Network`."""
        call.refuse_precision()
        return self._restored(clip, call) if call.scale == 1 else self._enlarged(clip, call)

    def requests(self, build: Build) -> Iterator[Request]:
        """See :class:`vsanimup.networks.family.Network`."""
        from vsanimup.engines.tensorrt.plans import Request

        network, settings = self.network, Settings(backend=choose("cpu"))
        grids = [grid_of(network, *frame, settings, False, build.most) for frame in build.sizes]
        tiles = [(grid.columns.tile, grid.rows.tile) for grid in grids]
        for shape in dict.fromkeys(tuple(network.sizes(tile, True).items()) for tile in tiles):
            yield Request(network=network.path, origin=str(network.path), sizes=dict(shape), precision=build.precision)

    def _restored(self, clip: vs.VideoNode, call: Call) -> vs.VideoNode:
        if self.network.scale != 1:
            raise AnimupError(
                f"model={call.model} enlarges by {self.network.scale}: give it to Upscale, with that scale"
            )
        settings = Settings.of(call.values, share=call.values["strength"])
        if settings.share == 0:
            return as_it_is(clip, call.target)
        log(f"{call.function}: {self.name}", "debug")
        return self._through(clip, call, settings, call.target)

    def _enlarged(self, clip: vs.VideoNode, call: Call) -> vs.VideoNode:
        """One that doubles does so twice for 4, and 3 is 4 resized down."""
        own, wanted = self.network.scale, call.scale
        if own not in (2, wanted):
            does = f"enlarges by {own}" if own > 1 else "restores: give it to Restore"
            raise AnimupError(f"scale={wanted}, but model={call.model} {does}")
        settings = Settings.of(call.values)
        log(f"{call.function}: {self.name}", "debug")
        if own == wanted:
            return self._through(clip, call, settings, call.target)
        fine = vs.core.get_video_format(formats.floats(clip))
        large = self._through(clip, call, settings, fine)
        if wanted == 4:
            return self._through(large, call, settings, call.target)
        large = self._through(large, call, settings, fine)
        return large.resize.Spline36(format=call.target.id, width=clip.width * 3, height=clip.height * 3)

    def _through(self, clip: vs.VideoNode, call: Call, settings: Settings, target: vs.VideoFormat) -> vs.VideoNode:
        return image_clip(clip, call.function, self.network, settings, target, "overlap" in call.given)
