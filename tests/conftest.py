"""What all tests share."""

from __future__ import annotations

import gc
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.helpers.clips import core

# Images of containers often forbid to keep compiled modules: every run, and every process that a test starts, would
# compile torch and all others anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# vspipe looks there for its Python; "uv run" and activated environments have it there already
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):  # torch's threads, too, share the cores
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, CORES // workers)))

if importlib.util.find_spec("torch") is None:  # with the dependency group "test" alone
    packages = r"torch|export|training|vsanimup\.architectures|diffusers|transformers"
    packages += r"|benchmarks(\.| import )(animatelcm_files|gpu)"
    packages += r"|tests\.helpers(\.| import )(cartoon|corpus_files|ipt_files|lcm_model|lcm_runs|lite_runs)"
    needs_torch = re.compile(rf"^\s*(from|import) ({packages})", re.MULTILINE)
    here = Path(__file__).parent
    files = [path for path in here.rglob("test_*.py") if needs_torch.search(path.read_text("utf-8"))]
    collect_ignore = [path.relative_to(here).as_posix() for path in files]


WORKERS = 4
"""At most: each has torch and all networks in memory."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A worker for each core where whole folders are run; a file, or tests by name, are over before workers start."""
    few = config.option.keyword or config.option.lf or any(".py" in argument for argument in config.args)
    return 0 if few or CORES == 1 else min(CORES, WORKERS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that in the end no worker is alone with one."""
    items.sort(key=lambda item: item.get_closest_marker("first") is None)


def pytest_collection_finish() -> None:
    """What was imported is no garbage: tests that collect some would look through all of torch each time."""
    gc.freeze()


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


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AnimateLCM's checkpoints, tiny, in every layout."""
    from benchmarks import animatelcm_files

    folder = tmp_path_factory.mktemp("animatelcm")
    animatelcm_files.write_all(folder)
    return folder
