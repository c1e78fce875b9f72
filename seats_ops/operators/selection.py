"""What a stage may answer beside a keep mask: new values, how many tokens a row stands for, positions, order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from seats_ops.layout import TokenLayout
from seats_ops.validation import describe, reads_are_free

POSITIONS = ("kept", "renumbered")


class Merge(NamedTuple):
    """A linear map on the rows that a stage sees: row `target` becomes the sum of coefficient * row `source`.

    Rows that are no target stay as they are. All sources are read before anything is written; see
    `seats_ops.functional.merge_rows`.

    `target` and `source` are int64 [N], tokens of the layout, a target one that is kept; `coefficient` is float32 [N],
    finite.

    Example:
        >>> import torch
        >>> from seats_ops import Merge
        >>> halves = Merge(torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([0.5, 0.5]))
    """

    target: Tensor
    source: Tensor
    coefficient: Tensor


@dataclass(frozen=True, eq=False)
class Selection:
    """What a stage decided; a keep mask alone says the same with nothing else in it.

    Attributes:
        keep_mask: bool [T].
        budgets: int64 [W, 2] of (video, audio) per window, for the trace.
        merge: new values for kept rows, as a linear map of the rows the stage saw. The model's features are replaced,
            and what DeepStack adds later is merged alike.
        values: new values for kept rows, [T, D] in the dtype of the features; rows that are dropped are not looked at.
            For what is not linear; not together with `merge`.
        multiplicity: float [T], how many tokens a kept row stands for, for the trace.
        positions: "kept": every token keeps its position; "renumbered": those left count without gaps, and the last one
            of a prompt keeps its position, so that tokens to come follow on. After a layer only.
        order: int64 [K], all kept tokens, in the order in which they go on; prompts stay together, and the query stays
            last. None: ascending.

    Example:
        >>> import torch
        >>> from seats_ops import Merge, Selection
        >>> mean = Merge(torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([0.5, 0.5]))
        >>> selection = Selection(torch.tensor([True, False, True]), merge=mean)
    """

    keep_mask: Tensor
    budgets: Tensor | None = None
    merge: Merge | None = None
    values: Tensor | None = None
    multiplicity: Tensor | None = None
    positions: str = "kept"
    order: Tensor | None = None


def check_declared(where: str, stage: object, selection: Selection) -> None:
    """Raise ValueError for values or positions of a stage that does not say that it gives them."""
    given = {
        "merges": selection.merge is not None or selection.values is not None,
        "renumbers": selection.positions == "renumbered",
    }
    for name, found in given.items():
        if found and not getattr(stage, name, False):
            raise ValueError(f"{where}: expected {name} = True of a stage that does, got False")


def check_selection(where: str, selection: Selection, layout: TokenLayout, features: Tensor | None) -> None:
    """Shapes, dtypes, devices of all but mask and budgets; nothing is read from a device.

    Raises:
        TypeError, ValueError: naming the part that is wrong.
    """
    total, device = len(layout), layout.modality.device
    if selection.positions not in POSITIONS:
        raise ValueError(f"{where}: expected positions among {POSITIONS}, got {selection.positions!r}")
    if selection.merge is not None and selection.values is not None:
        raise ValueError(f"{where}: expected merge or values, got both")
    if selection.merge is not None:
        _check_merge(where, selection.merge, device)
    values = selection.values
    if values is not None:
        if not isinstance(values, Tensor) or values.ndim != 2 or len(values) != total or values.device != device:
            raise ValueError(f"{where}: expected values [{total}, D] on {device}, got {describe(values)}")
        if features is not None and (values.shape != features.shape or values.dtype != features.dtype):
            raise ValueError(f"{where}: expected values like features {describe(features)}, got {describe(values)}")
    for name in ("multiplicity", "order"):
        part = getattr(selection, name)
        if part is None:
            continue
        if not isinstance(part, Tensor) or part.ndim != 1 or part.device != device:
            raise ValueError(f"{where}: expected {name} with one axis on {device}, got {describe(part)}")
        if name == "multiplicity" and (len(part) != total or not part.is_floating_point()):
            raise ValueError(f"{where}: expected multiplicity float [{total}], got {describe(part)}")
        if name == "order" and part.dtype != torch.int64:
            raise TypeError(f"{where}: expected order int64 [K], got {describe(part)}")


def _check_merge(where: str, merge: object, device: torch.device) -> None:
    if not isinstance(merge, Merge):
        raise TypeError(f"{where}: expected a Merge, got {describe(merge)}")
    count = len(merge.target) if isinstance(merge.target, Tensor) and merge.target.ndim else 0
    for name, part in zip(Merge._fields, merge, strict=True):
        if not isinstance(part, Tensor) or part.ndim != 1 or len(part) != count or part.device != device:
            raise ValueError(f"{where}: expected merge.{name} [{count}] on {device}, got {describe(part)}")
        if name == "coefficient" and not part.is_floating_point():
            raise TypeError(f"{where}: expected merge.coefficient of floats, got {describe(part)}")
        if name != "coefficient" and part.dtype != torch.int64:
            raise TypeError(f"{where}: expected merge.{name} int64, got {describe(part)}")


def merge_faults(selection: Selection) -> Tensor:
    """bool [3] on the device: rows outside the layout, targets that are dropped, coefficients that are not finite."""
    keep_mask, merge = selection.keep_mask, selection.merge
    if merge is None or not len(merge.target):
        return torch.zeros(3, dtype=torch.bool, device=keep_mask.device)
    total = len(keep_mask)
    rows = torch.stack([merge.target, merge.source])
    outside = ((rows < 0) | (rows >= total)).any()
    dropped = ~keep_mask[merge.target.clamp(0, max(total - 1, 0))] if total else torch.ones_like(rows[0]) > 0
    return torch.stack([outside, dropped.any(), ~merge.coefficient.isfinite().all()])


def check_merge_faults(where: str, faults: Tensor) -> None:
    """Raise ValueError for one of `merge_faults`, read back."""
    outside, dropped, endless = faults.tolist()
    if outside:
        raise ValueError(f"{where}: expected merge.target and merge.source to be tokens of the layout, got others")
    if dropped:
        raise ValueError(f"{where}: expected merge.target to be tokens that are kept, got one that is dropped")
    if endless:
        raise ValueError(f"{where}: expected merge.coefficient to be finite, got NaN or infinity")


def check_order(where: str, order: Tensor, keep_mask: Tensor, layout: TokenLayout) -> None:
    """Raise ValueError unless `order` is a permutation of the kept tokens, prompt by prompt, with the query last.

    Args:
        order, keep_mask: on the host.
        layout: of the tokens before the stage, on the host.
    """
    assert reads_are_free(keep_mask)
    kept = keep_mask.nonzero().squeeze(1)
    if len(order) != len(kept) or not torch.equal(order.sort().values, kept):
        raise ValueError(f"{where}: expected order to hold every kept token once, got {describe(order)}")
    rows = layout.rows()[order]
    if bool((rows.diff() < 0).any()):
        raise ValueError(f"{where}: expected order to leave prompts where they are, got tokens of two prompts mixed")
    ends = torch.ones(len(rows), dtype=torch.bool, device="cpu")
    ends[:-1] = rows.diff() > 0
    if not torch.equal(order[ends], kept[ends]):
        raise ValueError(f"{where}: expected order to leave the last token of a prompt, its query, where it is")
