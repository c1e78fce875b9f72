"""The decoder of every family written out from its weights in float64, for the full-length oracle."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from tests.integrations.huggingface.upstream import text_model


def decoder_of(thinker: nn.Module) -> tuple[nn.Module, Any]:
    """The text model and its config; a model that has no other is all three."""
    return text_model(thinker), getattr(thinker.config, "text_config", thinker.config)


def head_dim_of(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def rotary(config: Any, positions: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin `[N, head_dim]` of M-RoPE: each frequency turns with one of the three position axes `[3, N]`."""
    head_dim, rope = head_dim_of(config), config.rope_parameters
    if rope["rope_type"] == "longrope":
        return _long_rotary(config, positions[0])
    frequency = 1.0 / rope["rope_theta"] ** (torch.arange(0, head_dim, 2).double() / head_dim)
    sections = rope["mrope_section"]
    if config.model_type.startswith("qwen3"):
        # The axes take turns; where height and width have had theirs, time goes on alone.
        axes = [j % 3 if j < 3 * sections[j % 3] else 0 for j in range(head_dim // 2)]
    else:
        axes = [axis for axis, count in enumerate(sections) for _ in range(count)]
    angle = positions.double()[axes].T * frequency
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def _long_rotary(config: Any, positions: Tensor) -> tuple[Tensor, Tensor]:
    """LongRoPE (arXiv 2402.13753): rescaled frequencies for a part of the head, other ones beyond the first context."""
    rope = config.rope_parameters
    original, turning = (
        rope["original_max_position_embeddings"],
        int(head_dim_of(config) * rope["partial_rotary_factor"]),
    )
    factors = rope["long_factor" if positions.max() >= original else "short_factor"]
    frequency = rope["rope_theta"] ** -(torch.arange(0, turning, 2).double() / turning) / torch.tensor(factors).double()
    scale = math.sqrt(1 + math.log(config.max_position_embeddings / original) / math.log(original))
    angle = torch.cat([positions[:, None] * frequency] * 2, dim=-1)
    return angle.cos() * scale, angle.sin() * scale


def norm(module: nn.Module, x: Tensor, eps: float) -> Tensor:
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * module.weight.double()


def linear(module: nn.Module, x: Tensor) -> Tensor:
    return nn.functional.linear(x, module.weight.double(), None if module.bias is None else module.bias.double())


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    turning, rest = x.split([cos.shape[-1], x.shape[-1] - cos.shape[-1]], dim=-1)
    first, second = turning.chunk(2, dim=-1)
    return torch.cat([turning * cos + torch.cat([-second, first], dim=-1) * sin, rest], dim=-1)


def _project(attention: nn.Module, config: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values `[heads, N, head_dim]`."""
    if hasattr(attention, "qkv_proj"):
        width, few = head_dim_of(config) * config.num_attention_heads, head_dim_of(config) * config.num_key_value_heads
        parts = linear(attention.qkv_proj, x).split([width, few, few], dim=-1)
    else:
        parts = tuple(linear(part, x) for part in (attention.q_proj, attention.k_proj, attention.v_proj))
    query, key, value = (_heads(part, config) for part in parts)
    return query, key, value


def _query_and_key(attention: nn.Module, config: Any, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Both `[query heads, N, head_dim]`, turned."""
    query, key, _ = _project(attention, config, x)
    if config.model_type.startswith("qwen3"):
        query = norm(attention.q_norm, query, config.rms_norm_eps)
        key = norm(attention.k_norm, key, config.rms_norm_eps)
    return _turn(query, cos, sin), _turn(key, cos, sin).repeat_interleave(len(query) // len(key), dim=0)


def _heads(x: Tensor, config: Any) -> Tensor:
    return x.view(x.shape[0], -1, head_dim_of(config)).transpose(0, 1)


def _attention(attention: nn.Module, config: Any, x: Tensor, cos: Tensor, sin: Tensor, allowed: Tensor) -> Tensor:
    query, key = _query_and_key(attention, config, x, cos, sin)
    _, _, value = _project(attention, config, x)
    scores = query @ key.transpose(1, 2) * head_dim_of(config) ** -0.5
    weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
    mixed = (weights @ value.repeat_interleave(len(query) // len(value), dim=0)).transpose(0, 1).flatten(1)
    return linear(attention.o_proj, mixed)


def relevance(layer: nn.Module, config: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`[N]`: what the last of the tokens `x` `[N, D]` would look at if the layer that made them came once more."""
    normed = norm(layer.input_layernorm, x, config.rms_norm_eps)
    query, key = _query_and_key(layer.self_attn, config, normed, cos, sin)
    return (query[:, -1:] @ key.transpose(1, 2) * head_dim_of(config) ** -0.5).softmax(-1).mean(0)[0]


def _experts(block: nn.Module, config: Any, x: Tensor) -> Tensor:
    """Every expert on every token, weighted by the router: zero outside its choice."""
    chances = (x @ block.gate.weight.double().T).softmax(-1)
    chosen = chances.topk(config.num_experts_per_tok, dim=-1).indices
    weights = torch.zeros_like(chances).scatter(1, chosen, chances.gather(1, chosen))
    weights = weights / weights.sum(-1, keepdim=True)  # norm_topk_prob
    gate, up = torch.einsum("nd,eid->eni", x, block.experts.gate_up_proj.double()).chunk(2, dim=-1)
    outputs = torch.einsum("eni,edi->end", nn.functional.silu(gate) * up, block.experts.down_proj.double())
    return torch.einsum("ne,end->nd", weights, outputs)


def _feed_forward(block: nn.Module, config: Any, x: Tensor) -> Tensor:
    if hasattr(block, "experts"):
        return _experts(block, config, x)
    if hasattr(block, "gate_up_proj"):
        gate, up = linear(block.gate_up_proj, x).chunk(2, dim=-1)
        return linear(block.down_proj, nn.functional.silu(gate) * up)
    return linear(block.down_proj, nn.functional.silu(linear(block.gate_proj, x)) * linear(block.up_proj, x))


def decoder_layer(layer: nn.Module, config: Any, x: Tensor, cos: Tensor, sin: Tensor, allowed: Tensor) -> Tensor:
    """One decoder layer on `[N, D]`; `allowed` `[N, N]` says who (rows) may look at whom."""
    x = x + _attention(layer.self_attn, config, norm(layer.input_layernorm, x, config.rms_norm_eps), cos, sin, allowed)
    return x + _feed_forward(layer.mlp, config, norm(layer.post_attention_layernorm, x, config.rms_norm_eps))
