"""Fit the gate's predictors to records: a few thousand numbers for each role.

The loss of a frame is its gain over the plain picture in dB, of the squared error and of what structural similarity
lacks of 1; what is worse than plain counts several times.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.gate.record import PAIRS, STATES
from vsanimup.diagnosis.mixes import MIXES
from vsanimup.networks.lite.gate import MEASURES, SHARES
from vsanimup.tasks import TASKS, TaskMix

HIDDEN = {
    "restore": (48, 24),
    "named": (48, 24),
    "upscale": (24, 16),
    "restored": (24, 16),
    "cleaned": (24, 16),
    "once": (24, 16),
}
"""Hidden layers: smaller ones could not tell all tasks apart."""
CROP = 16
"""Cells across and down that are looked at at once while training."""
FLOORS = {
    "restore": (10**-5.0, 5e-4),
    "named": (10**-5.0, 5e-4),
    "upscale": (10**-4.7, 5e-4),
    "restored": (10**-4.7, 5e-4),
    "cleaned": (10**-4.7, 5e-4),
    "once": (10**-4.7, 5e-4),
}
"""Mean squared error, and loss of similarity, below which nothing is seen."""
WORSE = {"restore": 2.0, "named": 2.0, "upscale": 9.0, "restored": 5.0, "cleaned": 5.0, "once": 3.0}
"""How much more a loss against the plain picture counts than a gain: what restores is followed by another gate."""
NAMED = 0.7
"""The same where degradations were named."""
CAREFUL = {"denoise": 3.0}
"""The same of named tasks whose faint damage looks like what belongs to a picture: noise like grain."""
MEANT = ("deblur", "dehaze")
"""Tasks of which a loss counts as a gain does: nothing tells a soft or a hazy style from what they are for, and who
asks for them wants them."""
KINDS = {
    "restore": {"vhs": 5.0, "composite": 5.0},
    "named": {"asked": 2.0},
    "upscale": {"clean": 4.0, "vhs": 0.1, "composite": 0.1, "asked": 0.1},
}
"""Weights of the kinds of a role's records, 1 for all others. Enlarging alone is for what is clean, or compressed so
lightly that no diagnosis sees it; what it would learn of a tape's noise, it would do to grain. Of what is restored few
are tapes, which gain the most."""
GRAIN = {"restore": 2.0}
"""Weights of clips whose look has grain, 1 for other roles."""
MISTAKEN = 0.3
"""Weight of records of tasks that a source does not need."""
STEADY = 0.03**2
"""Constant of structural similarity that keeps even areas from counting (Wang et al., 2004)."""
SIMILARITY, COLOUR = 1.0, 0.15
"""Weights of the other two errors, beside the squared error of luma."""


@dataclass
class Table:
    """Records of one role."""

    inputs: Tensor
    """``[N, rows, columns, 3 * MEASURES]``, 16 bit."""
    luma: Tensor
    """``[N, 6, rows, columns]``, means over samples."""
    similarity: Tensor
    """``[N, 10, rows, columns]``, the same."""
    chroma: Tensor
    """``[N, 3, rows, columns]``."""
    tasks: Tensor
    """``[N, tasks]``."""
    weights: Tensor
    """``[N]``: how often each is looked at."""
    worse: Tensor
    """``[N]``: how much more its losses count."""
    labels: list[str]

    def take(self, index: Tensor) -> Table:
        """Some of the records."""
        labels = [self.labels[int(i)] for i in index]
        return Table(
            self.inputs[index], self.luma[index], self.similarity[index], self.chroma[index], self.tasks[index],
            self.weights[index], self.worse[index], labels,
        )  # fmt: skip

    def parts(self) -> Table:
        """The records in pieces of ``CROP`` cells across and down."""

        def cut(values: Tensor, rows: int) -> Tensor:
            return torch.cat([
                part for band in torch.split(values, CROP, rows) for part in torch.split(band, CROP, rows + 1)
            ])  # fmt: skip

        pieces = (32 // CROP) ** 2
        return Table(
            cut(self.inputs, 1), cut(self.luma, 2), cut(self.similarity, 2), cut(self.chroma, 2),
            self.tasks.repeat(pieces, 1), self.weights.repeat(pieces), self.worse.repeat(pieces),
            self.labels * pieces,
        )  # fmt: skip


def load(folders: Sequence[Path], role: str) -> Table:
    """All records of a role."""
    names = ("measures", "luma", "similarity", "chroma", "label", "mix")
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for folder in folders:
        for path in sorted(folder.glob(f"{role}_*.npz")):
            with np.load(path) as file:
                for name, parts in found.items():
                    parts.append(file[name])
    mixes = [str(mix) for part in found["mix"] for mix in part]
    labels = [str(label) for part in found["label"] for label in part]
    chosen = role in ("restore", "named", "once")  # by a mix of tasks, which may be wrong
    weights = [
        KINDS.get(role, {}).get(kind_of(label), 1.0)
        * (GRAIN.get(role, 1.0) if "grain" in label.split()[-1] else 1.0)
        * (MISTAKEN if chosen and mistaken(label, mix) else 1.0)
        for label, mix in zip(labels, mixes, strict=True)
    ]
    tasks = [[TaskMix.of_property(mix).get(task, 0.0) for task in TASKS] for mix in mixes]
    return Table(
        inputs=torch.cat([pooled(torch.from_numpy(part)) for part in found["measures"]]),
        luma=torch.from_numpy(np.concatenate(found["luma"])),
        similarity=torch.from_numpy(np.concatenate(found["similarity"])),
        chroma=torch.from_numpy(np.concatenate(found["chroma"])),
        tasks=torch.tensor(tasks),
        weights=torch.tensor(weights),
        worse=torch.tensor([worse_of(label, mix, role) for label, mix in zip(labels, mixes, strict=True)]),
        labels=labels,
    )


def kind_of(label: str) -> str:
    """What was done to a record's source."""
    return group_of(label).split("/", maxsplit=1)[0]


