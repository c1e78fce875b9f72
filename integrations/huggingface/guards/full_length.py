"""What a pruned generation must come out as: the model itself on the whole prompt, where masks hide what was dropped.

Nothing is gathered, no cache is pruned and no adapter is there: a dropped token goes on through all layers, unseen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def hidden_where_dropped(
    layers: Sequence[Any], kept: Sequence[tuple[int, Tensor]], prompt: int, kv_policy: str
) -> Iterator[None]:
    """While it lasts, decoder layers called on one prompt and the tokens after it see what a pruned run would.

    Args:
        layers: of a decoder whose layers take `attention_mask`, which is replaced.
        kept: per stage the layer after which it ran, 0 before the first, and the columns that it kept.
        prompt: tokens of the prompt.
        kv_policy: see `attach`.
    """
    never = len(layers)
    last = torch.full((prompt,), never, dtype=torch.int64, device="cpu")  # the layer that sees a column last
    for after, columns in kept:
        dropped = torch.ones(prompt, dtype=torch.bool, device="cpu").index_fill(0, columns.cpu(), False)
        last[dropped] = last[dropped].clamp(max=after)
    seen = [0] * len(layers)

    def mask(index: int) -> Any:
        def before(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            hidden = args[0] if args else kwargs["hidden_states"]
            start, end = seen[index], seen[index] + hidden.shape[1]
            seen[index] = end
            rows = torch.arange(start, end, dtype=torch.int64, device="cpu")[:, None]
            columns = torch.arange(end, dtype=torch.int64, device="cpu")
            visible = columns <= rows
            later = last == never if kv_policy == "uniform" else last > index
            visible[:, :prompt] &= torch.where(rows < prompt, last > index, later)
            hides = ~(visible | (columns == rows))  # a dropped token sees itself: a softmax over nothing is none
            bias = torch.zeros(hides.shape, dtype=hidden.dtype, device="cpu").masked_fill(hides, -torch.inf)
            return args, {**kwargs, "attention_mask": bias[None, None]}

        return before

    handles = [layer.register_forward_pre_hook(mask(i), with_kwargs=True) for i, layer in enumerate(layers)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
