"""What frames hold."""

from __future__ import annotations

import hashlib

import numpy as np
import vapoursynth as vs


def planes_of(frame: vs.VideoFrame) -> list[np.ndarray]:
    """Copies of a frame's planes."""
    return [np.array(frame[i]) for i in range(frame.format.num_planes)]


def digest(frame: vs.VideoFrame) -> str:
    """Hash of a frame's samples."""
    return hashlib.sha256(b"".join(plane.tobytes() for plane in planes_of(frame))).hexdigest()


def digests(clip: vs.VideoNode) -> list[str]:
    """Hash of each frame, asked for in order."""
    return [digest(clip.get_frame(n)) for n in range(clip.num_frames)]
