"""``python -m release.aarch64``: run the wheel for Linux on ARM here, by qemu, and compare with this machine's result.

Needs Debian's ``apt-get`` and ``dpkg-deb``, network access, and uv. Nothing is installed: qemu, Python and its
libraries are packages of Debian, unpacked into a folder; VapourSynth, numpy and onnxruntime are wheels for aarch64.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from release.__main__ import ROOT, build

TAG = "manylinux_2_17_aarch64"
SUITE = "trixie"
PACKAGES = ("python3", "libstdc++6", "libgomp1", "zlib1g")
APT = """\
Dir::State "{0}";
Dir::State::status "{0}/status";
Dir::State::Lists "{0}/lists";
Dir::Cache "{0}/cache";
Dir::Etc::SourceList "{0}/sources.list";
Dir::Etc::SourceParts "/dev/null";
APT::Architecture "arm64";
APT::Architectures {{"arm64"; "amd64";}};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
"""
SOURCE = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian {} main\n"
TRIAL = """\
import platform, sys
from pathlib import Path
import numpy as np, vapoursynth as vs, vsanimup
film = vs.core.bs.VideoSource(str(Path(vsanimup.__file__).parent / "data" / "demo.mkv"), cachemode=0)
clip = film[:4].std.CropAbs(width=160, height=96, left=200, top=100)
found = {}
for precision in ("int8", "fp32"):
    def made(n):
        restored = vs.core.animup.Restore(clip, task="deblock", backend="cpu", precision=precision)
        frame = vs.core.animup.Upscale(restored, backend="cpu", precision=precision).get_frame(n)
        return np.concatenate([np.asarray(frame[plane]).ravel() for plane in range(3)])
    found[precision] = made(1)
    assert not np.array_equal(made(2), found[precision]) and np.array_equal(made(1), found[precision])
np.savez(sys.argv[1], machine=platform.machine(), **found)
"""
"""Two frames of the bundled clip through both filters, one of them twice."""


def run(*command: object, **more: str) -> None:
    """A program, with more in its environment. Raises :class:`SystemExit` where it fails."""
    if subprocess.run([str(part) for part in command], env={**os.environ, **more}, check=False).returncode:
        raise SystemExit(f"{command[0]} failed")


def unpack(folder: Path) -> tuple[Path, Path]:
    """A root with Python for aarch64 in ``folder``, and qemu, for this machine."""
    apt, root, here = folder / "apt", folder / "root", folder / "here"
    for place in (apt / "lists" / "partial", apt / "cache" / "archives" / "partial", root, here):
        place.mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    (apt / "apt.conf").write_text(APT.format(apt))
    (apt / "sources.list").write_text(SOURCE.format(SUITE))
    settings = {"APT_CONFIG": str(apt / "apt.conf")}
    run("apt-get", "-q", "update", **settings)
    run("apt-get", "-qy", "--download-only", "install", *PACKAGES, **settings)
    run("sh", "-c", f"cd {here} && apt-get -q download qemu-user:amd64", **settings)
    for name in ("bin", "lib"):  # as Debian's package of base files has it
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    for archive in (apt / "cache" / "archives").glob("*.deb"):
        run("dpkg-deb", "-x", archive, root)
    (archive,) = here.glob("qemu-user_*.deb")
    run("dpkg-deb", "-x", archive, here)
    return root, here / "usr" / "bin" / "qemu-aarch64"


def compared(here: Path, there: Path) -> Sequence[str]:
    """How far the results of two machines are apart, a line for each precision."""
    with np.load(here) as mine, np.load(there) as theirs:
        lines = []
        for precision in ("int8", "fp32"):
            apart = np.abs(mine[precision].astype(int) - theirs[precision])
            lines.append(
                f"{precision}, {mine['machine']} and {theirs['machine']}: {(apart > 0).mean():.1%} of samples differ, "
                f"by {apart.max()} of 255 at most and {apart.mean():.3f} on average"
            )
        return lines


def main(
    wheel: Annotated[Path | None, typer.Argument(help="The wheel; by default it is built.")] = None,
    folder: Annotated[Path, typer.Option(help="Where to unpack all that is needed.")] = ROOT / "build" / "aarch64",
) -> None:
    """Run the wheel for Linux on ARM by qemu."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    wheel = wheel or build(TAG, folder)
    root, qemu = unpack(folder)
    python = max((root / "usr" / "bin").glob("python3.*"))
    version, site = python.name.removeprefix("python"), folder / "site"
    run(
        "uv",
        "pip",
        "install",
        "-q",
        "--target",
        site,
        "--python-platform",
        "aarch64-manylinux_2_28",
        "--python-version",
        version,
        "--only-binary",
        ":all:",
        "--reinstall-package",
        "vsanimup",
        wheel,
    )
    (folder / "trial.py").write_text(TRIAL)
    run(sys.executable, folder / "trial.py", folder / "here.npz")
    run(qemu, "-L", root, python, folder / "trial.py", folder / "there.npz", PYTHONPATH=str(site))
    print(*compared(folder / "here.npz", folder / "there.npz"), sep="\n")


if __name__ == "__main__":
    typer.run(main)
