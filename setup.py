"""Builds the native plugin with the usual compiler and puts it where VapourSynth looks for plugins.

The plugin is a plain shared library, no Python extension module: it is installed as
``site-packages/vapoursynth/plugins/animup/`` beside a ``manifest.vs`` that names it, works with every
Python from 3.12 on, and needs nothing but VapourSynth's headers, which the ``vapoursynth`` package
brings. All other project metadata is in pyproject.toml.

With ANIMUP_TARGET, a platform tag of the table of wheels in pyproject.toml, it is compiled for that platform by zig,
which the ``ziglang`` package brings; ``python -m release`` makes all wheels so.

``vs_scripts/`` and ``export/`` are shipped inside the package, as ``vsanimup/vs_scripts`` and ``vsanimup/export``. An
editable install leaves them where they are, beside the package's folder; whoever looks for a script tries both places.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from setuptools import Command, Distribution, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).resolve().parent
NATIVE = Path("vsanimup", "native")
PLUGIN = Path("vapoursynth", "plugins", "animup")
LIBRARY = "libanimup"
TARGETS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["animup"]["wheels"]
TARGET = os.environ.get("ANIMUP_TARGET", "")
if TARGET and TARGET not in TARGETS:
    raise SystemExit(f"ANIMUP_TARGET must be one of {', '.join(TARGETS)}, got {TARGET!r}")
SYSTEM = (TARGET or {"darwin": "macosx", "win32": "win"}.get(sys.platform, "linux"))[:3]
SUFFIX = {"win": ".dll", "mac": ".dylib"}.get(SYSTEM, ".so")
OURS = ["export.lite", "export.lcm_tiny"]
"""Exporters of what training/ makes, of use beside it only."""


def native_files(*patterns: str) -> list[str]:
    """Paths of native sources, relative to the project."""
    return sorted(path.relative_to(ROOT).as_posix() for pattern in patterns for path in (ROOT / NATIVE).glob(pattern))


def header_folder() -> str:
    """VapourSynth's headers: those of the installed package, or of VAPOURSYNTH_INCLUDE."""
    folder = os.environ.get("VAPOURSYNTH_INCLUDE")
    if folder:
        return folder
    spec = importlib.util.find_spec("vapoursynth")
    for place in (spec.submodule_search_locations or []) if spec else []:
        if Path(place, "include", "VapourSynth4.h").is_file():
            return str(Path(place, "include"))
    raise SystemExit("VapourSynth's headers are missing: install vapoursynth>=81, or set VAPOURSYNTH_INCLUDE")


def build_plugin(folder: Path, temporary: Path, version: str) -> None:
    """Compile the plugin and write it, with its manifest, into `folder`."""
    major, minor = version.split(".")[:2]
    macros = {"VS_USE_API_42": "1", "ANIMUP_VERSION_MAJOR": major, "ANIMUP_VERSION_MINOR": minor}
    folder.mkdir(parents=True, exist_ok=True)
    (build_by_zig if TARGET else build_here)(folder / (LIBRARY + SUFFIX), temporary, macros)
    (folder / "manifest.vs").write_text(f"[VapourSynth Manifest V1]\n{LIBRARY}\n")


COMPILE = ["-std=c++17", "-O3", "-ffp-contract=off", "-g0", "-Wall", "-Wextra", "-fvisibility=hidden"]
# Threads of the plugin may run on while VapourSynth unloads it; the C++ library that zig links in would be exported.
LINK = ["-pthread", "-Wl,-z,nodelete", f"-Wl,--version-script={ROOT / NATIVE / 'plugin.map'}"]


def build_by_zig(library: Path, temporary: Path, macros: dict[str, str]) -> None:
    """Cross-compile, with zig's C++ library linked in."""
    defines = [f"-D{name}={value}" for name, value in macros.items()]
    link = LINK if SUFFIX == ".so" else []
    if SUFFIX == ".dylib":  # see zig_macos_new.cpp
        link = ["-DANIMUP_ZIG_MACOS", "-fvisibility-global-new-delete=source"]
    command = [sys.executable, "-m", "ziglang", "c++", "-target", TARGETS[TARGET], "-shared", "-s", "-Werror"]
    command += [*COMPILE, *link, *defines, "-isystem", header_folder(), *native_files("*.cpp"), "-o", str(library)]
    subprocess.run(command, check=True, cwd=ROOT)
    for useless in (*library.parent.glob("*.lib"), *library.parent.glob("*.pdb")):  # what else it writes for Windows
        useless.unlink()


