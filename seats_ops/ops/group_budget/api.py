"""group_budget: how many tokens every frame, chunk or second of a prompt may keep, with exact sums."""

from __future__ import annotations

from torch import Tensor

from seats_ops.backend import check_backend
from seats_ops.ops.group_budget import op
from seats_ops.ops.segments import segment_sums
from seats_ops.validation import (
    check_cu_seqlens,
    check_integers,
    check_length,
    check_max_seqlen,
    check_non_negative,
    check_positive,
    check_same_device,
    check_values,
    describe,
    longest_segment,
    reads_are_free,
)


def group_budget(
    scores: Tensor,
    lengths: Tensor,
    totals: Tensor,
    cu_groups: Tensor,
    *,
    temperature: float | None = None,
    minimum: int = 0,
    max_groups: int | None = None,
    backend: str = "auto",
    validate: bool = False,
) -> Tensor:
    """Integer budgets of the groups of a row in proportion to their shares, between bounds, with exact sums.

    Group g may keep from m_g = min(minimum, length_g) to length_g tokens. Real budgets are c * share_g, clipped to
    these bounds, with the c for which they add up to the row's total; floors and largest remainders make them integers,
    equal remainders going to the lowest index. No bound is crossed, and the budgets of a row add up to its total,
    limited to [sum m_g, sum length_g]. V-CAST (arXiv 2603.27650) and OmniScope (2607.23193) share tokens this way.

    c is found in rounds: what is left is shared among the groups that are open; if the bounds take away more than they
    add, the groups at their upper bound are locked there, else those at their lower one, until no open group is out of
    bounds. Groups whose shares are 0 get something beyond m_g only where all others are full, and then equal shares; so
    do the groups of a row without any share. NaN counts as a share of 0, an infinity as the largest finite number.

    In every round shares are rounded down to multiples of 2^-31 of the next power of two above the largest open one,
    and all else is done in integers, so that every backend gives the same budgets. With a temperature the shares are
    exp((score - largest score) / temperature) in float64, by a series that is the same everywhere.

    Args:
        scores: float32, bfloat16 or float16 [G], shares >= 0; any numbers with a temperature.
        lengths: integer [G], tokens of every group, less than 2^31 in a row.
        totals: integer [B], tokens to keep of every row, >= 0.
        cu_groups: integer [B+1], groups of each row; rows and groups may be empty.
        temperature: shares are the softmax of scores / temperature over a row; None means that scores are shares.
        minimum: of every group that has as many tokens; an int >= 0.
        max_groups: upper bound of the groups of a row. Given as an int, nothing is read from the device. Kernels cut a
            longer row there or a little later: the budgets of the rest are undefined, and no memory beyond the tensors
            is touched.
        backend: "auto", "triton" or "reference".
        validate: check the values of device tensors too (one read each); those of CPU tensors always are.

    Returns:
        int64 [G].

    Raises:
        BackendUnavailable: "triton" cannot run here, or not at this size.
        TypeError: wrong dtypes. ValueError: wrong shapes, devices or offsets, negative scores without a temperature,
            negative lengths, totals or minimum, a row of 2^31 tokens, a temperature that is not positive.

    Example:
        >>> import torch
        >>> from seats_ops import functional as F
        >>> scores = torch.tensor([6.0, 1.0, 1.0])  # the first frame is full with 4 tokens, the others share the rest
        >>> F.group_budget(scores, torch.tensor([4, 4, 4]), torch.tensor([7]), torch.tensor([0, 3]))
        tensor([4, 2, 1])
    """
    groups = check_values("scores", scores, 1).shape[0]
    lengths, totals = check_integers("lengths", lengths), check_integers("totals", totals)
    check_length("lengths", lengths, groups, "scores")
    check_same_device("scores", scores, lengths=lengths, totals=totals, cu_groups=cu_groups)
    cu_groups = check_cu_seqlens("cu_groups", cu_groups, groups, validate)
    check_length("totals", totals, cu_groups.shape[0] - 1, "cu_groups - 1")
    check_non_negative("lengths", lengths, validate)
    check_non_negative("totals", totals, validate)
    if temperature is not None:
        temperature = check_positive("temperature", temperature)
    elif groups and (validate or reads_are_free(scores)) and bool((scores < 0).any()):
        raise ValueError("scores: expected shares >= 0 where there is no temperature, got a negative one")
    if isinstance(minimum, bool) or not isinstance(minimum, int):
        raise TypeError(f"minimum: expected an int, got {describe(minimum)}")
    if minimum < 0:
        raise ValueError(f"minimum: expected >= 0, got {minimum}")
    check_max_seqlen("max_groups", max_groups, cu_groups)
    if groups and (validate or reads_are_free(lengths)):
        # A single one above the limit is caught before a sum can overflow.
        largest = max(int(lengths.max()), int(segment_sums(lengths.long().clamp(max=op.MOST + 1), cu_groups).max()))
        if largest > op.MOST:
            raise ValueError(f"lengths: expected fewer than {op.MOST + 1} tokens in a row, got {largest} or more")
    if max_groups is None:
        max_groups = groups if totals.shape[0] == 1 else longest_segment(cu_groups)
    bounds = (temperature, min(minimum, op.MOST), max_groups)
    return op.group_budget(scores, lengths, totals, cu_groups, *bounds, check_backend(backend))
