"""What the networks do to clips, cell by cell: the measures that the gate goes by, and what each share would cost.

A share is judged by the squared error that it leaves, and by structural similarity. The error is quadratic in the
shares, so six coefficients a cell tell all: ``|p + c d + e v|^2`` with the plain picture's error ``p``, the network's
change ``d`` and the evening out's ``v``. For similarity it takes ten: the truth's local variance, its covariances with
the plain picture, ``d`` and ``v``, and those of these three.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import vapoursynth as vs
from numpy.typing import NDArray

from training.data.degradations import DEGRADATIONS, lay
from vsanimup.diagnosis.mixes import MIXES
from vsanimup.engines import Array, choose
from vsanimup.networks.lite import gate
from vsanimup.networks.lite.family import SPATIAL_ONE_PASS, SPATIAL_PLAIN, SPATIAL_RESTORE
from vsanimup.networks.lite.inference import Inference
from vsanimup.networks.lite.node import noisiest
from vsanimup.networks.manifest import SHIPPED, Model, open_model
from vsanimup.tasks import CLEAN, TASKS, TaskMix
from vsanimup.video.duplicates import run_of, same_drawing
from vsanimup.video.samples import Picture, average, scales
from vsanimup.video.sigma import STEP, even_out

Rng = np.random.Generator
Predictors = Mapping[str, Array]
"""Arrays as the gate's file holds them; empty for no gate."""

ROLES = {
    "restore": ("lite-restore", SPATIAL_RESTORE),
    "named": ("lite-restore", SPATIAL_RESTORE),
    "upscale": ("lite-upscale", SPATIAL_PLAIN),
    "restored": ("lite-upscale", SPATIAL_PLAIN),
    "cleaned": ("lite-upscale", SPATIAL_PLAIN),
    "once": ("lite-one-pass", SPATIAL_ONE_PASS),
}
"""Ways to run a network: model, evening out."""
MIDDLE = 3
"""The frame of a clip that is looked at."""
STATES = {"web": "stream", "hevc": "stream", "mpeg2": "codec", "asp": "codec", "jpeg": "codec", "vhs": "tape",
          "composite": "chroma"}  # fmt: skip
"""What a diagnosis should say of each kind of variant."""
MISTAKEN = ("codec", "stream", "tape", "noise", "halo", "chroma")
"""What it may say of another."""
ASKED = {"named": 7}
"""Variants more of a clip, by role, each with degradations that somebody names, in any strength; 3 for others."""
UNTOUCHED = 0.15
"""Share of these that have nothing of what is named."""
WINDOW = 7
"""Samples across and down over which similarity is local."""
PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
"""The coefficients' order: products of p, d and v."""


@functools.cache
def network(role: str) -> tuple[Model, Inference]:
    """The shipped network of a role, for clips of 256x256."""
    model = open_model(SHIPPED / ROLES[role][0])
    made = Inference(
        model, width=256, height=256, has_chroma=True, tilesize=None, overlap=(32, 32), backend=choose("cpu"),
        device_id=0, streams=1,
    )  # fmt: skip
    return model, made


def picture(y: NDArray[np.uint8], uv: NDArray[np.uint8]) -> Picture:
    """A frame as the filters see it."""
    kind = vs.core.get_video_format(vs.YUV420P8)
    return Picture((y, *uv), scales(kind, False))


def window(y: NDArray[np.uint8], uv: NDArray[np.uint8], radius: int, mix: TaskMix) -> list[Picture]:
    """What a network is given for the middle frame: its drawing's copies are averaged."""
    pictures = [picture(*planes) for planes in zip(y, uv, strict=True)]
    last, most = len(pictures) - 1, noisiest(mix)
    run = run_of(MIDDLE, 0, last, lambda a, b: same_drawing(pictures[a].levels(), pictures[b].levels(), most))
    centre = sum(run) // 2
    middle = average(pictures[run[0] : run[1] + 1])
    around = [min(max(centre + k, 0), last) for k in range(-radius, radius + 1)]
    return [middle if n == centre else pictures[n] for n in around]