def build_here(library: Path, temporary: Path, macros: dict[str, str]) -> None:
    """Compile with this system's usual compiler."""
    from setuptools._distutils.ccompiler import new_compiler
    from setuptools._distutils.sysconfig import customize_compiler

    compiler: Any = new_compiler()
    customize_compiler(compiler)
    compile_args, link_args = COMPILE, LINK
    if compiler.compiler_type == "msvc":
        compile_args, link_args = ["/std:c++17", "/O2", "/W3", "/EHsc"], []
    elif sys.platform == "win32":
        link_args = ["-static"]
    elif sys.platform == "darwin":
        link_args = []
    objects = compiler.compile(
        native_files("*.cpp"),
        output_dir=str(temporary),
        macros=list(macros.items()),
        include_dirs=[header_folder()],
        extra_postargs=compile_args,
        depends=native_files("*.hpp"),
    )
    compiler.link_shared_object(objects, str(library), extra_postargs=link_args, target_lang="c++")


class BuildNative(Command):
    """The step of `build` that compiles the plugin into the build tree."""

    description = "compile the VapourSynth plugin"
    user_options: list[tuple[str, str | None, str]] = []  # noqa: RUF012
    editable_mode = False

    def initialize_options(self) -> None:
        self.build_lib: str | None = None
        self.build_temp: str | None = None

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_lib", "build_lib"), ("build_temp", "build_temp"))

    def run(self) -> None:
        assert self.build_lib and self.build_temp
        build_plugin(Path(self.build_lib) / PLUGIN, Path(self.build_temp), self.distribution.get_version())

    def get_source_files(self) -> list[str]:
        return native_files("*.cpp", "*.hpp", "*.map")

    def get_outputs(self) -> list[str]:
        if self.editable_mode:
            return []
        assert self.build_lib
        return [str(Path(self.build_lib) / PLUGIN / name) for name in (LIBRARY + SUFFIX, "manifest.vs")]

    def get_output_mapping(self) -> dict[str, str]:
        return {}


class Build(build):
    sub_commands = [*build.sub_commands, ("build_native", None)]  # noqa: RUF012

    def initialize_options(self) -> None:
        super().initialize_options()
        if TARGET:  # each has a folder of its own, or libraries of two would end in one wheel
            self.build_base = str(Path("build", TARGET))


class EditableWheel(editable_wheel):
    """VapourSynth loads the plugin from its own folder, so an editable install needs the real file there."""

    def _run_build_commands(self, dist_name: str, unpacked_wheel: Any, build_lib: Any, tmp_dir: Any) -> Any:
        result = super()._run_build_commands(dist_name, unpacked_wheel, build_lib, tmp_dir)
        shutil.copytree(Path(str(build_lib)) / PLUGIN, Path(str(unpacked_wheel)) / PLUGIN)
        return result


class Wheel(bdist_wheel):
    """One wheel a platform, for every Python: the plugin links to no Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", TARGET or super().get_tag()[2]


class PlatformDistribution(Distribution):
    def has_ext_modules(self) -> bool:
        return True


setup(
    distclass=PlatformDistribution,
    include_package_data=False,  # else the native sources are installed, too
    setup_requires=["ziglang>=0.17"] if TARGET else [],
    packages=[
        *find_packages(include=["vsanimup", "vsanimup.*"]),
        *(f"vsanimup.{name}" for name in find_packages(include=["export", "export.*"], exclude=OURS)),
        "vsanimup.vs_scripts",
    ],
    package_dir={"vsanimup.vs_scripts": "vs_scripts", "vsanimup.export": "export"},
    package_data={
        "vsanimup": [
            "py.typed",
            "models/**",
            "data/**",
        ],
        "vsanimup.vs_scripts": ["*.vpy"],
    },
    cmdclass={
        "build": Build,
        "build_native": BuildNative,
        "editable_wheel": EditableWheel,
        "bdist_wheel": Wheel,
    },
)
