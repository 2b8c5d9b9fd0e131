"""Clips and checkpoints that the tests share."""

from __future__ import annotations

import gc
import hashlib
import importlib.util
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import vapoursynth as vs
from hypothesis import settings

core = vs.core
if importlib.util.find_spec("torch") is None:  # with the dependency group "test" alone
    packages = r"torch|export|training|vsanimup\.architectures|diffusers|transformers|tests\b.*\b(animatelcm|ipt|lcm)_"
    needs_torch = re.compile(rf"^\s*(from|import) ({packages})", re.MULTILINE)
    here = Path(__file__).parent
    files = [path for path in here.rglob("test_*.py") if needs_torch.search(path.read_text("utf-8"))]
    collect_ignore = [path.relative_to(here).as_posix() for path in files]


def pytest_report_header() -> str:
    """What is left out, so that nobody takes it for tested."""
    left_out = globals().get("collect_ignore", [])
    return f"without torch, left out: {', '.join(sorted(left_out))}" if left_out else ""


settings.register_profile("animup", deadline=None)  # a busy machine is no failure
settings.load_profile("animup")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Tests may set the core's threads; put them back."""
    before = core.num_threads
    yield
    core.num_threads = before


def drawn(clip: vs.VideoNode, plane: Callable[[int, int, tuple[int, int]], np.ndarray]) -> vs.VideoNode:
    """``clip`` with its planes filled by ``plane(frame, index, (height, width))`` in 0..1 of the sample range."""
    whole = (1 << clip.format.bits_per_sample) - 1 if clip.format.sample_type == vs.INTEGER else 1
    chroma_zero = 0.5 if clip.format.sample_type == vs.FLOAT and clip.format.color_family == vs.YUV else 0

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        for index in range(clip.format.num_planes):
            target = np.asarray(frame[index])
            value = plane(n, index, target.shape) - (chroma_zero if index else 0)
            target[:] = np.round(value * whole) if clip.format.sample_type == vs.INTEGER else value
        return frame

    return clip.std.ModifyFrame(clip, fill)


