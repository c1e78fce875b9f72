"""What a trace is made of, and how each of it is written as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from seats_ops.layout import TokenLayout
from seats_ops.operators.selection import Merge
from seats_ops.operators.stage import MEDIA
from seats_ops.trace.values import floats, from_floats, from_runs, runs


@dataclass(frozen=True)
class MediaItem:
    """A video, a sound or a picture of a prompt.

    Attributes:
        row: the prompt.
        modality: "video", "audio" or "image".
        num_tokens: in the prompt, before any stage.
        grid: tokens as (t, h, w) where they stand on a grid, else None.
        seconds: that a step of t lasts, or one token of sound; None where nobody said, and for pictures.
    """

    row: int
    modality: str
    num_tokens: int
    grid: tuple[int, int, int] | None = None
    seconds: float | None = None


@dataclass
class StageRecord:
    """One stage of a prefill.

    Attributes:
        name: class name of the stage.
        layer: 1-based layer whose output it acted on, 0 before the LLM.
        kept_indices: per prompt an ascending int64 tensor of columns of the caller's `input_ids`, text included.
        num_tokens: tokens left, over the whole batch.
        counts: tokens left by modality name.
        budgets: int64 [W, 2] (video, audio) per window if the stage shared budgets, else None.
        scores: float32 [T] on the CPU, relevance of the tokens that the stage saw, prompts one after another, each in
            ascending columns; None if it asked for none, or they were not recorded.
        merge: a `Merge` whose target and source are int64 [N, 2] on the CPU, (prompt, column of its `input_ids`), if
            the stage gave kept rows values that are sums of rows; else None.
        multiplicity: float [K] on the CPU, how many tokens each kept one stands for, as `kept_indices` one prompt after
            another; None if the stage did not say.
        order: the columns of `kept_indices` as the stage ordered them; None where they stayed as they were.
        positions: "kept", or "renumbered" where positions were counted anew, see `Selection`.
        kv_rule: "sliced", or "long" where earlier layers went on holding keys of what the stage dropped.
        values: the stage gave kept rows values that no `merge` describes; they are not recorded.
        asked: share of the tokens it found that the stage was asked to keep, by modality name, before rounding; without
            those of which it does not say.
    """

    name: str
    layer: int
    kept_indices: list[Tensor]
    num_tokens: int
    counts: dict[str, int]
    budgets: Tensor | None = None
    scores: Tensor | None = None
    merge: Merge | None = None
    multiplicity: Tensor | None = None
    order: list[Tensor] | None = None
    positions: str = "kept"
    kv_rule: str = "sliced"
    values: bool = False
    asked: dict[str, float] = field(default_factory=dict)

    def granted(self) -> list[tuple[int | None, int | None]] | None:
        """(video, audio) budgets by window; None for a modality that got none and yet has tokens left: it is let be."""
        if self.budgets is None:
            return None
        acts = [bool(self.budgets[:, place].any()) for place in (0, 1)]
        video, audio = (act or not self.counts.get(name) for act, name in zip(acts, ("video", "audio"), strict=True))
        return [(v if video else None, a if audio else None) for v, a in self.budgets.tolist()]


def record_to_dict(stage: StageRecord) -> dict[str, Any]:
    return {
        "name": stage.name,
        "layer": stage.layer,
        "num_tokens": stage.num_tokens,
        "counts": stage.counts,
        "kept_indices": [row.tolist() for row in stage.kept_indices],
        "budgets": None if stage.budgets is None else stage.budgets.tolist(),
        "scores": floats(stage.scores),
        **({"asked": stage.asked} if stage.asked else {}),
        **({} if stage.merge is None else {"merge": _merge_to_dict(stage.merge)}),
        **({} if stage.multiplicity is None else {"multiplicity": floats(stage.multiplicity)}),
        **({} if stage.order is None else {"order": [row.tolist() for row in stage.order]}),
        **{name: getattr(stage, name) for name, plain in PLAIN.items() if getattr(stage, name) != plain},
    }


PLAIN = {"positions": "kept", "kv_rule": "sliced", "values": False}
MORE = ("merge", "multiplicity", "order", *PLAIN)
"""What only some stages do; a record without it is written as one of format 2."""


def record_from_dict(data: dict[str, Any]) -> StageRecord:
    """Raises KeyError: an entry is missing. ValueError: tensors that belong together are of different lengths."""
    budgets, order = data["budgets"], data.get("order")
    found = StageRecord(
        name=data["name"],
        layer=data["layer"],
        kept_indices=[torch.tensor(row, dtype=torch.int64, device="cpu") for row in data["kept_indices"]],
        num_tokens=data["num_tokens"],
        counts=data["counts"],
        budgets=None if budgets is None else torch.tensor(budgets, dtype=torch.int64, device="cpu").reshape(-1, 2),
        scores=from_floats(data.get("scores")),
        merge=_merge_from_dict(data["merge"]) if "merge" in data else None,
        multiplicity=from_floats(data.get("multiplicity")),
        order=None if order is None else [torch.tensor(row, dtype=torch.int64, device="cpu") for row in order],
        asked=_asked_from(data.get("asked", {})),
        **{name: data[name] for name in PLAIN if name in data},
    )
    if found.order is not None:
        same = len(found.order) == len(found.kept_indices) and all(
            torch.equal(row.sort().values, kept) for row, kept in zip(found.order, found.kept_indices, strict=True)
        )
        if not same:
            raise ValueError(f"{found.name}: expected order to hold the columns of kept_indices, got others")
    if found.multiplicity is not None and len(found.multiplicity) != found.num_tokens:
        got = len(found.multiplicity)
        raise ValueError(f"{found.name}: expected multiplicity of {found.num_tokens} tokens, got {got}")
    return found


def _merge_to_dict(merge: Merge) -> dict[str, Any]:
    return {"target": merge.target.tolist(), "source": merge.source.tolist(), "coefficient": floats(merge.coefficient)}


def _merge_from_dict(data: dict[str, Any]) -> Merge:
    target, source = (
        torch.tensor(data[name], dtype=torch.int64, device="cpu").reshape(-1, 2) for name in ("target", "source")
    )
    coefficient = from_floats(data["coefficient"])
    if coefficient is None or not len(target) == len(source) == len(coefficient):
        raise ValueError("merge: expected as many targets as sources and coefficients")
    return Merge(target, source, coefficient)


def layout_to_dict(layout: TokenLayout) -> dict[str, Any]:
    """Columns are stored as how far they are from their place on the packed axis, which seldom changes."""
    away = layout.position.long() - torch.arange(len(layout), dtype=torch.int64, device="cpu")
    named = {"modality": layout.modality, "block": layout.block, "window": layout.window}
    return {"away": runs(away), **{name: runs(values) for name, values in named.items()}} | {
        "cu_seqlens": layout.cu_seqlens.tolist()
    }


def layout_from_dict(data: dict[str, Any] | None) -> TokenLayout | None:
    if data is None:
        return None
    modality, away, block, window = (from_runs(data[name]) for name in ("modality", "away", "block", "window"))
    if modality is None or away is None:
        raise ValueError("layout: expected modality and columns of every token, got none")
    position = away + torch.arange(len(away), dtype=torch.int64, device="cpu")
    cu_seqlens = torch.tensor(data["cu_seqlens"], dtype=torch.int32, device="cpu")
    return TokenLayout(modality, position, cu_seqlens, block, window)


def item_from_dict(data: dict[str, Any]) -> MediaItem:
    grid = data["grid"]
    return MediaItem(**{**data, "grid": None if grid is None else tuple(grid)})


def _asked_from(shares: Any) -> dict[str, float]:
    numbers = isinstance(shares, dict) and all(isinstance(share, int | float) for share in shares.values())
    if not numbers or not shares.keys() <= set(MEDIA) or not all(0 <= share <= 1 for share in shares.values()):
        raise ValueError(f"asked: expected shares from 0 to 1 by modality, got {shares!r}")
    return {name: float(share) for name, share in shares.items()}


def policy_from(value: object) -> str:
    """Raises ValueError: not one that a cache is pruned by."""
    if value not in ("", "uniform", "per-layer"):
        raise ValueError(f"kv_policy: expected uniform, per-layer or nothing, got {value!r}")
    return str(value)
