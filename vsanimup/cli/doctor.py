"""``animup doctor``: what is installed, and whether a tiny clip comes through.

VapourSynth is tried in processes of its own (``python -m vsanimup.cli.doctor``, and vspipe), so that even a
crash in a plugin ends as a line of the report.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vsanimup.errors import AnimupError
from vsanimup.processes import find_program, module_command
from vsanimup.sizes import count_of, show_bytes

SIDE = 64
"""Width and height of the clip that is tried."""
FRAMES = 2
WAIT = 120
"""Seconds that a try may take."""
REINSTALL = "pip install --force-reinstall vsanimup"

TRY = f"""\
import vapoursynth as vs
clip = vs.core.std.BlankClip(width={SIDE}, height={SIDE}, format=vs.YUV420P8, length={FRAMES})
clip = vs.core.animup.Restore(clip)
vs.core.animup.Upscale(clip).set_output()
"""
"""The script that vspipe is tried with."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the report."""

    name: str
    state: Literal["ok", "note", "fail"]
    """``note``: something is missing that the main job does not need."""
    found: str
    remedy: str = ""


def examine() -> list[Check]:
    """All checks, in the order in which they build on each other."""
    seen = _look()
    return [
        Check(name="Python", state="ok", found=f"{platform.python_version()}, {sys.executable}"),
        _core(seen),
        _plugin(seen),
        *_backends(),
        *_models(),
        _try_here(seen),
        _try_vspipe(),
        _bestsource(seen),
        *_encoders(),
        *_machine(),
    ]


def _look() -> dict[str, Any]:
    """What :func:`look` finds, in a process of its own; ``crash`` when that process died."""
    try:
        done = subprocess.run(
            module_command("vsanimup.cli.doctor"),
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=WAIT,
            check=False,
        )
        last = done.stdout.strip().splitlines()[-1:]
        if done.returncode == 0 and last:
            found: dict[str, Any] = json.loads(last[0])
            return found
        said = done.stderr.strip().splitlines()[-1:] or [f"it ended with code {done.returncode}"]
        return {"crash": said[0]}
    except subprocess.TimeoutExpired:
        return {"crash": f"no answer within {WAIT} seconds"}
    except ValueError:
        return {"crash": "it gave no answer"}


def look() -> dict[str, Any]:
    """VapourSynth, plugins and a tiny run, in this process."""
    found: dict[str, Any] = {}
    try:
        import vapoursynth as vs
    except ImportError as error:
        return {"core_error": str(error)}
    core = vs.core
    found["core"] = str(core.core_version)
    found["plugins"] = {
        plugin.namespace: [f"{plugin.version[0]}.{plugin.version[1]}", str(plugin.plugin_path)]
        for plugin in core.plugins()
    }
    if "animup" not in found["plugins"]:
        return found
    try:
        clip = core.std.BlankClip(width=SIDE, height=SIDE, format=vs.YUV420P8, length=FRAMES)
        began = time.monotonic()
        result = core.animup.Upscale(core.animup.Restore(clip))
        with result.get_frame(FRAMES - 1) as frame:
            found["try"] = [frame.width, frame.height, frame.format.name, time.monotonic() - began]
    except vs.Error as error:
        found["try_error"] = str(error)
    return found


def _core(seen: dict[str, Any]) -> Check:
    if "core" in seen:
        return Check(name="VapourSynth", state="ok", found=seen["core"])
    reason = seen.get("crash") or seen.get("core_error", "")
    return Check(name="VapourSynth", state="fail", found=f"no use: {reason}", remedy="pip install vapoursynth")


def _plugin(seen: dict[str, Any]) -> Check:
    if "animup" in seen.get("plugins", {}):
        from vsanimup.version import own_version

        path = seen["plugins"]["animup"][1]
        return Check(name="animup plugin", state="ok", found=f"{own_version()}, {path}")
    return Check(name="animup plugin", state="fail", found="not loaded by VapourSynth", remedy=REINSTALL)


