"""A CUDA that is made up."""

import gc

import pytest

from tests.helpers.fake_cuda import FakeCuda
from vsanimup.engines import device


@pytest.fixture
def cuda(monkeypatch):
    """A CUDA that is made up; nothing of it may be left in the end."""
    fake = FakeCuda(devices=2)
    monkeypatch.setattr(device, "runtime", lambda: fake)
    yield fake
    gc.collect()
    assert not fake.problems and not fake.leftovers()
