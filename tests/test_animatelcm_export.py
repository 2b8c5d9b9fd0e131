"""AnimateLCM's export: every layout of checkpoints is read alike, and the graphs compute what diffusers computes."""

import copy
import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    ControlNetModel,
    LCMScheduler,
    MotionAdapter,
    UNet2DConditionModel,
    UNetMotionModel,
)  # fmt: skip
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel
from typer.testing import CliRunner

from export.__main__ import app
from export.animatelcm import command, graphs, onnx_files, parts
from export.animatelcm.checkpoints import open_tensors, read_lora
from export.animatelcm.command import Request
from export.animatelcm.layers import Pooling, attend
from export.folder import model_folder
from tests import animatelcm_files as files
from vsanimup.diffusion.tokenizer import CONTEXT
from vsanimup.errors import AnimupError
from vsanimup.models import open_model

WEIGHT = 0.8
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def filled(net, weights):
    """A network with these weights."""
    missing, surplus = net.load_state_dict(weights, strict=False, assign=True)
    assert not surplus and all("pos_embed" in name or "position_ids" in name for name in missing)
    return net.eval().requires_grad_(False)


def saved(kind, folder, **config):
    """A network of diffusers with random weights, in a folder."""
    net = kind(**config)
    filled(net, files.random(net)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Checkpoints of one model in every layout."""
    folder = tmp_path_factory.mktemp("animatelcm")
    torch.manual_seed(0)
    unet, vae, motion, text = files.networks(files.TINY)
    weights = {"unet": files.random(unet), "vae": files.random(vae), "text": files.random(text)}
    base = folder / "base"
    filled(unet, weights["unet"]).save_pretrained(base / "unet")
    filled(vae, weights["vae"]).save_pretrained(base / "vae")
    kinds = CLIPTextConfig(**{**text.config.to_dict(), "torch_dtype": None})
    filled(CLIPTextModel(kinds), weights["text"]).save_pretrained(base / "text_encoder")
    files.write_tokenizer(base / "tokenizer")
    (base / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    save_file(files.single(*weights.values()), folder / "base.safetensors")

    moves = files.random(motion)
    whole = MotionAdapter(block_out_channels=files.TINY["widths"])
    filled(whole, moves).save_pretrained(folder / "adapter")
    official = {files.official_motion(name): value for name, value in moves.items()}
    torch.save(official, folder / "motion.ckpt")
    torch.save({"state_dict": {f"module.{n}": v for n, v in official.items()}}, folder / "module.ckpt")
    save_file(official, folder / "motion.safetensors")
    save_file(files.lora_of(weights["unet"], 4, weights["text"]), folder / "lora.safetensors")
    widths = files.TINY["widths"]
    saved(
        ControlNetModel, folder / "control", block_out_channels=widths, cross_attention_dim=files.TINY["text"],
        attention_head_dim=8,
    )  # fmt: skip
    tiny = {"encoder_block_out_channels": (16,) * 4, "decoder_block_out_channels": (16,) * 4}
    saved(AutoencoderTiny, folder / "taesd", **tiny, num_encoder_blocks=(1, 1, 1, 1), num_decoder_blocks=(1, 1, 1, 1))
    return folder


@pytest.fixture(scope="module")
def request_of(made):
    """What the command is asked for, with some of it changed."""

    def make(**changed):
        whole = Request(
            base=made / "base.safetensors", motion=made / "motion.ckpt", lora=made / "lora.safetensors",
            lora_weight=WEIGHT, controlnet=None, vae=None, tiny_vae=None, tokenizer=made / "base" / "tokenizer",
            out=made / "out", precision="fp32", clip_skip=1, slices=8, motion_norm="frame", licences={},
        )  # fmt: skip
        return replace(whole, **changed)

    return make


@pytest.fixture(scope="module")
def exported(made):
    """The folder that the command makes of a folder of diffusers with ControlNet, as floats."""
    out = made / "exported"
    arguments = ["--base", made / "base", "--motion", made / "motion.ckpt", "--lora", made / "lora.safetensors"]
    arguments += ["--controlnet", made / "control", "--out", out, "--precision", "fp32", "--licence", "motion=MIT"]
    done = CliRunner().invoke(app, ["animatelcm", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    print(done.output)
    assert done.output.count("largest difference") == 5
    return out


@pytest.fixture(scope="module")
def halved(made, request_of):
    """The folder made of a single file with a tiny autoencoder, in half precision, with norms as in diffusers."""
    wanted = request_of(out=made / "halved", precision="fp16", motion_norm="clip", tiny_vae=made / "taesd", clip_skip=2)
    print(*command.export(wanted), sep="\n")
    return wanted.out


@pytest.fixture(scope="module")
def sessions(exported):
    """Graphs of the folder, loaded."""
    return {
        path.stem: ort.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in exported.glob("*.onnx")
    }


def answers(session, inputs):
    found = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return [torch.from_numpy(value) for value in found]


def merged(made, weights, prefix):
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
def reference(made):
    """diffusers' own network of base, LoRA and motion modules."""
    unet = UNet2DConditionModel.from_pretrained(made / "base" / "unet")
    filled(unet, merged(made, unet.state_dict(), "lora_unet"))
    return UNetMotionModel.from_unet2d(unet, MotionAdapter.from_pretrained(made / "adapter")).eval()


class Frames(torch.nn.Module):
    """A norm of each frame for itself, in diffusers' order of axes."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x):
        return self.norm(x[0].transpose(0, 1)).transpose(0, 1)[None]


def by_frames(net):
    net = copy.deepcopy(net)
    for module in net.modules():
        if type(module).__name__ == "AnimateDiffTransformer3D":
            module.norm = Frames(module.norm)
    return net


def step_of(net, inputs, timestep, last):
    """One step with diffusers' network and scheduler, to the next latents."""
    scheduler = LCMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="linear", original_inference_steps=100, clip_sample=False
    )
    scheduler.set_timesteps(4)
    assert scheduler.timesteps.tolist() == [999, 749, 499, 249]
    video = inputs["latents"].transpose(0, 1)[None]
    residuals = [inputs[name] for name in inputs if name.startswith("residual")]
    text = inputs["text"].expand(video.shape[2], -1, -1)  # diffusers wants one for each frame
    with torch.no_grad():
        found = net(
            video, timestep, text, down_block_additional_residuals=residuals[:-1] or None,
            mid_block_additional_residual=residuals[-1] if residuals else None,
        ).sample  # fmt: skip
        seed = torch.Generator().manual_seed(7)
        result = scheduler.step(found, timestep, video, generator=seed, return_dict=False)[0]
    noise = torch.randn(video.shape, generator=torch.Generator().manual_seed(7))
    alpha = graphs.alphas()
    assert torch.allclose(alpha, scheduler.alphas_cumprod)
    here, there = alpha[timestep], 1.0 if last else alpha[timestep - 250]
    scalars = {"timestep": timestep, "signal": here**0.5, "spread": (1 - here) ** 0.5}
    scalars |= {"next_signal": there**0.5, "next_spread": (1 - there) ** 0.5}
    given = inputs | {name: torch.tensor([float(value)]) for name, value in scalars.items()}
    return given | {"noise": noise[0].transpose(0, 1).contiguous()}, result[0].transpose(0, 1)


