"""Examples for the diagnosis: ``python -m training.diagnosis.data --clips DIR --out FILE --split train --count 1000``.

Each example is the measures of a short run of frames cut out of a clip file (see ``training/data/clips.py``), whose
state is known. Degradations come from the real encoders in the files and from ``training/data/degradations.py``. What
is done to each run besides says nothing about its state and must not be taken for a sign of it: crops off the block
grid, letterboxes, other levels, dithering, higher bit depths, other resizers, missing chroma, single frames.

Written is one ``.npz``: ``measures`` float32 [n, COUNT], ``states`` n names of MIXES, ``groups`` int64 [n]
(number of the clip), ``kinds`` n strings for the report.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from training.data.dataset import read_clip, to_chroma, to_luma
from training.data.degradations import lay
from training.data.media import CODEC_KINDS, LIGHT, WHOLE, Planes, asp, halve, hevc, jpeg, mpeg2, noise, web
from training.diagnosis.outcomes import Outcomes, read, state_of
from vsanimup.architectures.lite.checkpoint import CODEC_TASKS
from vsanimup.diagnosis.decision import RUN
from vsanimup.diagnosis.measures import measure

F32 = NDArray[np.float32]
Rng = np.random.Generator
Clip = tuple[F32, F32]
"""``y`` [T, H, W] in 0..1 and ``uv`` [T, 2, H/2, W/2] in -0.5..0.5."""
Example = tuple[str, str, Clip]
"""Kind, state and pictures."""

SINGLE = {"denoise": "noise", "deblur": "blur", "dehalo": "halo", "dechroma": "chroma"}
"""Fault -> state, over a clean picture."""
OVER_CODEC = {"denoise": "noise", "deblur": "blur+", "dehalo": "halo+", "dechroma": "chroma+"}
"""Fault -> state, over a compressed picture, where the codec's own is to be added: fresh noise hides what is below."""
CODEC_STATES = {"deblock": "codec", "destream": "stream"}
"""Task that mends a codec's degradations -> state."""
ANALOGUE = {"vhs": "tape", "composite": "chroma"}
"""Kind of what was not compressed alone -> state."""
UNSEEN = ("descratch", "deband", "derain", "dehaze", "desnow")
"""Degradations that are not diagnosed: the state stays what it was without them."""
INVISIBLE = 0.45
"""Root mean square change in 8-bit steps up to which a degradation has changed nothing worth restoring."""


def codec_state(kind: str) -> str:
    """State of a picture that was compressed by a codec of one kind."""
    return CODEC_STATES[CODEC_TASKS[kind]]


def _floats(y: NDArray[np.uint8], uv: NDArray[np.uint8]) -> Clip:
    return to_luma(y).numpy(), to_chroma(uv).numpy()


def _part(clip: Clip, rng: Rng) -> Clip:
    """RUN frames of a window: degradations take their time."""
    start = int(rng.integers(len(clip[0]) - RUN + 1))
    return clip[0][start : start + RUN], clip[1][start : start + RUN]


def _fault(task: str, clip: Clip, rng: Rng) -> Clip:
    y, uv = lay([task], torch.from_numpy(clip[0].copy()), torch.from_numpy(clip[1].copy()).flatten(0, 1), rng)
    return y.numpy(), uv.numpy().reshape(clip[1].shape)


def _changed(a: Clip, b: Clip) -> bool:
    luma, chroma = (float(np.sqrt(np.square(p - q).mean())) for p, q in zip(a, b, strict=True))
    return luma * 219 > INVISIBLE or chroma * 224 > 1.5 * INVISIBLE


def _fine_half(clip: Mapping[str, NDArray[np.uint8]]) -> Clip:
    """The sharp clip at half size without rounding, as a source of more than 8 bits holds it."""
    y, uv = _floats(clip["hr_y"], clip["hr_uv"])
    half = np.stack([cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for p in y])
    colour = np.stack(
        [np.stack([cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for p in pair]) for pair in uv]
    )
    return half, colour


