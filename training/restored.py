"""Run a trained restore network over the training clips: what Upscale sees when it follows Restore.

``python -m training.restored --checkpoint RUN/checkpoint.pt --data CLIPS --out RESTORED``
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import onnxruntime as ort
import typer
from rich.progress import track

from export.lite import INPUTS, OUTPUTS, load_checkpoint, to_onnx
from training.dataset import to_chroma, to_luma, window_indices


def main(
    checkpoint: Annotated[Path, typer.Option(help="checkpoint.pt of a restore run")],
    data: Annotated[Path, typer.Option(help="folder of clip files")],
    out: Annotated[Path, typer.Option(help="folder for the restored frames, one file a clip")],
    count: Annotated[int, typer.Option(help="how many clips")] = 800,
    threads: int = 1,
) -> None:
    """Write ``restored_y`` ``[1, frames, height, width]`` and ``restored_uv`` for one degradation of each clip.

    Resumable: clips that are there are left alone.
    """
    net = load_checkpoint(checkpoint)
    radius = net.config.radius
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(to_onnx(net), options, providers=["CPUExecutionProvider"])
    out.mkdir(parents=True, exist_ok=True)
    for index, path in enumerate(track(sorted(data.glob("train_*.npz"))[:count], "Restoring")):
        if (out / path.name).exists():
            continue
        with np.load(path) as clip:
            lr_y, lr_uv, cut = clip["lr_y"], clip["lr_uv"], clip["cut"]
        variant = 1 + index % (lr_y.shape[0] - 1)
        luma, chroma = to_luma(lr_y[variant]).numpy(), to_chroma(lr_uv[variant]).numpy()
        results_y, results_uv = np.empty_like(lr_y[variant]), np.empty_like(lr_uv[variant])
        for centre in range(luma.shape[0]):
            window = window_indices(cut, centre, radius)
            inputs = (luma[window][None], chroma[window].reshape(1, -1, *chroma.shape[-2:]))
            y, uv = session.run(OUTPUTS, dict(zip(INPUTS, inputs, strict=True)))
            # back to 8 bits, as between two filters of a script
            results_y[centre] = np.clip(np.round(y[0, 0] * 219 + 16), 0, 255)
            results_uv[centre] = np.clip(np.round(uv[0] * 224 + 128), 0, 255)
        partial = out / f".{path.name}"
        with partial.open("wb") as file:
            np.savez(file, restored_y=results_y[None], restored_uv=results_uv[None])
        os.replace(partial, out / path.name)


if __name__ == "__main__":
    typer.run(main)