def inputs_of(frames=3, height=8, width=16, control=True, whole=True):
    torch.manual_seed(3)
    inputs = graphs.example_of_denoise(files.TINY["widths"], files.TINY["text"], frames, height, width, control)
    return inputs | {"mask": torch.zeros(frames, frames)} if whole else inputs


# ---- layouts


@pytest.mark.parametrize("motion", ["motion.ckpt", "module.ckpt", "motion.safetensors", "adapter"])
def test_layouts_of_the_motion_module_are_one(made, motion):
    base, sources = parts.open_base(made / "base"), []
    net = parts.read_motion(made / motion, base, Pooling.FRAME, sources)
    wanted = {n: v for n, v in MotionAdapter.from_pretrained(made / "adapter").state_dict().items() if "pos_" not in n}
    found = net.state_dict()
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert len(wanted) == 21 * 26 and sources


def test_layouts_of_the_base_are_one(made):
    folder, single = parts.open_base(made / "base"), parts.open_base(made / "base.safetensors")
    for key in ("in_channels", "out_channels", "block_out_channels", "cross_attention_dim", "attention_head_dim"):
        assert np.all(np.array(folder.config[key]) == np.array(single.config[key])), key
    for part in (lambda b: b.unet(), lambda b: b.vae(), lambda b: b.text(1)):
        a, b = part(folder), part(single)
        assert a.state_dict().keys() == b.state_dict().keys()
        assert all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())
    a, b = folder.vae().config, single.vae().config
    assert all(a[key] == b[key] for key in ("scaling_factor", "norm_num_groups", "act_fn"))
    assert parts.unused(single) == ["alphas_cumprod"] and not parts.unused(folder)


