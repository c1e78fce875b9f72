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

from tests.integrations.huggingface.oracle_decoder import decoder_layer, decoder_of, linear, norm, relevance, rotary
from tests.integrations.huggingface.oracle_inputs import later_embeddings, merge, prompt_positions

KeptSets = Sequence[tuple[int, Tensor]]
"""One entry per stage: (the 1-based layer after which it acts, 0 before the first; the columns it kept, ascending)."""


def merged_embeddings(thinker: nn.Module, inputs: dict[str, Any]) -> Tensor:
    """Token embeddings `[S, D]` of one row, with the towers' features written over their placeholders."""
    return merge(thinker, inputs)[0]


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


def run_layers(
    layers: Sequence[nn.Module],
    config: Any,
    embeddings: Tensor,
    additions: Sequence[Tensor],
    turn: tuple[Tensor, Tensor],
    kept: KeptSets,
    kv_policy: str = "uniform",
    num_later: int = 0,
) -> Tensor:
    """Output `[N, D]` float64 of the last of these first layers; `additions` go onto outputs from the first on."""
    x = embeddings.double()
    last = last_layer_seen(kept, len(embeddings) - num_later, config.num_hidden_layers)
    for number, layer in enumerate(layers, start=1):
        allowed = visibility(number, last, num_later, config.num_hidden_layers, kv_policy)
        x = decoder_layer(layer, config, x, *turn, allowed)
        if number <= len(additions):
            x = x + nn.functional.pad(additions[number - 1], (0, 0, 0, num_later))
    return x


def differentiable_logits(
    thinker: nn.Module,
    inputs: dict[str, Any],
    kept: KeptSets,
    kv_policy: str,
    later_ids: Sequence[int] = (),
    later_positions: Sequence[int] = (),
    positions: Tensor | None = None,
    deepstack: Sequence[Tensor] | None = None,
) -> Tensor:
    """Logits `[S + G, vocab]` of the prompt and of everything that followed it, generated or typed in a later turn.

    Rows of dropped tokens mean nothing. `later_positions` holds one rotary position per later token, because the model
    family has two conventions for them; `positions` `[3, S]` replaces those of the prompt, `deepstack` the `[S, D]`
    that the towers have for the first layers.
    """
    text, config = decoder_of(thinker)
    embeddings, additions = merge(thinker, inputs)
    additions = additions if deepstack is None else list(deepstack)
    x = torch.cat([embeddings, later_embeddings(thinker, later_ids)])
    later = torch.tensor(list(later_positions), dtype=torch.long).expand(3, -1)
    positions = prompt_positions(thinker, inputs) if positions is None else positions
    cos, sin = rotary(config, torch.cat([positions, later], dim=1))
    x = run_layers(text.layers, config, x, additions, (cos, sin), kept, kv_policy, len(later_ids))
    return linear(thinker.lm_head, norm(text.norm, x, config.rms_norm_eps)).float()


oracle_logits = torch.no_grad()(differentiable_logits)


@torch.no_grad()
def oracle_scores(thinker: nn.Module, inputs: dict[str, Any], kept: KeptSets, layer: int) -> Tensor:
    """Relevance to the last token after `layer`, of the tokens that earlier stages `kept`."""
    text, config = decoder_of(thinker)
    embeddings, additions = merge(thinker, inputs)
    cos, sin = rotary(config, prompt_positions(thinker, inputs))
    x = run_layers(text.layers[:layer], config, embeddings, additions, (cos, sin), kept)
    alive = kept[-1][1] if kept else torch.arange(len(embeddings))
    return relevance(text.layers[layer - 1], config, x[alive], cos[alive], sin[alive])
