"""Plans of networks: found in the cache, or prepared, compared, built and kept there."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsanimup.engines.base import Size, Weights
from vsanimup.engines.cache import Cache, Key
from vsanimup.engines.device import DeviceInfo
from vsanimup.engines.tensorrt.build import Job, Report, build
from vsanimup.engines.tensorrt.library import REMEDY, Library
from vsanimup.errors import AnimupError

if TYPE_CHECKING:
    import onnx

LOG = logging.getLogger("vsanimup.tensorrt")
PRECISIONS = ("auto", "fp32", "fp16", "bf16")
LARGE = 1 << 30
"""Bytes from which on weights go to a file of their own: a protocol buffer may have twice as many."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A network, and how it is to run."""

    network: bytes | Path
    """ONNX."""
    origin: str
    """The file's name in errors."""
    sizes: Mapping[str, Size]
    """Symbolic dimensions."""
    precision: str = "auto"
    """One of :data:`PRECISIONS`; ``auto`` is as the file is where it has 16 bits, and else ``fp16``."""
    weights: Weights | None = None
    """Initialisers that change from engine to engine, all of them, with the values wanted."""

    @property
    def name(self) -> str:
        """A short name for the network: of its file, or of the folder where that says no more."""
        path = Path(self.origin)
        if path.stem == "network":
            return path.parent.name
        return f"{path.parent.name}-{path.stem}" if (path.parent / "manifest.json").exists() else path.stem

    @property
    def shape(self) -> str:
        """The sizes as in file names: width and height, and what does not follow from these by its name."""
        sides = [self.sizes[side] for side in ("width", "height") if side in self.sizes]
        parts = []
        if len(sides) == 2:
            ends = zip(*(side if isinstance(side, tuple) else (side,) * 3 for side in sides), strict=True)
            corners = ["x".join(map(str, pair)) for pair in ends]
            parts.append("..".join(dict.fromkeys(corners)))
        for name, size in sorted(self.sizes.items()):
            if not any(side in name for side in ("width", "height")):
                span = "..".join(map(str, dict.fromkeys(size))) if isinstance(size, tuple) else str(size)
                parts.append(f"{name}{span}")
        return "_".join(parts) or "fixed"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What an engine is for: this GPU, or any of a kind."""

    gpu: DeviceInfo | None = None
    """The GPU that is here; ``None`` when engines are built ahead, for other machines too."""
    compute_capability: tuple[int, int] | None = None
    """The kind of GPU, without one at hand; ``None``: all that the library knows."""

    @property
    def capability(self) -> tuple[int, int] | None:
        """The kind of GPU."""
        return self.gpu.compute_capability if self.gpu else self.compute_capability

    @property
    def key(self) -> Key:
        """Its part of an engine's key."""
        kind = "{}.{}".format(*self.capability) if self.capability else "any"
        if self.gpu is None:
            return {"gpu": "any", "compute_capability": kind, "driver": "any"}
        return {"gpu": self.gpu.name, "compute_capability": kind, "driver": self.gpu.driver}

    @property
    def label(self) -> str:
        """The same for file names."""
        kind = "sm{}{}".format(*self.capability) if self.capability else "sm-any"
        return f"{kind}_{self.gpu.name.removeprefix('NVIDIA ')}" if self.gpu else kind


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A plan, ready to be loaded."""

    data: bytes
    """As TensorRT serialised it."""
    refit: bool
    """Whether the request's weights must be put in."""


@functools.cache
def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise AnimupError(
            f"onnx, which prepares networks for TensorRT, cannot be imported ({error}): {REMEDY}"
        ) from error
    return onnx


def plan(library: Library, request: Request, target: Target, cache: Cache, report: Report | None = None) -> Plan:
    """A plan from the cache, or a new one, which then lies there.

    Weights that change are left out of the key where the library can refit: an engine for one mix serves all. TensorRT
    can; TensorRT-RTX builds such engines only where a GPU is, and without one gives an engine for these weights alone.
    Raises :class:`AnimupError` when the network cannot be read, converted or built, or loses too much at its precision.
    """
    model, digest = _read(request)
    precision = _precision(request, model)
    weights = request.weights or {}
    entry = _Entry(library=library, request=request, precision=precision, digest=digest)
    refit = bool(weights) and not (library.is_rtx and target.gpu is None)
    known = [(target, refit)]
    if library.is_rtx and target.gpu is not None:
        # engines for these weights alone, and those that were built ahead
        known += [(target, False), *((Target(compute_capability=kind), False) for kind in (target.capability, None))]
    for kind, changes in known:
        key = entry.key(kind, changes)
        found = cache.find(cache.name(entry.label(kind), key), key)
        if found is not None:
            return Plan(data=found, refit=changes)

    def made(changes: bool) -> Plan:
        def make() -> bytes:
            with _prepared(request, model, precision, {} if changes else weights) as network:
                job = Job(
                    network=network,
                    origin=request.origin,
                    sizes=request.sizes,
                    refit=sorted(weights) if changes else (),
                    compute_capability=_asked(library, target),
                )
                return build(library, job, report)

        return Plan(data=cache.get(entry.label(target), entry.key(target, changes), make), refit=changes)

    if refit and library.is_rtx:
        try:
            return made(True)
        except AnimupError as error:
            LOG.warning("%s; an engine for these weights alone is built instead", error)
            return made(False)
    return made(refit)


