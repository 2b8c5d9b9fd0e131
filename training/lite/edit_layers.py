"""Networks of another shape that begin as good as those they are made of.

``python -m training.lite.edit_layers --task destream --out shaped.pt [--start CHECKPOINT] [--still] [--last 3]``

What codecs leave is not told by the frames around: the restoring network's specialists for it lose nothing where these
are left out of their windows, and take a tenth less time. The time is better spent in enlarging, by another pair of
convolutions at half resolution after the body. ``training.lite.experts --start`` goes on from what this writes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from training.data.media import TASK_CODECS
from training.lite.experts import begun
from training.lite.loop import save
from vsanimup.architectures.lite.checkpoint import lites, load_checkpoint
from vsanimup.architectures.lite.network import Lite
from vsanimup.networks.manifest import SHIPPED


@torch.no_grad()
def still(net: Lite) -> Lite:
    """``net`` without the frames around: it gives what ``net`` gives where they are the same as the centre frame.

    Differences to the centre frame, which is how a head sees the others, are then 0.
    """
    frames, centre = net.config.frames, net.config.radius
    luma, chroma = range(4 * centre, 4 * centre + 4), range(4 * frames + 2 * centre, 4 * frames + 2 * centre + 2)
    kept = torch.tensor([*luma, *chroma])
    state = net.state_dict()
    state["head.conv.weight"] = state["head.conv.weight"][:, kept]
    if net.config.tasks:
        biases = state["head.conv.task_a"].unflatten(2, (6 * frames, 9))
        state["head.conv.task_a"] = biases[:, :, kept].flatten(2)
    new = Lite(replace(net.config, radius=0))
    new.load_state_dict(state)
    return new


@torch.no_grad()
def deeper(net: Lite, last: int) -> Lite:
    """``net`` with ``last`` pairs at half resolution after the body, the new ones adding nothing as yet.

    What rounds their results has the ranges of the pair before them.
    """
    if last < net.config.last:
        raise ValueError(f"there are {net.config.last} pairs already, got {last}")
    new = Lite(replace(net.config, last=last))
    state, old = new.state_dict(), net.state_dict()
    for name, value in state.items():
        if name in old:
            state[name] = old[name]
            continue
        before = old[f"last.{net.config.last - 1}.{name.split('.', 2)[2]}"]
        if "round" in name:
            state[name] = before
        elif ".b." in name and not name.endswith("task_a"):
            state[name] = torch.zeros_like(value)
        elif name.endswith("a.weight"):
            state[name] = value * (before.std() / value.std())
    new.load_state_dict(state)
    return new


def main(
    out: Annotated[Path, typer.Option(help="checkpoint to write")],
    task: Annotated[str, typer.Option(help="destream or deblock: begin with the specialists for it")] = "destream",
    models: Annotated[Path, typer.Option(help="folder of the model folders to begin from")] = SHIPPED,
    start: Annotated[Path | None, typer.Option(help="checkpoint to begin from in place of these")] = None,
    one_pass: Annotated[bool, typer.Option(help="the network of one pass, not the two")] = False,
    alone: Annotated[bool, typer.Option("--still", help="without the frames around")] = False,
    last: Annotated[int, typer.Option(help="pairs after the body of what enlarges; 0: as it is")] = 0,
    seed: int = 0,
) -> None:
    """Write a checkpoint of reshaped networks."""
    torch.manual_seed(seed)
    if task not in TASK_CODECS:
        raise typer.BadParameter(f"--task must be one of {', '.join(TASK_CODECS)}, got {task!r}")
    nets = begun(models, task, one_pass) if start is None else load_checkpoint(start)
    for name, found in lites(nets).items():
        net = still(found) if alone else found
        if last and net.config.scale > 1:
            if last < net.config.last:
                raise typer.BadParameter(f"--last must be at least {net.config.last}, got {last}")
            net = deeper(net, last)
        nets[name] = net
    config = {name: net.config.to_dict() for name, net in lites(nets).items()}
    save(out, {"average": nets.state_dict(), "config": config})


if __name__ == "__main__":
    typer.run(main)