def _backends() -> list[Check]:
    from vsanimup.engines import BACKENDS
    from vsanimup.engines.providers import PROVIDERS

    reasons = {name: backend.unavailable() for name, backend in BACKENDS.items()}
    for backend in PROVIDERS:  # those that are not there are named only where there is a GPU for them
        if reasons[backend.name]:
            del reasons[backend.name]
    lost: Literal["note", "fail"] = "fail" if all(reasons.values()) else "note"
    checks = []
    for name, reason in reasons.items():
        if reason is None:
            found = f"works, {count_of(BACKENDS[name].streams(), 'frame')} at a time"
            checks.append(Check(name=f"backend {name}", state="ok", found=found))
        else:
            why, _, remedy = reason.rpartition(": ")
            checks.append(Check(name=f"backend {name}", state=lost, found=why or reason, remedy=remedy))
    checks += _gpus({check.name.removeprefix("backend ") for check in checks if check.state == "ok"})
    if any(backend.builds for backend in BACKENDS.values()):
        checks.append(_engines())
    return checks


def _gpus(working: set[str]) -> list[Check]:
    """What each maker's GPU needs; ``working`` are the backends that can be used."""
    from vsanimup.cli.gpus import advice, makers

    checks = []
    for maker in makers():
        told = advice(maker)
        if told is None:
            checks.append(Check(name=f"GPU ({maker})", state="note", found="no backend for it on this system"))
        elif told[0] in working or (maker == "NVIDIA" and "cuda" in working):
            checks.append(Check(name=f"GPU ({maker})", state="ok", found=f"backend='{told[0]}'"))
        else:
            found = f"backend='{told[0]}' would use it"
            checks.append(Check(name=f"GPU ({maker})", state="note", found=found, remedy=told[1]))
    return checks


def report(checks: list[Check]) -> str:
    """The checks as text for an issue: without the folders, and the user's and the computer's names."""
    lines = [f"animup doctor, {platform.system()} {platform.release()}, {platform.machine()}"]
    for check in checks:
        lines.append(f"{check.state:4}  {check.name}: {check.found}")
        lines += [f"      remedy: {check.remedy}"] if check.remedy else []
    return anonymous("\n".join(lines)) + "\n"


def anonymous(text: str) -> str:
    """A text without personal paths: folders that only this computer has are shortened to what they are."""
    places = {str(Path(sys.prefix)): "PYTHON", str(Path(sys.base_prefix)): "PYTHON_BASE", str(Path.cwd()): "FOLDER"}
    places |= {str(Path.home()): "HOME", str(Path(tempfile.gettempdir())): "TMP"}
    for place in sorted(places, key=len, reverse=True):
        if len(place) > 1:
            for form in {place, place.replace("\\", "/"), place.replace("\\", "\\\\")}:
                text = text.replace(form, places[place])
    for name in {Path.home().name, platform.node()} - {"", "root"}:
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "NAME", text)
    return text


