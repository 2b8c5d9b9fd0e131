"""The gate's predictors from clips: ``python -m training.gate --clips DIR --validation DIR --work DIR``.

Clips are those of :mod:`training.data.clips`. What the networks do to them is recorded under ``--work``, where it
stays, so that the command may be stopped and run again. ``Restore``'s predictor comes first, for ``Upscale`` is fed
with what it lets through. Prints the digest to be written down in ``vsanimup/networks/lite/gate.py``.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import torch

from training.gate import record, train
from vsanimup.networks.lite import gate


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    """The bytes of an ``.npz``, the same for the same arrays."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            part = io.BytesIO()
            np.save(part, arrays[name])
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), part.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Fit the gate's predictors.")
    parser.add_argument("--clips", type=Path, required=True, help="training clips")
    parser.add_argument("--validation", type=Path, required=True, help="clips that are only reported on")
    parser.add_argument("--work", type=Path, required=True, help="folder of records")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fits", type=int, default=3, help="predictors of a role, whose mean is taken")
    parser.add_argument(
        "--roles",
        default="restore,named,upscale,restored,cleaned,once",
        help="those to fit; the others stay as they are",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arrays = {}
    if gate.FILE.exists():
        with np.load(gate.FILE) as file:
            arrays = dict(file)
    for role in arguments.roles.split(","):
        folders = {arguments.clips: arguments.work / "records", arguments.validation: arguments.work / "validation"}
        for clips, records in folders.items():
            record.build(clips, records, role, arrays, "train_*.npz" if clips == arguments.clips else "*.npz")
        table, held = (train.load([folder], role) for folder in folders.values())
        print(f"{role}: {len(table.labels)} records", flush=True)
        seeds = range(arguments.seed, arguments.seed + arguments.fits)
        model = train.together([train.fit(table, role, arguments.steps, seed) for seed in seeds])
        print(train.report(held, model, role), flush=True)
        arrays |= model.arrays(role)
        data = packed(arrays)
        gate.FILE.write_bytes(data)
    print(f"DIGEST: {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
