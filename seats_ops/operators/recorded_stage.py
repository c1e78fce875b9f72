"""A stage that keeps and merges what a trace says was kept and merged: for debugging and for comparing devices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from seats_ops.layout import TokenLayout, check_layout
from seats_ops.operators.selection import POSITIONS, Merge, Selection
from seats_ops.operators.stage import KV_RULES
from seats_ops.operators.stored import Stored
from seats_ops.validation import describe

Columns = tuple[tuple[int, ...], ...]
PLAIN = {"merge": None, "order": None, "positions": "kept", "kv_rule": "sliced"}


@dataclass(frozen=True)
class RecordedStage(Stored):
    """Keeps exactly the recorded tokens; computes no score.

    With a merge it asks for the features, as whoever merges does, and is called as (features, layout); it does not look
    at them.

    Attributes:
        kept: for every prompt the kept columns of the original prompt, text included, ascending.
        merge: for every prompt triples (target, source, coefficient) of columns, see `Merge`; None: nothing is merged.
        order: for every prompt its kept columns in the order in which they go on; None: as they are.
        positions: "kept" or "renumbered", see `Selection`.
        kv_rule: "sliced" or "long", see `Stage`.

    Example:
        >>> import torch
        >>> from seats_ops import RecordedStage, TokenLayout
        >>> layout = TokenLayout(torch.tensor([1, 1, 1, 0]), torch.arange(4), torch.tensor([0, 4]))
        >>> RecordedStage(kept=((1, 3),))(layout)
        tensor([False,  True, False,  True])
        >>> halves = RecordedStage(kept=((1, 3),), merge=(((1, 0, 0.5), (1, 1, 0.5)),))
        >>> halves(torch.zeros(4, 8), layout).merge.source
        tensor([0, 1])
    """

    kept: Columns
    merge: tuple[tuple[tuple[int, int, float], ...], ...] | None = None
    order: Columns | None = None
    positions: str = "kept"
    kv_rule: str = "sliced"

    def __post_init__(self) -> None:
        kept = _columns(self.kept)
        for i, row in enumerate(kept):
            if any(a >= b for a, b in pairwise(row)) or (row and row[0] < 0):
                raise ValueError(f"kept[{i}]: expected ascending columns >= 0, got {describe(row)}")
        object.__setattr__(self, "kept", kept)
        for name in ("merge", "order"):
            rows = getattr(self, name)
            if rows is not None and len(rows) != len(kept):
                raise ValueError(f"{name}: expected an entry for each of {len(kept)} prompt(s), got {len(rows)}")
        if self.merge is not None:
            object.__setattr__(self, "merge", tuple(map(_triples, range(len(kept)), self.merge, kept)))
        if self.order is not None:
            order = _columns(self.order)
            for i, (row, columns) in enumerate(zip(order, kept, strict=True)):
                if tuple(sorted(row)) != columns:
                    raise ValueError(f"order[{i}]: expected every column of kept once, got {describe(row)}")
            object.__setattr__(self, "order", order)
        for name, known in (("positions", POSITIONS), ("kv_rule", KV_RULES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected one of {known}, got {getattr(self, name)!r}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The features where something is merged, else nothing."""
        return ("features",) if self.merges else ()

    @property
    def merges(self) -> bool:
        """Some kept token gets a new value."""
        return self.merge is not None and any(self.merge)

    @property
    def renumbers(self) -> bool:
        """Positions are counted anew."""
        return self.positions == "renumbered"

    def to_dict(self) -> dict[str, Any]:
        """See `Stored`; what the stage did not do is left out, as in files written before it could be done.

        Example:
            >>> RecordedStage(kept=((1, 3),)).to_dict()
            {'type': 'RecordedStage', 'kept': [[1, 3]]}
        """
        return {name: value for name, value in super().to_dict().items() if name not in PLAIN or value != PLAIN[name]}

    def own_macs(self, found: Mapping[str, int], sizes: Any) -> int | None:
        """See `Stage`: of one prompt, the rows that are merged; None of several, which have merged different ones.

        Example:
            >>> RecordedStage(kept=((1, 3),)).own_macs({}, None)
            0
        """
        if self.merge is None:
            return 0
        return len(self.merge[0]) * int(sizes.hidden) if len(self.merge) == 1 else None

    def __call__(self, *given: Any, backend: str = "auto") -> Tensor | Selection:
        """bool [T] keep mask, or a `Selection` of a stage that did more.

        Args:
            *given: the layout; before it the features where something is merged.

        Raises:
            ValueError: the layout has other prompts than were recorded, or not all of their tokens.
        """
        layout: TokenLayout = given[-1]
        if check_layout(layout).num_rows != len(self.kept):
            raise ValueError(f"layout: expected {len(self.kept)} prompt(s) as recorded, got {layout.num_rows}")
        device = layout.modality.device
        keep_mask = torch.zeros(len(layout), dtype=torch.bool, device=device)
        keep_mask[_places(layout, self.kept).to(device)] = True
        merge = order = None
        if self.merge is not None and self.merges:
            ends = [[t for t, _, _ in row] for row in self.merge], [[s for _, s, _ in row] for row in self.merge]
            target, source = (_places(layout, columns).to(device) for columns in ends)
            values = [coefficient for row in self.merge for _, _, coefficient in row]
            merge = Merge(target, source, torch.tensor(values, dtype=torch.float32, device=device))
        if self.order is not None:
            order = _places(layout, self.order).to(device)
        if merge is None and order is None and not self.renumbers:
            return keep_mask
        return Selection(keep_mask, merge=merge, positions=self.positions, order=order)


def _columns(rows: Iterable[Iterable[Any]]) -> Columns:
    return tuple(tuple(int(column) for column in row) for row in rows)


def _triples(i: int, given: Iterable[Any], kept: tuple[int, ...]) -> tuple[tuple[int, int, float], ...]:
    found, there = tuple((int(a), int(b), float(c)) for a, b, c in given), set(kept)
    for target, source, coefficient in found:
        if target not in there or source < 0 or not math.isfinite(coefficient):
            got = describe((target, source, coefficient))
            raise ValueError(f"merge[{i}]: expected (kept column, column >= 0, finite coefficient), got {got}")
    return found


def _places(layout: TokenLayout, columns: Iterable[Iterable[int]]) -> Tensor:
    """int64 [N] on the host: the tokens of the layout at these columns of every prompt, one prompt after another."""
    plan, places = layout.plan(), []
    here = plan.position.long().cpu().split(plan.cu_seqlens.cpu().diff().tolist())
    start = missing = 0
    for row, wanted in zip(here, columns, strict=True):
        asked = torch.tensor(list(wanted), dtype=torch.int64, device="cpu")
        ascending, index = row.sort()
        at = torch.searchsorted(ascending, asked).clamp(max=max(len(row) - 1, 0))
        found = ascending[at] == asked if len(row) else torch.zeros_like(asked, dtype=torch.bool)
        missing += int((~found).sum())
        places.append(start + (index[at] if len(row) else at))
        start += len(row)
    if missing:
        raise ValueError(f"layout: expected all recorded tokens to be there, got {missing} too few")
    return torch.cat(places) if places else torch.zeros(0, dtype=torch.int64, device="cpu")
