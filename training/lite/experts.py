"""Train the shipped networks on for the degradations of one kind of codecs alone: a specialist for a task.

``python -m training.lite.experts --data CLIPS --out RUN [--task deblock] [--one-pass]``

With ``--task codecs`` one pair of networks is trained for both kinds of codecs, each with its own task bias.

What codecs leave wants other weights than anything else, more of them than task biases can hold (docs/networks.md).
So a network may have another one beside it for such a task, which begins as the shipped one, biases and all, or as the
one that is shipped for the task already: restoring and enlarging together, or the one pass. All windows are of the
task's codecs, a few with degradations laid over them, so that mixes such as ``destream+denoise`` go on working.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from training.data.dataset import Batch, Batches, Rng, mix_vector, validation
from training.data.degradations import DEGRADATIONS
from training.data.media import TASK_CODECS
from training.lite import options
from training.lite.loop import Losses, Schedule, fit
from training.lite.train import SPATIAL
from training.losses import distance, psnr, ssim
from vsanimup.architectures.lite.checkpoint import BOTH, CODEC_TASKS, Networks, lites, load_checkpoint
from vsanimup.architectures.lite.network import ALIGN, evened_out
from vsanimup.architectures.lite.shipped import shipped
from vsanimup.networks.manifest import SHIPPED, open_model

DEGRADED_SHARE = 0.06
"""Share of the windows with other degradations over a codec's."""
RESTORED_WEIGHT = 0.5
"""Weight of the loss of the small restored picture beside that of the large one."""
RESTORE_SPATIAL = 4 / 219
"""Threshold of the sigma filter after restoring, the default of ``Restore``'s argument ``spatial_threshold``."""


class Codecs(Batches):
    """Windows of a task's codecs."""

    backbone_share = 0.0
    task = "destream"

    def _degradation(self, rng: Rng) -> tuple[str, list[str], dict[str, float]]:
        task = str(rng.choice(list(TASK_CODECS))) if self.task == BOTH else self.task
        shares = TASK_CODECS[task]
        codec = str(rng.choice(list(shares), p=list(shares.values())))
        tasks = [str(rng.choice(list(DEGRADATIONS)))] if rng.random() < DEGRADED_SHARE else []
        return codec, tasks, {task: 1.0} | dict.fromkeys(tasks, 1.0)


def begun(models: Path, task: str, one_pass: bool) -> Networks:
    """The networks of the model folders in ``models``, or those that are beside them for the task already."""
    task = "destream" if task == BOTH else task
    names = {"one_pass": "lite-one-pass"} if one_pass else {"restore": "lite-restore", "upscale": "lite-upscale"}
    found = {name: open_model(models / folder) for name, folder in names.items()}
    return Networks({name: shipped(model.folder / model.specialists.get(task, "")) for name, model in found.items()})


Picture = tuple[Tensor, Tensor]
"""Luma and chroma."""


def radius_of(nets: Networks) -> int:
    """Frames that the networks see on each side."""
    return max(net.config.radius for net in lites(nets).values())


def run(nets: Networks, y: Tensor, uv: Tensor, mix: Tensor) -> tuple[Picture, Picture | None]:
    """The large picture, and the small restored one where there is one, after the filters that the product has."""
    found = lites(nets)
    first = found.get("one_pass") or found["restore"]
    first.set_mix(mix)
    y, uv = first(y, uv)
    small = None
    if "one_pass" not in nets:
        small = y, uv
        y, uv = found["upscale"](evened_out(y.float(), RESTORE_SPATIAL), uv)
    return (evened_out(y.float(), SPATIAL), uv), small


def losses_of(nets: Networks, batch: Batch, ssim_weight: float) -> Losses:
    """Training losses of a batch."""
    large, small = run(nets, batch.y, batch.uv, batch.mix)
    losses = {"large": distance(*large, batch.sharp_y, batch.sharp_uv, ssim_weight)}
    if small is not None:
        losses["small"] = RESTORED_WEIGHT * distance(*small, batch.goal_y, batch.goal_uv, ssim_weight)
    return losses


@torch.no_grad()
def validate(nets: Networks, data: Path, task: str) -> dict[str, float]:
    """Mean luma PSNR in dB and SSIM of the large picture, PSNR of the small one, by codec."""
    scores: dict[str, list[float]] = {}
    for case in validation(data, radius_of(nets), ALIGN):
        own = CODEC_TASKS.get(case.kind)
        if own is None or task not in (own, BOTH):
            continue
        (y, _), small = run(nets, case.y, case.uv, mix_vector({own: 1.0})[None])
        found = {"psnr": psnr(y, case.sharp_y), "ssim": float(ssim(y.clamp(0, 1), case.sharp_y))}
        if small is not None:
            found["restored"] = psnr(small[0], case.goal_y)
        for name, value in found.items():
            scores.setdefault(f"{case.kind} {name}", []).append(value)
    return {name: sum(v) / len(v) for name, v in sorted(scores.items())}


def main(
    data: options.Data,
    out: options.Out,
    task: Annotated[str, typer.Option(help="destream, deblock, or codecs for both")] = "destream",
    models: Annotated[Path, typer.Option(help="folder of the model folders to begin from")] = SHIPPED,
    start: Annotated[Path | None, typer.Option(help="checkpoint to begin from in place of these")] = None,
    one_pass: Annotated[bool, typer.Option(help="the network of one pass, not the two")] = False,
    steps: int = 9000,
    batch: options.Windows = 8,
    crop: options.Crop = 96,
    lr: float = 0.008,
    ssim_weight: Annotated[float, typer.Option(help="weight of 1 - SSIM in the distance")] = 0.25,
    small_until: options.SmallUntil = 0.85,
    seed: int = 0,
    bf16: options.Bf16 = False,
    threads: int = 0,
    every: options.Every = 500,
    stop: options.Stop = None,
) -> None:
    """Train, or go on with the run in OUT."""
    options.prepare(threads, seed)
    if task not in (*TASK_CODECS, BOTH):
        raise typer.BadParameter(f"--task must be one of {', '.join((*TASK_CODECS, BOTH))}, got {task!r}")
    nets = (
        (begun(models, task, one_pass) if start is None else load_checkpoint(start))
        .train()
        .to(memory_format=torch.channels_last)
    )
    batches = Codecs(
        data,
        radius=radius_of(nets),
        crop=crop,
        batch=batch,
        plain=1,
        steps=steps,
        seed=seed,
        small=int(small_until * steps),
    )
    batches.task = task
    # nothing is begun anew, and ranges are known
    schedule = Schedule(steps=steps, lr=lr, round_from=0, revive_until=0, every=every, stop=stop, bf16=bf16, seed=seed)
    fit(
        nets,
        batches,
        schedule,
        out,
        partial(losses_of, ssim_weight=ssim_weight),
        partial(validate, data=data, task=task),
    )


if __name__ == "__main__":
    typer.run(main)