def test_old_names_in_an_autoencoder(made, tmp_path):
    tensors = load_file(made / "base" / "vae" / "diffusion_pytorch_model.safetensors")
    for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        tensors = {name.replace(f"attentions.0.{new}.", f"attentions.0.{old}."): v for name, v in tensors.items()}
    save_file(tensors, tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_bytes((made / "base" / "vae" / "config.json").read_bytes())
    found, wanted = parts.read_vae(tmp_path, []).state_dict(), parts.open_base(made / "base").vae().state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


# ---- graphs


@pytest.mark.parametrize(("timestep", "last"), [(999, False), (499, False), (249, True)])
def test_step_is_that_of_diffusers(sessions, reference, timestep, last):
    given, wanted = step_of(by_frames(reference), inputs_of(), timestep, last)
    found = answers(sessions["denoise"], given)[0]
    difference = float((found - wanted).abs().max() / max(1, wanted.abs().max()))
    print(f"timestep {timestep}: {difference:.2e}")
    assert difference < 1e-4


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 8, 8), (5, 16, 8)])
def test_other_sizes(sessions, reference, frames, height, width):
    given, wanted = step_of(by_frames(reference), inputs_of(frames, height, width), 749, False)
    found = answers(sessions["denoise"], given)[0]
    assert float((found - wanted).abs().max()) < 1e-4 * max(1, float(wanted.abs().max()))


def test_norms_over_the_clip_are_those_of_diffusers(made, request_of, reference):
    base = parts.open_base(made / "base")
    motion = parts.read_motion(made / "adapter", base, Pooling.CLIP, [])
    unet = filled(base.unet(), {name: reference.state_dict()[name] for name in base.unet().state_dict()})
    net = graphs.Denoiser(unet, motion, 8).eval()
    given, wanted = step_of(reference, inputs_of(control=False), 499, False)
    with torch.no_grad():
        assert float((net(*given.values()) - wanted).abs().max()) < 1e-4
        # a mask parts the norms as it parts attention
        mask = torch.tensor([[0.0, 0, -10000], [0, 0, -10000], [-10000, -10000, 0]])
        first = {name: value[:2] if name in ("latents", "noise") else value for name, value in given.items()}
        alone = net(*(first | {"mask": torch.zeros(2, 2)}).values())
        assert torch.allclose(net(*(given | {"mask": mask}).values())[:2], alone, atol=1e-5)


