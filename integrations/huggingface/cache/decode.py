"""Tokens after the prompt: masks for caches whose prompts were pruned."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache

from seats_ops.integrations.huggingface.cache.cache import PrunedLayer
from seats_ops.integrations.huggingface.compat import causal_mask


class DecodeMasks:
    """Masks of one forward that continues a prompt.

    The text model makes one mask, from the first layer of the cache; layers that were pruned differently get their own.
    """

    def __init__(self, text_config: Any, cache: Cache, attention_mask: Tensor | None) -> None:
        self.text_config = text_config
        self.attention_mask = attention_mask
        self.cache = cache
        self.by_segment: dict[int, Any] = {}

    def for_text_model(self, query_length: int) -> Tensor | None:
        """The 2-D mask the text model should start from; announces to all layers that padding is taken care of."""
        for layer in self.cache.layers:
            if isinstance(layer, PrunedLayer):
                layer.masked = True
        return self._padding_mask(0, query_length)

    def close(self) -> None:
        """Take the announcement back, should a layer not have been reached."""
        for layer in self.cache.layers:
            if isinstance(layer, PrunedLayer):
                layer.masked = False

    def differs(self, index: int) -> bool:
        """Layer `index` (from 0) needs a mask of its own."""
        return self._segment(index) != self._segment(0)

    def for_layer(self, index: int, hidden: Tensor) -> Any:
        """The mask of layer `index` for new tokens `hidden` [B, Q, D], in the form its attention wants."""
        segment = self._segment(index)
        if segment not in self.by_segment:
            padding = self._padding_mask(index, hidden.shape[1])
            self.by_segment[segment] = causal_mask(self.text_config, hidden, padding, self.cache, index)
        return self.by_segment[segment]

    def _segment(self, index: int) -> int:
        layer = self.cache.layers[index] if index < len(self.cache.layers) else None
        return layer.segment if isinstance(layer, PrunedLayer) else -1

    def _padding_mask(self, index: int, query_length: int) -> Tensor | None:
        layer = self.cache.layers[index]
        if isinstance(layer, PrunedLayer):
            return layer.padding_mask(self.attention_mask, query_length)
        return self.attention_mask
