"""The cache layer that holds fewer keys than the sequence is long."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from seats_ops.errors import UnsupportedModelState


class PrunedLayer(DynamicLayer):
    """A `DynamicLayer` that reports the logical length, so that positions and masks of later tokens come out right.

    `get_seq_length` counts dropped tokens too; `get_mask_sizes` shifts the keys by them, as sliding layers do.
    """

    def __init__(self, keys: Tensor, values: Tensor, dropped: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values
        self.dropped = dropped

    @property
    def physical_length(self) -> int:
        """Keys really held."""
        return self.keys.shape[-2] if self.is_initialized else 0

    def get_seq_length(self) -> int:
        """Logical length: tokens held and dropped."""
        return self.physical_length + self.dropped

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Number of keys after the next update, and the logical position of the first of them."""
        return self.physical_length + query_length, self.dropped

    def reset(self) -> None:
        """Forget all tokens, dropped ones included."""
        super().reset()
        self.dropped = 0


def check_cache(cache: Any) -> None:
    """Raise UnsupportedModelState unless every layer is one that pruning understands."""
    if cache is None:
        return
    if not isinstance(cache, Cache):
        raise UnsupportedModelState(f"past_key_values: expected a DynamicCache or None, got {type(cache).__name__}")
    if getattr(cache, "offloading", False):
        raise UnsupportedModelState("past_key_values: expected a cache that is not offloaded, got offloading=True")
    lazily_created = getattr(cache, "layer_class_to_replicate", None)
    odd = {type(layer).__name__ for layer in cache.layers if type(layer) not in (DynamicLayer, PrunedLayer)}
    if not cache.layers and lazily_created not in (None, DynamicLayer):
        odd.add(lazily_created.__name__)
    if odd:
        raise UnsupportedModelState(
            f"past_key_values: expected a DynamicCache of full-attention layers, got {type(cache).__name__} with "
            f"{', '.join(sorted(odd))} (static, quantised and sliding caches cannot hold a pruned prompt)"
        )


def prune_layer(cache: Cache, index: int, kept: Tensor | None, prompt_length: int) -> int:
    """Gather the keys and values of one layer and make it report the prompt's length.

    Args:
        cache: after the prefill.
        index: of the layer.
        kept: int64 positions among the layer's keys to hold on to; None holds all.
        prompt_length: logical length of the prompt.

    Returns:
        Keys held afterwards.
    """
    layer = cache.layers[index]
    keys, values = layer.keys, layer.values
    if kept is not None:
        keys, values = keys.index_select(-2, kept), values.index_select(-2, kept)
    length = keys.shape[-2]
    if length < prompt_length:
        cache.layers[index] = PrunedLayer(keys, values, prompt_length - length)
    return length
