"""AnimateLCM's export: the graphs compute what diffusers computes, and the folder is a model."""

import copy
import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from benchmarks import animatelcm_files as files
from export.__main__ import app
from export.animatelcm import command, parts
from export.folder import model_folder
from vsanimup.architectures.animatelcm import graphs
from vsanimup.architectures.animatelcm.layers import Pooling, attend
from vsanimup.engines.cache import Cache
from vsanimup.engines.tensorrt import library
from vsanimup.engines.tensorrt.plans import Request, Target, plan
from vsanimup.networks.animatelcm.model import AnimateLcm
from vsanimup.networks.animatelcm.pipeline import network_grids, tile_sizes
from vsanimup.networks.animatelcm.tokenizer import CONTEXT
from vsanimup.networks.manifest import open_model

diffusers: Any = importlib.import_module("diffusers")  # neither has types for all of its classes
transformers: Any = importlib.import_module("transformers")
WEIGHT = 0.8
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def exported(made: Path) -> Path:
    """The folder that the command makes of a folder of diffusers with ControlNet, as floats."""
    out = made / "exported"
    arguments = ["--base", made / "base", "--motion", made / "motion.ckpt", "--lora", made / "lora.safetensors"]
    arguments += ["--controlnet", made / "control", "--out", out, "--precision", "fp32", "--slices", 2]
    arguments += ["--licence", "motion=MIT"]
    done = CliRunner().invoke(app, ["animatelcm", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    print(done.output)
    assert done.output.count("largest difference") == 6
    return out


@pytest.fixture(scope="module")
def halved(made: Path, request_of: Callable[..., command.Request]) -> Path:
    """The folder made of a single file with a tiny autoencoder, in half precision, with norms as in diffusers."""
    wanted = request_of(out=made / "halved", precision="fp16", motion_norm="clip", tiny_vae=made / "taesd", clip_skip=2)
    print(*command.export(wanted), sep="\n")
    return wanted.out


@pytest.fixture(scope="module")
def sessions(exported: Path) -> dict[str, ort.InferenceSession]:
    """Graphs of the folder, loaded as they are: optimising takes longer than the tests' few runs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return {
        path.stem: ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for path in exported.glob("*.onnx")
    }


def answers(session: ort.InferenceSession, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    found = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return [torch.from_numpy(value) for value in found]


def merged(made: Path, weights: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """State dictionary with the LoRA added."""
    lora, weights = load_file(made / "lora.safetensors"), dict(weights)
    for name in weights:
        key = f"{prefix}_{name.removesuffix('.weight').removeprefix('text_model.').replace('.', '_')}"
        if f"{key}.alpha" in lora:
            up, down = lora[f"{key}.lora_up.weight"], lora[f"{key}.lora_down.weight"]
            change = torch.einsum("or,ri->oi", up.flatten(1), down.flatten(1)).reshape(weights[name].shape)
            weights[name] = weights[name] + WEIGHT * lora[f"{key}.alpha"] / down.shape[0] * change
    return weights


@pytest.fixture(scope="module")
def reference(made: Path) -> Any:
    """diffusers' own network of base, LoRA and motion modules."""
    unet = diffusers.UNet2DConditionModel.from_pretrained(made / "base" / "unet")
    files.filled(unet, merged(made, unet.state_dict(), "lora_unet"))
    return diffusers.UNetMotionModel.from_unet2d(unet, diffusers.MotionAdapter.from_pretrained(made / "adapter")).eval()


class Frames(torch.nn.Module):
    """A norm of each frame for itself, in diffusers' order of axes."""

    def __init__(self, norm: torch.nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.norm(x[0].transpose(0, 1)).transpose(0, 1)[None]
        return found


def by_frames(net: Any) -> Any:
    net = copy.deepcopy(net)
    for module in net.modules():
        if type(module).__name__ == "AnimateDiffTransformer3D":
            module.norm = Frames(module.norm)
    return net


def step_of(
    net: Any, inputs: dict[str, torch.Tensor], timestep: int, last: bool
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """One step with diffusers' network and scheduler, to the next latents."""
    scheduler: Any = diffusers.LCMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="linear", original_inference_steps=100, clip_sample=False
    )
    scheduler.set_timesteps(4)
    assert scheduler.timesteps.tolist() == [999, 749, 499, 249]
    video = inputs["latents"].transpose(0, 1)[None]
    residuals = [inputs[name] for name in inputs if name.startswith("residual")]
    text = inputs["text"].expand(video.shape[2], -1, -1)  # diffusers wants one for each frame
    with torch.no_grad():
        found = net(
            video,
            timestep,
            text,
            down_block_additional_residuals=residuals[:-1] or None,
            mid_block_additional_residual=residuals[-1] if residuals else None,
        ).sample
        seed = torch.Generator().manual_seed(7)
        result = scheduler.step(found, timestep, video, generator=seed, return_dict=False)[0]
    noise = torch.randn(video.shape, generator=torch.Generator().manual_seed(7))
    alpha = graphs.alphas()
    assert torch.allclose(alpha, scheduler.alphas_cumprod)
    here, there = alpha[timestep], 1.0 if last else alpha[timestep - 250]
    scalars: dict[str, float | torch.Tensor] = {"timestep": timestep, "signal": here**0.5, "spread": (1 - here) ** 0.5}
    scalars |= {"next_signal": there**0.5, "next_spread": (1 - there) ** 0.5}
    given = inputs | {name: torch.tensor([float(value)]) for name, value in scalars.items()}
    return given | {"noise": noise[0].transpose(0, 1).contiguous()}, result[0].transpose(0, 1)


def inputs_of(
    frames: int = 3, height: int = 8, width: int = 16, control: bool = True, whole: bool = True
) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    inputs = graphs.example_of_denoise(files.TINY.widths, files.TINY.text, frames, height, width, control)
    return inputs | {"mask": torch.zeros(frames, frames)} if whole else inputs


# ---- graphs


@pytest.mark.parametrize(("timestep", "last"), [(999, False), (499, False), (249, True)])
def test_step_is_that_of_diffusers(
    sessions: dict[str, ort.InferenceSession], reference: Any, timestep: int, last: bool
) -> None:
    given, wanted = step_of(by_frames(reference), inputs_of(), timestep, last)
    found = answers(sessions["denoise"], given)[0]
    difference = float((found - wanted).abs().max()) / max(1.0, float(wanted.abs().max()))
    print(f"timestep {timestep}: {difference:.2e}")
    assert difference < 1e-4


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 8, 8), (5, 16, 8)])
def test_other_sizes(
    sessions: dict[str, ort.InferenceSession], reference: Any, frames: int, height: int, width: int
) -> None:
    given, wanted = step_of(by_frames(reference), inputs_of(frames, height, width), 749, False)
    found = answers(sessions["denoise"], given)[0]
    assert float((found - wanted).abs().max()) < 1e-4 * max(1, float(wanted.abs().max()))


