"""What must be true of a wheel before it is published."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import lief

PLUGIN = "vapoursynth/plugins/animup"
ENTRY = "VapourSynthPluginInit2"
LARGEST = 30 << 20
"""Bytes of a wheel."""
FILES = (
    f"{PLUGIN}/manifest.vs",
    "vsanimup/py.typed",
    "vsanimup/data/demo.mkv",
    "vsanimup/models/lite-restore/manifest.json",
    "vsanimup/vs_scripts/restore_upscale.vpy",
    "vsanimup/vs_scripts/compare.vpy",
    "vsanimup/export/__main__.py",
)
"""Some of what users are told that it brings."""
WITHOUT = r"/native/|/training/|/tests?/|vsanimup/export/(lite|lcm_tiny)/"
COMPILED = (".so", ".dll", ".dylib", ".lib", ".pdb")
"""Endings of what compilers write; a wheel holds one such file."""
SYSTEM = {
    "linux": r"lib(c|m|pthread|dl)\.so\.\d+|ld-linux-(x86-64|aarch64)\.so\.\d+|libc\.so",
    "win": r"(?i)kernel32\.dll|ntdll\.dll|api-ms-win-crt-[\w-]+\.dll",
    "macosx": r"/usr/lib/libSystem\.B\.dylib",
}
"""Libraries that each system of that kind has."""


class Faulty(Exception):
    """It must not be published."""


def demand(right: bool, otherwise: str) -> None:
    """Raises :class:`Faulty`."""
    if not right:
        raise Faulty(otherwise)


def check(wheel: Path, tag: str) -> str:
    """What was found, in a line. Raises :class:`Faulty`."""
    demand(wheel.name.endswith(f"-py3-none-{tag}.whl"), f"the file's name does not end with py3-none-{tag}")
    size = wheel.stat().st_size
    demand(size < LARGEST, f"{size} bytes are too many, {LARGEST} are allowed")
    kind = next(kind for kind in SYSTEM if kind in tag)
    suffix = {"linux": "so", "win": "dll", "macosx": "dylib"}[kind]
    library = f"{PLUGIN}/libanimup.{suffix}"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        demand(not (lost := {library, *FILES} - set(names)), f"it lacks {lost}")
        surplus = [name for name in names if re.search(WITHOUT, name)]
        surplus += [name for name in names if name.endswith(COMPILED) and name != library]
        demand(not surplus, f"it must not hold {surplus}")
        (about,) = (name for name in names if name.endswith(".dist-info/WHEEL"))
        tags = re.findall(r"^Tag: (.+)$", archive.read(about).decode(), re.MULTILINE)
        demand(tags == [f"py3-none-{tag}"], f"its tag is {tags}")
        data = archive.read(library)
    found = f"{size / 1e6:.1f} MB, {check_library(data, tag, kind)}"
    if kind == "win":
        told = show("delvewheel", "show", str(wheel))
        demand("need to be copied into the wheel" not in told or "No external dependencies" in told, told)
    elif tag.startswith("manylinux"):  # for musl it looks for libc.so, which is a text where there is glibc
        told = show("auditwheel", "show", str(wheel))
        demand(f'"{tag}"' in told, told)
    return found


def show(tool: str, *arguments: str) -> str:
    """What a tool of this environment says of a wheel."""
    done = subprocess.run(
        [sys.executable, "-m", tool, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    demand(done.returncode == 0, f"{tool} failed: {done.stdout}")
    return re.sub(r"\s+", " ", done.stdout)


def check_library(data: bytes, tag: str, kind: str) -> str:
    """What the plugin itself asks for, in a line. Raises :class:`Faulty`."""
    library = lief.parse(list(data))
    if isinstance(library, lief.ELF.Binary):
        machine, needs, exported, least = elf(library)
    elif isinstance(library, lief.PE.Binary):
        machine, needs, exported, least = pe(library)
    elif isinstance(library, lief.MachO.Binary):
        machine, needs, exported, least = macho(library)
    else:
        raise Faulty(f"the plugin is {type(library).__name__}")
    wanted = "aarch64" if tag.endswith(("aarch64", "arm64")) else "x86_64"
    demand(machine == wanted, f"the plugin is for {machine}")
    strange = [name for name in needs if not re.fullmatch(SYSTEM[kind], name)]
    demand(not strange, f"the plugin needs {strange}")
    demand(exported == {ENTRY}, f"the plugin exports {sorted(exported)}")
    allowed = re.search(r"(?<=manylinux_)\d+_\d+|(?<=macosx_)\d+_\d+", tag)
    if allowed:
        most = tuple(map(int, allowed[0].split("_")))
        demand(least <= most, f"the plugin needs version {least} of the system, which is more than {most}")
    return f"{machine}, needs {', '.join(sorted(needs))}"


MARKS = {"__dso_handle", "_mh_dylib_header"}
"""Names that zig's linker gives to a library's beginning, and exports."""
Facts = tuple[str, set[str], set[str], tuple[int, ...]]
"""Machine, libraries it needs, names it exports, least version of the system."""


def elf(library: lief.ELF.Binary) -> Facts:
    """Linux."""
    machine = {lief.ELF.ARCH.X86_64: "x86_64", lief.ELF.ARCH.AARCH64: "aarch64"}[library.header.machine_type]
    exported = {str(symbol.name) for symbol in library.exported_symbols}
    asked = (each.get_auxiliary_symbols() for each in library.symbols_version_requirement)
    least = newest(str(version.name) for versions in asked for version in versions)
    return machine, set(map(str, library.libraries)), exported, least


def newest(versions: Iterable[str]) -> tuple[int, ...]:
    """The newest of glibc's that symbols ask for."""
    found = (re.fullmatch(r"GLIBC_([\d.]+)", version) for version in versions)
    return max((tuple(map(int, match[1].split("."))) for match in found if match), default=(0,))


def pe(library: lief.PE.Binary) -> Facts:
    """Windows."""
    machine = {lief.PE.Header.MACHINE_TYPES.AMD64: "x86_64"}[library.header.machine]
    table = library.get_export()
    exported = {str(entry.name) for entry in table.entries} if table else set()
    return machine, {str(each.name) for each in library.imports}, exported, (0,)


def macho(library: lief.MachO.Binary) -> Facts:
    """macOS, by its load commands."""
    types = {lief.MachO.Header.CPU_TYPE.X86_64: "x86_64", lief.MachO.Header.CPU_TYPE.ARM64: "aarch64"}
    table = library.dyld_info or library.dyld_exports_trie
    names = [export.symbol.name for export in table.exports if export.symbol] if table else []
    exported = {str(name).removeprefix("_") for name in names} - MARKS
    own = lief.MachO.LoadCommand.TYPE.ID_DYLIB
    needs = {str(each.name) for each in library.libraries if each.command != own}
    version = library.build_version
    if version is None:
        raise Faulty("the plugin does not say for which macOS it is")
    return types[library.header.cpu_type], needs, exported, tuple(version.minos[:2])
