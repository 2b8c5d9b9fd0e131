"""Running a network from one picture, or a few in a row, to one on a clip: RGB, or luma alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import vapoursynth as vs

from vsanimup.bridge import FrameView, Job, block_node
from vsanimup.engines import Array, Engine
from vsanimup.errors import AnimupError
from vsanimup.networks.image.network import ImageNetwork
from vsanimup.networks.settings import Settings
from vsanimup.single_flight import SingleFlight
from vsanimup.tiling.budget import memory_of_tile
from vsanimup.tiling.fallback import Fallback, halved
from vsanimup.tiling.tiles import Blend, Grid, fixed, plan, surround
from vsanimup.video.formats import converted
from vsanimup.video.likeness import RESTORED, matrix_of, refuse_interlaced
from vsanimup.video.rgb import to_rgb, to_yuv
from vsanimup.video.samples import UNSPECIFIED, Picture, average, is_full, matrix_by_height, scales
from vsanimup.video.spans import spans_of, window


def grid_of(network: ImageNetwork, width: int, height: int, settings: Settings, overlap_given: bool, most: int) -> Grid:
    """The tiles of a frame; ``most`` is the bytes that one may take where its size is left to us.

    Raises :class:`AnimupError` for sizes that the network does not take.
    """
    if network.tile is None:
        return plan(
            width,
            height,
            tile=settings.tilesize,
            overlap=settings.overlap,
            align=network.multiple,
            most=most // network.bytes_per_pixel,
        )
    if settings.tilesize not in (None, network.tile):
        shown = "x".join(map(str, network.tile))
        raise AnimupError(f"tilesize must be left out: model {network.name} takes pictures of {shown} alone")
    overlap = settings.overlap
    if not overlap_given:
        across, down = (
            min(overlap[0], side // 4) if network.overlap is None else network.overlap for side in network.tile
        )
        overlap = across, down
    if overlap[0] >= network.tile[0] or overlap[1] >= network.tile[1]:
        shown = "x".join(map(str, network.tile))
        raise AnimupError(f"overlap must be less than the {shown} that model {network.name} takes, got {list(overlap)}")
    return fixed(width, height, tile=network.tile, overlap=overlap)


@dataclass
class Tiled:
    """What belongs to a grid of tiles."""

    grid: Grid
    engine: Engine | None = None
    """Made on first use."""


class ImageProcess:
    """Output frames of a clip of floats, gray or YUV 4:4:4; called from several threads."""

    def __init__(
        self, clip: vs.VideoNode, network: ImageNetwork, settings: Settings, grid: Grid, target: vs.VideoFormat
    ) -> None:
        self._network, self._settings, self._target = network, settings, target
        self._height = clip.height
        self._source = clip.format
        self._finished = SingleFlight[bytes, Array](2 + settings.num_streams)
        self._places = threading.BoundedSemaphore(settings.num_streams)
        self._loading = threading.Lock()
        width, height = clip.width, clip.height

        def half() -> Tiled | None:
            if network.tile is not None:
                return None
            smaller = plan(width, height, tile=halved(grid), overlap=settings.overlap, align=network.multiple, most=0)
            before, after = (each.rows.tile * each.columns.tile for each in (grid, smaller))
            return Tiled(smaller) if after < before else None

        self._fallback = Fallback(Tiled(grid), half, lambda tiled: tiled.grid)

    def __call__(self, job: Job) -> None:
        """Make the picture of the drawing that ``job``'s output frames show."""
        frames = {frame.n: frame for frame in job.inputs}
        for frame in frames.values():
            refuse_interlaced(frame)
        first, last = job.outputs[0].n, job.outputs[-1].n
        copies = [frames[n] for n in range(first, last + 1)]
        drawing, centre = average([self._picture(frame) for frame in copies]), (first + last) // 2
        pictures = [
            (drawing if n == centre else self._picture(frames[n]), self._matrix(frames[n]))
            for n in window(frames, first, last, self._network.radius)
        ]
        if copies[0].prop(RESTORED) is None:
            result = self._infer(job, pictures)
        else:  # copies of a restored drawing are equal
            key = b"".join(picture.digest() + bytes([matrix]) for picture, matrix in pictures)
            result = self._finished.get(key, lambda: self._infer(job, pictures))
        target = scales(self._target, is_full(copies[0]))
        for scale, values, plane in zip(target, result, job.outputs[0].planes, strict=False):
            scale.write(values, plane)
        for output in job.outputs:
            if self._target.num_planes > 1 and output.prop("_Matrix", UNSPECIFIED) == UNSPECIFIED:
                output.set_prop("_Matrix", matrix_by_height(self._height))

    def _picture(self, frame: FrameView) -> Picture:
        return Picture(frame.planes, scales(self._source, is_full(frame)))

    def _matrix(self, frame: FrameView) -> int:
        """Its matrix, where colours are needed."""
        return matrix_of(frame, self._height) if len(frame.planes) > 1 and self._network.channels > 1 else 1

    def _infer(self, job: Job, pictures: Sequence[tuple[Picture, int]]) -> Array:
        """The planes of the middle picture, as values ``[planes, rows, columns]``; with each comes its matrix."""
        drawing, matrix = pictures[len(pictures) // 2]
        with self._places:
            if self._network.channels == 1:
                return self._tiles(np.stack(drawing.planes[:1]), lambda: job.cancelled)
            row = np.concatenate([to_rgb(_yuv(picture), matrix) for picture, matrix in pictures])
            return to_yuv(self._tiles(row, lambda: job.cancelled), matrix)[: len(drawing.planes)]

    def _tiles(self, picture: Array, cancelled: Callable[[], bool]) -> Array:
        """Pictures ``[frames * channels, rows, columns]`` in 0..1 through the network, tile by tile."""
        return self._fallback.run(lambda tiled: self._compute(tiled, picture, cancelled))

    def _compute(self, tiled: Tiled, picture: Array, cancelled: Callable[[], bool]) -> Array:
        """The same by these tiles."""
        grid, network = tiled.grid, self._network
        with self._loading:
            tile = grid.columns.tile, grid.rows.tile
            engine = tiled.engine = tiled.engine or network.load(
                self._settings.backend,
                self._settings.device_id,
                tile,
                streams=self._settings.num_streams,
                precision=self._settings.precision,
            )
        channels, rows, columns = picture.shape
        whole = np.empty((channels, grid.rows.padded, grid.columns.padded), np.float32)
        np.clip(picture, 0, 1, out=whole[:, :rows, :columns])
        surround(whole, 0, rows, columns)
        blend = Blend(grid, network.channels, network.scale, 1)
        batch = np.zeros((network.batch, channels, tile[1], tile[0]), np.float32)
        places = list(grid)
        for first in range(0, len(places), network.batch):
            if cancelled():
                raise AnimupError("the clip was closed")
            some = places[first : first + network.batch]
            for picture_of, (row, column) in zip(batch, some, strict=False):
                top, left = grid.rows.starts()[row], grid.columns.starts()[column]
                picture_of[:] = whole[:, top : top + tile[1], left : left + tile[0]]
            for (row, column), result in zip(some, network.run(engine, batch), strict=False):
                blend.add(row, column, result)
        return np.clip(blend.result(0, rows * network.scale, columns * network.scale), 0, 1)


def _yuv(picture: Picture) -> Array:
    """``[3, rows, columns]``, of a gray picture without colour."""
    yuv = np.zeros((3, *picture.planes[0].shape), np.float32)
    yuv[: len(picture.planes)] = picture.planes
    return yuv


def image_clip(
    clip: vs.VideoNode,
    function: str,
    network: ImageNetwork,
    settings: Settings,
    target: vs.VideoFormat,
    overlap_given: bool,
) -> vs.VideoNode:
    """``clip``, of any format, through ``network`` once, in format ``target`` of the same colour family."""
    family = clip.format.color_family
    size = {"width": clip.width * network.scale, "height": clip.height * network.scale}
    if network.channels == 1 and family != vs.GRAY:
        if family == vs.RGB:
            yuv = converted(clip, format=vs.YUV444PS, matrix_s="709")
            return image_clip(yuv, function, network, settings, yuv.format, overlap_given).resize.Bicubic(
                format=target.id
            )
        gray = vs.core.query_video_format(vs.GRAY, target.sample_type, target.bits_per_sample, 0, 0)
        luma = clip.std.ShufflePlanes(0, vs.GRAY)
        luma = image_clip(luma, function, network, settings, gray, overlap_given)
        base = converted(clip, format=target.id, filter_param_a=0, filter_param_b=0.5, **size)
        joined = vs.core.std.ShufflePlanes([luma, base, base], [0, 1, 2], vs.YUV)
        return joined.std.CopyFrameProps(base)
    matrix = {"matrix_s": "709"} if family == vs.RGB else {}
    work = converted(clip, format=vs.GRAYS if family == vs.GRAY else vs.YUV444PS, **matrix)
    fine = target.sample_type == vs.FLOAT
    kinds: Sequence[int] = (vs.GRAY16, vs.GRAYS) if family == vs.GRAY else (vs.YUV444P16, vs.YUV444PS)
    result = vs.core.get_video_format(kinds[fine])
    most = memory_of_tile(settings.backend.memory(settings.device_id), settings.num_streams)
    grid = grid_of(network, clip.width, clip.height, settings, overlap_given, most)
    spans = spans_of(
        work,
        function,
        dedup=settings.dedup,
        scenecut=settings.scenecut,
        reach=network.radius,
        restored_reach=network.radius,
        streams=settings.num_streams,
    )
    done = block_node(
        work,
        ImageProcess(work, network, settings, grid, result),
        function=function,
        spans=spans,
        before=network.radius,
        after=network.radius,
        format=result.id,
        streams=settings.num_streams,
        cached_blocks=settings.num_streams + 2,
        **size,
    )
    if settings.share < 1:  # each copy of a drawing keeps a share of its own noise
        before = work.resize.Bicubic(format=result.id)
        done = vs.core.std.Merge(before, done, weight=settings.share).std.CopyFrameProps(done)
    return done if done.format.id == target.id else done.resize.Bicubic(format=target.id)
