"""The cache layer that holds fewer keys than the sequence is long."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.huggingface.compat import CACHE_NAMES


class PrunedLayer(DynamicLayer):
    """A `DynamicLayer` that reports the logical length, so that positions and masks of later tokens come out right.

    `get_seq_length` counts dropped tokens too; `get_mask_sizes` shifts the keys by them, as sliding layers do.

    Attributes:
        dropped: slots of the caller's prompt that are not held.
        num_prompt: slots of the prompt that are held; all later keys follow them.
        filled: bool [B, num_prompt], False at padding; None if nothing is padding.
        segment: equal for layers whose prompts were pruned alike.
        padded: some layer of the cache holds padding.
        masked: a mask that leaves the padding out has been prepared for the next update.
    """

    def __init__(
        self, keys: Tensor, values: Tensor, dropped: int, filled: Tensor | None = None, segment: int = 0
    ) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values
        self.dropped = dropped
        self.num_prompt = keys.shape[-2]
        self.filled = filled
        self.segment = segment
        self.padded = filled is not None
        self.masked = False

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

    def padding_mask(self, attention_mask: Tensor | None, query_length: int) -> Tensor | None:
        """The caller's mask over logical columns, rewritten for the keys that are held.

        Args:
            attention_mask: [B, columns so far + query_length], 0 at padding; None if nothing is padding.
            query_length: tokens of this call.

        Returns:
            int64 [B, columns], or None where every key may be seen.
        """
        if attention_mask is None and self.filled is None:
            return None
        later = self.physical_length - self.num_prompt + query_length
        if attention_mask is None:
            tail = self.keys.new_ones((self.keys.shape[0], later), dtype=torch.long)
        else:
            expected = (self.keys.shape[0], self.dropped + self.num_prompt + later)
            if tuple(attention_mask.shape) != expected:
                raise ValueError(
                    f"attention_mask: expected shape {list(expected)}, one column per token so far, got "
                    f"{list(attention_mask.shape)}"
                )
            tail = attention_mask[:, -later:].long()
        prompt = torch.ones_like(tail[:, :1]).expand(-1, self.num_prompt) if self.filled is None else self.filled.long()
        gone = torch.zeros_like(tail[:, :1]).expand(-1, self.dropped)
        return torch.cat([gone, prompt.to(tail.device), tail], dim=1)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append; raises UnsupportedModelState if the cache holds padding and nobody has masked it."""
        if self.padded and not self.masked:
            raise UnsupportedModelState(
                f"{CACHE_NAMES[0]}: expected to be used inside `attach`, which masks the padding of a pruned batch, "
                "got a forward outside of it"
            )
        self.masked = False
        return super().update(key_states, value_states, *args, **kwargs)

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the latest tokens; raises UnsupportedModelState if they reach back into the prompt."""
        later = self.physical_length - self.num_prompt
        if abs(tokens_to_remove) > later:
            raise UnsupportedModelState(
                f"tokens_to_remove: expected at most the {later} tokens after the pruned prompt, got "
                f"{abs(tokens_to_remove)}"
            )
        super().crop(tokens_to_remove)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Rows in the order of the beams."""
        super().reorder_cache(beam_idx)
        if self.filled is not None:
            self.filled = self.filled.index_select(0, beam_idx.to(self.filled.device))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row several times."""
        super().batch_repeat_interleave(repeats)
        if self.filled is not None:
            self.filled = self.filled.repeat_interleave(repeats, dim=0)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Only some rows."""
        super().batch_select_indices(indices)
        if self.filled is not None:
            self.filled = self.filled[indices]

    def reset(self) -> None:
        """Forget all tokens, dropped ones included."""
        # Dropped: filled with zeros they would still count.
        self.keys = self.values = None  # type: ignore[assignment]
        self.is_initialized = False
        super().reset()
        self.dropped, self.num_prompt, self.filled, self.padded = 0, 0, None, False


def check_cache(name: str, cache: Any, context: float) -> None:
    """Raise UnsupportedModelState unless every layer is one that pruning understands.

    Args:
        name: of the argument.
        cache: of the call, or None.
        context: tokens the model was made for; a sliding window that spans them all is none.
    """
    if cache is None:
        return
    if not isinstance(cache, Cache):
        raise UnsupportedModelState(f"{name}: expected a DynamicCache or None, got {type(cache).__name__}")
    if getattr(cache, "offloading", False):
        raise UnsupportedModelState(f"{name}: expected a cache that is not offloaded, got offloading=True")
    lazily_created = getattr(cache, "layer_class_to_replicate", None)
    odd = {
        type(layer).__name__
        for layer in cache.layers
        if type(layer) not in (DynamicLayer, PrunedLayer)
        and not (type(layer) is DynamicSlidingWindowLayer and layer.sliding_window >= context)
    }
    if not cache.layers and lazily_created not in (None, DynamicLayer):
        odd.add(lazily_created.__name__)
    if odd:
        raise UnsupportedModelState(
            f"{name}: expected a DynamicCache of full-attention layers, got {type(cache).__name__} with "
            f"{', '.join(sorted(odd))} (static, quantised and sliding caches cannot hold a pruned prompt)"
        )


def gather_keys(states: Tensor, source: Tensor, width: int) -> Tensor:
    """Keys or values [B, H, M, head_dim] at flat slots `source` int64 [B * M'] of a grid that is `width` slots wide."""
    if states.shape[0] == 1:
        return states.index_select(-2, source)
    columns = (source % width).view(states.shape[0], 1, -1, 1)
    return states.gather(-2, columns.expand(-1, states.shape[1], -1, states.shape[3]))
