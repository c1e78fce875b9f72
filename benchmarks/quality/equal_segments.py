"""Attention of the towers on many equal segments at once; without it they go through them one by one, in Python."""

from __future__ import annotations

from typing import Any

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

NAME = "flash_of_equal_segments"
"""Transformers hands bounds of segments to implementations that have flash in their name, and cuts for all others."""


def attend_in_equal_segments(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    cu_seq_lens_q: Tensor,
    **_: Any,
) -> tuple[Tensor, None]:
    """What transformers' own ones give: [1, heads, T, head_dim] each -> [1, T, heads, head_dim].

    Raises:
        ValueError: segments of different lengths.
    """
    lengths = cu_seq_lens_q.diff()
    if (lengths != lengths[0]).any():
        raise ValueError(f"cu_seq_lens_q: expected segments of one length, got {sorted(set(lengths.tolist()))}")
    parts = (rearrange(part, "1 h (n t) d -> n h t d", t=int(lengths[0])) for part in (query, key, value))
    attended = functional.scaled_dot_product_attention(*parts, scale=scaling)
    return rearrange(attended, "n h t d -> 1 (n t) h d"), None


AttentionInterface.register(NAME, attend_in_equal_segments)