def test_mask_parts_scenes(sessions):
    given = inputs_of(4, 8, 8, whole=False)
    assert (given["mask"][0] == torch.tensor([0.0, 0, -10000, -10000])).all()
    found = answers(sessions["denoise"], given)[0]
    other = given | {"latents": torch.cat([given["latents"][:2], torch.randn(2, 4, 8, 8)])}
    changed = answers(sessions["denoise"], other)[0]
    assert torch.equal(found[:2], changed[:2]) and not torch.allclose(found[2:], changed[2:], atol=1e-3)
    joined = answers(sessions["denoise"], other | {"mask": torch.zeros(4, 4)})[0]
    assert not torch.allclose(found[:2], joined[:2], atol=1e-4)


def test_control_is_that_of_diffusers(made, sessions):
    net = ControlNetModel.from_pretrained(made / "control").eval()
    given = inputs_of(control=False)
    image, strength = torch.rand(3, 3, 64, 128), torch.tensor([0.6])
    with torch.no_grad():
        down, middle = net(
            given["latents"], 499, given["text"].expand(3, -1, -1), image, conditioning_scale=0.6, return_dict=False
        )
    fed = {name: given[name] for name in ("latents", "timestep", "text")} | {"image": image, "strength": strength}
    found = answers(sessions["control"], fed)
    shapes = graphs.residual_shapes(files.TINY["widths"], 3, 8, 16)
    for value, wanted, shape in zip(found, [*down, middle], shapes, strict=True):
        assert value.shape == shape and torch.allclose(value, wanted, atol=1e-4)


def test_autoencoder_is_that_of_diffusers(made, sessions):
    vae = AutoencoderKL.from_pretrained(made / "base" / "vae").eval()
    image, latents = torch.rand(2, 3, 64, 128) * 2 - 1, torch.randn(2, 4, 8, 16)
    with torch.no_grad():
        wanted = vae.encode(image).latent_dist.mode() * 0.18215
        assert torch.allclose(answers(sessions["encode"], {"image": image})[0], wanted, atol=1e-4)
        wanted = vae.decode(latents / 0.18215).sample
    found = answers(sessions["decode"], {"latents": latents})[0]
    assert float((found - wanted).abs().max()) < 1e-4 * max(1, float(wanted.abs().max()))


@pytest.mark.parametrize("skip", [1, 2])
def test_text_is_that_of_transformers(made, sessions, skip):
    text = CLIPTextModel.from_pretrained(made / "base" / "text_encoder").eval()
    tokens = torch.randint(0, 600, (1, CONTEXT), dtype=torch.int32)
    base = parts.open_base(made / "base")
    with torch.no_grad():
        states = text(tokens.long(), output_hidden_states=True).hidden_states
        norm = next(module for name, module in text.named_modules() if name.endswith("final_layer_norm"))
        assert torch.allclose(base.text(skip)(tokens), norm(states[-skip]), atol=1e-5)
        filled(text, merged(made, text.state_dict(), "lora_te_text_model"))
        wanted = text(tokens.long()).last_hidden_state
    assert torch.allclose(answers(sessions["text"], {"tokens": tokens})[0], wanted, atol=1e-4)


@pytest.mark.parametrize("slices", [2, 8])
def test_slices_change_nothing(slices):
    q, k, v = torch.randn(3, 64, 32), torch.randn(1, 77, 32), torch.randn(1, 77, 32)
    wanted = attend(q, k, v, 8)
    assert torch.allclose(attend(q, k, v, 8, slices=slices), wanted, atol=1e-6)
    heads = [x.reshape(x.shape[0], -1, 8, 4).transpose(1, 2) for x in (q, k.expand(3, -1, -1), v.expand(3, -1, -1))]
    other = torch.nn.functional.scaled_dot_product_attention(*heads)
    assert torch.allclose(wanted, other.transpose(1, 2).reshape(3, 64, 32), atol=1e-6)


# ---- the folder


