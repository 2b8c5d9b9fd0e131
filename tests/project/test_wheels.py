"""The wheels: compiled for other systems, looked into, and installed where there is no compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import vapoursynth as vs

from release import check
from release.__main__ import ROOT, TAGS, build, place

NATIVE = ROOT / "vsanimup" / "native"
TARGETS = {"windows": "x86_64-windows-gnu", "macos": "aarch64-macos.11.0"}
SCRIPT = """\
import vapoursynth as vs
clip = vs.core.std.BlankClip(width=64, height=48, format=vs.YUV420P8, length=2)
result = vs.core.animup.Upscale(vs.core.animup.Restore(clip, task="deblock"))
result.set_output()
"""
TRY = f"""{SCRIPT}
with result.get_frame(1) as frame:
    print(frame.width, frame.height, {{p.namespace: p for p in vs.core.plugins()}}["animup"].plugin_path)
"""
type Words = list[str | Path]


@pytest.mark.slow
@pytest.mark.parametrize("system", TARGETS)
def test_compiles_for(system: str, tmp_path: Path) -> None:
    """Every native source compiles for Windows and macOS with their own headers, without a warning."""
    include = Path(vs.__file__).parent / "include"
    macros = ["-DVS_USE_API_42", "-DANIMUP_VERSION_MAJOR=0", "-DANIMUP_VERSION_MINOR=0"]
    command = [sys.executable, "-m", "ziglang", "c++", "-target", TARGETS[system], "-std=c++17", "-c"]
    command += ["-Wall", "-Wextra", "-Werror", *macros, "-isystem", str(include)]
    sources = list(NATIVE.glob("*.cpp"))
    assert len(sources) > 5
    for source in sources:
        made = tmp_path / f"{source.stem}.o"
        done = subprocess.run([*command, str(source), "-o", str(made)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert made.stat().st_size


EXPORTS = '__attribute__((visibility("default"))) int {name}(void) {{ return 1; }}\n'


def test_load_commands_of_macos(tmp_path: Path) -> None:
    def library(*names: str) -> bytes:
        source, made = tmp_path / "plugin.c", tmp_path / "plugin.dylib"
        source.write_text("".join(EXPORTS.format(name=name) for name in names))
        command: Words = [
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            "-target",
            TARGETS["macos"],
            "-O2",
            "-shared",
            source,
        ]
        subprocess.run([*command, "-o", made], check=True, capture_output=True)
        return made.read_bytes()

    right = library(check.ENTRY)
    assert "libSystem" in check.check_library(right, "macosx_11_0_arm64", "macosx")
    with pytest.raises(check.Faulty, match=r"needs version \(11, 0\) of the system, which is more than \(10, 9\)"):
        check.check_library(right, "macosx_10_9_arm64", "macosx")
    with pytest.raises(check.Faulty, match="is for aarch64"):
        check.check_library(right, "macosx_11_0_x86_64", "macosx")
    with pytest.raises(check.Faulty, match=r"exports .*other"):
        check.check_library(library(check.ENTRY, "other"), "macosx_11_0_arm64", "macosx")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This system's wheel, as it is published."""
    folder = tmp_path_factory.mktemp("wheels")
    return build(next(tag for tag in TAGS if place(tag, folder) == folder), folder)


def test_this_machines_wheel_lies_alone(tmp_path: Path) -> None:
    """``dist/*.whl`` is one file, which can be installed here."""
    own = [tag for tag in TAGS if place(tag, tmp_path) == tmp_path]
    assert len(own) == 1 and own[0].startswith({"linux": "m", "win32": "win", "darwin": "macosx"}[sys.platform])


def tag_of(wheel: Path) -> str:
    return wheel.stem.partition("-py3-none-")[2]


def changed(wheel: Path, folder: Path, **files: bytes | None) -> Path:
    """A copy of a wheel with other files of these endings; None leaves them out."""
    copy = folder / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        for name in old.namelist():
            ending = name.rpartition(".")[2]
            data = files.get(ending, old.read(name))
            if data is not None:
                new.writestr(name, data)
    return copy


linux = pytest.mark.skipif(sys.platform != "linux", reason="the wheel of this system is a manylinux one")


@pytest.mark.slow
@linux
def test_what_is_in_the_wheel(wheel: Path, tmp_path: Path) -> None:
    tag = tag_of(wheel)
    assert "MB" in check.check(wheel, tag)
    own = next((Path(vs.__file__).parent).glob("libvapoursynth.*")).read_bytes()  # exports and needs much
    for files, reason in (
        ({"so": own}, "the plugin (needs|exports)"),
        ({"vpy": None}, "it lacks"),
        ({"so": None}, "it lacks"),
    ):
        with pytest.raises(check.Faulty, match=reason):
            check.check(changed(wheel, tmp_path, **files), tag)
    with pytest.raises(check.Faulty, match="name does not end"):
        check.check(wheel, "win_amd64")


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A new environment that holds the wheel and what it depends on, and whose PATH has nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    uv = shutil.which("uv") or pytest.fail("uv is needed, which runs the tests")
    exported: Words = ["export", "--frozen", "--no-emit-project", "--no-hashes", "--no-default-groups", "-o"]
    make: Words = ["venv", "--python", sys.executable, folder / "venv"]
    install: Words = [
        "pip",
        "install",
        "--python",
        folder / "venv",
        "--no-build",
        "-r",
        folder / "locked.txt",
        wheel,
    ]
    for arguments in ([*exported, folder / "locked.txt"], make, install):
        subprocess.run([uv, *arguments], check=True, capture_output=True, cwd=ROOT)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "UV", "VIRTUAL"))}
    yield folder / "venv", {**kept, "PATH": str(folder / "venv" / "bin"), "HOME": str(folder)}
    shutil.rmtree(folder / "venv")


@pytest.mark.slow
@linux
def test_nothing_but_the_wheel(bare: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    venv, environment = bare
    assert shutil.which("g++", path=environment["PATH"]) is None

    def run(program: str, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [venv / "bin" / program, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    width, height, plugin = run("python", "-c", TRY).split()
    assert (width, height) == ("128", "96") and Path(plugin).is_relative_to(venv)
    assert "Restoring and enlarging work here" in run("animup", "doctor")
    (tmp_path / "small.vpy").write_text(SCRIPT)
    run("vspipe", "-c", "y4m", "small.vpy", "small.y4m")
    assert (tmp_path / "small.y4m").read_bytes().startswith(b"YUV4MPEG2 C420 W128 H96 ")
    scripts = [Path(line) for line in run("animup", "scripts").split()]
    assert len(scripts) == 2 and all(path.is_file() and path.is_relative_to(venv) for path in scripts)
    copies = run("animup", "scripts", "-o", "mine").split()
    assert [Path(tmp_path, copy).read_bytes() for copy in copies] == [path.read_bytes() for path in scripts]
    assert "exists already" in run("animup", "scripts", "-o", "mine", code=1)
    told = run("animup", "export", "--help")
    assert "animatelcm" in told and "ipt" in told and "lcm-tiny" not in told
    missing = run("animup", "export", "ipt", "--checkpoint", "x.pt", "--task", "x2", "--out", "x", code=1)
    assert "pip install 'vsanimup[export]'" in missing and "Traceback" not in missing
