"""Layers as the exported graphs want them: attention of plain products and softmax, norms in float32, motion modules.

Everything here has the parameter names of the diffusers module that it stands for, and no state besides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional as F

POSITIONS = 32
"""Frames that the table of positions goes to."""
MOTION_HEADS = 8


class Pooling(StrEnum):
    """What a motion module's group norm takes its statistics of."""

    FRAME = "frame"
    """Each frame for itself, as AnimateLCM's own code does."""
    CLIP = "clip"
    """All frames that see one another, as diffusers does (which knows no mask)."""


class FloatGroupNorm(nn.GroupNorm):
    """Group norm that computes in float32 whatever comes in."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


class FloatLayerNorm(nn.LayerNorm):
    """Layer norm that computes in float32 whatever comes in."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


def with_float_norms(net: nn.Module) -> nn.Module:
    """``net`` with its norms replaced in place, parameters kept."""
    for path, module in list(net.named_modules()):
        new: nn.Module
        if type(module) is nn.GroupNorm:
            new = FloatGroupNorm(module.num_groups, module.num_channels, module.eps, module.affine, device="meta")
        elif type(module) is nn.LayerNorm:
            shape, affine = list(module.normalized_shape), module.elementwise_affine
            new = FloatLayerNorm(shape, module.eps, affine, bias=module.bias is not None, device="meta")
        else:
            continue
        new.load_state_dict(module.state_dict(), assign=True)
        parent, _, child = path.rpartition(".")
        setattr(net.get_submodule(parent), child, new)
    return net


def halve(net: nn.Module) -> None:
    """Turn parameters to float16, in place, one by one; those of norms stay as they are."""
    for module in net.modules():
        if isinstance(module, FloatGroupNorm | FloatLayerNorm):
            continue
        for parameter in module.parameters(recurse=False):
            parameter.data = parameter.data.half()


def softmax(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax over the last axis in float32; ``mask`` is added to the scores."""
    wide = scores.float()
    return F.softmax(wide if mask is None else wide + mask, dim=-1).to(scores.dtype)


def attend(
    query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None = None, slices: int = 1
) -> Tensor:
    """Attention ``[batch, queries, channels]`` of projected tokens ``[batch, tokens, channels]``.

    ``key`` and ``value`` may have batch 1 and serve every query. With ``slices`` the queries go in so many parts, one
    after the other, which divides the memory that the scores take; their number must divide by it.
    """
    width = query.shape[-1] // heads

    def apart(x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1, heads, width).transpose(1, 2)

    # scaled before the product, which in half precision could overflow
    q, k, v = apart(query * (int(width) ** -0.5)), apart(key).transpose(-1, -2), apart(value)
    if slices == 1:
        mixed = softmax(q @ k, mask) @ v
    else:
        parts = q.reshape(q.shape[0], heads, slices, -1, width).unbind(2)
        mixed = torch.cat([softmax(part @ k, mask) @ v for part in parts], 2)
    return mixed.transpose(1, 2).reshape(query.shape[0], -1, heads * width)


def paid(query: Tensor, key: Tensor, heads: int, mask: Tensor) -> Tensor:
    """Attention that a text pays to each place of each frame, ``[frames, places]`` in float32; 1 on average.

    ``query [frames, places, channels]`` are the picture's, ``key [1, tokens, channels]`` the text's. The softmax goes
    over the visual side: all places of the frames that ``mask [frames, frames]`` lets a frame see. The mean over heads
    and tokens is what AdaCM² (arXiv 2411.12593) goes by.
    """
    frames, places, width = query.shape[0], query.shape[1], query.shape[-1] // heads
    q = (query * (int(width) ** -0.5)).reshape(frames, places, heads, width).transpose(1, 2)
    k = key.reshape(1, -1, heads, width).transpose(1, 2).transpose(-1, -2)
    scores = (q @ k).float()  # [frames, heads, places, tokens]
    highest = scores.amax((0, 2), keepdim=True)
    scores = (scores - highest).exp()
    seen = mask.exp()
    whole = (seen @ scores.sum(2).flatten(1)).reshape(scores.shape[0], heads, 1, -1)
    count = seen.sum(1)[:, None] * places
    shares: Tensor = (scores / whole.clamp_min(1e-30)).mean((1, 3)) * count
    return shares


class PlainAttention:
    """Attention processor for diffusers' modules, see :func:`attend`.

    The text may have batch 1. Masks are not taken: the base's spatial attention has none.
    """

    heard: tuple[Tensor, Tensor, int] | None = None
    """Of the last cross-attention: what :func:`paid` takes, but for the mask."""

    def __init__(self, slices: int = 1) -> None:
        self.slices = slices

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        assert attention_mask is None and attn.spatial_norm is None
        before, picture = hidden_states, hidden_states.ndim == 4
        if picture:  # the autoencoder's
            hidden_states = hidden_states.flatten(2).transpose(1, 2)
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        seen = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(seen), attn.to_v(seen)
        slices = 1 if encoder_hidden_states is not None else self.slices
        if encoder_hidden_states is not None:
            self.heard = query, key, attn.heads
        mixed: Tensor = attn.to_out[0](attend(query, key, value, attn.heads, slices=slices))
        if picture:
            mixed = mixed.transpose(1, 2).reshape(before.shape)
        return (mixed + before if attn.residual_connection else mixed) / attn.rescale_output_factor


def sinusoid(length: int, channels: int) -> Tensor:
    """The table of positions ``[length, channels]``: sines at even channels, cosines at odd ones."""
    angles = torch.arange(length)[:, None] * torch.exp(torch.arange(0, channels, 2) * (-math.log(10000) / channels))
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


KeysValues = tuple[Tensor, Tensor]
"""Of one attention over frames, each ``[places, frames, channels]``."""


class MotionAttention(nn.Module):
    """Self-attention over frames, ``[places, frames, channels]``, which may see keys and values of earlier ones, too.

    Gives all the keys and values that it went over, the earlier ones first, beside its result.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels, bias=False) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor, mask: Tensor, earlier: KeysValues | None = None) -> tuple[Tensor, KeysValues]:
        key, value = self.to_k(x), self.to_v(x)
        if earlier is not None:
            key, value = (torch.cat(both, 1) for both in zip(earlier, (key, value), strict=True))
        mixed: Tensor = self.to_out[0](attend(self.to_q(x), key, value, MOTION_HEADS, mask))
        return mixed, (key, value)


