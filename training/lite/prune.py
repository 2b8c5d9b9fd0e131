"""Take channels out of the restoring network's pairs of convolutions, those that the others can stand in for best.

``python -m training.lite.prune --data CLIPS --out pruned.pt [--task destream]``

What a pair adds is linear in its hidden channels. So which of them add least that the others cannot, and what the
others' weights must be then, follows from the hidden channels' second moments (as in Optimal Brain Surgeon, Hassibi
and Stork 1993, a channel's nine positions at a time): the one whose loss errs least is dropped, the weights of those
that are left are solved anew, and so on. It needs no training, and takes a minute; ``training.lite.experts --start`` or
``training.lite.train --start`` go on from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Protocol, cast

import torch
import typer
from torch import Tensor
from torch.nn import functional as F

from training.data.dataset import Batch, Batches
from training.data.media import TASK_CODECS
from training.lite import options
from training.lite.experts import Codecs, begun, radius_of
from training.lite.loop import save, set_rounding
from vsanimup.architectures.lite.checkpoint import Networks, lites
from vsanimup.architectures.lite.layers import Round
from vsanimup.architectures.lite.network import Lite, Pair
from vsanimup.architectures.lite.shipped import shipped
from vsanimup.networks.manifest import SHIPPED

POSITIONS = 3000
"""Positions of a batch that are looked at."""
RIDGE = 1e-7
"""Share of the mean second moment that is added to each, so that they can be inverted."""


Moments = tuple[Tensor, Tensor]
"""Of what a pair's second convolution sees, its inputs' 3x3 neighbours and a one, ``n`` values: sums of their products
``[n, n]``, and of those with what the convolution adds, ``[n, outputs]``."""


class Steps(Protocol):
    """Batches by step."""

    def __getitem__(self, step: int, /) -> Batch:
        """That of a step."""
        ...


def neighbours(hidden: Tensor) -> Tensor:
    """Each position's 3x3 neighbours in all channels and a one, ``[positions, 9 * channels + 1]``."""
    rows = F.unfold(hidden.float(), 3, padding=1).transpose(1, 2).flatten(0, 1)
    return torch.cat((rows, torch.ones_like(rows[:, :1])), 1)


def inverse(products: Tensor) -> Tensor:
    """The inverse of sums of products."""
    result: Tensor = torch.linalg.inv(
        products + RIDGE * products.diagonal().mean() * torch.eye(len(products)).to(products)
    )
    return result


@torch.no_grad()
def moments(net: Lite, batches: Steps, count: int, slimmed: Mapping[str, tuple[list[int], Pair]]) -> dict[str, Moments]:
    """Moments of all pairs over so many batches.

    With ``slimmed``, by name the channels kept and a pair of these without weights of its own, inputs are the channels
    kept, and what its task biases add is taken off.
    """
    sums: dict[str, Moments] = {}
    generator = torch.Generator().manual_seed(0)
    pairs = {name: module for name, module in net.named_modules() if isinstance(module, Pair)}

    def note(name: str, hidden: Tensor) -> None:
        added = pairs[name].b.convolved(hidden)
        if name in slimmed:
            keep, pair = slimmed[name]
            hidden = hidden[:, keep]
            pair.b.mix = pairs[name].b.mix
            added = added - pair.b.convolved(hidden)
        seen, wanted = neighbours(hidden), added.flatten(2).transpose(1, 2).flatten(0, 1)
        chosen = torch.randperm(len(seen), generator=generator)[:POSITIONS]
        x, y = seen[chosen].double(), wanted[chosen].double()
        before = sums.get(name, (torch.zeros(()), torch.zeros(())))
        sums[name] = before[0] + x.T @ x, before[1] + x.T @ y

    hooks = [
        pair.b.register_forward_hook(lambda module, given, result, name=name: note(name, given[0]))
        for name, pair in pairs.items()
    ]
    for step in range(count):
        batch = batches[step]
        net.set_mix(batch.mix)
        net(batch.y, batch.uv)
    for hook in hooks:
        hook.remove()
    net.set_mix(None)
    return sums


