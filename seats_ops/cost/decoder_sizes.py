"""What a decoder's config says of its sizes, as far as FLOPs and cache bytes depend on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SIZES = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "vocab_size",
)
EXPERT_SIZES = ("num_experts", "num_experts_per_tok", "moe_intermediate_size")


@dataclass(frozen=True)
class DecoderSizes:
    """Widths count numbers per token.

    Attributes:
        hidden: of the residual stream.
        attention_width: query heads times head_dim.
        kv_width: key heads times head_dim.
        mlp_macs: multiply-adds of each layer's MLP for one token.
        vocab: tokens the output head tells apart.
    """

    hidden: int
    attention_width: int
    kv_width: int
    mlp_macs: tuple[int, ...]
    vocab: int

    @property
    def layers(self) -> int:
        return len(self.mlp_macs)

    def layer_macs(self, layer: int, tokens: int, causal: bool) -> int:
        """Multiply-adds of one layer (from 0) on `tokens` tokens of one prompt."""
        projections = 2 * self.hidden * (self.attention_width + self.kv_width)
        pairs = tokens * (tokens + 1) if causal else 2 * tokens * tokens
        return tokens * (projections + self.mlp_macs[layer]) + pairs * self.attention_width

    def macs_per_layer(self, tokens: Sequence[int], causal: bool = False) -> list[int]:
        """Multiply-adds of every layer, of which each runs on as many of one prompt's tokens as its entry says."""
        return [self.layer_macs(layer, number, causal) for layer, number in enumerate(tokens)]


def context_length(text: Any) -> float:
    """Tokens a decoder was made for, infinity if its config does not say."""
    return getattr(text, "max_position_embeddings", None) or math.inf


def kinds_of_partial_attention(text: Any) -> list[str]:
    """What the layers of a decoder do, by the names of transformers, besides attending to the whole prompt."""
    kinds = getattr(text, "layer_types", None)
    if kinds is None:
        # Of all layers alike; one that spans the context is no window.
        window = getattr(text, "sliding_window", None)
        kinds = ["sliding_attention"] if window is not None and window < context_length(text) else []
    return sorted(set(kinds) - {"full_attention"})


def decoder_sizes(config: Any) -> DecoderSizes:
    """Sizes from the config of a model, its thinker or its language model.

    Raises:
        TypeError: `config` lacks a size. ValueError: a decoder whose cost is not a function of these sizes.
    """
    thinker = getattr(config, "thinker_config", config)
    text = getattr(thinker, "text_config", thinker)
    experts = getattr(text, "num_experts", None)
    names = SIZES + (EXPERT_SIZES if experts else ())
    missing = [name for name in names if not isinstance(getattr(text, name, None), int)]
    if missing:
        raise TypeError(f"config: expected a model's config, got {type(config).__name__} without {', '.join(missing)}")
    odd = kinds_of_partial_attention(text)
    if odd:
        raise ValueError(f"config: expected full attention in every layer, got {', '.join(odd)}")
    if getattr(text, "shared_expert_intermediate_size", None):
        raise ValueError("config: expected experts without a shared one, got shared_expert_intermediate_size")
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return DecoderSizes(
        text.hidden_size,
        text.num_attention_heads * head_dim,
        text.num_key_value_heads * head_dim,
        tuple(_mlp_macs(text, layer) for layer in range(text.num_hidden_layers)),
        text.vocab_size,
    )


def _mlp_macs(text: Any, layer: int) -> int:
    """Three matrices, in the layer's MLP or in each of the experts a token is sent to, which a router chooses."""
    sparse = (
        getattr(text, "num_experts", None)
        and layer not in (getattr(text, "mlp_only_layers", None) or ())
        and (layer + 1) % (getattr(text, "decoder_sparse_step", None) or 1) == 0
    )
    if not sparse:
        return int(3 * text.hidden_size * text.intermediate_size)
    return int(text.hidden_size * (text.num_experts + text.num_experts_per_tok * 3 * text.moe_intermediate_size))