def test_norms_over_the_clip_are_those_of_diffusers(
    made: Path, request_of: Callable[..., command.Request], reference: Any
) -> None:
    base = parts.open_base(made / "base")
    motion = parts.read_motion(made / "adapter", base, Pooling.CLIP, [])
    unet, weights = base.unet(), reference.state_dict()
    files.filled(unet, {name: weights[name] for name in unet.state_dict()})
    net = graphs.Denoiser(unet, motion, 2).eval()
    given, wanted = step_of(reference, inputs_of(control=False), 499, False)
    with torch.no_grad():
        assert float((net(*given.values()) - wanted).abs().max()) < 1e-4
        # a mask parts the norms as it parts attention
        mask = torch.tensor([[0.0, 0, -10000], [0, 0, -10000], [-10000, -10000, 0]])
        first = {name: value[:2] if name in ("latents", "noise") else value for name, value in given.items()}
        alone = net(*(first | {"mask": torch.zeros(2, 2)}).values())
        assert torch.allclose(net(*(given | {"mask": mask}).values())[:2], alone, atol=1e-5)


def test_mask_parts_scenes(sessions: dict[str, ort.InferenceSession]) -> None:
    given = inputs_of(4, 8, 8, whole=False)
    assert (given["mask"][0] == torch.tensor([0.0, 0, -10000, -10000])).all()
    found = answers(sessions["denoise"], given)[0]
    other = given | {"latents": torch.cat([given["latents"][:2], torch.randn(2, 4, 8, 8)])}
    changed = answers(sessions["denoise"], other)[0]
    assert torch.equal(found[:2], changed[:2]) and not torch.allclose(found[2:], changed[2:], atol=1e-3)
    joined = answers(sessions["denoise"], other | {"mask": torch.zeros(4, 4)})[0]
    assert not torch.allclose(found[:2], joined[:2], atol=1e-4)


