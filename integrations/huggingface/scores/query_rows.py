"""Which tokens of a prompt ask, by the name of a query, and how attention of several of them becomes one score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout
from seats_ops.operators.inputs import ROW
from seats_ops.operators.stage_checks import query_of_rows
from seats_ops.ops.primitive import full_precision

CELLS = 2**22
"""float32 entries of attention that are held at a time, if a row of it is not longer."""


@dataclass(frozen=True)
class Asking:
    """Rows of attention whose mean or maximum is a score.

    Attributes:
        rows: int64 [R] on the layout's device, packed places of the tokens that ask, ascending.
        counts: of every prompt, on the host: (tokens that ask, tokens).
        takes_max: the maximum over rows counts, not their mean.
        causal: a row sees no later token.
    """

    rows: Tensor
    counts: list[tuple[int, int]]
    takes_max: bool
    causal: bool


def rows_that_ask(query: str, layout: TokenLayout, causal: bool) -> Asking:
    """The tokens that a query stands for, among those still there; nothing is read from a device.

    Where no token of a question is left, the last token of text takes its place.

    Args:
        query: "instruction", "text_mean", "text_max", "rows" or "row[N]".
        layout: with `question`, unless the query is one of the last two.
        causal: see `Asking`.

    Raises:
        ValueError: a prompt has no such row.
    """
    plan = layout.plan()
    if match := ROW.fullmatch(query):
        return _one_row(query, int(match[1]), plan.cu_seqlens, layout, causal)
    last = query_of_rows(plan)
    has_text = last >= plan.cu_seqlens[:-1]
    asks = plan.modality == Modality.TEXT
    if query != "rows":
        assert plan.question is not None
        asks = asks & plan.question
    counts = torch.bincount(plan.rows()[asks], minlength=plan.num_rows)
    alone = (counts == 0) & has_text
    places = asks.index_fill(0, last[alone], True).nonzero().squeeze(1)
    counts = counts + alone
    if query == "instruction":
        places, counts = places[counts.cumsum(0)[counts > 0] - 1], counts.clamp(max=1)
    lengths = plan.cu_seqlens.diff().tolist()
    return Asking(
        places.to(layout.modality.device, non_blocking=True),
        list(zip(counts.tolist(), lengths, strict=True)),
        query == "text_max",
        causal,
    )


def _one_row(query: str, place: int, cu_seqlens: Tensor, layout: TokenLayout, causal: bool) -> Asking:
    lengths = cu_seqlens.diff()
    absent = (lengths > 0) & ~((-lengths <= place) & (place < lengths))
    if absent.any():
        prompt = int(absent.nonzero()[0])
        raise ValueError(f"scores: {query} of prompt {prompt}, expected a place in its {int(lengths[prompt])} tokens")
    places = ((cu_seqlens[:-1] if place >= 0 else cu_seqlens[1:]) + place)[lengths > 0].long()
    counts = list(zip(lengths.clamp(max=1).tolist(), lengths.tolist(), strict=True))
    return Asking(places.to(layout.modality.device, non_blocking=True), counts, False, causal)


def relevance_of_rows(
    query: Tensor, key: Tensor, asking: Asking, scale: float, over_ranks: Callable[[Tensor], Tensor]
) -> Tensor:
    """softmax(scale * q k^T) over the tokens of a prompt, mean over heads, then mean or maximum over the rows that ask.

    Of attention, no more than `CELLS` entries exist at a time, or one row of all heads.

    Args:
        query: [R, Hq, D], rotated.
        key: [T, Hkv, D], rotated.
        asking: which rows these are.
        scale: of the products.
        over_ranks: makes the mean over the heads of this rank that over all heads, in place.

    Returns:
        float32 [T]. Means of a prompt add up to 1.
    """
    scores = torch.zeros(len(key), dtype=torch.float32, device=key.device)
    first_row = start = 0
    for rows, tokens in asking.counts:
        keys = key[start : start + tokens].float()
        here = scores[start : start + tokens]
        at_once = max(1, CELLS // max(1, query.shape[1] * tokens))
        for piece in range(first_row, first_row + rows, at_once):
            chunk = slice(piece, min(piece + at_once, first_row + rows))
            asked = query[chunk].float().unflatten(1, (key.shape[1], -1)) * scale
            with full_precision(key.device):
                logits = torch.einsum("rhgd,thd->rhgt", asked, keys)
            if asking.causal:
                place = torch.arange(start, start + tokens, dtype=torch.int64, device=key.device)
                logits = logits.masked_fill(
                    (place > asking.rows[chunk].to(key.device)[:, None])[:, None, None], -torch.inf
                )
            weights = logits.softmax(-1).mean((1, 2))
            if asking.takes_max:
                torch.maximum(here, over_ranks(weights).amax(0), out=here)
            else:
                here += weights.sum(0) / rows
        first_row, start = first_row + rows, start + tokens
    return scores if asking.takes_max else over_ranks(scores)
