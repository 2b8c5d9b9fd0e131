"""The plugin's functions, and hosts other than Python."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import vapoursynth as vs

from tests.helpers.numbered import python, value
from vsanimup import plugin
from vsanimup.errors import AnimupError

core = vs.core


def test_plugin_is_there_without_an_import() -> None:
    run = python("""
        import sys, vapoursynth as vs
        plugin = {p.namespace: p for p in vs.core.plugins()}["animup"]
        assert plugin.identifier == "org.animup.vsanimup"
        names = {f.name for f in plugin.functions() if not f.name.startswith("internal_")}
        assert names == {"Restore", "Upscale", "Version"}, names
        assert not any(name.startswith("vsanimup") for name in sys.modules)
    """)
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""


def test_arguments_arrive_as_plain_python(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}

    def create(clip: vs.VideoNode, **arguments: object) -> vs.VideoNode:
        seen.update(arguments)
        return clip.std.Invert()

    monkeypatch.setitem(plugin.HANDLERS, "Restore", create)
    clip = core.std.BlankClip(format=vs.GRAY8, length=3)
    result = core.animup.Restore(clip, task="dérain", strength=1, tilesize=[256], overlap=[8, 16], device_id=0)
    assert seen == {"task": "dérain", "strength": 1.0, "tilesize": [256], "overlap": [8, 16], "device_id": 0}
    assert isinstance(seen["strength"], float)
    assert value(result.get_frame(0)) == 255


def test_a_mapping_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"name": "naïve", "count": 1 << 40, "ratio": 0.5, "raw": b"\xff\x00", "models": ["a", "b"]}
    monkeypatch.setitem(plugin.HANDLERS, "Version", lambda: answer)
    assert core.animup.Version() == answer


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (AnimupError("strength must be at most 1"), "Restore: strength must be at most 1"),
        (AnimupError("Restore: no such model"), "Restore: no such model"),
        (KeyError("k"), "Restore: internal error: KeyError: 'k'"),
        (ImportError("onnx…"), "Restore: internal error: ImportError: onnx…"),
    ],
)
def test_errors_of_functions(monkeypatch: pytest.MonkeyPatch, raised: Exception, told: str) -> None:
    def create(clip: vs.VideoNode) -> vs.VideoNode:
        raise raised

    monkeypatch.setitem(plugin.HANDLERS, "Restore", create)
    with pytest.raises(vs.Error) as caught:
        core.animup.Restore(core.std.BlankClip())
    assert str(caught.value) == told


def test_internal_errors_are_logged_with_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plugin.HANDLERS, "Restore", lambda **_: importlib.import_module("no_such_module"))
    messages: list[str] = []
    handle = core.add_log_handler(lambda kind, text: messages.append(text))
    try:
        with pytest.raises(vs.Error, match="ModuleNotFoundError"):
            core.animup.Restore(core.std.BlankClip())
    finally:
        core.remove_log_handler(handle)
    assert any("Traceback" in text and "no_such_module" in text for text in messages)


def test_message_where_the_package_cannot_be_imported() -> None:
    run = python("""
        import sys, vapoursynth as vs
        sys.modules["vsanimup"] = None
        try:
            vs.core.animup.Version()
        except vs.Error as e:
            print(e)
    """)
    assert "Version: cannot import vsanimup into " in run.stdout
    assert sys.executable in run.stdout


def test_internal_functions_refuse_to_be_called() -> None:
    with pytest.raises(vs.Error, match="called outside"):
        core.animup.internal_arguments()
    with pytest.raises(vs.Error, match="KeyError"):
        core.animup.internal_block(
            core.std.BlankClip(),
            callback=-1,
            function="F",
            block=1,
            grid=1,
            before=0,
            after=0,
            width=2,
            height=2,
            format=vs.GRAY8,
            streams=1,
            cached_blocks=1,
            prefetch=0,
            group=0,
        )


HOST = r"""
#include <VapourSynth4.h>
#include <dlfcn.h>
#include <cstdio>
#include <initializer_list>
int main(int, char **argv) {
    void *library = dlopen(argv[1], RTLD_NOW);
    if (!library) return 2;
    auto get = reinterpret_cast<VSGetVapourSynthAPI>(dlsym(library, "getVapourSynthAPI"));
    const VSAPI *vsapi = get(VAPOURSYNTH_API_VERSION);
    VSCore *core = vsapi->createCore(0);
    VSMap *args = vsapi->createMap();
    VSMap *blank = vsapi->invoke(vsapi->getPluginByNamespace("std", core), "BlankClip", args);
    VSPlugin *plugin = vsapi->getPluginByNamespace("animup", core);
    if (!plugin) return 3;
    VSMap *result = vsapi->invoke(plugin, "Restore", blank);
    std::puts(vsapi->mapGetError(result) ? vsapi->mapGetError(result) : "no error");
    for (VSMap *map : {args, blank, result}) vsapi->freeMap(map);
    vsapi->freeCore(core);
}
"""


@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("g++"), reason="needs g++")
def test_a_host_without_python(tmp_path: Path) -> None:
    package = Path(vs.__file__).parent
    (tmp_path / "host.cpp").write_text(HOST)
    build = ["g++", "-std=c++17", f"-I{package / 'include'}", "host.cpp", "-o", "host", "-ldl"]
    subprocess.run(build, cwd=tmp_path, check=True)
    library = next(package.glob("libvapoursynth.*"))
    run = subprocess.run([tmp_path / "host", library], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("Restore: no Python interpreter in this process (animup runs inside Python hosts")