def test_control_is_that_of_diffusers(made: Path, sessions: dict[str, ort.InferenceSession]) -> None:
    net = diffusers.ControlNetModel.from_pretrained(made / "control").eval()
    given = inputs_of(control=False)
    image, strength = torch.rand(3, 3, 64, 128), torch.tensor([0.6])
    with torch.no_grad():
        down, middle = net(
            given["latents"], 499, given["text"].expand(3, -1, -1), image, conditioning_scale=0.6, return_dict=False
        )
    fed = {name: given[name] for name in ("latents", "timestep", "text")} | {"image": image, "strength": strength}
    found = answers(sessions["control"], fed)
    shapes = graphs.residual_shapes(files.TINY.widths, 3, 8, 16)
    for value, wanted, shape in zip(found, [*down, middle], shapes, strict=True):
        assert value.shape == shape and torch.allclose(value, wanted, atol=1e-4)


def test_autoencoder_is_that_of_diffusers(made: Path, sessions: dict[str, ort.InferenceSession]) -> None:
    vae = diffusers.AutoencoderKL.from_pretrained(made / "base" / "vae").eval()
    image, latents = torch.rand(2, 3, 64, 128) * 2 - 1, torch.randn(2, 4, 8, 16)
    with torch.no_grad():
        wanted = vae.encode(image).latent_dist.mode() * 0.18215
        assert torch.allclose(answers(sessions["encode"], {"image": image})[0], wanted, atol=1e-4)
        wanted = vae.decode(latents / 0.18215).sample
    found = answers(sessions["decode"], {"latents": latents})[0]
    assert float((found - wanted).abs().max()) < 1e-4 * max(1, float(wanted.abs().max()))


@pytest.mark.parametrize("skip", [1, 2])
def test_text_is_that_of_transformers(made: Path, sessions: dict[str, ort.InferenceSession], skip: int) -> None:
    text = transformers.CLIPTextModel.from_pretrained(made / "base" / "text_encoder").eval()
    tokens = torch.randint(0, 600, (1, CONTEXT), dtype=torch.int32)
    base = parts.open_base(made / "base")
    with torch.no_grad():
        states = text(tokens.long(), output_hidden_states=True).hidden_states
        norm = next(module for name, module in text.named_modules() if name.endswith("final_layer_norm"))
        assert torch.allclose(base.text(skip)(tokens), norm(states[-skip]), atol=1e-5)
        files.filled(text, merged(made, text.state_dict(), "lora_te_text_model"))
        wanted = text(tokens.long()).last_hidden_state
    assert torch.allclose(answers(sessions["text"], {"tokens": tokens})[0], wanted, atol=1e-4)


@pytest.mark.parametrize("slices", [2, 8])
def test_slices_change_nothing(slices: int) -> None:
    q, k, v = torch.randn(3, 64, 32), torch.randn(1, 77, 32), torch.randn(1, 77, 32)
    wanted = attend(q, k, v, 8)
    assert torch.allclose(attend(q, k, v, 8, slices=slices), wanted, atol=1e-6)
    heads = [x.reshape(x.shape[0], -1, 8, 4).transpose(1, 2) for x in (q, k.expand(3, -1, -1), v.expand(3, -1, -1))]
    other = torch.nn.functional.scaled_dot_product_attention(heads[0], heads[1], heads[2])
    assert torch.allclose(wanted, other.transpose(1, 2).reshape(3, 64, 32), atol=1e-6)