def test_folder_is_a_model(exported, made):
    model = open_model(exported)
    assert model.kind == "animatelcm" and "MIT" in model.licence and command.UNKNOWN in model.licence
    for name in model.files:
        assert model.read(name)
    manifest = json.loads((exported / "manifest.json").read_text())
    names = {source["name"] for source in manifest["sources"]}
    assert {"motion.ckpt", "lora.safetensors", "unet/diffusion_pytorch_model.safetensors"} <= names
    assert manifest["command"].startswith("python -m export") and manifest["parameters"] > 3_000_000
    assert manifest["animatelcm"]["residuals"] == 13
    assert [path.name for path in made.glob(".exported*")] == []


def test_graphs_have_the_documented_names(exported):
    names = {}
    for path in exported.glob("*.onnx"):
        graph = onnx.load(path, load_external_data=False).graph
        names[path.stem] = [value.name for value in graph.input], [value.name for value in graph.output]
        assert all(node.op_type != "Identity" for node in graph.node)
        kinds = {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
        assert kinds <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT32}
    residuals = [f"residual_{i}" for i in range(13)]
    step = ["latents", "noise", "timestep", "signal", "spread", "next_signal", "next_spread", "text", "mask"]
    assert names == {
        "text": (["tokens"], ["text"]), "encode": (["image"], ["latents"]), "decode": (["latents"], ["image"]),
        "denoise": (step + residuals, ["next_latents"]),
        "control": (["latents", "timestep", "text", "image", "strength"], residuals),
    }  # fmt: skip


def test_half_precision_keeps_norms_and_softmax_wide(halved):
    model = onnx.load(halved / "denoise.onnx", load_external_data=False)
    half = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    assert "unet.conv_in.weight" in half and not any("norm" in name for name in half)
    shapes = onnx.shape_inference.infer_shapes(model).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*shapes.value_info, *shapes.output)}
    for kind in ("Softmax", "LayerNormalization", "InstanceNormalization", "ReduceMean"):
        found = [kinds.get(node.output[0]) for node in model.graph.node if node.op_type == kind]
        assert len(found) > 20 and set(found) == {onnx.TensorProto.FLOAT}, kind
    assert sum(path.stat().st_size for path in halved.glob("denoise.*")) < 13_000_000


# ---- what goes wrong


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"precision": "bf16"}, "--precision must be fp32 or fp16"),
        ({"base": Path("no/such")}, "does not exist"),
        ({"motion": Path("no/such.ckpt")}, "does not exist"),
        ({"lora": Path("no/such.safetensors")}, "does not exist"),
        ({"controlnet": Path("no")}, "has no weights"),
        ({"tokenizer": None}, "--tokenizer FOLDER"),
        ({"tokenizer": Path("no")}, r"vocab\.json cannot be read"),
        ({"vae": Path("a"), "tiny_vae": Path("b")}, "give one of them"),
        ({"slices": 3}, "power of two"),
        ({"lora_weight": -1}, "--lora-weight"),
        ({"motion_norm": "none"}, "--motion-norm"),
        ({"out": Path(__file__)}, "is no model folder"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_arguments(request_of, changed, said):
    with pytest.raises(AnimupError, match=said):
        list(command.export(request_of(**changed)))
    assert not request_of().out.exists()


def test_too_little_memory_or_disk(request_of, monkeypatch):
    monkeypatch.setattr(command, "free_memory", lambda: 1 << 20)
    with pytest.raises(AnimupError, match=r"needs about .* of memory and 1.0 MiB are free: close other"):
        list(command.export(request_of()))
    monkeypatch.undo()
    monkeypatch.setattr(command.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 1 << 20}))
    with pytest.raises(AnimupError, match=r"1.0 MiB are free at .*make room"):
        list(command.export(request_of()))
    assert not request_of().out.exists()


