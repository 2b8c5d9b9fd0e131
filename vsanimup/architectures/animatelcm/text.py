"""The text encoder, as the module that is exported."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsanimup.architectures.animatelcm.layers import attend, with_float_norms

CONTEXT = 77
"""Tokens of a prompt."""


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Shape of a CLIP text encoder."""

    tokens: int
    """Entries of its vocabulary."""
    channels: int
    inner: int
    """Channels between the two layers of a feed-forward."""
    layers: int
    heads: int
    eps: float = 1e-5
    activation: str = "quick_gelu"
    """``quick_gelu`` or ``gelu``."""


class TextAttention(nn.Module):
    """Self-attention in which a token sees those before it."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y: Tensor = self.out_proj(attend(self.q_proj(x), self.k_proj(x), self.v_proj(x), self.heads, mask))
        return y


class TextLayer(nn.Module):
    """Attention and feed-forward of the text encoder, with CLIP's names."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.self_attn = TextAttention(config.channels, config.heads)
        self.layer_norm1, self.layer_norm2 = (nn.LayerNorm(config.channels, config.eps) for _ in range(2))
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(config.channels, config.inner), "fc2": nn.Linear(config.inner, config.channels)}
        )
        self.quick = config.activation == "quick_gelu"

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x), mask)
        inner = self.mlp["fc1"](self.layer_norm2(x))
        inner = inner * torch.sigmoid(1.702 * inner) if self.quick else F.gelu(inner)
        y: Tensor = x + self.mlp["fc2"](inner)
        return y


class TextEncoder(nn.Module):
    """CLIP's text encoder: the last hidden state, normed. ``layers`` may be fewer than the checkpoint has (clip skip).

    Its keys are those of transformers' CLIPTextModel without ``text_model.``.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict(
            {
                "token_embedding": nn.Embedding(config.tokens, config.channels),
                "position_embedding": nn.Embedding(CONTEXT, config.channels),
            }
        )
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList([TextLayer(config) for _ in range(config.layers)])})
        self.layers = config.layers
        self.final_layer_norm = nn.LayerNorm(config.channels, config.eps)

    def prepared(self) -> TextEncoder:
        """After its weights are loaded: norms in float32 and the causal mask."""
        with_float_norms(self)
        self.register_buffer("mask", torch.full((CONTEXT, CONTEXT), -10000.0).triu(1), persistent=False)
        return self

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embeddings["token_embedding"](tokens) + self.embeddings["position_embedding"].weight
        for i in range(self.layers):
            x = self.get_submodule(f"encoder.layers.{i}")(x, self.get_buffer("mask"))
        y: Tensor = self.final_layer_norm(x)
        return y.float()
