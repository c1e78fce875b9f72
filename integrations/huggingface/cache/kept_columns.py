"""`logits_to_keep` names columns of the caller's prompt: here they are found among the tokens that are left."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.huggingface.compat import columns_of
from seats_ops.integrations.huggingface.prefill import Prefill


def kept_columns(prefill: Prefill, logits_to_keep: Any) -> Tensor:
    """Where the tokens of the columns asked for stand now, as flat slots of the model's rows.

    Args:
        prefill: of the prompts; its stages so far have run.
        logits_to_keep: of the model's forward, in any form that transformers knows; tensors on the CPU.

    Returns:
        int64, in the shape that transformers gives the logits of such columns, e.g. [B, n]; on the CPU.

    Raises:
        UnsupportedModelState: a column is padding, or its token was dropped.
        ValueError: a column that does not exist.
    """
    plan, grid = prefill.run.layout.plan(), prefill.grid
    width, num_rows = prefill.prompt_width, plan.num_rows * grid.copies
    columns = torch.arange(num_rows * width, dtype=torch.int64, device="cpu").view(num_rows, width, 1)
    try:
        # Transformers itself says what is asked for.
        asked = columns_of(columns, logits_to_keep).squeeze(-1)
    except (IndexError, RuntimeError, TypeError) as error:
        raise ValueError(f"logits_to_keep: expected columns of input_ids [{num_rows}, {width}]: {error}") from error
    row, column = asked // width, asked % width
    # Rows of one prompt are alike; a stage may have put its tokens in another order.
    keys, order = (plan.rows() * width + plan.position.long()).sort()
    wanted = row // grid.copies * width + column
    found = torch.searchsorted(keys, wanted).clamp(max=max(len(keys) - 1, 0))
    gone = keys[found] != wanted if len(keys) else torch.ones_like(wanted, dtype=torch.bool)
    if bool(gone.any()):
        some = ", ".join(f"{c} of row {r}" for r, c in zip(row[gone].tolist()[:5], column[gone].tolist(), strict=False))
        raise UnsupportedModelState(
            f"logits_to_keep: expected columns whose tokens are not dropped, got {int(gone.sum())} that are dropped or "
            f"padding, e.g. {some}; the trace lists the columns that are kept"
        )
    return row * grid.width + grid.slots()[order[found]] % grid.width


def hidden_to_keep(hidden: Tensor, prefill: Prefill, logits_to_keep: Any, on_host: Any) -> Tensor:
    """The rows of `hidden` [B, M, D] whose logits the caller asked for.

    Args:
        hidden: the decoder's output.
        prefill: that ran it.
        logits_to_keep: as the caller gave it.
        on_host: the same, on the CPU if it is a tensor.
    """
    if not prefill.gathers:
        return columns_of(hidden, logits_to_keep)
    slots = kept_columns(prefill, on_host)
    num_rows, width = hidden.shape[:2]
    first = max(width - slots.shape[-1], 0)
    every = torch.arange(num_rows * width, dtype=torch.int64, device="cpu").view(num_rows, width)
    if torch.equal(slots, every[:, first:]):
        return hidden[:, first:]
    picked = hidden.flatten(0, 1).index_select(0, slots.flatten().to(hidden.device, non_blocking=True))
    return picked.unflatten(0, slots.shape)