def moving(
    format: int = vs.YUV420P8,
    width: int = 96,
    height: int = 64,
    length: int = 12,
    cut: int | None = None,
    noise: float = 0.03,
) -> vs.VideoNode:
    """A textured picture that pans a pixel a frame under noise, with another scene from frame ``cut`` on."""

    def plane(n: int, index: int, shape: tuple[int, int]) -> np.ndarray:
        scene = int(cut is not None and n >= cut)
        rng = np.random.default_rng((scene, index))
        texture = np.kron(rng.random((-(-shape[0] // 8), -(-shape[1] // 8))), np.ones((8, 8)))[: shape[0], : shape[1]]
        picture = np.roll(texture * 0.5 + 0.2 + 0.15 * scene, n, 1)
        return np.clip(picture + np.random.default_rng((n, index, 7)).normal(0, noise, shape), 0.07, 0.92)

    return drawn(core.std.BlankClip(format=format, width=width, height=height, length=length, keep=True), plane)


def inked(width: int = 192, height: int = 96, length: int = 5, noise: float = 0.0) -> vs.VideoNode:
    """Outlined discs that move a sample a frame over a shaded background, under noise: what animation looks like."""

    def plane(n: int, index: int, shape: tuple[int, int]) -> np.ndarray:
        rows, columns = (a / shape[0] for a in np.mgrid[: shape[0], : shape[1]].astype(float))
        picture = 0.3 + 0.25 * columns if index == 0 else np.full(shape, 0.45 + 0.1 * (index == 2))
        for x, y, radius, level in ((0.4, 0.5, 0.3, 0.75), (1.1, 0.35, 0.2, 0.5), (1.6, 0.6, 0.25, 0.85)):
            away = (np.hypot(columns - x - n / height, rows - y) - radius) * shape[0]
            inside, line = np.clip(0.5 - away, 0, 1), np.clip(1.5 - np.abs(away), 0, 1) * (index == 0)
            picture = picture + (level - picture) * inside
            picture = picture + (0.12 - picture) * line
        grain = np.random.default_rng((n, index, 3)).normal(0, noise, shape) if noise else 0
        return np.clip(picture + grain, 0.07, 0.92)

    return drawn(core.std.BlankClip(format=vs.YUV420P8, width=width, height=height, length=length, keep=True), plane)


def disc() -> vs.VideoNode:
    """A disc that moves a sample a frame over a clean ramp; no fault to be found."""

    def plane(n: int, index: int, shape: tuple[int, int]) -> np.ndarray:
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        inside = np.hypot(rows - shape[0] / 2, columns - shape[1] / 3 - n) < shape[0] / 4
        return np.where(inside, 0.7, 0.3 + 0.2 * (index == 0) * columns / shape[1])

    return drawn(core.std.BlankClip(format=vs.YUV420P8, width=320, height=192, length=6, keep=True), plane)


def planes_of(frame: vs.VideoFrame) -> list[np.ndarray]:
    """Copies of a frame's planes."""
    return [np.array(frame[i]) for i in range(frame.format.num_planes)]


def digest(frame: vs.VideoFrame) -> str:
    """Hash of a frame's samples."""
    return hashlib.sha256(b"".join(plane.tobytes() for plane in planes_of(frame))).hexdigest()


def digests(clip: vs.VideoNode) -> list[str]:
    """Hash of each frame, asked for in order."""
    return [digest(clip.get_frame(n)) for n in range(clip.num_frames)]


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """A film to be encoded; beside it ``script.vpy`` that doubles it, and ``slow.vpy`` that takes its time."""
    from tests import render_files

    path = render_files.make_film(tmp_path_factory.mktemp("film"))
    path.with_name("script.vpy").write_text(render_files.SCRIPT)
    path.with_name("slow.vpy").write_text(render_files.SLOW)
    return path


@pytest.fixture(scope="session")
def whole(film, tmp_path_factory):
    """That film doubled by one process in chunks of 12 frames."""
    from typer.testing import CliRunner

    from vsanimup.cli.main import app

    out = tmp_path_factory.mktemp("whole") / "whole.mkv"
    given = ["-a", f"source={film}", "-o", str(out), "--chunk", "12"]
    assert CliRunner().invoke(app, ["encode", str(film.with_name("script.vpy")), *given]).exit_code == 0
    return out


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """AnimateLCM's checkpoints, tiny, in every layout."""
    from tests import animatelcm_files

    folder = tmp_path_factory.mktemp("animatelcm")
    animatelcm_files.write_all(folder)
    return folder


@pytest.fixture(scope="session")
def request_of(made):
    """What the command is asked for, with some of it changed."""
    from export.animatelcm.command import Request

    def make(**changed):
        whole = Request(
            base=made / "base.safetensors",
            motion=made / "motion.ckpt",
            lora=made / "lora.safetensors",
            lora_weight=0.8,
            controlnet=None,
            vae=None,
            tiny_vae=None,
            tokenizer=made / "base" / "tokenizer",
            out=made / "out",
            precision="fp32",
            clip_skip=1,
            slices=2,
            motion_norm="frame",
            licences={},
            not_consistency=False,
        )
        return replace(whole, **changed)

    return make


@pytest.fixture
def cuda(monkeypatch):
    """A CUDA that is made up; nothing of it may be left in the end."""
    from tests.fake_cuda import FakeCuda
    from vsanimup.engines import device

    fake = FakeCuda(devices=2)
    monkeypatch.setattr(device, "runtime", lambda: fake)
    yield fake
    gc.collect()
    assert not fake.problems and not fake.leftovers()


@pytest.fixture
def clips(tmp_path):
    """Two training clips and one for validation, random but smooth, in the clip files' layout."""
    side = 96
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("train_00000", "train_00001", "val_000"):
        rng = np.random.default_rng(sum(map(ord, name)))
        hr = np.kron(rng.integers(16, 235, (7, side // 4, side // 4)), np.ones((8, 8))).astype(np.uint8)
        hr_uv = np.full((7, 2, side, side), 128, np.uint8)
        clean = hr.reshape(7, side, 2, side, 2).mean((2, 4)).astype(np.uint8)
        noisy = np.clip(clean + rng.normal(0, 12, (3, *clean.shape)), 0, 255).astype(np.uint8)
        np.savez(
            folder / f"{name}.npz",
            hr_y=hr,
            hr_uv=hr_uv,
            lr_y=np.stack([clean, *noisy]),
            lr_uv=np.full((4, 7, 2, side // 2, side // 2), 128, np.uint8),
            kinds=np.array(["clean", "web", "vhs", "mpeg2"]),
            cut=np.array([0, 0, 0, 1, 0, 0, 0], np.int8),
            sources=np.array(["x"]),
        )
    return folder
