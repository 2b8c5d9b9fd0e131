"""TensorRT engines built without a GPU: networks, precision, refit, the cache, the commands, what is refused."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from typer.testing import CliRunner

from vsanimup import engines
from vsanimup.cli.engines import _room
from vsanimup.cli.main import app
from vsanimup.engines import DeviceMemory, device
from vsanimup.engines.cache import VARIABLE, Cache
from vsanimup.engines.shapes import CLASSES
from vsanimup.engines.tensorrt import library as libraries
from vsanimup.engines.tensorrt import plans, precision, runner
from vsanimup.engines.tensorrt.build import Job, build
from vsanimup.engines.tensorrt.plans import Request, Target, plan
from vsanimup.errors import AnimupError, OutOfMemory
from vsanimup.networks.family import Build
from vsanimup.networks.find import find
from vsanimup.networks.image.network import of_file
from vsanimup.networks.lite.inference import Inference, fixed, ranges
from vsanimup.networks.manifest import SHIPPED, open_model
from vsanimup.networks.modulation import Modulation
from vsanimup.networks.settings import OVERLAP
from vsanimup.tiling.budget import memory_of_tile

SMALL = fixed(48, 96)
GPU = device.DeviceInfo(
    name="NVIDIA GeForce RTX 4090",
    compute_capability=(8, 9),
    driver="13.0",
    runtime="13.0",
    total_memory=1 << 34,
    free_memory=1 << 33,
)
PLAN = b"vtrt"
"""What serialised engines of TensorRT-RTX begin with."""


@pytest.fixture(scope="module")
def rtx():
    return libraries.find()


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "engines")


def lite(name="lite-restore", **options):
    path = SHIPPED / name / "network.onnx"
    return Request(**{"network": path.read_bytes(), "origin": str(path), "sizes": SMALL, **options})


def model_of(nodes, weights, inputs, outputs, opset=17):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def answers(network, inputs):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return ort.InferenceSession(network.SerializeToString(), options).run(None, inputs)


def command(*arguments):
    done = CliRunner().invoke(app, ["engines", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, re.sub(r"\s+", " ", done.output)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "engines"))
    return tmp_path / "engines"


# --- building


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lite-restore", "lite-upscale"])
def test_lite_builds_and_is_found_again(rtx, cache, monkeypatch, name):
    request = lite(name, sizes=ranges(96, 128))
    made = plan(rtx, request, Target(), cache)
    assert made.data.startswith(PLAN) and not made.refit
    (entry,) = cache.entries()
    assert entry.path.name.startswith(f"{name}_fp16_96x96..288x288_trt-rtx-")
    assert entry.key["sizes"] == {
        "height": [96, 288, 288],
        "half_height": [48, 144, 144],
        "width": [96, 288, 288],
        "half_width": [48, 144, 144],
    }
    assert {"model_sha256", "library", "library_version", "gpu", "compute_capability", "driver", "animup"} < set(
        entry.key
    )
    monkeypatch.setattr(plans, "build", None)
    assert plan(rtx, request, Target(), cache).data == made.data


class Block(nn.Module):
    """A layer as in IPT."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, x, place):
        batch, count, dim = x.shape
        q, k, v = self.qkv(self.norm1(x) + place).reshape(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        shares = (q @ k.transpose(-2, -1) / (dim // self.heads) ** 0.5).softmax(-1)
        x = x + self.out((shares @ v).transpose(1, 2).reshape(batch, count, dim))
        return x + self.fc2(self.fc1(self.norm2(x)).relu())


class Ipt(nn.Module):
    """Patches through a head, tokens through layers, and a tail that doubles them."""

    def __init__(self, patch=12, width=8):
        super().__init__()
        self.head, self.dim = nn.Conv2d(3, width, 3, padding=1), width * 9
        self.place = nn.Parameter(torch.randn(1, (patch // 3) ** 2, self.dim) * 0.1)
        self.blocks = nn.ModuleList(Block(self.dim, 4) for _ in range(2))
        self.tail = nn.Sequential(nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2))
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x):
        x = self.head(x)
        batch, width, side, _ = x.shape
        tokens = x.reshape(batch, width, side // 3, 3, side // 3, 3).permute(0, 2, 4, 1, 3, 5)
        tokens = tokens.reshape(batch, (side // 3) ** 2, self.dim)
        for block in self.blocks:
            tokens = block(tokens, self.place)
        grid = tokens.reshape(batch, side // 3, side // 3, width, 3, 3).permute(0, 3, 1, 4, 2, 5)
        return self.last(self.tail(x + grid.reshape(batch, width, side, side)))


@pytest.fixture(scope="module")
def ipt(tmp_path_factory):
    """The file of a small IPT with random weights, its weights beside it."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("ipt")
    with torch.no_grad():
        torch.onnx.export(
            Ipt().eval(),
            (torch.rand(2, 3, 12, 12),),
            folder / "whole.onnx",
            input_names=["image"],
            output_names=["result"],
            dynamic_axes={"image": {0: "patches"}, "result": {0: "patches"}},
            opset_version=17,
            dynamo=False,
        )
    onnx.save(
        onnx.load(folder / "whole.onnx"),
        folder / "ipt.onnx",
        save_as_external_data=True,
        location="ipt.weights",
        size_threshold=0,
    )
    return folder / "ipt.onnx"


@pytest.mark.slow
def test_ipt_builds_for_batches_of_patches(rtx, cache, ipt, monkeypatch):
    request = Request(network=ipt, origin=str(ipt), sizes={"patches": (1, 8, 16)})
    assert plan(rtx, request, Target(compute_capability=(8, 9)), cache).data.startswith(PLAN)
    (entry,) = cache.entries()
    assert re.match(r"ipt_fp16_patches1\.\.8\.\.16_trt-rtx-[\d.]+_sm89_", entry.path.name)
    monkeypatch.setattr(plans, "LARGE", 0)  # as if its weights needed a file of their own
    large = plan(rtx, request, Target(compute_capability=(8, 9)), Cache(cache.folder / "large"))
    assert large.data.startswith(PLAN)
    before = entry.key["model_sha256"]
    weights = bytearray(ipt.with_suffix(".weights").read_bytes())
    weights[-1] ^= 1
    ipt.with_suffix(".weights").write_bytes(weights)
    assert plans._read(request)[1] != before


@pytest.mark.parametrize("channels", [1, 3])
def test_networks_of_others_build_for_ranges(folder, tmp_path, channels):
    """As the filters would ask for them, found from the file alone."""
    weights = np.random.default_rng(2).normal(0, 0.1, (4 * channels, channels, 3, 3)).astype(np.float32)
    side = [1, channels, "rows", "columns"]
    net = model_of(
        [
            helper.make_node("Conv", ["image", "w"], ["h"], pads=[1] * 4),
            helper.make_node("DepthToSpace", ["h"], ["result"], blocksize=2, mode="CRD"),
        ],
        {"w": weights},
        [("image", side)],
        [("result", [1, channels, "r2", "c2"])],
    )
    onnx.save(net, tmp_path / "double.onnx")
    code, said = command("build", tmp_path / "double.onnx", "--size", "300x200", "--compute-capability", "any")
    assert code == 0 and "1 engine is in" in said, said
    (entry,) = Cache(folder).entries()
    assert entry.path.name.startswith("double_fp16_columns96..544_rows96..288_")
    assert of_file(str(tmp_path / "double.onnx")).sizes((320, 224), False) == {"rows": 224, "columns": 320}


def test_a_node_that_cannot_be_read_is_named(rtx):
    net = model_of(
        [helper.make_node("NoSuchThing", ["x"], ["y"], name="odd one")], {}, [("x", [1, 4])], [("y", [1, 4])]
    )
    with pytest.raises(AnimupError, match=r"^TensorRT-RTX \S+ cannot read the network net\.onnx: .*NoSuchThing"):
        build(rtx, Job(network=net.SerializeToString(), origin="net.onnx", sizes={}))


def test_a_dimension_without_a_size_is_named(rtx, cache):
    for wanted in ("fp16", "fp32"):
        with pytest.raises(AnimupError, match="needs a size or range for dimension width of input y"):
            plan(rtx, lite(sizes={"height": 48}, precision=wanted), Target(), cache)


def test_a_file_that_is_no_network_is_named(rtx, cache, tmp_path):
    with pytest.raises(AnimupError, match=r"the network some\.onnx is no ONNX file"):
        plan(rtx, Request(network=b"\xff\xfe", origin="some.onnx", sizes={}), Target(), cache)
    missing = tmp_path / "none.onnx"
    with pytest.raises(AnimupError, match=r"none\.onnx cannot be read \(No such file"):
        plan(rtx, Request(network=missing, origin=str(missing), sizes={}), Target(), cache)


def test_progress_is_told_and_rises(rtx, monkeypatch):
    monkeypatch.setattr("vsanimup.engines.tensorrt.build.TICK", 0.01)  # an idle machine builds in a few ticks
    shares = []
    network = (SHIPPED / "lite-restore" / "network.onnx").read_bytes()
    build(rtx, Job(network=network, origin="x", sizes=SMALL), lambda share, doing: shares.append((share, doing)))
    values = [share for share, _ in shares]
    assert len(values) > 1 and values == sorted(values) and 0 < values[-1] <= 1
    assert all(doing for _, doing in shares)


def test_ctrl_c_stops_a_build(rtx):
    network = (SHIPPED / "lite-restore" / "network.onnx").read_bytes()

    def interrupt(share, doing):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(rtx, Job(network=network, origin="x", sizes=ranges(1080, 1920)), interrupt)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("animup-build")]


# --- precision


@pytest.mark.parametrize("name", ["lite-restore", "lite-upscale"])
def test_half_precision_is_what_the_comparison_says(name):
    """The graph that is compared gives what the converted one gives, and both are near the original."""
    path = SHIPPED / name / "network.onnx"
    exact, converted, rounded = (onnx.load(path) for _ in range(3))
    inputs = precision.random_inputs(exact, SMALL, name)
    precision.convert(converted, "fp16", origin=name, folder=path.parent)
    precision.convert(rounded, "fp16", origin=name, folder=path.parent, rounded=True)
    onnx.checker.check_model(converted, full_check=True)
    for wanted, narrow, same in zip(*(answers(net, inputs) for net in (exact, converted, rounded)), strict=True):
        assert narrow.dtype == np.float32
        assert 1e-6 < np.abs(narrow - wanted).max() < 2e-3
        assert np.abs(narrow - same).max() < 1.5e-3  # onnxruntime sums at 16 bits here and there
    off = precision.compare(exact.SerializeToString(), rounded.SerializeToString(), inputs, "fp16", name)
    assert 1e-5 < off < 1e-3
    widths = {tensor.name: tensor.data_type for tensor in converted.graph.initializer}
    assert {widths[weight] for weight in widths if weight.endswith("conv.weight")} == {TensorProto.FLOAT16}


@pytest.mark.slow
def test_bf16_builds(rtx, cache):
    assert plan(rtx, lite(precision="bf16"), Target(), cache).data.startswith(PLAN)
    assert cache.entries()[0].path.name.startswith("lite-restore_bf16_96x48_trt-rtx-")


def test_sensitive_operators_keep_their_width(ipt):
    model = onnx.load(ipt)
    precision.convert(model, "fp16", origin="ipt", folder=ipt.parent)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}
    found = {}
    for node in model.graph.node:
        found.setdefault(node.op_type, set()).add(kinds[node.output[0]])
    assert found["Softmax"] == found["LayerNormalization"] == {TensorProto.FLOAT}
    assert found["Conv"] == found["MatMul"] == found["DepthToSpace"] == {TensorProto.FLOAT16}


def test_shapes_and_whole_numbers_are_left_alone():
    """Numbers that sizes are computed from, in floats, are no picture: 2049 would become 2048."""
    net = model_of(
        [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Cast", ["shape"], ["sizes"], to=1),
            helper.make_node("Add", ["sizes", "zero"], ["same"]),
            helper.make_node("Cast", ["same"], ["whole"], to=7),
            helper.make_node("MatMul", ["x", "w"], ["z"]),
            helper.make_node("Reshape", ["z", "whole"], ["flat"]),
            helper.make_node("Relu", ["flat"], ["y"]),
        ],
        {"zero": np.zeros(2, np.float32), "w": np.eye(3, dtype=np.float32)},
        [("x", [2049, 3])],
        [("y", [2049, 3])],
    )
    x = np.random.default_rng(1).random((2049, 3), np.float32)
    precision.convert(net, "fp16", origin="net", folder=Path())
    (y,) = answers(net, {"x": x})
    assert y.shape == x.shape and np.abs(y - x).max() < 1e-3


@pytest.mark.parametrize(
    ("gain", "message"),
    [(1e6, "values that are no numbers at fp16; use precision='bf16'"), (0.5, None)],
)
def test_a_network_that_overflows_is_refused(rtx, cache, gain, message):
    net = model_of(
        [
            helper.make_node("Conv", ["x", "w"], ["h"], pads=[1] * 4),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("Conv", ["r", "v"], ["y"], pads=[1] * 4),
        ],
        {"w": np.full((4, 3, 3, 3), gain, np.float32), "v": np.full((3, 4, 3, 3), 0.01 / gain, np.float32)},
        [("x", [1, 3, 16, 16])],
        [("y", [1, 3, 16, 16])],
    )
    request = Request(network=net.SerializeToString(), origin="net.onnx", sizes={})
    if message is None:
        assert plan(rtx, request, Target(), cache).data.startswith(PLAN)
        return
    with pytest.raises(AnimupError, match=re.escape(message)):
        plan(rtx, request, Target(), cache)
    assert cache.entries() == []


def test_a_network_that_loses_too_much_is_refused():
    net = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "v"], ["y"])],
        {"w": np.array([[1, 1], [1, 1.0001]], np.float32), "v": np.array([[1e4], [-1e4]], np.float32)},
        [("x", [1, 2])],
        [("y", [1, 1])],
    )
    rounded = type(net)()
    rounded.CopyFrom(net)
    precision.convert(rounded, "fp16", origin="net", folder=Path(), rounded=True)
    inputs = precision.random_inputs(net, {}, "net")
    with pytest.raises(AnimupError, match=r"net is off by \d+\.\d% of its largest value at fp16"):
        precision.compare(net.SerializeToString(), rounded.SerializeToString(), inputs, "fp16", "net")


def test_precisions_that_do_not_fit_are_refused(rtx, cache, ipt):
    half = onnx.load(ipt)
    precision.convert(half, "fp16", origin="ipt", folder=ipt.parent)
    request = Request(network=half.SerializeToString(), origin="half.onnx", sizes={"patches": 1}, precision="fp32")
    with pytest.raises(AnimupError, match=r"half\.onnx is fp16 already: precision='fp32' needs another export"):
        plan(rtx, request, Target(), cache)
    whole = SHIPPED / "lite-restore" / "network.int8.onnx"
    with pytest.raises(AnimupError, match=r"is quantised, which is for backend='cpu'"):
        plan(rtx, Request(network=whole.read_bytes(), origin=str(whole), sizes=SMALL), Target(), cache)
    with pytest.raises(AnimupError, match="precision must be one of auto, fp32, fp16, bf16"):
        plan(rtx, lite(precision="fp8"), Target(), cache)


# --- refit


@pytest.fixture(scope="module")
def modulation():
    return Modulation(open_model(SHIPPED / "lite-restore"))


def test_weights_of_a_mix_are_those_of_the_merged_file(modulation):
    """Name by name, what an engine is refitted with is what stands in the network that the CPU runs."""
    network, mix = lite().network, {"deblock": 1.0, "denoise": 0.5}
    before = onnx.load_from_string(network)
    after = onnx.load_from_string(modulation.merge("network.onnx", network, mix))
    precision.merge(before, modulation.weights(mix))
    first, second = ({t.name: numpy_helper.to_array(t) for t in net.graph.initializer} for net in (before, after))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert modulation.weights({}).keys() == modulation.weights(mix).keys()


def test_every_weight_that_changes_can_be_marked(rtx, modulation):
    """Names survive conversion and TensorRT's parser. Building such an engine takes a GPU."""
    trt, names = rtx.module, modulation.weights({})
    model = onnx.load_from_string(lite().network)
    precision.convert(model, "fp16", origin="lite", folder=Path())
    network = trt.Builder(rtx.logger).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, rtx.logger)
    assert parser.parse(model.SerializeToString())
    assert len(names) == 12  # a weight and an offset of the head, of two pairs and of what leads up again
    assert all(network.mark_weights_refittable(name) for name in names)
    assert not network.mark_weights_refittable("no such weight")


def test_one_engine_serves_all_mixes_where_a_gpu_is(rtx, cache, modulation, monkeypatch):
    jobs = []
    monkeypatch.setattr(plans, "build", lambda library, job, report: jobs.append(job) or b"refittable")
    for mix in ({"deblock": 1.0}, {"denoise": 0.5}, {}):
        made = plan(rtx, lite(weights=modulation.weights(mix)), Target(gpu=GPU), cache)
        assert (made.data, made.refit) == (b"refittable", True)
    (job,) = jobs
    assert set(job.refit) == modulation.weights({}).keys() and job.compute_capability == (8, 9)
    (entry,) = cache.entries()
    assert "sm89_GeForce-RTX-4090" in entry.path.name and entry.key["gpu"] == GPU.name


def test_where_refit_fails_a_mix_has_its_engine(rtx, cache, modulation, monkeypatch):
    jobs = []

    def builds(library, job, report):
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
def test_an_engine_built_ahead_is_used(rtx, cache, modulation, monkeypatch):
    request = lite(weights=modulation.weights({"deblock": 1.0}), precision="fp32")
    for capability in (None, (8, 9)):
        ahead = plan(rtx, request, Target(compute_capability=capability), cache)
        with monkeypatch.context() as patched:
            patched.setattr(plans, "build", None)
            assert plan(rtx, request, Target(gpu=GPU), cache).data == ahead.data
            assert not plan(rtx, request, Target(gpu=GPU), cache).refit
        cache.prune(lambda entry: True)


# --- commands


@pytest.mark.slow
def test_commands(folder):
    code, said = command(
        "build",
        "lite-restore",
        "--task",
        "denoise",
        "--size",
        "90x90",
        "--size",
        "100x92",
        "--compute-capability",
        "8.9",
    )
    assert code == 0 and "there is none yet" in said and f"1 engine is in {folder}" in said
    code, said = command("list")
    assert code == 0 and "lite-restore_fp16_96x96..288x288_trt-rtx-" in said and "1 engine" in said
    assert command("prune")[1].startswith("0 engines deleted")
    about = next(folder.glob("*.json"))
    old = json.loads(about.read_text())
    old["key"]["library_version"] = "0.9"
    about.write_text(json.dumps(old))
    assert "1 engine deleted" in command("prune")[1]
    assert list(folder.glob("*.engine")) == [] == list(folder.glob("*.json"))


ODD_ABOUT = [
    {"format": 1, "key": {"a": 1}, "sha256": 5, "built": "y", "seconds": None},
    {"format": 1, "key": {"a": 1}, "built": float("nan"), "seconds": 1},
    {"format": 1, "key": {"a": 1}, "built": 1e300, "seconds": -1},
    {"format": 1, "key": {"gpu": [1], "job": {}}, "built": True, "seconds": 1},
    {"format": 1, "key": 3},
    [],
]


def test_odd_json_beside_an_engine_is_damage(folder):
    folder.mkdir()
    texts = [*map(json.dumps, ODD_ABOUT), "[" * 100_000, ""]
    for number, text in enumerate(texts):
        (folder / f"odd{number}_00000000.engine").write_bytes(b"x")
        (folder / f"odd{number}_00000000.json").write_text(text)
    code, said = command("list")
    assert code == 0 and f"{len(texts)} engines" in said and said.count("damaged") == len(texts)
    assert all(f"odd{number}_00000000.engine" in said for number in range(len(texts)))
    assert f"{len(texts)} engines deleted" in command("prune")[1]


def test_engines_are_built_ahead_as_a_filter_cuts_its_frames(tmp_path):
    """Tiles of a GPU of 4 GiB are smaller than those of one with plenty, and so are those that are built for it."""
    model, frame, gigabyte = open_model(SHIPPED / "lite-restore"), (1920, 1080), 1 << 30
    seen = set()
    for total, streams in ((24, 2), (4, 2), (4, 1), (2, 2)):
        room = DeviceMemory(total=total * gigabyte, free=total * gigabyte)
        backend = SimpleNamespace(name="tensorrt", builds=True, integers=False, memory=lambda _, room=room: room)
        inference = Inference(
            model,
            width=frame[0],
            height=frame[1],
            has_chroma=True,
            tilesize=None,
            overlap=(OVERLAP, OVERLAP),
            backend=backend,
            device_id=0,
            streams=streams,
        )
        wanted = ranges(inference.grid.rows.tile, inference.grid.columns.tile)
        target = Target(gpu=replace(GPU, total_memory=room.total))
        for most in (memory_of_tile(_room(target, None), streams), memory_of_tile(_room(Target(), total), streams)):
            (request,) = find("lite-restore").requests(Build(sizes=[frame], most=most))
            assert request.sizes == wanted
        seen.add(str(wanted))
    assert len(seen) >= 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lite-restore", "--size", "big"], "--size must be WIDTHxHEIGHT"),
        (["lite-restore", "--compute-capability", "ada"], "--compute-capability must be such as 8.9, or any"),
        (["lite-restore", "--compute-capability", "3.5", "--size", "90x90"], "builds for compute capabilities 7.5, "),
        (["x.onnx", "--dim", "n=4..2..9", "--compute-capability", "any"], "--dim n=4..2..9: the numbers must not fall"),
        (["lite-restore", "--precision", "fp7", "--compute-capability", "any"], "precision must be one of auto, fp32"),
        (["nowhere", "--compute-capability", "any"], "nowhere"),
    ],
)
def test_commands_refuse(folder, arguments, message):
    code, said = command("build", *arguments)
    assert code == 1 and message in said, said


# --- where it does not work


def test_without_the_package(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if "tensorrt" in name else real(name, *a))
    with pytest.raises(AnimupError) as caught:
        engines.choose("tensorrt")
    assert str(caught.value) == (
        "backend='tensorrt' cannot be used: neither tensorrt nor tensorrt_rtx is installed: "
        "pip install 'vsanimup[tensorrt]'"
    )


SCRIPT = """
import vapoursynth as vs
core = vs.core
core.add_log_handler(lambda kind, text: print("log:", text))
clip = core.std.BlankClip(width=64, height=64, format=vs.YUV420P8, length=1)
try:
    core.animup.Restore(clip, backend="tensorrt")
except vs.Error as error:
    print("error:", error)
core.animup.Restore(clip, task="deblock").get_frame(0)
core.animup.Upscale(clip).get_frame(0)
try:
    core.animup.Restore(clip, precision="fp16")
except vs.Error as error:
    print("error:", error)
"""


def test_without_a_gpu():
    """By name, one sentence with the remedy; auto goes on with what there is, and says so once."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    lines = [line for line in done.stdout.splitlines() if "message handler" not in line]
    reason = r"there is no NVIDIA (driver: install it|GPU that this process may use; see)"
    assert re.match(rf"error: Restore: backend='tensorrt' cannot be used: {reason}", lines[0]), lines
    told = [line for line in lines if "backend='auto'" in line]
    assert len(told) == 1 and re.match(rf"log: backend='auto' is cpu \(tensorrt: {reason}", told[0]), lines
    assert "error: Restore: precision='fp16' needs backend='tensorrt'" in lines[-1]


def test_sizes_share_engines():
    assert ranges(368, 648) == ranges(488, 728)
    assert ranges(368, 648) != ranges(1088, 1928)
    for side in (96, 200, *CLASSES[1:], 5000):
        size = ranges(side, side)["height"]
        assert isinstance(size, tuple)
        least, usual, most = size
        assert least <= side <= most == usual and most % 8 == 0
    assert ranges(48, 96) == fixed(48, 96)


def test_the_log_tells_of_long_builds(monkeypatch, caplog):
    from vsanimup.engines.tensorrt import build as module

    monkeypatch.setattr(module, "EVERY", 0.05)
    monkeypatch.setattr(module, "TICK", 0.02)
    monkeypatch.setattr(module, "_build", lambda library, job, state, stop: time.sleep(0.3) or b"plan")
    monkeypatch.setattr(logging.getLogger("vsanimup"), "propagate", True)
    with caplog.at_level(logging.DEBUG, "vsanimup"):
        assert build(None, Job(network=b"", origin="net.onnx", sizes={})) == b"plan"
    assert 2 <= len(caplog.messages) <= 8
    assert re.fullmatch(r"net\.onnx: engine 0 % built after 0 s \(starting\)", caplog.messages[0])


def test_a_build_does_not_keep_what_an_engine_says_meanwhile(rtx, monkeypatch):
    """An engine that runs out of memory while another is built must still see that it did."""
    error = rtx.module.ILogger.Severity.ERROR
    monkeypatch.setattr(libraries.threads, "runs_engines", False)
    with rtx.listen() as said, ThreadPoolExecutor(1) as runs, ThreadPoolExecutor(1) as builds:
        runs.submit(runner._said.forget).result()
        builds.submit(rtx.logger.log, error, "the network is odd").result()
        runs.submit(rtx.logger.log, error, "[x.cpp] Error Code 2: OutOfMemory").result()
        failure = runs.submit(runner._said.error, "the engine failed", "").result()
    assert isinstance(failure, OutOfMemory) and said.lines == ["the network is odd"]
