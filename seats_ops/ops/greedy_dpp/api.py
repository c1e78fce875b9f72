"""greedy_dpp: a diverse and good subset of every segment, by a determinantal point process."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.backend import check_backend
from seats_ops.ops.greedy_dpp import op
from seats_ops.validation import (
    check_cu_seqlens,
    check_index,
    check_integers,
    check_length,
    check_max_keep,
    check_max_seqlen,
    check_non_negative,
    check_not_below_zero,
    check_same_device,
    check_values,
    describe,
)


def greedy_dpp(
    features: Tensor,
    cu_seqlens: Tensor,
    num_keep: Tensor,
    *,
    quality: Tensor | None = None,
    index: Tensor | None = None,
    max_seqlen: int | None = None,
    max_keep: int | None = None,
    backend: str = "auto",
    validate: bool = False,
) -> Tensor:
    """Greedy MAP of a determinantal point process inside every segment (CDPruner section 3.3, Chen et al. 2018).

    The kernel of a segment is L_ij = q_i * S_ij * q_j with S the cosine similarity, norms + 1e-8. Again and again the
    token with the largest q_j^2 * v_j is picked, v_j being what the picked ones leave of S_jj (the variance of j given
    them); this makes the determinant of the picked rows and columns of L grow as much as one token can. Ties go to the
    lowest index; a picked token is no candidate any more. Exactly min(num_keep[w], length of w) tokens of segment w are
    kept, whatever the data. Accumulation in float32.

    What rounding may leave of a variance, 3e-5 or less, counts as 0: a duplicate of a picked token has none left, nor
    has any token once as many are picked as the features have dimensions, and the rest is picked by lowest index. A
    token whose norm is 0 or not finite in float32 (NaN, infinite or huge features) has variance 0 from the start and
    leaves the others theirs. A NaN quality counts as 0 and an infinite one as the largest finite number.

    Args:
        features: [T, D], float32, bfloat16 or float16; with `index`, [N, D] with any number of rows.
        cu_seqlens: integer [W+1], segments on the packed axis; empty segments are legal.
        num_keep: integer [W], entries >= 0; above the segment's length the segment is kept whole.
        quality: float32, bfloat16 or float16 [T], >= 0; None means all 1. CDPruner makes it from the relevance to the
            question by a min-max, over whatever the caller likes. On a device what is below 0 counts as 0.
        index: integer [T], row of `features` of every token of the packed axis; None means they are the rows in order.
        max_seqlen: upper bound of the segment lengths. Kernels cut a longer segment there or a little later.
        max_keep: upper bound of `num_keep`; kernels make no more picks. Given with `max_seqlen` as ints, nothing is
            read from the device, else there is one read. Every pick is a launch, and memory grows with T * max_keep.
        backend: "auto", "triton" or "reference".
        validate: check the values of device tensors too (one read each); those of CPU tensors always are.

    Returns:
        bool [T] keep mask.

    Raises:
        BackendUnavailable: "triton" cannot run here, or not at this size.
        TypeError: wrong dtypes. ValueError: wrong shapes, devices or offsets, a negative `num_keep` or `quality`, an
            `index` that is no row.

    Example:
        >>> import torch
        >>> from seats_ops import functional as F
        >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1.0, 1.0]])
        >>> F.greedy_dpp(features, cu_seqlens=torch.tensor([0, 4]), num_keep=torch.tensor([2]))
        tensor([ True, False,  True, False])
    """
    rows = check_values("features", features, 2).shape[0]
    if features.shape[1] == 0:
        raise ValueError(f"features: expected at least one channel, got {describe(features)}")
    check_same_device("features", features, cu_seqlens=cu_seqlens, num_keep=num_keep, quality=quality, index=index)
    if index is not None:
        index = check_index("index", index, rows, validate)
    packed = "features" if index is None else "index"
    total = rows if index is None else index.shape[0]
    cu_seqlens = check_cu_seqlens("cu_seqlens", cu_seqlens, total, validate)
    num_keep = check_integers("num_keep", num_keep)
    check_length("num_keep", num_keep, cu_seqlens.shape[0] - 1, "cu_seqlens - 1")
    check_non_negative("num_keep", num_keep, validate)
    if quality is not None:
        check_length("quality", check_values("quality", quality, 1), total, packed)
        check_not_below_zero("quality", quality, validate)
    check_max_seqlen("max_seqlen", max_seqlen, cu_seqlens)
    check_max_keep("max_keep", max_keep, num_keep)
    if (max_seqlen is None or max_keep is None) and num_keep.numel():
        # Both in one read, also where one of them is given.
        longest, most = torch.stack([cu_seqlens.long().diff().max(), num_keep.max().long()]).tolist()
        max_seqlen = longest if max_seqlen is None else max_seqlen
        max_keep = most if max_keep is None else max_keep
    bounds = (max_seqlen or 0, max_keep or 0)
    return op.greedy_dpp(features, cu_seqlens, num_keep, quality, index, *bounds, check_backend(backend))