def test_full_disk_while_writing(request_of, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(onnx_files, "trace", full)
    given = request_of()
    with pytest.raises(SystemExit, match=r"No space left on device; nothing was written .* make room"):
        command.main(**{name: value for name, value in vars(given).items() if name != "licences"})
    assert not given.out.exists() and not list(given.out.parent.glob(f".{given.out.name}*"))


def test_a_folder_is_replaced_whole_or_not_at_all(exported, made, tmp_path):
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


def changed_file(made, tmp_path, source, change):
    """A copy of a file of tensors with some of them changed."""
    tensors = dict(open_tensors(made / source))
    change(tensors)
    path = tmp_path / "changed.safetensors"
    save_file({name: value.contiguous() for name, value in tensors.items()}, path)
    return path


DOWN = "down_blocks.0.motion_modules.0.temporal_transformer"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(f"{DOWN}.proj_in.weight"), r"lacks down_blocks\.0\.motion_modules\.0\.proj_in\.weight"),
        (lambda t: t.update({"down_blocks.0.odd": torch.ones(1)}), r"has down_blocks\.0\.odd, which nothing takes"),
        (lambda t: t.update({"img_encoder.a": torch.ones(1)}), r"AnimateLCM-I2V.*AnimateLCM_sd15_t2v\.ckpt"),
        (lambda t: t.update({f"{DOWN}.norm.weight": torch.ones(48)}), r"\[48, 64, 64, 64\].*\[32, 64, 64, 64\]"),
        (lambda t: t.update({f"{DOWN}.proj_in.weight": torch.ones(32, 2)}), r"is \[32, 2\], wanted \[32, 32\]"),
        (
            lambda t: t.update({f"{DOWN}.norm.weight": torch.ones(32, dtype=torch.int8)}),
            r"is torch\.int8; give weights",
        ),
        (lambda t: t.clear(), "no motion module: it has no tensors"),
    ],
)
def test_bad_motion_module(made, tmp_path, change, said):
    path = changed_file(made, tmp_path, "motion.ckpt", change)
    with pytest.raises(AnimupError, match=said):
        parts.read_motion(path, parts.open_base(made / "base"), Pooling.FRAME, [])


def test_positions_in_a_motion_module_are_passed_over(made, tmp_path):
    name = f"{DOWN}.transformer_blocks.0.attention_blocks.0.pos_encoder.pe"
    path = changed_file(made, tmp_path, "motion.ckpt", lambda t: t.update({name: torch.ones(1, 24, 32)}))
    parts.read_motion(path, parts.open_base(made / "base"), Pooling.FRAME, [])


U = parts.UNET


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.update({"conditioner.embedders.0.a": torch.ones(1)}),
            "is of SDXL.*give one of Stable Diffusion 1.5",
        ),
        (lambda t: t.update({"cond_stage_model.model.a": torch.ones(1)}), "of Stable Diffusion 2"),
        (lambda t: t.update({f"{U}input_blocks.0.0.weight": torch.ones(32, 9, 3, 3)}), "inpainting"),
        (lambda t: t.update({f"{U}input_blocks.0.1.odd": torch.ones(1)}), r"has model\.diffusion_model.*odd"),
        (
            lambda t: t.pop(f"{U}input_blocks.1.0.in_layers.0.weight"),
            r"lacks down_blocks\.0\.resnets\.0\.norm1\.weight",
        ),
        (
            lambda t: [t.pop(name) for name in list(t) if name.startswith(parts.AUTOENCODER)],
            "--vae FOLDER or --tiny-vae",
        ),
        (lambda t: [t.pop(name) for name in list(t) if name.startswith(parts.TEXT)], "no text encoder"),
        (lambda t: t.clear(), "no whole checkpoint: it has no tensors"),
    ],
)
def test_bad_single_base(made, tmp_path, change, said):
    path = changed_file(made, tmp_path, "base.safetensors", change)
    with pytest.raises(AnimupError, match=said):
        base = parts.open_base(path)
        base.vae()
        base.text(1)
        base.unet()


