"""max_min_diversity: a salient and mutually distant subset of every window."""

from __future__ import annotations

from torch import Tensor

from seats_ops.backend import check_backend
from seats_ops.ops.max_min_diversity import op
from seats_ops.validation import (
    check_cu_seqlens,
    check_index,
    check_integers,
    check_length,
    check_max_keep,
    check_max_seqlen,
    check_non_negative,
    check_same_device,
    check_values,
    describe,
    longest_segment,
)


def max_min_diversity(
    features: Tensor,
    cu_seqlens: Tensor,
    num_keep: Tensor,
    *,
    weights: Tensor | None = None,
    index: Tensor | None = None,
    max_seqlen: int | None = None,
    max_keep: int | None = None,
    first: str = "spread",
    backend: str = "auto",
    validate: bool = False,
) -> Tensor:
    """Greedy weighted max-min selection by cosine distance inside every window (SEATS section 3.1).

    d(i, j) = 1 - cos(x_i, x_j) with norms + 1e-8. First the token with the largest w_j * (second-smallest entry of
    column j of d), or with `first="weight"` that with the largest w_j; then again and again the one with the largest
    w_j * min over picked s of d(s, j). Ties go to the lowest index; a picked token is no candidate any more. A weight
    multiplies the distance whatever its sign: a token with a negative one scores at most 0, the nearer the better.
    Exactly min(num_keep[w], length of w) tokens of window w are kept, whatever the data: a token whose norm is not
    finite in float32 (NaN, infinite or huge features) is a candidate at distance 0 and, once picked, at distance 2 from
    all others; a NaN weight counts as 0 and an infinite one as the largest or smallest finite number. Accumulation in
    float32.

    Args:
        features: [T, D], float32, bfloat16 or float16; with `index`, [N, D] with any number of rows.
        cu_seqlens: integer [W+1], windows on the packed axis; empty windows are legal.
        num_keep: integer [W], entries >= 0; above the window's length the window is kept whole.
        weights: float32, bfloat16 or float16 [T], saliency, of any sign; None means all 1.
        index: integer [T], row of `features` of every token of the packed axis; None means they are the rows in order.
            Windows whose tokens are no neighbours in memory are read where they are.
        max_seqlen: upper bound of the window lengths. Given as an int, nothing is read from the device. Kernels cut a
            longer window there or a little later: the mask of the rest is undefined, and no memory beyond the tensors
            is touched.
        max_keep: upper bound of `num_keep`. It spares the Triton backend a read when `max_seqlen` is above 4096, where
            every pick is a launch of its own.
        first: "spread", the first pick lies far from its nearest other token, as later ones do from those picked; or
            "weight", it is the token with the largest weight, whatever its distances; `weights` must be given.
        backend: "auto", "triton" or "reference".
        validate: check the values of device tensors too (one read each); those of CPU tensors always are.

    Returns:
        bool [T] keep mask.

    Raises:
        BackendUnavailable: "triton" cannot run here, or not at this size.
        TypeError: wrong dtypes. ValueError: wrong shapes, devices or offsets, a negative `num_keep`, an `index` that is
            no row, an unknown `first`, or "weight" without weights.

    Example:
        >>> import torch
        >>> from seats_ops import functional as F
        >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [0.0, 1.0]])
        >>> F.max_min_diversity(features, cu_seqlens=torch.tensor([0, 4]), num_keep=torch.tensor([3]))
        tensor([ True, False,  True,  True])
    """
    rows = check_values("features", features, 2).shape[0]
    if features.shape[1] == 0:
        raise ValueError(f"features: expected at least one channel, got {describe(features)}")
    check_same_device("features", features, cu_seqlens=cu_seqlens, num_keep=num_keep, weights=weights, index=index)
    if index is not None:
        index = check_index("index", index, rows, validate)
    packed = "features" if index is None else "index"
    total = rows if index is None else index.shape[0]
    cu_seqlens = check_cu_seqlens("cu_seqlens", cu_seqlens, total, validate)
    num_keep = check_integers("num_keep", num_keep)
    check_length("num_keep", num_keep, cu_seqlens.shape[0] - 1, "cu_seqlens - 1")
    check_non_negative("num_keep", num_keep, validate)
    if first not in op.FIRST:
        raise ValueError(f"first: expected one of {op.FIRST}, got {first!r}")
    if weights is None and first == "weight":
        raise ValueError(f"weights: expected a tensor [{total}] as first is 'weight', got None")
    if weights is not None:
        check_length("weights", check_values("weights", weights, 1), total, packed)
    check_max_seqlen("max_seqlen", max_seqlen, cu_seqlens)
    check_max_keep("max_keep", max_keep, num_keep)
    if max_seqlen is None:
        max_seqlen = longest_segment(cu_seqlens)
    if max_keep is None and max_seqlen > op.MAX_MATRIX and num_keep.numel() and backend != "reference":
        max_keep = int(num_keep.max())
    how = (max_seqlen, max_keep, first, check_backend(backend))
    return op.max_min_diversity(features, cu_seqlens, num_keep, weights, index, *how)
