"""Recomputes a pruned generation at full length: every token, every layer, no cache, no gather, no adapter.

A dropped token is not removed here. It keeps running through all layers, and a mask per layer forbids everybody else to
look at it, which is what dropping means. The decoder is written out from the weights in float64, so that the only
rounding left in a comparison is the one of the model under test.

Who may look at prompt token j, which was dropped after layer d (survivors: d = infinity), at layer l counted from 1:
prompt tokens if l <= d; tokens that came after the prompt if l <= d ("per-layer") or only if j is a survivor
("uniform").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

KeptSets = Sequence[tuple[int, Tensor]]
"""One entry per stage: (the 1-based layer after which it acts, 0 before the first; the columns it kept, ascending)."""


def merged_embeddings(thinker: nn.Module, inputs: dict[str, Any], later_ids: Sequence[int] = ()) -> Tensor:
    """Token embeddings `[S + G, D]` of one row, with the towers' features written over their placeholders."""
    prompt, table = inputs["input_ids"][0], thinker.model.language_model.embed_tokens.weight
    embeddings, model, config = table[prompt].clone(), thinker.model, thinker.config
    if inputs.get("input_features") is not None:
        frames = inputs["feature_attention_mask"].bool()
        mel = torch.cat([row[:, valid] for row, valid in zip(inputs["input_features"], frames, strict=True)], dim=1)
        lengths = frames.sum(1)
        tower = model.audio_tower(mel, feature_lens=lengths, aftercnn_lens=(lengths - 1) // 2 + 1)
        embeddings[prompt == config.audio_token_id] = tower.last_hidden_state
    for pixels, grids, token in (
        ("pixel_values", "image_grid_thw", config.image_token_id),
        ("pixel_values_videos", "video_grid_thw", config.video_token_id),
    ):
        if inputs.get(pixels) is not None:
            embeddings[prompt == token] = model.visual(inputs[pixels], grid_thw=inputs[grids]).pooler_output
    # A random model may well generate the id of a placeholder: without features it is a token like any other.
    return torch.cat([embeddings, table[torch.tensor(list(later_ids), dtype=torch.long)]])


def prompt_positions(thinker: nn.Module, inputs: dict[str, Any]) -> Tensor:
    """M-RoPE ids `[3, S]` of the whole prompt."""
    lengths = inputs["feature_attention_mask"].sum(1) if inputs.get("feature_attention_mask") is not None else None
    positions, _ = thinker.get_rope_index(
        inputs["input_ids"],
        inputs.get("image_grid_thw"),
        inputs.get("video_grid_thw"),
        torch.ones_like(inputs["input_ids"]),
        inputs.get("use_audio_in_video", False),
        lengths,
        inputs.get("video_second_per_grid"),
    )
    return positions[:, 0]


def last_layer_seen(kept: KeptSets, prompt_length: int, num_layers: int) -> Tensor:
    """`[S]`: the last layer in which each prompt token still takes part; `num_layers + 1` for final survivors."""
    last = torch.full((prompt_length,), num_layers + 1)
    for layer, columns in kept:
        dropped = torch.ones(prompt_length, dtype=torch.bool)
        dropped[columns] = False
        last = torch.where(dropped, last.clamp(max=layer), last)
    return last


def visibility(layer: int, last: Tensor, num_later: int, num_layers: int, kv_policy: str) -> Tensor:
    """Who (rows) may look at whom (columns) in one layer, bool `[S + G, S + G]`."""
    prompt = len(last)
    total = prompt + num_later
    allowed = torch.ones(total, total, dtype=torch.bool).tril()
    allowed[:prompt, :prompt] &= last >= layer
    allowed[prompt:, :prompt] &= {"uniform": last > num_layers, "per-layer": last >= layer}[kv_policy]
    return allowed | torch.eye(total, dtype=torch.bool)  # a dropped token looks at itself, so that its softmax exists


def rotary(config: Any, positions: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin `[N, head_dim]` of M-RoPE: each frequency turns with one of the three position axes."""
    head_dim = config.hidden_size // config.num_attention_heads
    rope = config.rope_parameters
    frequency = 1.0 / rope["rope_theta"] ** (torch.arange(0, head_dim, 2).double() / head_dim)
    axis = torch.cat([torch.full((n,), i) for i, n in enumerate(rope["mrope_section"])])
    angle = positions.double()[axis].T * frequency
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def _norm(module: nn.Module, x: Tensor, eps: float) -> Tensor:
    return module.weight.double() * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def _linear(module: nn.Module, x: Tensor) -> Tensor:
    return nn.functional.linear(x, module.weight.double(), None if module.bias is None else module.bias.double())


def _heads(x: Tensor, head_dim: int) -> Tensor:
    return x.view(x.shape[0], -1, head_dim).transpose(0, 1)


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def decoder_layer(layer: nn.Module, config: Any, x: Tensor, cos: Tensor, sin: Tensor, allowed: Tensor) -> Tensor:
    """One decoder layer on `[N, D]` float64, attention written out."""
    head_dim = config.hidden_size // config.num_attention_heads
    attention, normed = layer.self_attn, _norm(layer.input_layernorm, x, config.rms_norm_eps)
    query, key, value = (
        _heads(_linear(getattr(attention, p), normed), head_dim) for p in ("q_proj", "k_proj", "v_proj")
    )
    groups = query.shape[0] // key.shape[0]
    key = _turn(key, cos, sin).repeat_interleave(groups, dim=0)
    scores = _turn(query, cos, sin) @ key.transpose(1, 2) * head_dim**-0.5
    weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
    mixed = (weights @ value.repeat_interleave(groups, dim=0)).transpose(0, 1).reshape(x.shape[0], -1)
    x = x + _linear(attention.o_proj, mixed)
    normed = _norm(layer.post_attention_layernorm, x, config.rms_norm_eps)
    gated = nn.functional.silu(_linear(layer.mlp.gate_proj, normed)) * _linear(layer.mlp.up_proj, normed)
    return x + _linear(layer.mlp.down_proj, gated)


def differentiable_logits(
    thinker: nn.Module,
    inputs: dict[str, Any],
    kept: KeptSets,
    kv_policy: str,
    later_ids: Sequence[int] = (),
    later_positions: Sequence[int] = (),
    positions: Tensor | None = None,
) -> Tensor:
    """Logits `[S + G, vocab]` of the prompt and of everything that followed it, generated or typed in a later turn.

    Rows of dropped tokens mean nothing. `later_positions` holds one rotary position per later token, because the model
    family has two conventions for them; `positions` `[3, S]` replaces those of the prompt.
    """
    text, config = thinker.model.language_model, thinker.config.text_config
    x = merged_embeddings(thinker, inputs, later_ids).double()
    later = torch.tensor(list(later_positions), dtype=torch.long).expand(3, -1)
    positions = prompt_positions(thinker, inputs) if positions is None else positions
    cos, sin = rotary(config, torch.cat([positions, later], dim=1))
    last = last_layer_seen(kept, inputs["input_ids"].shape[1], config.num_hidden_layers)
    for number, layer in enumerate(text.layers, start=1):
        allowed = visibility(number, last, len(later_ids), config.num_hidden_layers, kv_policy)
        x = decoder_layer(layer, config, x, cos, sin, allowed)
    return _linear(thinker.lm_head, _norm(text.norm, x, config.rms_norm_eps)).float()


oracle_logits = torch.no_grad()(differentiable_logits)