# ---- the folder


def test_folder_is_a_model(exported: Path, made: Path) -> None:
    model = open_model(exported)
    assert model.kind == "animatelcm" and "MIT" in model.licence and command.UNKNOWN in model.licence
    for name in model.files:
        assert model.read(name)
    manifest = json.loads((exported / "manifest.json").read_text())
    names = {source["name"] for source in manifest["sources"]}
    assert {"motion.ckpt", "lora.safetensors", "unet/diffusion_pytorch_model.safetensors"} <= names
    assert manifest["command"].startswith("animup export") and manifest["parameters"] > 3_000_000
    assert manifest["animatelcm"]["residuals"] == 13
    assert [path.name for path in made.glob(".exported*")] == []


def test_graphs_have_the_documented_names(exported: Path) -> None:
    names = {}
    for path in exported.glob("*.onnx"):
        graph = onnx.load(path, load_external_data=False).graph
        names[path.stem] = [value.name for value in graph.input], [value.name for value in graph.output]
        assert all(node.op_type != "Identity" for node in graph.node)
        kinds = {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
        assert kinds <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT32}
    residuals = [f"residual_{i}" for i in range(13)]
    step = ["latents", "noise", "timestep", "signal", "spread", "next_signal", "next_spread", "text", "mask"]
    kept = [f"{part}_{i}" for i in range(21) for part in ("keys", "values", "scores")]  # of each motion module
    orders = ["memory_mask", "slot_order", "frame_order"]
    assert names == {
        "denoise_memory": (step + orders + residuals + kept, ["next_latents", *(f"next_{name}" for name in kept)]),
        "text": (["tokens"], ["text"]),
        "encode": (["image"], ["latents"]),
        "decode": (["latents"], ["image"]),
        "denoise": (step + residuals, ["next_latents"]),
        "control": (["latents", "timestep", "text", "image", "strength"], residuals),
    }


def test_half_precision_keeps_norms_and_softmax_wide(halved: Path) -> None:
    model = onnx.load(halved / "denoise.onnx", load_external_data=False)
    half = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    assert "unet.conv_in.weight" in half and not any("norm" in name for name in half)
    shapes = onnx.shape_inference.infer_shapes(model).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*shapes.value_info, *shapes.output)}
    for kind in ("Softmax", "LayerNormalization", "InstanceNormalization", "ReduceMean"):
        found = [kinds.get(node.output[0]) for node in model.graph.node if node.op_type == kind]
        assert len(found) > 20 and set(found) == {onnx.TensorProto.FLOAT}, kind
    assert sum(path.stat().st_size for path in halved.glob("denoise.*")) < 13_000_000


def test_tensorrt_builds_the_denoiser(halved: Path, tmp_path: Path) -> None:
    """At the sizes that the sampler asks for, without a GPU; the precision is the export's."""
    model = AnimateLcm.open(halved)
    grid = network_grids(model, 64, 64)["denoise"]
    path = halved / "denoise.onnx"
    sizes = {**model.frame_sizes("denoise"), **tile_sizes(grid, model.factor), "frames": 2}
    request = Request(network=path, origin=str(path), sizes=sizes)
    cache = Cache(tmp_path)
    assert plan(library.find(), request, Target(), cache).data.startswith(b"vtrt")
    (entry,) = cache.entries()
    assert entry.path.name.startswith("halved-denoise_fp16_8x8_frames2_trt-rtx-")
    assert model.frame_sizes("denoise") == {"frames": (1, 16, 16)}


def test_a_folder_is_replaced_whole_or_not_at_all(exported: Path, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    manifest = json.loads((exported / "manifest.json").read_text())
    for text in ("first", "second"):
        with model_folder(out, manifest) as new:
            (new / "a.onnx").write_text(text)
        assert open_model(out).read("a.onnx") == text.encode()
    with pytest.raises(KeyboardInterrupt), model_folder(out, manifest) as new:
        (new / "a.onnx").write_text("half")
        raise KeyboardInterrupt
    assert open_model(out).read("a.onnx") == b"second" and list(tmp_path.iterdir()) == [out]