def passed(role: str, pictures: Sequence[Picture], mix: TaskMix) -> list[gate.Passage]:
    """A window's way through the network of a role, and its evening out."""
    _, made = network(role)
    y, uv = made(pictures, mix, lambda: False)
    planes = [np.ascontiguousarray(plane) for plane in (y, *uv)]
    evened = [plane.copy() for plane in planes]
    for plane in evened:
        even_out(plane, ROLES[role][1] * STEP)
    return gate.passages(pictures[len(pictures) // 2], planes, evened)


@dataclass
class Record:
    """One frame's cells."""

    measures: Array
    """``[MEASURES, rows, columns]``."""
    luma: Array
    """``[6, rows, columns]``: the squared error's coefficients, means over a cell."""
    similarity: Array
    """``[10, rows, columns]``: those of structural similarity, the same."""
    chroma: Array
    """``[3, rows, columns]``: products of p and d."""
    mix: TaskMix
    label: str


def _cells(values: Array, cell: int) -> Array:
    """Means over cells."""
    rows, columns = values.shape
    return np.asarray(values.reshape(rows // cell, cell, columns // cell, cell).mean((1, 3)), np.float32)


def _covariances(truth: Array, parts: Sequence[Array]) -> list[Array]:
    """The ten maps that local similarity is made of, over windows of :data:`WINDOW` samples."""

    def mean(values: Array) -> Array:
        return np.asarray(cv2.boxFilter(values, cv2.CV_64F, (WINDOW, WINDOW), borderType=cv2.BORDER_REFLECT))

    means = [mean(part) for part in (truth, *parts)]
    pairs = [(0, k) for k in range(4)] + [(a + 1, b + 1) for a, b in PAIRS]
    both = (truth, *parts)
    return [mean(both[a] * both[b]) - means[a] * means[b] for a, b in pairs]


def record(planes: Sequence[gate.Passage], truth: Sequence[Array], mix: TaskMix, label: str) -> Record:
    """The cells of what became of a frame, whose original's planes are ``truth``, as values."""
    cell = gate.CELL * truth[0].shape[0] // planes[0].source.shape[0]
    plain, change, evening = planes[0].plain, planes[0].network - planes[0].plain, planes[0].evened - planes[0].network
    parts = (plain - truth[0], change, evening)
    luma = [_cells(parts[a] * parts[b], cell) for a, b in PAIRS]
    similarity = [_cells(np.asarray(v, np.float32), cell) for v in _covariances(truth[0], (plain, change, evening))]
    chroma = np.zeros((3, *luma[0].shape), np.float32)
    for plane, original in zip(planes[1:], truth[1:], strict=True):
        p, d = plane.plain - original, plane.evened - plane.plain
        chroma += np.stack([_cells(a * b, cell // 2) for a, b in ((p, p), (p, d), (d, d))]) / 2
    return Record(gate.measure(planes), np.stack(luma), np.stack(similarity), chroma, mix, label)


def values(y: NDArray[np.uint8], uv: NDArray[np.uint8]) -> list[Array]:
    """Planes of an original as values."""
    frame = picture(y, uv)
    found = []
    for plane, scale in zip(frame.planes, frame.scales, strict=True):
        value = np.empty(plane.shape, np.float32)
        scale.read(plane, value)
        found.append(value)
    return found


def restored(
    y: NDArray[np.uint8], uv: NDArray[np.uint8], mix: TaskMix, predictors: Predictors
) -> tuple[list[gate.Passage], Picture]:
    """A variant's middle frame through ``Restore``'s network, and what its gate makes of that, as 8 bit samples."""
    planes = passed("restore", window(y, uv, network("restore")[1].radius(mix), mix), mix)
    copies = [gate.Passage(p.source, p.plain, p.network, p.evened.copy()) for p in planes]
    if predictors:
        role = gate.role_of(network("restore")[0], mix)
        gate.take(copies, gate.shares(planes, *gate.packed(predictors, role, mix)))
    samples = []
    for plane, scale in zip(copies, scales(vs.core.get_video_format(vs.YUV420P8), False), strict=True):
        stored = np.empty(plane.evened.shape, np.uint8)
        scale.write(plane.evened, stored)
        samples.append(stored)
    return planes, picture(samples[0], np.stack(samples[1:]))


def asked(
    y: NDArray[np.uint8], uv: NDArray[np.uint8], rng: Rng
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], TaskMix]:
    """A variant with degradations that somebody names, in any strength from none on, and their tasks."""
    names = [str(name) for name in rng.choice(list(DEGRADATIONS), int(rng.choice([1, 1, 2])), replace=False)]
    luma = torch.from_numpy((y.astype(np.float32) - 16) / 219)
    chroma = torch.from_numpy((uv.astype(np.float32) - 128) / 224).flatten(0, 1)
    share = 0.0 if rng.random() < UNTOUCHED else float(rng.uniform(0.05, 1))
    luma, chroma = (a + share * (b - a) for a, b in zip((luma, chroma), lay(names, luma, chroma, rng), strict=True))
    return (
        (luma * 219 + 16.5).clamp(1, 254).numpy().astype(np.uint8),
        (chroma * 224 + 128.5).clamp(1, 254).numpy().astype(np.uint8).reshape(uv.shape),
        TaskMix({name: 1.0 for name in names if name in TASKS}),
    )


def ways(kind: str, rng: Rng) -> list[TaskMix]:
    """Mixes of tasks that a variant may be restored by: the right one, and one that a diagnosis may mistake it for."""
    right = [STATES[kind]] if kind in STATES else []
    chances = np.array([3.0 if state in ("codec", "stream") else 1.0 for state in MISTAKEN])
    wrong = rng.choice(MISTAKEN, 1 if right else 2, replace=False, p=chances / chances.sum())
    return [MIXES[str(state)] for state in (*right, *wrong[: int(not right or rng.random() < 0.5) * 2])]


def records(path: Path, role: str, predictors: Predictors) -> Iterator[Record]:
    """All that a role's gate can learn from a clip file of :mod:`training.data.clips`."""
    rng = np.random.default_rng([len(path.stem), *path.stem.encode()])
    with np.load(path) as file:
        clip = dict(file)
    truth = values(clip["hr_y"][MIDDLE], clip["hr_uv"][MIDDLE])
    half = values(clip["lr_y"][0, MIDDLE], clip["lr_uv"][0, MIDDLE])
    variants = [
        (y, uv, ways(str(kind), rng), f"{kind}{'/' if name else ''}{name}")
        for y, uv, kind, name in zip(clip["lr_y"], clip["lr_uv"], clip["kinds"], clip["strengths"], strict=True)
    ]
    for _ in range(ASKED.get(role, 3)):
        y, uv, mix = asked(clip["lr_y"][0], clip["lr_uv"][0], rng)
        variants.append((y, uv, [mix], "asked"))
    for y, uv, mixes, name in variants:
        label = f"{name} {clip['look']}"
        if role == "upscale":
            yield record(passed(role, window(y, uv, 0, CLEAN), CLEAN), truth, CLEAN, label)
            continue
        for mix in mixes[: 1 if role in ("restored", "cleaned") else None]:
            if role in ("restore", "named"):
                if role == gate.role_of(network("restore")[0], mix):
                    yield record(restored(y, uv, mix, {})[0], half, mix, label)
            elif role == "once":
                yield record(passed(role, window(y, uv, network(role)[1].radius(mix), mix), mix), truth, mix, label)
            else:
                model = network("restore")[0]
                task = model.specialist(mix)
                if (role == "restored") == (task is not None):
                    follow = TaskMix({task or model.name: 1.0})
                    done = restored(y, uv, mix, predictors)[1]
                    yield record(passed(role, [done], follow), truth, follow, label)


def build(clips: Path, out: Path, role: str, predictors: Predictors, pattern: str) -> None:
    """Write the records of all clips of a folder and those in it, one file a clip, where they are missing."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    vs.core.animup.Version()  # hands the native functions over
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(clips.rglob(pattern)):
        target = out / "_".join((role, *path.relative_to(clips).parts))
        if target.exists():
            continue
        found = list(records(path, role, predictors))
        mixes = [TaskMix({task: weight for task, weight in r.mix.items() if task in TASKS}) for r in found]
        partial = target.with_name(f".{target.name}")
        np.savez(
            partial, measures=np.stack([r.measures for r in found]), luma=np.stack([r.luma for r in found]),
            similarity=np.stack([r.similarity for r in found]),
            chroma=np.stack([r.chroma for r in found]), label=np.array([r.label for r in found]),
            mix=np.array([str(mix) for mix in mixes]),
        )  # fmt: skip
        partial.rename(target)
