"""Comparing two selections."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

NEAR_TIE = 1e-5
"""Relative gap below which two float32 implementations may rank two candidates differently."""


def assert_same_selection(
    actual: Tensor,
    expected: Tensor,
    cu_seqlens: Tensor | None = None,
    *,
    gap: Sequence[float] | None = None,
    near_tie: float = NEAR_TIE,
) -> None:
    """Two keep masks select the same tokens; only a segment whose stated gap is a near-tie may differ, never in number.

    Args:
        actual: bool [T].
        expected: bool [T].
        cu_seqlens: integer [W+1], the segments decided independently of each other. None: one segment.
        gap: W numbers, per segment the smallest relative gap `(best - runner-up) / |best|` of the decisions behind
            `expected`. None: no segment may differ.
        near_tie: gaps strictly below this excuse a difference.

    Raises:
        AssertionError: naming the segment and its first few differing tokens.
        ValueError: `gap` does not have one number per segment.

    Example:
        >>> import torch
        >>> from seats_ops.testing import assert_same_selection
        >>> ours, theirs = torch.tensor([True, False, True, False]), torch.tensor([True, False, False, True])
        >>> segments = torch.tensor([0, 2, 4])
        >>> assert_same_selection(ours, theirs, segments, gap=[0.3, 1e-7])  # the second one hung by a thread
        >>> assert_same_selection(ours, theirs, segments, gap=[0.3, 0.2])
        Traceback (most recent call last):
        AssertionError: segment 1 of 2 tokens differs although its smallest gap 2.00e-01 is no near-tie ...
    """
    for name, mask in (("actual", actual), ("expected", expected)):
        if mask.dtype != torch.bool or mask.dim() != 1:
            raise AssertionError(f"{name}: expected a bool [T] mask, got {mask.dtype} {list(mask.shape)}")
    if actual.shape != expected.shape:
        raise AssertionError(f"actual covers {len(actual)} tokens, expected covers {len(expected)}")
    bounds = [0, len(actual)] if cu_seqlens is None else cu_seqlens.tolist()
    gaps = [float("inf")] * (len(bounds) - 1) if gap is None else [float(g) for g in gap]
    if len(gaps) != len(bounds) - 1:
        raise ValueError(f"gap: expected one number for each of {len(bounds) - 1} segments, got {len(gaps)}")
    got, want = actual.cpu(), expected.cpu()
    for segment, (start, end) in enumerate(itertools.pairwise(bounds)):
        _assert_segment(segment, got[start:end], want[start:end], gaps[segment], near_tie)


def _assert_segment(segment: int, got: Tensor, want: Tensor, gap: float, near_tie: float) -> None:
    if int(got.sum()) != int(want.sum()):
        raise AssertionError(f"segment {segment}: {int(got.sum())} tokens kept, expected {int(want.sum())}")
    if torch.equal(got, want) or gap < near_tie:
        return
    missing = torch.nonzero(want & ~got).flatten().tolist()
    surplus = torch.nonzero(got & ~want).flatten().tolist()
    excuse = "" if gap == float("inf") else f" although its smallest gap {gap:.2e} is no near-tie (< {near_tie:.0e})"
    raise AssertionError(
        f"segment {segment} of {len(got)} tokens differs{excuse}: "
        f"{len(missing)} tokens missing {missing[:8]}, {len(surplus)} in their place {surplus[:8]}"
    )