def worse_of(label: str, mix: str, role: str) -> float:
    """How much more a loss on a record counts."""
    if any(task in mix for task in MEANT):
        return 0.0
    if kind_of(label) == "asked" and role in ("named", "once"):
        return max([NAMED, *(worse for task, worse in CAREFUL.items() if task in mix)])
    return WORSE[role]


def mistaken(label: str, mix: str) -> bool:
    """Whether a record's source, by its label, has no need of its mix of tasks."""
    kind = kind_of(label)
    return kind in ("clean", *STATES) and (kind == "clean" or mix != str(MIXES[STATES[kind]]))


class Predictor(nn.Module):
    """What native code computes: see ``vsanimup/native/gate.cpp``."""

    centre: Tensor
    scale: Tensor

    def __init__(self, table: Table, hidden: tuple[int, int]) -> None:
        super().__init__()
        inputs = table.inputs[:: max(1, len(table.inputs) // 256)].float().flatten(0, 2)
        self.register_buffer("centre", inputs.mean(0))
        self.register_buffer("scale", 1 / inputs.std(0).clamp_min(0.05))
        self.first, self.tasks = nn.Linear(3 * MEASURES, hidden[0]), nn.Linear(len(TASKS), hidden[0], bias=False)
        self.second, self.last = nn.Linear(hidden[0], hidden[1]), nn.Linear(hidden[1], SHARES)
        nn.init.normal_(self.tasks.weight, std=0.3)
        nn.init.zeros_(self.last.bias)

    def forward(self, inputs: Tensor, tasks: Tensor) -> Tensor:
        """Shares ``[N, SHARES, rows, columns]``."""
        x = (inputs.float() - self.centre) * self.scale
        x = F.relu(self.first(x) + self.tasks(tasks)[:, None, None])
        return torch.sigmoid(self.last(F.relu(self.second(x)))).permute(0, 3, 1, 2)

    def arrays(self, role: str) -> dict[str, np.ndarray]:
        """The weights as :data:`vsanimup.networks.lite.gate.FILE` holds them, for measures as they come."""
        with torch.no_grad():
            first = self.first.weight * self.scale  # of measures as they come
            parts = {
                "0": first.T, "b0": self.first.bias - first @ self.centre, "tasks": self.tasks.weight.T,
                "1": self.second.weight.T, "b1": self.second.bias, "2": self.last.weight.T, "b2": self.last.bias,
            }  # fmt: skip
        return {f"{role}_{name}": part.detach().contiguous().numpy().astype(np.float32) for name, part in parts.items()}


def pooled(measures: Tensor) -> Tensor:
    """A cell's measures, their means over 5x5 cells and over the frame: ``[N, rows, columns, 3 * MEASURES]``."""
    around = F.avg_pool2d(F.pad(measures, (2, 2, 2, 2), mode="replicate"), 5, 1)
    whole = measures.mean((2, 3), keepdim=True).expand_as(measures)
    return torch.cat([measures, around, whole], 1).permute(0, 2, 3, 1).contiguous().half()


def together(models: Sequence[Predictor]) -> Predictor:
    """Several predictors as one, whose shares are those of their mean before the sigmoid: what one of them has got
    wrong, by the chances of its fit, weighs less. Their hidden layers stand side by side."""

    def layer(weight: Tensor, bias: Tensor) -> nn.Linear:
        made = nn.Linear(weight.shape[1], weight.shape[0])
        made.weight, made.bias = nn.Parameter(weight), nn.Parameter(bias)
        return made

    def beside(part: str) -> Tensor:
        return torch.cat([model.get_parameter(part).detach() for model in models])

    whole = copy.deepcopy(models[0])
    whole.first = layer(beside("first.weight"), beside("first.bias"))
    whole.tasks.weight = nn.Parameter(beside("tasks.weight"))
    second = torch.block_diag(*(m.second.weight.detach() for m in models))  # type: ignore[no-untyped-call]
    whole.second = layer(second, beside("second.bias"))
    last = torch.cat([m.last.weight.detach() for m in models], 1) / len(models)
    whole.last = layer(last, torch.stack([m.last.bias.detach() for m in models]).mean(0))
    return whole


def errors(table: Table, shares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Errors of each cell ``[N, rows, columns]``: of luma, of its similarity, and of chroma."""
    one = torch.ones_like(shares[:, 0])
    factors = (one, shares[:, 0], shares[:, 1])
    products = [(1 if a == b else 2) * factors[a] * factors[b] for a, b in PAIRS]
    luma = torch.stack([p * table.luma[:, k] for k, p in enumerate(products)]).sum(0)
    truth, *both = table.similarity[:, :4].unbind(1)
    covariance = torch.stack([f * c for f, c in zip(factors, both, strict=True)]).sum(0)
    variance = torch.stack([p * table.similarity[:, 4 + k] for k, p in enumerate(products)]).sum(0)
    alike = (2 * covariance + STEADY) / (truth + variance + STEADY)
    colour = table.chroma[:, 0] + 2 * shares[:, 2] * table.chroma[:, 1] + shares[:, 2] ** 2 * table.chroma[:, 2]
    return luma, 1 - alike, colour


def gains(table: Table, shares: Tensor, role: str) -> Tensor:
    """dB gained over the plain picture, ``[N, 3]``: squared error, similarity, chroma."""
    plain = errors(table, torch.zeros_like(shares))
    ours = errors(table, shares)
    found = []
    for before, after, floor in zip(plain, ours, (*FLOORS[role], FLOORS[role][0]), strict=True):
        found.append(10 * torch.log10((before.mean((1, 2)) + floor) / (after.mean((1, 2)) + floor)))
    return torch.stack(found, 1)


def loss_of(gain: Tensor, worse: Tensor) -> Tensor:
    """The loss of each frame."""
    cost = -gain + worse[:, None] * F.relu(-gain)
    return cost @ torch.tensor([1.0, SIMILARITY, COLOUR])


def fit(table: Table, role: str, steps: int, seed: int, batch: int = 48) -> Predictor:
    """Train one role's predictor."""
    torch.manual_seed(seed)
    model, parts = Predictor(table, HIDDEN[role]), table.parts()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=steps, pct_start=0.1)
    mean = 0.0
    for step in range(steps):
        some = parts.take(torch.multinomial(parts.weights, batch, replacement=True))
        loss = loss_of(gains(some, model(some.inputs, some.tasks), role), some.worse).mean()
        mean += (float(loss.detach()) - mean) / min(step + 1, 300)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 500 == 499:
            print(f"{role} {step + 1}: {mean:.3f}", flush=True)
    return model.eval()


def group_of(label: str) -> str:
    """What a record is counted with."""
    return label.split(maxsplit=1)[0]


@torch.no_grad()
def report(table: Table, model: Predictor, role: str) -> str:
    """Gains by label: of the whole change, of the shares; the worst frame, and how many are worse than plain."""
    ours, whole = [], []
    for some in torch.split(torch.arange(len(table.labels)), 256):
        part = table.take(some)
        shares = model(part.inputs, part.tasks)
        ours.append(gains(part, shares, role))
        whole.append(gains(part, torch.ones_like(shares), role))
    lines = [f"{'dB over plain':24s} frames   whole: luma, similarity, worst   shares: the same, chroma, worst, worse"]
    groups = [group_of(label) for label in table.labels]
    for name in (*sorted(set(groups)), "all"):
        rows = torch.tensor([name in (group, "all") for group in groups])
        a, b = torch.cat(whole)[rows], torch.cat(ours)[rows]
        worse = 100 * float((b[:, :2] < -0.1).any(1).float().mean())
        before, after = (f"{g[:, 0].mean():+6.2f} {g[:, 1].mean():+6.2f} {g[:, 0].min():+6.2f}" for g in (a, b))
        colour = f"{b[:, 2].mean():+6.2f} {b[:, 1].min():+6.2f} {worse:3.0f} %"
        lines.append(f"{name:24s} {int(rows.sum()):5d}   {before}   {after} {colour}")
    return "\n".join(lines)
