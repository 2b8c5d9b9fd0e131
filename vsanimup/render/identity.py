"""What the bytes of a film depend on, in words that an error can quote."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from vsanimup.errors import AnimupError

Facts = Mapping[str, str]

_SAMPLES = 64
_SAMPLE = 1 << 16


def fingerprint(path: Path) -> str:
    """Size of a file and a hash of 64 pieces spread over it, first and last included.

    A hash of all would read tens of gigabytes, on a cluster once a worker. What a remux, an edit or another encode
    changes is in the pieces.
    """
    size = path.stat().st_size
    seen = hashlib.sha256()
    with open(path, "rb") as file:
        if size <= _SAMPLES * _SAMPLE:
            seen.update(file.read())
        else:
            for index in range(_SAMPLES):
                file.seek((size - _SAMPLE) * index // (_SAMPLES - 1))
                seen.update(file.read(_SAMPLE))
    return f"{size} bytes, {seen.hexdigest()[:16]}"


@functools.cache
def code() -> str:
    """Hash of this package: its Python code, native library and models' manifests."""
    import vsanimup

    folder = Path(vsanimup.__file__).parent
    files = sorted(path for pattern in ("**/*.py", "**/manifest.json", "**/*.npz") for path in folder.glob(pattern))
    seen = hashlib.sha256()
    for path in [*files, *_library()]:
        seen.update(path.name.encode() + path.read_bytes())
    return seen.hexdigest()[:12]


def _library() -> Iterable[Path]:
    import vapoursynth

    return sorted((Path(vapoursynth.__file__).parent / "plugins" / "animup").glob("libanimup.*"))


def versions(core: str, plugins: Mapping[str, str]) -> dict[str, str]:
    """Versions of all that makes frames. ``core`` and ``plugins`` are VapourSynth's, from a frame server."""
    from vsanimup.engines import BACKENDS
    from vsanimup.version import own_version

    found = {"animup": f"{own_version()} ({code()})", "VapourSynth": core}
    for package in ("onnxruntime", "numpy"):
        found[package] = importlib.metadata.version(package)
    found["backends"] = ", ".join(name for name, backend in BACKENDS.items() if backend.unavailable() is None)
    return found | {f"plugin {name}": version for name, version in sorted(plugins.items())}


def model_facts(arguments: Mapping[str, str]) -> dict[str, str]:
    """Hashes of the models that a ready script's arguments name by their path."""
    found = {}
    for name in ("model", "restore_model", "upscale_model"):
        path = Path(arguments.get(name, ""))
        if path.suffix == ".onnx" and path.is_file():
            found[f"file of {name}"] = fingerprint(path)
        elif (path / "manifest.json").is_file():
            found[f"file of {name}"] = fingerprint(path / "manifest.json")
    return found


def digest(facts: Facts) -> str:
    """A short name that no other facts have."""
    return hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode()).hexdigest()[:16]


def differences(before: Facts, now: Facts) -> list[str]:
    """What differs, such as ``crf was 16 and is 18``."""
    found = []
    for name in [*before, *(name for name in now if name not in before)]:
        was, is_now = before.get(name), now.get(name)
        if was != is_now:
            found.append(f"{name} was {_short(was)} and is {_short(is_now)}")
    return found


def _short(value: str | None) -> str:
    if value is None:
        return "not there"
    return (value if len(value) <= 60 else value[:57] + "…") or "empty"


def unlike(wanted: Facts, here: Facts, where: str) -> AnimupError | None:
    """The refusal of a machine whose versions are not those wanted; None where they are."""
    for name, value in wanted.items():
        if here.get(name) != value:
            return AnimupError(
                f"{where} has {name} {_short(here.get(name))}, the film is made with {_short(value)}; "
                "install the same there"
            )
    return None