def _asked(library: Library, target: Target) -> tuple[int, int] | None:
    """The compute capability to build for; none for a GPU at hand that has no name of its own in the library."""
    kinds = getattr(library.module, "ComputeCapability", None)
    if target.gpu is None or (target.capability and hasattr(kinds, "SM{}{}".format(*target.capability))):
        return target.capability
    return None


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """Names and keys of the engines of one request."""

    library: Library
    request: Request
    precision: str
    digest: str

    @property
    def _job(self) -> str:
        return f"{self.request.name}_{self.precision}_{self.request.shape}"

    def label(self, target: Target) -> str:
        return f"{self._job}_{self.library.short}_{target.label}"

    def key(self, target: Target, refit: bool) -> Key:
        weights = self.request.weights
        if not weights:
            change = "none"
        elif refit:
            change = "refit " + _hash(json.dumps(sorted(weights)).encode())
        else:
            change = "merged " + _hash(
                *(part for name in sorted(weights) for part in (name.encode(), weights[name].tobytes()))
            )
        return {
            "job": self._job,
            "model_sha256": self.digest,
            "precision": self.precision,
            "sizes": dict(self.request.sizes),
            "weights": change,
            "library": self.library.name,
            "library_version": self.library.version,
            "animup": importlib.metadata.version("vsanimup"),
            **target.key,
        }


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _read(request: Request) -> tuple[onnx.ModelProto, str]:
    """The graph without external weights, and the SHA-256 of all."""
    onnx = _onnx()
    try:
        if isinstance(request.network, bytes):
            return onnx.load_from_string(request.network), _hash(request.network)
        model = onnx.load(request.network, load_external_data=False)
        files = {
            entry.value
            for tensor in model.graph.initializer
            for entry in tensor.external_data
            if entry.key == "location"
        }
        digest = hashlib.sha256()
        for path in (request.network, *(request.network.parent / name for name in sorted(files))):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return model, digest.hexdigest()
    except OSError as error:
        raise AnimupError(
            f"the network {request.origin} cannot be read ({error.strerror}: {error.filename})"
        ) from error
    except Exception as error:  # protobuf's errors have no public base
        raise AnimupError(f"the network {request.origin} is no ONNX file, or damaged ({error})") from error


def _precision(request: Request, model: onnx.ModelProto) -> str:
    """The precision to build at."""
    from vsanimup.engines.tensorrt.precision import kind_of

    asked = request.precision
    if asked not in PRECISIONS:
        raise AnimupError(f"precision must be one of {', '.join(PRECISIONS)} with backend='tensorrt', got {asked!r}")
    own = kind_of(model)
    if own == "int8":
        raise AnimupError(
            f"the network {request.origin} is quantised, which is for backend='cpu'; use the one of floats"
        )
    if own == "fp32":
        return "fp16" if asked == "auto" else asked
    if asked not in ("auto", own):
        raise AnimupError(
            f"the network {request.origin} is {own} already: precision={asked!r} needs another export of it"
        )
    return own


@contextlib.contextmanager
def _prepared(request: Request, model: onnx.ModelProto, precision: str, weights: Weights) -> Iterator[bytes | Path]:
    """The network as it is to be built: converted, and compared with what it was."""
    from vsanimup.engines.tensorrt import precision as narrow

    given = request.network
    folder = given.parent if isinstance(given, Path) else Path()
    if weights:
        if isinstance(given, Path):
            raise ValueError("weights go with networks in one piece")
        narrow.merge(model, weights)
        given = model.SerializeToString()
    if precision == narrow.kind_of(model):
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="animup_") as made:
        inputs = narrow.random_inputs(model, request.sizes, request.origin)
        networks = []
        for rounded in (True, False):
            copy = type(model)()
            copy.CopyFrom(model)
            narrow.convert(copy, precision, origin=request.origin, folder=folder, rounded=rounded)
            networks.append(_stored(copy, Path(made, f"{'rounded' if rounded else 'converted'}.onnx")))
            del copy
            if rounded:
                off = narrow.compare(given, networks[0], inputs, precision, request.origin)
                LOG.debug("%s: %s is off by %.2g of the largest value on random input", request.name, precision, off)
        yield networks[1]


def _stored(model: onnx.ModelProto, path: Path) -> bytes | Path:
    """A graph as bytes, or as a file with another for weights where it is large."""
    if model.ByteSize() < LARGE:
        data: bytes = model.SerializeToString()
        return data
    _onnx().save_model(model, path, save_as_external_data=True, location=f"{path.stem}.weights")
    return path
