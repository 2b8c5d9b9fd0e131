"""AnimateLCM's export refuses what it cannot use, and says what to do instead."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from export.animatelcm import command, onnx_files, parts
from export.animatelcm.checkpoints import open_tensors
from export.animatelcm.loras import read_lora
from vsanimup.architectures.animatelcm.graphs import Denoiser
from vsanimup.architectures.animatelcm.layers import Pooling
from vsanimup.errors import AnimupError


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"precision": "bf16"}, "--precision must be fp32 or fp16"),
        ({"base": Path("no/such")}, "does not exist"),
        ({"motion": Path("no/such.ckpt")}, "does not exist"),
        ({"lora": Path("no/such.safetensors")}, "does not exist"),
        ({"controlnet": Path("no")}, "does not exist"),
        ({"tokenizer": Path("no")}, r"vocab\.json cannot be read"),
        ({"vae": Path("a"), "tiny_vae": Path("b")}, "give one of them"),
        ({"slices": 3}, "power of two"),
        ({"lora_weight": -1}, "--lora-weight"),
        ({"motion_norm": "none"}, "--motion-norm"),
        ({"out": Path(__file__)}, "is no model folder"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_arguments(request_of: Callable[..., Any], changed: dict[str, Any], said: str) -> None:
    with pytest.raises(AnimupError, match=said):
        list(command.export(request_of(**changed)))
    assert not request_of().out.exists()


def test_too_little_memory_or_disk(request_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "free_memory", lambda: 1 << 20)
    with pytest.raises(AnimupError, match=r"needs about .* of memory and 1.0 MiB are free: close other"):
        list(command.export(request_of()))
    monkeypatch.undo()
    monkeypatch.setattr(
        "export.animatelcm.command.shutil.disk_usage", lambda place: type("Usage", (), {"free": 1 << 20})
    )
    with pytest.raises(AnimupError, match=r"1.0 MiB are free at .*make room"):
        list(command.export(request_of()))
    assert not request_of().out.exists()


def test_full_disk_while_writing(
    request_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Denoiser | list[str] | dict[str, torch.Tensor | dict[int, str]], **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(onnx_files, "trace", full)
    given = request_of()
    with pytest.raises(SystemExit, match=r"No space left on device; nothing was written .* make room"):
        command.main(**{name: value for name, value in vars(given).items() if name != "licences"})
    assert not given.out.exists() and not list(given.out.parent.glob(f".{given.out.name}*"))


def changed_file(made: Path, tmp_path: Path, source: str, change: Callable[..., Any]) -> Path:
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
def test_bad_motion_module(made: Path, tmp_path: Path, change: Callable[..., Any], said: str) -> None:
    path = changed_file(made, tmp_path, "motion.ckpt", change)
    with pytest.raises(AnimupError, match=said):
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
            "give one with --vae or --tiny-vae",
        ),
        (lambda t: [t.pop(name) for name in list(t) if name.startswith(parts.TEXT)], "no text encoder"),
        (lambda t: t.clear(), "no whole checkpoint: it has no tensors"),
    ],
)
def test_bad_single_base(made: Path, tmp_path: Path, change: Callable[..., Any], said: str) -> None:
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
def test_bad_base_folder(made: Path, tmp_path: Path, component: str, change: dict[str, int | str], said: str) -> None:
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
        (
            lambda t: t.update({"unet.a.lora_A.weight": torch.ones(1)}),
            "in the layout of diffusers or PEFT: give.*kohya",
        ),
        (lambda t: t.clear(), "it is empty"),
    ],
)
def test_bad_lora(made: Path, tmp_path: Path, change: Callable[..., Any], said: str) -> None:
    path = changed_file(made, tmp_path, "lora.safetensors", change)
    with pytest.raises(AnimupError, match=said):
        read_lora(path)


@pytest.mark.parametrize("shape", [(4, 32), (4, 7)])
def test_lora_that_does_not_fit(
    made: Path, tmp_path: Path, request_of: Callable[..., Any], shape: tuple[int, int]
) -> None:
    known = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    name = "lora_unet_odd" if shape == (4, 32) else known

    def change(tensors: dict[str, torch.Tensor]) -> None:
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
def test_damaged_files(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(AnimupError, match=said):
        open_tensors(tmp_path / name)


def test_a_checkpoint_with_code_is_not_run(tmp_path: Path) -> None:
    torch.save({"a": Path("x"), "b": np.random.default_rng}, tmp_path / "a.ckpt")
    with pytest.raises(AnimupError, match="more than tensors, which could run foreign code"):
        open_tensors(tmp_path / "a.ckpt")


def test_numbers_that_do_not_fit(tmp_path: Path) -> None:
    for value, said in ((torch.tensor([1e6]).half(), "--precision fp32"), (torch.tensor([np.nan]), "damaged")):
        with pytest.raises(AnimupError, match=said):
            onnx_files.store(onnx.ModelProto(), {"a": value}, tmp_path, "x", "x")


def test_a_graph_that_differs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_files, "run", lambda path, inputs: [inputs["x"].numpy() + 1])
    said = onnx_files.export(
        lambda: torch.nn.Linear(2, 2),
        name="x",
        folder=tmp_path,
        example={"x": torch.ones(1, 2)},
        other={"x": torch.ones(1, 2)},
        outputs=["y"],
        axes={},
        precision="fp32",
    )
    with pytest.raises(AnimupError, match="above the tolerance of 1e-04"):
        list(said)


def test_other_controlnets_are_refused(made: Path, tmp_path: Path) -> None:
    config = json.loads((made / "control" / "config.json").read_text()) | {"cross_attention_dim": 2048}
    (tmp_path / "config.json").write_text(json.dumps(config))
    shutil.copy(made / "control.safetensors", tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(AnimupError, match=r"does not fit the base.*control_v11f1e_sd15_tile"):
        parts.read_control(tmp_path, parts.open_base(made / "base"), [])