def _mild_tape(clip: Mapping[str, NDArray[np.uint8]], rng: Rng) -> Clip:
    """A tape of less noise than those of ``degrade.py``, captured at a lower rate: little of the noise is left."""
    clean = _floats(clip["lr_y"][0], clip["lr_uv"][0])
    y, uv = _fault("dehalo", _fault("dechroma", clean, rng), rng)
    worn = Planes(
        y=np.clip(np.round(y * 219 + 16), 1, 254).astype(np.uint8),
        uv=np.clip(np.round(uv * 224 + 128), 1, 254).astype(np.uint8),
    )
    worn = noise(worn, float(rng.triangular(1, 4, 7)), float(rng.uniform(0, 5)), float(rng.choice([0.0, 0.6])), rng)
    capture = (asp, mpeg2, web)[int(rng.choice(3, p=[0.75, 0.15, 0.1]))]
    coded = capture(worn, rng)
    return _floats(coded.y, coded.uv)


def examples(
    clip: Mapping[str, NDArray[np.uint8]], rng: Rng, outcomes: Mapping[int, NDArray[np.float64]]
) -> Iterator[Example]:
    """Whole windows of one clip in many states, not yet cut. ``outcomes`` tell by variant what treating it ends in."""
    kinds = [str(kind) for kind in clip["kinds"]]
    film = str(clip["sources"][0]) == "film"
    clean = _floats(clip["lr_y"][0], clip["lr_uv"][0])
    yield "clean", "clean", clean
    yield "clean", "clean", clean
    codecs = []
    for number, kind in enumerate(kinds[1:], 1):
        variant = _floats(clip["lr_y"][number], clip["lr_uv"][number])
        if kind in CODEC_KINDS:
            codecs.append((kind, variant))
        state = (ANALOGUE.get(kind) or codec_state(kind)) if _changed(variant, clean) else "clean"
        yield kind, state_of(outcomes[number], state) if number in outcomes else state, variant
    if rng.random() < 0.8:
        yield "mild tape", "tape", _mild_tape(clip, rng)
    for task, state in SINGLE.items():
        before = _part(clean, rng)
        done = _fault(task, before, rng)
        yield task, state if _changed(done, before) else "clean", done
    for task in rng.choice(list(SINGLE), 2, replace=False):
        kind, whole = codecs[int(rng.integers(len(codecs)))]
        below = _part(whole, rng)
        done = _fault(str(task), below, rng)
        state = OVER_CODEC[str(task)] if _changed(done, below) else "+"
        state = state.removeprefix("+") + codec_state(kind) * state.endswith("+")
        yield f"{task}+{kind}", state, done
    task = str(rng.choice(UNSEEN))
    if rng.random() < 0.6:
        yield task, "clean", _fault(task, _part(clean, rng), rng)
    elif rng.random() < 0.5:
        kind, whole = codecs[0]
        yield f"{task}+{kind}", codec_state(kind), _fault(task, _part(whole, rng), rng)
    sharp = Planes(y=clip["hr_y"], uv=clip["hr_uv"])
    if rng.random() < 0.5:
        half = halve(sharp, str(rng.choice(["area", "lanczos", "bilinear"])))
        yield "clean (resizer)", "clean", _floats(half.y, half.uv)
    else:
        yield "clean (fine)", "clean", _fine_half(clip)
    if film:
        return  # the film's own full size went through an encoder once
    top, left = (2 * int(n) for n in rng.integers(0, 128, 2))
    part = Planes(
        y=clip["hr_y"][:, top : top + 256, left : left + 256],
        uv=clip["hr_uv"][:, :, top // 2 : top // 2 + 128, left // 2 : left // 2 + 128],
    )
    if rng.random() < 0.5:
        yield "clean (full size)", "clean", _floats(part.y, part.uv)
    else:
        codec = (mpeg2, web, asp, hevc, jpeg)[int(rng.choice(5, p=[0.25, 0.35, 0.2, 0.1, 0.1]))]
        coded = codec(part, rng, LIGHT if rng.random() < 0.6 else WHOLE)
        done, before = _floats(coded.y, coded.uv), _floats(part.y, part.uv)
        yield f"{codec.__name__} (full size)", codec_state(codec.__name__) if _changed(done, before) else "clean", done


_BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32) / 16