def _engines() -> Check:
    from vsanimup.engines.cache import VARIABLE, Cache

    cache = Cache()
    found = cache.entries()
    facts = f"{len(found)}, {show_bytes(sum(entry.size for entry in found))}, in {cache.folder}"
    try:
        existing = next(folder for folder in (cache.folder, *cache.folder.parents) if folder.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        remedy = f"make the folder writable, or set {VARIABLE} to another"
        return Check(name="engines", state="note", found=f"cannot be kept: {error}", remedy=remedy)
    return Check(name="engines", state="ok", found=facts)


def _models() -> list[Check]:
    from vsanimup.networks.manifest import SHIPPED, shipped

    try:
        found = shipped()
    except AnimupError as error:
        return [Check(name="models", state="fail", found=str(error), remedy=REINSTALL)]
    checks = []
    for model in found:
        try:
            size = sum(len(part.read(name)) for part in model.family() for name in part.files)
        except AnimupError as error:
            checks.append(Check(name=f"model {model.name}", state="fail", found=str(error), remedy=REINSTALL))
        else:
            found_here = f"{size:,} bytes, SHA-256 right"
            checks.append(Check(name=f"model {model.name}", state="ok", found=found_here))
    names = {model.folder.name for model in found}
    checks += [
        Check(name=f"model {name}", state="fail", found=f"missing from {SHIPPED}", remedy=REINSTALL)
        for name in ("lite-restore", "lite-upscale", "lite-one-pass")
        if name not in names
    ]
    return checks


def _try_here(seen: dict[str, Any]) -> Check:
    name = "Restore, Upscale"
    if "try" in seen:
        width, height, kind, seconds = seen["try"]
        right = (width, height) == (2 * SIDE, 2 * SIDE)
        found = f"{SIDE}x{SIDE} to {width}x{height} {kind} in {seconds:.2f} s"
        if not right:
            return Check(name=name, state="fail", found=found, remedy=REINSTALL)
        return Check(name=name, state="ok", found=found)
    reason = seen.get("try_error") or seen.get("crash") or "not tried: the plugin is not there"
    return Check(name=name, state="fail", found=reason)


def _try_vspipe() -> Check:
    from vsanimup.encoding import vspipe

    try:
        program = vspipe.vspipe_path()
    except AnimupError as error:
        return Check(name="vspipe", state="fail", found="not found", remedy=str(error))
    with tempfile.TemporaryDirectory(prefix="animup_") as folder:
        script = Path(folder, "try.vpy")
        script.write_text(TRY, encoding="utf-8")
        command = [program, "-c", "y4m", str(script), "-"]
        try:
            done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=WAIT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return Check(name="vspipe", state="fail", found=f"{error}", remedy="pip install vapoursynth")
    if done.returncode:
        reason = vspipe.explain(done.stderr.decode("utf-8", "replace"))
        cause, _, remedy = reason.partition("; run once:  ")
        remedy = remedy and f"run once:  {remedy}"
        return Check(name="vspipe", state="fail", found=f"{program}: {cause}", remedy=remedy)
    pictures = FRAMES * (2 * SIDE) ** 2 * 3 // 2
    if len(done.stdout) < pictures or not done.stdout.startswith(b"YUV4MPEG2"):
        return Check(name="vspipe", state="fail", found=f"{program}: wrote no y4m", remedy=REINSTALL)
    return Check(name="vspipe", state="ok", found=f"{program}, y4m came through")


def _bestsource(seen: dict[str, Any]) -> Check:
    if "bs" in seen.get("plugins", {}):
        version, path = seen["plugins"]["bs"]
        return Check(name="BestSource", state="ok", found=f"{version}, {path}")
    remedy = "the ready scripts and the demo need it:  pip install vapoursynth-bestsource"
    return Check(name="BestSource", state="note", found="not loaded", remedy=remedy)


def _encoders() -> list[Check]:
    checks = []
    for name in ("x264", "ffmpeg"):
        program = find_program(name)
        checks.append(Check(name=name, state="ok" if program else "note", found=program or "not on PATH"))
    if all(check.state == "note" for check in checks):
        checks.append(Check(name="encoder", state="ok", found="PyAV's libx264 is used instead"))
    return checks


def _machine() -> list[Check]:
    from vsanimup.engines.cpu import usable_cores
    from vsanimup.sizes import free_memory

    free = shutil.disk_usage(Path.cwd()).free
    memory = free_memory()
    kind = platform.processor() or platform.machine()
    checks = [Check(name="CPU cores", state="ok", found=f"{usable_cores()}, {kind}")]
    found = "unknown" if memory is None else show_bytes(memory)
    if memory is not None and memory < 1 << 30:
        remedy = "use a smaller tile size, such as tilesize=256, and num_streams=1"
        checks.append(Check(name="free memory", state="note", found=found, remedy=remedy))
    else:
        checks.append(Check(name="free memory", state="ok", found=found))
    found = f"{show_bytes(free)} in {Path.cwd()}"
    if free < 200 << 20:
        checks.append(Check(name="free disk", state="note", found=found, remedy="make room before rendering"))
    else:
        checks.append(Check(name="free disk", state="ok", found=found))
    return checks


if __name__ == "__main__":
    print(json.dumps(look()))
