"""Qwen2.5-Omni: where the towers are, how their saliency is ordered, how a layer scores a query."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from einops import reduce
from torch import Tensor, nn
from transformers.vision_utils import get_vision_window_index

from seats_ops import functional as F
from seats_ops.integrations.saliency import Captured, Encoded, watch_tower
from seats_ops.integrations.token_layout import MediaTokens
from seats_ops.ops.segments import counts_to_offsets

THINKER = "Qwen2_5OmniThinkerForConditionalGeneration"
FULL_MODEL = "Qwen2_5OmniForConditionalGeneration"
# Encoder positions in one saliency window of audio, before pooling (2 s at 50 per second).
AUDIO_WINDOW = 100


class Qwen25Omni:
    """The parts of one thinker that pruning needs."""

    def __init__(self, thinker: nn.Module) -> None:
        self.thinker = thinker
        self.text_model: Any = thinker.model.language_model
        self.visual: Any = thinker.model.visual
        self.audio_tower: Any = thinker.model.audio_tower
        self.media = MediaTokens.from_config(thinker.config)

    def watch_vision(
        self, segments: str, needs_saliency: bool, backend: str, on_encoded: Callable[[Encoded], None]
    ) -> list[Any]:
        """Hook the vision tower; see `watch_tower`."""
        attention = self.visual.blocks[-1].attn
        projections = {"q": attention.q, "k": attention.k} if needs_saliency else {}

        def finish(captured: Captured, output: Any) -> Encoded:
            grid_thw = captured.tower_kwargs["grid_thw"]
            num_tokens = output.pooler_output.shape[0]
            if not needs_saliency:
                return Encoded(num_tokens, None, grid_thw)
            q, k = (captured.tensors[name].unflatten(-1, (attention.num_heads, -1)) for name in ("q", "k"))
            rotate = sys.modules[type(attention).__module__].apply_rotary_pos_emb_vision
            q, k = rotate(q, k, *captured.attention_kwargs["position_embeddings"])
            if segments == "paper":
                cu_seqlens, longest = _vision_windows(grid_thw, self.media.grids_per_block)
            else:
                cu_seqlens, longest = captured.attention_kwargs["cu_seqlens"], None
            received = F.attention_received(
                q, k, cu_seqlens.to(q.device), scale=attention.scaling, max_seqlen=longest, backend=backend
            )
            # The tower runs in window order: pool neighbours there, then put the tokens back in reading order.
            pooled = reduce(received, "(token patch) -> token", "mean", patch=self.visual.spatial_merge_unit)
            window_index, _ = get_vision_window_index(
                grid_thw, self.visual.spatial_merge_size, self.visual.window_size, self.visual.patch_size, kwargs={}
            )
            return Encoded(num_tokens, pooled[window_index.argsort().to(pooled.device)], grid_thw)

        return watch_tower(self.visual, attention, projections, ("hidden_states", "grid_thw"), finish, on_encoded)

    def watch_audio(
        self, segments: str, needs_saliency: bool, backend: str, on_encoded: Callable[[Encoded], None]
    ) -> list[Any]:
        """Hook the audio tower; see `watch_tower`."""
        attention = self.audio_tower.layers[-1].self_attn
        projections = {"q": attention.q_proj, "k": attention.k_proj} if needs_saliency else {}

        def finish(captured: Captured, output: Any) -> Encoded:
            num_tokens = output.last_hidden_state.shape[0]
            if not needs_saliency:
                return Encoded(num_tokens, None)
            q, k = (captured.tensors[name].unflatten(-1, (attention.num_heads, -1)) for name in ("q", "k"))
            # Mel frames -> encoder positions: one convolution of stride 2.
            positions = [(n - 1) // 2 + 1 for n in captured.tower_kwargs["feature_lens"].tolist()]
            if segments == "paper":
                cu_seqlens, longest = _blocks_of(positions, AUDIO_WINDOW)
            else:
                cu_seqlens, longest = captured.attention_kwargs["cu_seqlens"], None
            received = F.attention_received(
                q, k, cu_seqlens.to(q.device), scale=attention.scaling, max_seqlen=longest, backend=backend
            )
            # Tokens are pairs of positions, per audio; an odd last position has no token.
            pairs = [item[: n // 2 * 2] for item, n in zip(received.split(positions), positions, strict=True)]
            return Encoded(num_tokens, reduce(torch.cat(pairs), "(token pair) -> token", "mean", pair=2))

        names = ("input_features", "feature_lens", "aftercnn_lens")
        return watch_tower(self.audio_tower, attention, projections, names, finish, on_encoded)

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


def _vision_windows(grid_thw: Tensor, grids_per_block: int) -> tuple[Tensor, int]:
    """Offsets of windows of some temporal grids, restarting at each item, and the longest."""
    lengths = []
    for frames, height, width in grid_thw.tolist():
        full, rest = divmod(frames, grids_per_block)
        lengths += [grids_per_block * height * width] * full + [rest * height * width] * (rest > 0)
    return counts_to_offsets(torch.tensor(lengths)).int(), max(lengths)


def _blocks_of(totals: list[int], size: int) -> tuple[Tensor, int]:
    """Offsets of windows of `size`, restarting at each item, and the longest."""
    lengths = [min(size, total - start) for total in totals for start in range(0, total, size)]
    return counts_to_offsets(torch.tensor(lengths)).int(), max(lengths)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of [T, H, D] by [T, D] (halves, as in GPT-NeoX)."""
    first, second = x.chunk(2, -1)
    return x * cos[:, None] + torch.cat([-second, first], -1) * sin[:, None]
