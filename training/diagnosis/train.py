"""Trains the diagnosis: ``python -m training.diagnosis.train --train FILE... --val FILE --out decision.npz``.

The files are those of ``training.diagnosis.data``. Prints the confusion of states on the validation file, run by run,
and the SHA-256 that belongs into ``vsanimup/diagnosis/decision.py``. A minute on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vsanimup.diagnosis.decision import STATES, decide

F32 = NDArray[np.float32]

WEIGHTS = {"clean": 1.5, "tape": 3.0}
"""How much more the examples of some states count: clips have one variant of a tape, and several of codecs."""


def read(paths: list[Path]) -> dict[str, NDArray[np.generic]]:
    """The examples of several files, one after the other."""
    parts = []
    for path in paths:
        with np.load(path, allow_pickle=False) as data:
            parts.append(dict(data))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def numbers(data: dict[str, NDArray[np.generic]]) -> NDArray[np.int64]:
    """The states of examples as positions in STATES."""
    return np.array([STATES.index(str(state)) for state in data["states"]], np.int64)


def fit(x: F32, states: NDArray[np.int64], *, units: int, epochs: int, seed: int) -> list[F32]:
    """One network on standardised measures: hidden weights and biases, last weights and biases."""
    torch.manual_seed(seed)
    inputs, goals = torch.from_numpy(x), torch.from_numpy(states)
    hidden, last = nn.Linear(x.shape[1], units), nn.Linear(units, len(STATES))
    weights = torch.tensor([WEIGHTS.get(state, 1.0) for state in STATES])
    loss_of = nn.CrossEntropyLoss(weights, label_smoothing=0.03)
    optimiser = torch.optim.AdamW([*hidden.parameters(), *last.parameters()], lr=3e-3, weight_decay=0.1)
    batch = 256
    steps = epochs * -(-len(x) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for start in range(0, len(x), batch):
            chosen = order[start : start + batch]
            some = inputs[chosen] + 0.05 * torch.randn(len(chosen), x.shape[1])
            inner = nn.functional.dropout(torch.relu(hidden(nn.functional.dropout(some, 0.1))), 0.2)
            loss: Tensor = loss_of(last(inner), goals[chosen])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    parts = (hidden.weight.T, hidden.bias, last.weight.T, last.bias)
    return [np.ascontiguousarray(part.detach().numpy(), np.float32) for part in parts]


NETWORKS = ("hidden", "hidden_bias", "last", "last_bias")
"""The arrays that are stacks of networks."""


def train(
    measures: F32,
    states: NDArray[np.int64],
    *,
    networks: int,
    units: int,
    epochs: int,
    beside: Mapping[str, F32] | None = None,
) -> dict[str, F32]:
    """The arrays of the classifier's file. New networks stand ``beside`` those of an earlier file: what its clips
    taught them, these may lack."""
    if beside is None:
        centre = np.asarray(measures.mean(0), np.float32)
        scale = np.asarray(1 / np.maximum(measures.std(0), 0.02), np.float32)
    else:
        centre, scale = beside["centre"], beside["scale"]
    x = np.clip((measures - centre) * scale, -4, 4).astype(np.float32)
    fitted = [fit(x, states, units=units, epochs=epochs, seed=seed) for seed in range(networks)]
    arrays = {name: np.stack(part) for name, part in zip(NETWORKS, zip(*fitted, strict=True), strict=True)}
    if beside is not None:
        arrays = {name: np.concatenate([beside[name], new]) for name, new in arrays.items()}
    return {"centre": centre, "scale": scale, **arrays}


def pack(arrays: dict[str, F32]) -> bytes:
    """The arrays as the bytes of an ``.npz``, the same every time."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            part = io.BytesIO()
            np.lib.format.write_array(part, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), part.getvalue())
    return out.getvalue()


def probabilities(arrays: dict[str, F32], measures: F32) -> NDArray[np.float64]:
    """Probabilities [n, states] of many runs."""
    x = np.clip((measures - arrays["centre"]) * arrays["scale"], -4, 4)
    logits = np.maximum(x @ arrays["hidden"] + arrays["hidden_bias"][:, None], 0) @ arrays["last"]
    logits = (logits + arrays["last_bias"][:, None]).astype(np.float64)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    mean: NDArray[np.float64] = (weights / weights.sum(-1, keepdims=True)).mean(0)
    return mean


def report(arrays: dict[str, F32], data: dict[str, NDArray[np.generic]]) -> str:
    """A table: kinds down, decisions across, counts of single runs."""
    runs = probabilities(arrays, np.asarray(data["measures"], np.float32))
    found = np.array([STATES.index(decide([run])) for run in runs])
    states = numbers(data)
    kinds = np.array([f"{kind} [{STATES[state]}]" for kind, state in zip(data["kinds"], states, strict=True)])
    order = sorted(set(kinds), key=lambda kind: (int(states[kinds == kind][0]), kind))
    lines = [f"{'':34}" + "".join(f"{state[:9]:>10}" for state in STATES)]
    for kind in order:
        counts = np.bincount(found[kinds == kind], minlength=len(STATES))
        lines.append(f"{kind:34}" + "".join(f"{count or '.':>10}" for count in counts))
    clean = states == 0
    lines.append(
        f"right {np.mean(found == states):.3f}; clean taken for damaged {np.mean(found[clean] != 0):.3f}, "
        f"damaged for clean {np.mean(found[~clean] == 0):.3f}"
    )
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the diagnosis.")
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--beside", type=Path, help="earlier file, whose networks stay")
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--units", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = read(arguments.train)
    earlier = None if arguments.beside is None else read([arguments.beside])
    arrays = train(
        np.asarray(data["measures"], np.float32),
        numbers(data),
        networks=arguments.networks,
        units=arguments.units,
        epochs=arguments.epochs,
        beside=earlier,  # type: ignore[arg-type]
    )
    print(report(arrays, read([arguments.val])))
    packed = pack(arrays)
    arguments.out.write_bytes(packed)
    print(f"{len(packed)} bytes, SHA-256 {hashlib.sha256(packed).hexdigest()}")


if __name__ == "__main__":
    main()