@pytest.mark.parametrize(
    ("component", "change", "said"),
    [
        ("unet", {"addition_embed_type": "text_time"}, "of SDXL"),
        ("unet", {"cross_attention_dim": 1024}, "of Stable Diffusion 2"),
        ("unet", {"in_channels": 9}, "inpainting"),
        ("unet", {"layers_per_block": 3}, "some other network"),
        ("scheduler", {"prediction_type": "v_prediction"}, "predicts 'v_prediction'"),
        ("", {"_class_name": "StableDiffusionXLPipeline"}, "of SDXL"),
    ],
)
def test_bad_base_folder(made, tmp_path, component, change, said):
    names = {"": "model_index.json", "scheduler": "scheduler_config.json"}
    for part in ("", "unet", "scheduler"):
        source, path = (root / part / names.get(part, "config.json") for root in (made / "base", tmp_path))
        path.parent.mkdir(exist_ok=True)
        known = json.loads(source.read_text()) if source.exists() else {}
        path.write_text(json.dumps(known | (change if part == component else {})))
    with pytest.raises(AnimupError, match=said):
        parts.open_base(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.update({"lora_unet_odd.lora_down.weight": torch.ones(1, 1)}), "missing for lora_unet_odd"),
        (lambda t: t.update({"unet.a.lora_A.weight": torch.ones(1)}), r"kohya.*unet\.a\.lora_A"),
        (lambda t: t.clear(), "it is empty"),
    ],
)
def test_bad_lora(made, tmp_path, change, said):
    path = changed_file(made, tmp_path, "lora.safetensors", change)
    with pytest.raises(AnimupError, match=said):
        read_lora(path)


@pytest.mark.parametrize("shape", [(4, 32), (4, 7)])
def test_lora_that_does_not_fit(made, tmp_path, request_of, shape):
    known = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    name = "lora_unet_odd" if shape == (4, 32) else known

    def change(tensors):
        tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"] = torch.ones(shape), torch.ones(64, 4)

    path = changed_file(made, tmp_path, "lora.safetensors", change)
    with pytest.raises(AnimupError, match=r"lora_unet_odd, which the base lacks|does not fit the base"):
        list(command.export(request_of(lora=path)))
    assert not request_of().out.exists()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.safetensors", b"nonsense", "no whole safetensors file.*download it again"),
        ("a.ckpt", b"nonsense", "download it again|more than tensors"),
        ("a.zip", b"", r"must be a \.safetensors"),
    ],
)
def test_damaged_files(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(AnimupError, match=said):
        open_tensors(tmp_path / name)


def test_a_checkpoint_with_code_is_not_run(tmp_path):
    torch.save({"a": Path("x"), "b": np.random.default_rng}, tmp_path / "a.ckpt")
    with pytest.raises(AnimupError, match="more than tensors, which could run foreign code"):
        open_tensors(tmp_path / "a.ckpt")


def test_numbers_that_do_not_fit(tmp_path):
    for value, said in ((torch.tensor([1e6]).half(), "--precision fp32"), (torch.tensor([np.nan]), "damaged")):
        with pytest.raises(AnimupError, match=said):
            onnx_files.store(onnx.ModelProto(), {"a": value}, tmp_path, "x")


def test_a_graph_that_differs_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_files, "run", lambda path, inputs: [inputs["x"].numpy() + 1])
    said = onnx_files.export(
        lambda: torch.nn.Linear(2, 2), name="x", folder=tmp_path, example={"x": torch.ones(1, 2)},
        other={"x": torch.ones(1, 2)}, outputs=["y"], axes={}, precision="fp32",
    )  # fmt: skip
    with pytest.raises(AnimupError, match="above the tolerance of 1e-04"):
        list(said)


def test_other_controlnets_are_refused(made, tmp_path):
    config = json.loads((made / "control" / "config.json").read_text()) | {"cross_attention_dim": 2048}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(AnimupError, match=r"does not fit the base.*control_v11f1e_sd15_tile"):
        parts.read_control(tmp_path, parts.open_base(made / "base"), [])