class GatedProjection(nn.Module):
    """To twice the width, one half gated by the other."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        both: Tensor = self.proj(x)
        value, gate = both.chunk(2, -1)
        return value * F.gelu(gate)


class MotionFeedForward(nn.Module):
    """The two layers after attention. The middle of ``net`` is diffusers' dropout, which has no parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            GatedProjection(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y


class MotionBlock(nn.Module):
    """Two attentions over frames and a feed-forward, ``[places, frames, channels]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))
        self.attn1, self.attn2 = MotionAttention(channels), MotionAttention(channels)
        self.ff = MotionFeedForward(channels)

    def forward(
        self, x: Tensor, positions: Tensor, mask: Tensor, earlier: Sequence[KeysValues | None]
    ) -> tuple[Tensor, list[KeysValues]]:
        seen = []
        for norm, attention, before in zip((self.norm1, self.norm2), (self.attn1, self.attn2), earlier, strict=True):
            mixed, pair = attention(norm(x) + positions, mask, before)
            x = x + mixed
            seen.append(pair)
        y: Tensor = x + self.ff(self.norm3(x))
        return y, seen


class Motion(nn.Module):
    """One motion module: attention over frames at every place, added to ``[frames, channels, height, width]``.

    ``mask [frames, frames]`` is added to the scores. With :attr:`Pooling.CLIP` the norm's statistics are taken of the
    frames that a frame sees, too, so that nothing passes between others; with a mask of zeros that is what diffusers
    computes.
    """

    def __init__(self, channels: int, groups: int, pooling: Pooling) -> None:
        super().__init__()
        self.pooling = pooling
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in, self.proj_out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([MotionBlock(channels)])

    def pooled(self, x: Tensor, mask: Tensor) -> Tensor:
        """The norm with statistics over the frames that see one another, in float32."""
        share = F.softmax(mask, -1)
        grouped = x.float().reshape(x.shape[0], self.norm.num_groups, -1)
        own = grouped.mean(2)  # [frames, groups]
        spread = (grouped - own[..., None]).square().mean(2)
        mean = share @ own
        between = (own[None] - mean[:, None]).square()  # [frames, frames seen, groups]
        variance = share @ spread + (share[..., None] * between).sum(1)
        normal = (grouped - mean[..., None]) * (variance[..., None] + self.norm.eps).rsqrt()
        flat = normal.reshape(x.shape[0], self.norm.num_channels, -1)
        return (flat * self.norm.weight[:, None] + self.norm.bias[:, None]).reshape(x.shape).to(x.dtype)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        mask: Tensor,
        earlier: Sequence[KeysValues] | None = None,
        earlier_mask: Tensor | None = None,
    ) -> tuple[Tensor, list[KeysValues]]:
        """``earlier`` are keys and values of other frames for both attentions, and ``earlier_mask [frames, others]``
        says who sees them. Gives all the keys and values of both beside the result."""
        frames, channels, height, width = x.shape
        normal = self.norm(x) if self.pooling is Pooling.FRAME else self.pooled(x, mask)
        tokens = self.proj_in(normal.permute(2, 3, 0, 1).reshape(-1, frames, channels))
        every = mask if earlier_mask is None else torch.cat([earlier_mask, mask], 1)
        (block,) = self.transformer_blocks
        tokens, seen = block(tokens, positions, every, earlier or (None, None))
        moved: Tensor = self.proj_out(tokens).reshape(height, width, frames, channels).permute(2, 3, 0, 1)
        return x + moved, seen