def kept(seen: Moments, left: int) -> list[int]:
    """The hidden channels to keep, found by dropping one after the other."""
    back = inverse(seen[0])
    weights = (back @ seen[1]).T
    keep = list(range(len(back) // 9))
    while len(keep) > left:
        best: tuple[float, int, Tensor] | None = None
        for i in range(len(keep)):
            block = torch.linalg.inv(back[9 * i : 9 * i + 9, 9 * i : 9 * i + 9])
            part = weights[:, 9 * i : 9 * i + 9]
            loss = float((part @ block * part).sum())
            if best is None or loss < best[0]:
                best = loss, i, block
        assert best is not None
        _, i, block = best
        move = back[:, 9 * i : 9 * i + 9] @ block
        others = torch.tensor([n for n in range(len(back)) if not 9 * i <= n < 9 * i + 9])
        weights = (weights - weights[:, 9 * i : 9 * i + 9] @ move.T)[:, others]
        back = (back - move @ back[9 * i : 9 * i + 9])[others][:, others]
        del keep[i]
    return keep


@torch.no_grad()
def narrowed(pair: Pair, keep: list[int]) -> Pair:
    """A pair of these hidden channels alone, the second convolution without weights of its own."""
    channels, hidden = pair.b.weight.shape[:2]
    biases = pair.a.task_a
    tasks, rank = biases.shape[:2] if biases is not None else (0, 0)
    new = Pair(channels, len(keep), tasks, rank)
    state = dict(pair.state_dict())
    for name in ("a.weight", "a.bias"):
        state[name] = state[name][keep]
    if tasks:
        state["a.task_b"], state["a.task_c"] = state["a.task_b"][:, keep], state["a.task_c"][:, keep]
        state["b.task_a"] = state["b.task_a"].unflatten(2, (hidden, 9))[:, :, keep].flatten(2)
    state["b.weight"], state["b.bias"] = torch.zeros(channels, len(keep), 3, 3), torch.zeros(channels)
    new.load_state_dict(state)
    return new


def chosen(net: Lite, batches: Steps, count: int, half: int, quarter: int) -> dict[str, list[int]]:
    """The channels to keep of each pair: so many at half and at a quarter resolution."""
    return {
        name: kept(seen, half if name.startswith(("first", "last")) else quarter)
        for name, seen in moments(net, batches, count, {}).items()
    }


@torch.no_grad()
def prune(net: Lite, batches: Steps, count: int, keep: Mapping[str, list[int]]) -> Lite:
    """``net`` with these hidden channels alone, by pair."""
    found = {
        name: (channels, narrowed(cast("Pair", net.get_submodule(name)), channels)) for name, channels in keep.items()
    }
    sizes = {name.startswith(("first", "last")): len(channels) for name, channels in keep.items()}
    new = Lite(replace(net.config, half_hidden=sizes.get(True, 0), quarter_hidden=sizes.get(False, 0)))
    state = net.state_dict()
    for name, seen in moments(net, batches, count, found).items():
        pair = found[name][1]
        solved = (inverse(seen[0]) @ seen[1]).T.float()
        pair.b.weight.copy_(solved[:, :-1].reshape(pair.b.weight.shape))
        assert pair.b.bias is not None
        pair.b.bias.copy_(solved[:, -1])
        state |= {f"{name}.{key}": value for key, value in pair.state_dict().items()}
    new.load_state_dict(state)
    return new


def main(
    data: options.Data,
    out: Annotated[Path, typer.Option(help="checkpoint to write")],
    task: Annotated[str | None, typer.Option(help="destream or deblock: their windows, and their specialists")] = None,
    own: Annotated[bool, typer.Option(help="the models' own networks all the same")] = False,
    models: Annotated[Path, typer.Option(help="folder of the model folders")] = SHIPPED,
    half: Annotated[int, typer.Option(help="hidden channels of pairs at half resolution")] = 32,
    quarter: Annotated[int, typer.Option(help="hidden channels of pairs at a quarter")] = 32,
    like: Annotated[Path | None, typer.Option(help="take the channels of this checkpoint, for a mean")] = None,
    count: Annotated[int, typer.Option(help="batches to look at")] = 24,
    seed: int = 0,
    threads: int = 0,
) -> None:
    """Write a checkpoint of the slimmer restoring network and the enlarging one as it is."""
    if threads:
        torch.set_num_threads(threads)
    if task is not None and task not in TASK_CODECS:
        raise typer.BadParameter(f"--task must be one of {', '.join(TASK_CODECS)}, got {task!r}")
    if task is None or own:
        nets = Networks({"restore": shipped(models / "lite-restore"), "upscale": shipped(models / "lite-upscale")})
    else:
        nets = begun(models, task, one_pass=False)
    batches: Batches = (Batches if task is None else Codecs)(
        data, radius=radius_of(nets), crop=96, batch=8, plain=1, steps=count, seed=seed
    )
    if isinstance(batches, Codecs) and task is not None:
        batches.task = task
    shape = lites(nets)["restore"].config
    most_half, most_quarter = shape.half_hidden or shape.half, shape.quarter_hidden or shape.quarter
    for name, hidden, most in (("half", half, most_half), ("quarter", quarter, most_quarter)):
        if like is None and not 1 <= hidden <= most:
            raise typer.BadParameter(f"--{name} must be 1 to {most} hidden channels, got {hidden}")
    set_rounding(nets, Round.ROUND)
    net = lites(nets.eval())["restore"]
    keep = chosen(net, batches, count, half, quarter) if like is None else torch.load(like, weights_only=True)["kept"]
    nets["restore"] = prune(net, batches, count, keep)
    config = {name: net.config.to_dict() for name, net in lites(nets).items()}
    save(out, {"average": nets.state_dict(), "config": config, "kept": keep})


if __name__ == "__main__":
    typer.run(main)
