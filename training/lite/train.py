"""Train the two lite networks together: resumable, seeded, with a validation curve.

``python -m training.lite.train --data CLIPS --out RUN``

Restoring is trained towards the clean small picture and, through the enlarging network after it, towards the sharp
large one; enlarging learns on restored pictures as they come and on clean ones. Every window has its own mix of tasks;
backbone and task biases are updated together (Instruct-IPT's synchronous training, arXiv 2407.00676). With one mix a
step the gradients of one task undid what another had learned.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer

from training.data.dataset import Batch, Batches, validation
from training.lite import options
from training.lite.loop import Losses, Schedule, fit
from training.losses import distance, psnr
from vsanimup.architectures.lite.checkpoint import Networks, lites, load_checkpoint
from vsanimup.architectures.lite.network import ALIGN, Lite, LiteConfig, evened_out
from vsanimup.tasks import TASKS

SPATIAL = 8 / 219
"""Threshold of the sigma filter after enlarging, the default of ``Upscale``'s argument ``spatial_threshold``."""
CONFIGS = {
    "restore": LiteConfig(scale=1, radius=2, half=48, inner=2, last=1, tasks=len(TASKS)),
    "upscale": LiteConfig(scale=2, radius=0, half=48, inner=1, last=2),
}
"""Shapes that are trained; ``training.lite.prune`` leaves less of restoring. Enlarging is a matter of fine detail, and
has its layers at half resolution."""


def networks(restore: LiteConfig, upscale: LiteConfig) -> Networks:
    """Fresh networks of two shapes."""
    return Networks({"restore": Lite(restore), "upscale": Lite(upscale)})


def loss_of(nets: Networks, batch: Batch, alone: bool = False) -> Losses:
    """Training losses of a batch: restoring, and enlarging unless restoring is trained ``alone``."""
    restore, upscale = lites(nets)["restore"], nets["upscale"]
    restore.set_mix(batch.mix)
    y, uv = restore(batch.y, batch.uv)
    restored = distance(y, uv, batch.goal_y, batch.goal_uv)
    if alone:
        return {"restore": restored}
    large_y, large_uv = upscale(torch.cat((y, batch.plain_y)), torch.cat((uv, batch.plain_uv)))
    sharp_y = torch.cat((batch.sharp_y, batch.plain_sharp_y))
    large_y = evened_out(large_y.float(), SPATIAL)
    sharp_uv = torch.cat((batch.sharp_uv, batch.plain_sharp_uv))
    return {"restore": restored, "upscale": distance(large_y, large_uv, sharp_y, sharp_uv)}


@torch.no_grad()
def validate(nets: Networks, data: Path) -> dict[str, float]:
    """Mean luma PSNR in dB by ``stage kind``: ``restore`` to the clean small picture, ``both`` to the large one.

    ``backbone`` is ``restore`` without task biases; ``both clean`` is enlarging alone.
    """
    restore, upscale = lites(nets)["restore"], nets["upscale"]
    scores: dict[str, list[float]] = defaultdict(list)
    for case in validation(data, restore.config.radius, ALIGN):
        restore.set_mix(None)
        scores[f"backbone {case.kind}"].append(psnr(restore(case.y, case.uv)[0], case.goal_y))
        restore.set_mix(case.mix)
        y, uv = restore(case.y, case.uv)
        scores[f"restore {case.kind}"].append(psnr(y, case.goal_y))
        if case.kind == "clean":
            r = restore.config.radius
            y, uv = case.y[:, r : r + 1], case.uv[:, 2 * r : 2 * r + 2]
        scores[f"both {case.kind}"].append(psnr(evened_out(upscale(y, uv)[0].float(), SPATIAL), case.sharp_y))
    return {kind: sum(v) / len(v) for kind, v in sorted(scores.items())}


def main(
    data: options.Data,
    out: options.Out,
    steps: int = 18000,
    batch: options.Windows = 8,
    plain: Annotated[int, typer.Option(help="single frames a step, enlarged without restoring")] = 6,
    crop: options.Crop = 96,
    lr: float = 0.02,
    start: Annotated[Path | None, typer.Option(help="checkpoint to begin from, not anew")] = None,
    alone: Annotated[bool, typer.Option(help="train restoring alone")] = False,
    size: options.Size = 1.0,
    small_until: options.SmallUntil = 0.7,
    round_from: options.RoundFrom = 0.75,
    seed: int = 0,
    bf16: options.Bf16 = False,
    threads: int = 0,
    every: options.Every = 500,
    stop: options.Stop = None,
) -> None:
    """Train, or go on with, the run in OUT."""
    options.prepare(threads, seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    configs = {name: config.scaled(size) for name, config in CONFIGS.items()}
    nets = networks(configs["restore"], configs["upscale"]) if start is None else load_checkpoint(start).train()
    batches = Batches(
        data,
        radius=configs["restore"].radius,
        crop=crop,
        batch=batch,
        plain=plain,
        steps=steps,
        seed=seed,
        small=int(small_until * steps),
    )
    schedule = Schedule(steps=steps, lr=lr, round_from=round_from, every=every, stop=stop, bf16=bf16, seed=seed)
    placed = nets.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    fit(placed, batches, schedule, out, partial(loss_of, alone=alone), partial(validate, data=data))


if __name__ == "__main__":
    typer.run(main)
