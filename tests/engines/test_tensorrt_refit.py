"""TensorRT engines that are given other weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.helpers.engine_networks import GPU, lite
from vsanimup.engines.cache import Cache
from vsanimup.engines.tensorrt import plans, precision
from vsanimup.engines.tensorrt.build import Job
from vsanimup.engines.tensorrt.library import Library
from vsanimup.engines.tensorrt.plans import Target, plan
from vsanimup.errors import AnimupError
from vsanimup.networks.manifest import SHIPPED, open_model
from vsanimup.networks.modulation import Modulation


@pytest.fixture(scope="module")
def modulation() -> Modulation:
    return Modulation(open_model(SHIPPED / "lite-restore"))


def test_weights_of_a_mix_are_those_of_the_merged_file(modulation: Modulation) -> None:
    """Name by name, what an engine is refitted with is what stands in the network that the CPU runs."""
    network, mix = lite().network, {"deblock": 1.0, "denoise": 0.5}
    assert isinstance(network, bytes)
    before = onnx.load_from_string(network)
    after = onnx.load_from_string(modulation.merge("network.onnx", network, mix))
    precision.merge(before, modulation.weights(mix))
    first, second = ({t.name: numpy_helper.to_array(t) for t in net.graph.initializer} for net in (before, after))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert modulation.weights({}).keys() == modulation.weights(mix).keys()


def test_every_weight_that_changes_can_be_marked(rtx: Library, modulation: Modulation) -> None:
    """Names survive conversion and TensorRT's parser. Building such an engine takes a GPU."""
    trt, names = rtx.module, modulation.weights({})
    whole = lite().network
    assert isinstance(whole, bytes)
    model = onnx.load_from_string(whole)
    precision.convert(model, "fp16", origin="lite", folder=Path())
    network = trt.Builder(rtx.logger).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, rtx.logger)
    assert parser.parse(model.SerializeToString())
    assert len(names) == 12  # a weight and an offset of the head, of two pairs and of what leads up again
    assert all(network.mark_weights_refittable(name) for name in names)
    assert not network.mark_weights_refittable("no such weight")


def test_one_engine_serves_all_mixes_where_a_gpu_is(
    rtx: Library, cache: Cache, modulation: Modulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = []

    def build(library: Library, job: Job, report: object) -> bytes:
        jobs.append(job)
        return b"refittable"

    monkeypatch.setattr(plans, "build", build)
    for mix in ({"deblock": 1.0}, {"denoise": 0.5}, {}):
        made = plan(rtx, lite(weights=modulation.weights(mix)), Target(gpu=GPU), cache)
        assert (made.data, made.refit) == (b"refittable", True)
    (job,) = jobs
    assert set(job.refit) == modulation.weights({}).keys() and job.compute_capability == (8, 9)
    (entry,) = cache.entries()
    assert "sm89_GeForce-RTX-4090" in entry.path.name and entry.key["gpu"] == GPU.name


def test_where_refit_fails_a_mix_has_its_engine(
    rtx: Library, cache: Cache, modulation: Modulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = []

    def builds(library: Library, job: Job, report: object) -> bytes:
        jobs.append(job)
        if job.refit:
            raise AnimupError("no refit here")
        return b"merged %d" % len(jobs)

    monkeypatch.setattr(plans, "build", builds)
    wanted = [lite(weights=modulation.weights(mix)) for mix in ({"deblock": 1.0}, {"denoise": 1.0})]
    first, second = (plan(rtx, request, Target(gpu=GPU), cache) for request in wanted)
    assert not first.refit and first.data != second.data and len(jobs) == 4
    assert plan(rtx, wanted[0], Target(gpu=GPU), cache) == first and len(jobs) == 4


@pytest.mark.slow
def test_an_engine_built_ahead_is_used(
    rtx: Library, cache: Cache, modulation: Modulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = lite(weights=modulation.weights({"deblock": 1.0}), precision="fp32")
    for capability in (None, (8, 9)):
        ahead = plan(rtx, request, Target(compute_capability=capability), cache)
        with monkeypatch.context() as patched:
            patched.setattr(plans, "build", None)
            assert plan(rtx, request, Target(gpu=GPU), cache).data == ahead.data
            assert not plan(rtx, request, Target(gpu=GPU), cache).refit
        cache.prune(lambda entry: True)
