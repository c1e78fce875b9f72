"""One row is one prompt: several samples packed into a row are refused before any of them is encoded."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.huggingface.prompt.token_layout import MediaTokens
from seats_ops.validation import describe


def text_positions(position_ids: object) -> Tensor | None:
    """[B, S], or [1, S] for all rows: the axis of `position_ids` in which text is counted; None without any."""
    if not isinstance(position_ids, Tensor):
        return None
    return position_ids[0] if position_ids.ndim == 3 else position_ids


def check_rows(
    input_ids: Tensor,
    media: MediaTokens,
    attention_mask: Tensor | None,
    positions: Tensor | None,
    position_ids: Tensor | None,
) -> None:
    """Raise UnsupportedModelState for a row of several samples: attention, or the positions, would count them as one.

    Args:
        input_ids: [B, S]; this and all others but `position_ids` on the CPU.
        media: the family's special tokens.
        attention_mask: as the caller gave it.
        positions: `text_positions` of `position_ids`.
        position_ids: [B, S]; [3, B, S]: time, height and width; or [4, B, S]: the same behind a count of all tokens.

    Raises:
        ValueError: `position_ids` of another shape.
    """
    filled = torch.ones_like(input_ids, dtype=torch.bool)
    if attention_mask is not None and attention_mask.shape == input_ids.shape:
        filled = attention_mask != 0
        if bool((attention_mask[filled] != 1).any()):
            raise UnsupportedModelState(
                f"attention_mask: expected 0 and 1, got values up to {attention_mask.max().item()}: samples that share "
                "a row are not told apart; give every sample a row"
            )
    if positions is None or position_ids is None:
        return
    axes, shape = position_ids.shape[:-2], tuple(position_ids.shape[-2:])
    if axes not in ((), (3,), (4,)) or shape not in ((1, input_ids.shape[1]), tuple(input_ids.shape)):
        raise ValueError(
            f"position_ids: expected [B, S], [3, B, S] or [4, B, S] for input_ids {list(input_ids.shape)}, got "
            f"{describe(position_ids)}"
        )
    counts_all = axes != (3,)
    rows, columns = (filled if counts_all else filled & media.is_text(input_ids)).nonzero().unbind(1)
    step = positions.expand(input_ids.shape)[rows, columns].diff()[rows.diff() == 0]
    # Positions in time and space may stand still between two tokens. A count of tokens may not, and without a mask
    # transformers takes a gap in it for the start of another sample.
    wrong = step < 0 if not counts_all else step != 1 if attention_mask is None else step < 1
    if bool(wrong.any()):
        raise UnsupportedModelState(
            f"position_ids: expected one sample per row, got a step of {int(step[wrong][0])} from a token to the next: "
            "samples that share a row are not told apart; give every sample a row"
        )
