"""``animup export ipt``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from vsanimup.errors import AnimupError

from ..folder import called, model_folder, sha256, unwritten
from .tasks import TASKS

STRIDE = 36
"""Samples from one patch to the next, see ``docs/ipt.md``."""
BATCH = 8
"""Patches a run."""
BYTES_PER_PIXEL = 16 << 10
"""Working memory of a run for each sample of its patches, at full size: supposed, from the sizes of its tensors."""
UNKNOWN = "LicenseRef-unknown"


def export(
    checkpoint: Path,
    task: str,
    out: Path,
    *,
    precision: str = "fp32",
    stride: int = STRIDE,
    heads: int = 12,
    query: int | None = None,
    licence: str = UNKNOWN,
) -> Iterator[str]:
    """Do it; says what it is doing. Raises :class:`AnimupError` where it cannot, and then nothing is written."""
    import torch

    from vsanimup.architectures.ipt import Ipt

    from ..animatelcm.checkpoints import load
    from ..animatelcm.onnx_files import TOLERANCES
    from ..animatelcm.onnx_files import export as export_graph
    from .checkpoint import read

    if precision not in TOLERANCES:
        raise AnimupError(f"--precision must be {' or '.join(TOLERANCES)}, got {precision!r}")
    if out.exists() and not (out.is_dir() and (out / "manifest.json").exists()):
        raise AnimupError(f"--out {out} exists and is no model folder: give a new name, or remove it")
    sizes, tensors = read(checkpoint, task, heads=heads, index=query)
    if not 1 <= stride <= sizes.patch:
        raise AnimupError(f"--stride must lie between 1 and {sizes.patch}, the side of a patch, got {stride}")
    with torch.device("meta"):
        net = Ipt(sizes)
    load(net, tensors, f"an IPT for {task}")
    parameters = sum(parameter.numel() for parameter in net.parameters())
    torch.manual_seed(0)
    manifest: dict[str, Any] = {}
    side = sizes.patch
    with model_folder(out, manifest) as folder:
        for said in export_graph(
            net.eval,
            name="network",
            folder=folder,
            example={"image": torch.rand(2, 3, side, side)},
            other={"image": torch.rand(3, 3, side, side)},
            outputs=["result"],
            axes={"image": {0: "batch"}, "result": {0: "batch"}},
            precision=precision,
        ):
            yield said
        manifest.update(
            name=out.name,
            kind="image",
            scale=sizes.scale,
            radius=0,
            align=2,
            value_range="rgb",
            tasks=[task],
            bytes_per_pixel=BYTES_PER_PIXEL,
            licence=licence,
            source="exported from the file under sources",
            sources=[{"name": checkpoint.name, "sha256": sha256(checkpoint)}],
            command=called(),
            parameters=parameters,
            image={
                "file": "network.onnx",
                "weights": "network.weights",
                "input": "image",
                "output": "result",
                "channels": 3,
                "tile": side,
                "overlap": side - stride,
                "batch": BATCH,
                "precision": precision,
                "difference": said.rpartition(" ")[2],
            },
        )
    yield f"{out}: {parameters} parameters, patches of {side} every {stride} samples, licence {licence}"


def main(
    checkpoint: Annotated[Path, typer.Option(help="IPT_sr2.pt and so on, or the pretrained file of six tasks")],
    task: Annotated[str, typer.Option(help=f"what it is for: {', '.join(TASKS)}")],
    out: Annotated[Path, typer.Option(help="model folder to write; an earlier one there is replaced")],
    precision: Annotated[str, typer.Option(help="fp32 or fp16; CPUs are slower with fp16")] = "fp32",
    stride: Annotated[int, typer.Option(help="samples from patch to patch; 12 tiles as the original does")] = STRIDE,
    heads: Annotated[int, typer.Option(help="of attention, which a checkpoint does not tell")] = 12,
    query: Annotated[int | None, typer.Option(help="index of head, query and tail, if not the usual one")] = None,
    licence: Annotated[str, typer.Option(help="SPDX identifier of the weights' licence")] = UNKNOWN,
) -> None:
    """Export an IPT of 2021 for one task."""
    try:
        for said in export(
            checkpoint, task, out, precision=precision, stride=stride, heads=heads, query=query, licence=licence
        ):
            print(said, flush=True)
    except AnimupError as error:
        raise SystemExit(f"ipt: {error}") from error
    except (OSError, MemoryError) as error:
        raise SystemExit(f"ipt: {unwritten(error, out)}") from error
