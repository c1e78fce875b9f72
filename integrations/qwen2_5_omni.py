"""Qwen2.5-Omni: where the towers are, how their saliency is ordered, how a layer scores a query."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from einops import reduce
from torch import Tensor
from transformers.vision_utils import get_vision_window_index

from seats_ops import functional as F
from seats_ops.integrations.saliency import Captured, Encoded, SaliencyOptions, TowerWatch
from seats_ops.integrations.token_layout import MediaTokens
from seats_ops.prompt_lengths import split_blocks

THINKER = "Qwen2_5OmniThinkerForConditionalGeneration"
FULL_MODEL = "Qwen2_5OmniForConditionalGeneration"
# Encoder positions in one saliency window of audio, before pooling (2 s at 50 per second).
AUDIO_WINDOW = 100


class Qwen25Omni:
    """The parts of one thinker that pruning needs."""

    def __init__(self, thinker: Any, saliency: SaliencyOptions) -> None:
        self.thinker = thinker
        self.saliency = saliency
        self.text_model: Any = thinker.model.language_model
        self.media = MediaTokens.from_config(thinker.config)

    def watch_towers(
        self, on_visual: Callable[[Encoded], None], on_audio: Callable[[Encoded], None]
    ) -> list[TowerWatch]:
        """Hook both towers; the callbacks are told of every output, in order."""
        visual, audio = self.thinker.model.visual, self.thinker.model.audio_tower
        wanted = self.saliency.needed
        return [
            TowerWatch(visual, visual.blocks[-1].attn, ("q", "k") if wanted else (), self._encode_vision, on_visual),
            TowerWatch(
                audio, audio.layers[-1].self_attn, ("q_proj", "k_proj") if wanted else (), self._encode_audio, on_audio
            ),
        ]

    def _encode_vision(self, captured: Captured, output: Any) -> Encoded:
        grid_thw = captured.arguments["grid_thw"]
        num_tokens = output.pooler_output.shape[0]
        if not self.saliency.needed:
            return Encoded(num_tokens, None, grid_thw)
        visual = self.thinker.model.visual
        attention = visual.blocks[-1].attn
        rotate = sys.modules[type(attention).__module__].apply_rotary_pos_emb_vision
        q, k = (captured.projected[name].unflatten(-1, (attention.num_heads, -1)) for name in ("q", "k"))
        q, k = rotate(q, k, *captured.attention["position_embeddings"])
        lengths = [
            n * height * width
            for frames, height, width in grid_thw.tolist()
            for n in split_blocks(frames, self.media.grids_per_block)
        ]
        received = self.saliency.received(q, k, attention, lengths, captured)
        # The tower runs in window order: pool neighbours there, then put the tokens back in reading order.
        pooled = reduce(received, "(token patch) -> token", "mean", patch=visual.spatial_merge_unit)
        window_index, _ = get_vision_window_index(
            grid_thw, visual.spatial_merge_size, visual.window_size, visual.patch_size, kwargs={}
        )
        return Encoded(num_tokens, pooled[window_index.argsort().to(pooled.device)], grid_thw)

    def _encode_audio(self, captured: Captured, output: Any) -> Encoded:
        num_tokens = output.last_hidden_state.shape[0]
        if not self.saliency.needed:
            return Encoded(num_tokens, None)
        attention = self.thinker.model.audio_tower.layers[-1].self_attn
        q, k = (captured.projected[name].unflatten(-1, (attention.num_heads, -1)) for name in ("q_proj", "k_proj"))
        # Mel frames -> encoder positions: one convolution of stride 2.
        positions = [(n - 1) // 2 + 1 for n in captured.arguments["feature_lens"].tolist()]
        lengths = [n for total in positions for n in split_blocks(total, AUDIO_WINDOW)]
        received = self.saliency.received(q, k, attention, lengths, captured)
        # Tokens are pairs of positions, per audio; an odd last position has no token.
        pairs = [item[: n // 2 * 2] for item, n in zip(received.split(positions), positions, strict=True)]
        return Encoded(num_tokens, reduce(torch.cat(pairs), "(token pair) -> token", "mean", pair=2))

    @torch.no_grad()
    def query_scores(
        self, layer: Any, hidden: Tensor, cos: Tensor, sin: Tensor, query: Tensor, cu_seqlens: Tensor, backend: str
    ) -> Tensor:
        """Relevance of every token to the query tokens, from a layer's own norm and projections on its output.

        Args:
            layer: the decoder layer that produced `hidden`.
            hidden: [T, hidden_size], packed.
            cos, sin: [T, head_dim], rotary embedding at the original positions.
            query: int64 [B], packed position of the query token of every prompt.
            cu_seqlens: integer [B+1].
            backend: of the primitive.

        Returns:
            float32 [T].
        """
        attention = layer.self_attn
        normed = layer.input_layernorm(hidden)
        q = attention.q_proj(normed[query]).unflatten(-1, (-1, attention.head_dim))
        k = attention.k_proj(normed).unflatten(-1, (-1, attention.head_dim))
        q = _rotate(q, cos[query], sin[query])
        k = _rotate(k, cos, sin)
        longest = hidden.shape[0] if cu_seqlens.shape[0] == 2 else None
        return F.query_relevance(q, k, cu_seqlens, scale=attention.scaling, max_seqlen=longest, backend=backend)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of [T, H, D] by [T, D] (halves, as in GPT-NeoX)."""
    first, second = x.chunk(2, -1)
    return x * cos[:, None] + torch.cat([-second, first], -1) * sin[:, None]