def _levels(y: F32, uv: F32, rng: Rng) -> Clip:
    """Other levels, then rounded to 8 bits, dithered to 8 bits, or left as fine as they are."""
    y = y * np.float32(rng.uniform(0.75, 1.02)) + np.float32(rng.uniform(0, 0.06))
    uv = uv * np.float32(rng.uniform(0.7, 1.05))
    how = rng.random()
    if how < 0.35:
        return y, uv
    rounded = []
    for plane, scale in ((y, np.float32(219)), (uv, np.float32(224))):
        offset: F32 | float = 0.5
        if how > 0.85:
            offset = np.tile(_BAYER, (plane.shape[-2] // 4 + 1, plane.shape[-1] // 4 + 1))
            offset = offset[: plane.shape[-2], : plane.shape[-1]] + np.float32(1 / 32)
        elif how > 0.7:
            offset = rng.random(plane.shape, np.float32)
        rounded.append((np.floor(plane * scale + offset) / scale).astype(np.float32))
    return rounded[0], rounded[1]


def cut(clip: Clip, rng: Rng, plain: bool) -> list[tuple[F32, ...]]:
    """A run of frames out of a window, with everything varied that tells nothing; with ``plain`` as it stands."""
    y, uv = clip
    count = RUN if plain else int(rng.choice([1, 2, RUN], p=[0.08, 0.04, 0.88]))
    start = int(rng.integers(len(y) - count + 1))
    order = list(range(start, start + count))
    if not plain and rng.random() < 0.06:
        order = [order[0]] * len(order)
    y, uv = y[order], uv[order]
    if not plain:
        if rng.random() < 0.35:
            y, uv = _levels(y, uv, rng)
        side = 256 if rng.random() < 0.6 else int(rng.integers(40, 128)) * 2
        high, wide = (min(side, n) for n in y.shape[1:])
        top, left = (2 * int(rng.integers(0, 8 if side == 256 else (256 - side) // 2 + 1)) for _ in range(2))
        y = y[:, top : top + high, left : left + wide]
        uv = uv[:, :, top // 2 : (top + high) // 2, left // 2 : (left + wide) // 2]
        if rng.random() < 0.1:
            bar = 2 * int(rng.integers(4, max(5, high // 8)))
            y, uv = y.copy(), uv.copy()
            for part in (slice(0, bar), slice(high - bar, None)):
                y[:, part] = 0
                uv[:, :, part.start // 2 : part.stop // 2 if part.stop else None] = 0
        if rng.random() < 0.1:
            return [(plane,) for plane in y]
    return [(luma, *colour) for luma, colour in zip(y, uv, strict=True)]


def gather(folder: Path, split: str, first: int, count: int, outcomes: Outcomes) -> dict[str, NDArray[np.generic]]:
    """The examples of clips ``first .. first + count - 1`` of a split; each clip's depend on its number alone."""
    found: list[tuple[F32, str, int, str]] = []
    began = time.monotonic()
    names = "train_*.npz" if split == "train" else "*_*.npz"  # those of validation begin with their class
    for number, path in enumerate(sorted(folder.rglob(names))[first : first + count], first):
        rng = np.random.default_rng([number, 7])
        known = outcomes.get(str(path.relative_to(folder)), {})
        for kind, state, clip in examples(read_clip(path), rng, known):
            measures = measure(cut(clip, rng, split == "val"))
            if measures is not None:
                found.append((measures, state, number, kind))
        if number % 50 == 49:
            print(f"{number + 1 - first} clips, {time.monotonic() - began:.0f} s", flush=True)
    measured, states, groups, kinds = zip(*found, strict=True)
    return {
        "measures": np.stack(measured),
        "states": np.array(states),
        "groups": np.array(groups),
        "kinds": np.array(kinds),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Measure examples for the diagnosis.")
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", choices=("train", "val"), default="train")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--outcomes", type=Path, help="file of training.diagnosis.outcomes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    known = read(arguments.outcomes)
    np.savez(arguments.out, **gather(arguments.clips, arguments.split, arguments.first, arguments.count, known))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
