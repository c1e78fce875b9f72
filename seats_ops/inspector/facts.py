"""What a page shows of one prompt of a trace: every token, every stage, every layer."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from seats_ops.cost.counts import tokens_per_layer
from seats_ops.layout import Modality
from seats_ops.trace.prefill import Prefill
from seats_ops.trace.records import MediaItem, StageRecord
from seats_ops.trace.retention import asked_after_stages
from seats_ops.trace.values import floats

NONE = -1


def tokens_of(trace: Prefill, row: int) -> dict[str, Any]:
    """What does not depend on a schedule: arrays with an entry for every token of prompt `row`, in base 64.

    "column", "modality", "item" (number in the trace's items of this prompt), "t", "h", "w": int32, -1 where there is
    none.

    Raises:
        ValueError: the trace is of format 1 and knows no tokens, or has no such prompt.
    """
    layout, here = trace.layout, _span(trace, row)
    assert layout is not None
    modality = layout.modality.long()[here]
    place = {name: torch.full_like(modality, NONE) for name in ("item", "t", "h", "w")}
    for kind in (Modality.VIDEO, Modality.AUDIO, Modality.IMAGE):
        member, first = (modality == kind).nonzero().squeeze(1), 0
        for number, item in enumerate(items_of(trace, row)):
            if item.modality != kind.name.lower():
                continue
            tokens, first = member[first : first + item.num_tokens], first + item.num_tokens
            place["item"][tokens] = number
            inside = torch.arange(len(tokens), dtype=torch.int64, device="cpu")
            if item.grid is None:
                place["t"][tokens] = inside
            else:
                _, height, width = item.grid
                place["t"][tokens] = inside // (height * width)
                place["h"][tokens] = inside // width % height
                place["w"][tokens] = inside % width
    arrays = {"column": layout.position.long()[here], "modality": modality, **place}
    return {name: whole(values) for name, values in arrays.items()}


def items_of(trace: Prefill, row: int) -> list[MediaItem]:
    """Of one prompt."""
    return [item for item in trace.items if item.row == row]


def run_of(trace: Prefill, row: int) -> dict[str, Any]:
    """What the stages made of prompt `row`; "left" is uint8 [T], 1 where a token is still there, "asked" the share of
    the prompt's tokens that was asked for so far, by the modalities of which that is known.

    Blocks and windows are here: a schedule without a stage that asks for blocks makes others.
    """
    layout, here = trace.layout, _span(trace, row)
    assert layout is not None
    column = layout.position.long()[here]
    alive = torch.ones_like(column, dtype=torch.bool)
    before = [layout.cu_seqlens.diff().tolist(), *([len(kept) for kept in s.kept_indices] for s in trace.stages)]
    stages = []
    for stage, asked, lengths in zip(trace.stages, asked_after_stages(trace), before, strict=False):
        scores = None
        if stage.scores is not None:
            scores = torch.full_like(column, torch.nan, dtype=torch.float32)
            scores[alive] = stage.scores.split(lengths)[row]
        alive = torch.isin(column, stage.kept_indices[row].cpu())
        kept = {"left": small(alive), "scores": floats(scores), "tokens": int(alive.sum()), "asked": asked}
        stages.append({**_said(stage), **kept, **_more(stage, row, column)})
    saliency = None if trace.saliency is None else trace.saliency[here]
    groups = {
        name: whole(torch.full_like(column, NONE) if ids is None else ids.long()[here])
        for name, ids in (("block", layout.block), ("window", layout.window))
    }
    return {"stages": stages, "saliency": floats(saliency), "keys": keys_of(trace, row), **groups}


def _said(stage: StageRecord) -> dict[str, Any]:
    return {"name": stage.name, "layer": stage.layer, "budgets": stage.granted()}


def _more(stage: StageRecord, row: int, column: Tensor) -> dict[str, Any]:
    """What only some stages do.

    "merge": "target" and "source", int32 numbers of tokens in the prompt, and "coefficient", float32. "multiplicity":
    its least and largest. "did": what else the stage changed, by name.
    """
    found: dict[str, Any] = {}
    if stage.merge is not None:
        target, source, coefficient = stage.merge
        mine = target[:, 0] == row
        ends = {"target": target[mine], "source": source[mine]}
        ascending, order = column.sort()
        for name, places in ends.items():
            at = torch.searchsorted(ascending, places[:, 1].contiguous()).clamp(max=max(len(column) - 1, 0))
            if bool((places[:, 0] != row).any()) or not torch.equal(ascending[at], places[:, 1]):
                raise ValueError(f"{stage.name}: expected merge.{name} to be tokens of prompt {row}, got others")
            ends[name] = order[at]
        found["merge"] = {name: whole(places) for name, places in ends.items()} | {
            "coefficient": floats(coefficient[mine])
        }
    if stage.multiplicity is not None:
        mine = stage.multiplicity.split([len(kept) for kept in stage.kept_indices])[row]
        if len(mine):
            found["multiplicity"] = [float(mine.min()), float(mine.max())]
    did = {
        "order": stage.order is not None and not torch.equal(stage.order[row].sort().values, stage.order[row]),
        "positions": stage.positions == "renumbered",
        "keys": stage.kv_rule == "long",
        "values": stage.values,
    }
    if any(did.values()):
        found["did"] = [name for name, done in did.items() if done]
    return found


def keys_of(trace: Prefill, row: int) -> list[int]:
    """Keys of prompt `row` that every layer holds, padding not counted; empty where the trace does not say."""
    ran_on = layers_of(trace, row, len(trace.kv_lengths))
    if trace.kv_policy == "per-layer":
        return ran_on
    if trace.kv_policy == "uniform":
        lengths = [trace.prompt_lengths[row], *(len(stage.kept_indices[row]) for stage in trace.stages)]
        held = lengths[-1:] * len(ran_on)
        for stage, before, after in zip(trace.stages, lengths, lengths[1:], strict=False):
            if stage.kv_rule == "long":
                held[: stage.layer] = [keys + before - after for keys in held[: stage.layer]]
        return held
    return trace.kv_lengths if len(trace.prompt_lengths) == 1 else []


def _span(trace: Prefill, row: int) -> slice:
    if trace.layout is None:
        raise ValueError(
            "trace: expected one that knows its tokens (format 2), got an empty or an older one: record it anew"
        )
    ends = [0, *accumulate(trace.prompt_lengths)]
    if not 0 <= row < len(ends) - 1:
        raise ValueError(f"row: expected one of {len(ends) - 1} prompt(s), got {row}")
    return slice(ends[row], ends[row + 1])


def layers_of(trace: Prefill, row: int, num_layers: int) -> list[int]:
    """Tokens of prompt `row` that every layer runs on."""
    steps = [(stage.layer, len(stage.kept_indices[row])) for stage in trace.stages]
    return tokens_per_layer(trace.prompt_lengths[row], steps, num_layers)[:-1]


def whole(values: Tensor) -> str:
    """int32, little endian, base 64."""
    return base64.b64encode(values.numpy().astype("<i4").tobytes()).decode("ascii")


def small(values: Tensor) -> str:
    """uint8, base 64."""
    return base64.b64encode(values.numpy().astype("u1").tobytes()).decode("ascii")


def described(items: Sequence[MediaItem], pictures: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items with what is drawn of them."""
    return [{**asdict(item), **picture} for item, picture in zip(items, pictures, strict=True)]
