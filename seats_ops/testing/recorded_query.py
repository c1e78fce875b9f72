"""Queries and keys of the recorded query scores, which were recorded as what goes into the layer that makes them."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from seats_ops.testing.golden import GoldenCase


def query_and_key(case: GoldenCase) -> tuple[Tensor, Tensor]:
    """[1, heads, head_dim] of the query token and [S, kv_heads, head_dim], after rotary embedding, float32."""
    stored, sizes = case.tensors(), case.params
    hidden = _rms_norm(stored["hidden_states"][0], stored["input_layernorm_weight"], sizes["rms_norm_eps"])
    heads = {}
    for name in "qk":
        projected = torch.nn.functional.linear(hidden, stored[f"{name}_proj_weight"], stored.get(f"{name}_proj_bias"))
        split = rearrange(projected, "s (h d) -> s h d", d=sizes["head_dim"])
        if f"{name}_norm_weight" in stored:
            split = _rms_norm(split, stored[f"{name}_norm_weight"], sizes["rms_norm_eps"])
        cos, sin = (_rotary_table(stored[table], sizes["mrope_section"]) for table in ("cos", "sin"))
        heads[name] = _rotate(split, cos, sin)
    position = sizes["query_position"]
    return heads["q"][position : position + 1], heads["k"]


def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of [S, heads, head_dim] by [S, head_dim] in the rotate-half convention."""
    first, second = x.chunk(2, dim=-1)
    return x * cos[:, None] + torch.cat([-second, first], dim=-1) * sin[:, None]


def _rotary_table(stored: Tensor, sections: list[int]) -> Tensor:
    """[S, head_dim]: of the three position axes of M-RoPE each supplies its sections of the channels."""
    if stored.dim() == 3:
        return stored[0]
    parts = stored.split(sections * 2, dim=-1)
    return torch.cat([part[i % 3] for i, part in enumerate(parts)], dim=-1)[0]
