"""dpc_knn: how much every token of a segment is the centre of a cluster."""

from __future__ import annotations

from torch import Tensor

from seats_ops.backend import check_backend
from seats_ops.ops.derivatives import check_constant
from seats_ops.ops.dpc_knn import op
from seats_ops.validation import (
    FLOAT32,
    check_cu_seqlens,
    check_index,
    check_length,
    check_max_seqlen,
    check_same_device,
    check_values,
    describe,
    longest_segment,
    reads_are_free,
)

METRICS = ("euclidean", "cosine")


def dpc_knn(
    features: Tensor,
    cu_seqlens: Tensor,
    *,
    num_neighbors: int,
    metric: str = "euclidean",
    include_self: bool = True,
    squared: bool = True,
    density_scale: Tensor | None = None,
    offsets: Tensor | None = None,
    offset_weight: float = 0.0,
    index: Tensor | None = None,
    max_seqlen: int | None = None,
    backend: str = "auto",
    validate: bool = False,
) -> Tensor:
    """Density peaks by k nearest neighbours inside every segment, without the noise that breaks ties elsewhere.

    DPC-KNN as FastVID (section 3.3), HoliTom, FlashVID, OmniZip and OmniPack use it, each with options of its own.
    d_ij is ||x_i - x_j|| / sqrt(D) or 1 - cos(x_i, x_j), norms + 1e-8. Density rho_i = exp(-mean of the k smallest
    entries of row i of d, or of their squares), times `density_scale`. Separation delta_i is the smallest d_ij to a
    denser token j: rho_j > rho_i, or rho_j = rho_i and j < i; the densest token of a segment has none and gets the
    largest entry of its row. The score is rho_i * delta_i, for `segment_topk` to choose by.

    k is min(num_neighbors, n) with `include_self`, else min(num_neighbors, n - 1); a token without neighbours has
    rho = 1. Equal rows are at distance exactly 0 and equally dense, so all but the first have a delta of 0; in kernels
    as far as the device multiplies all places of a tile alike.
    A token whose squared norm (or that of its offsets) is not finite in float32 scores -inf and counts for nobody else:
    the others score as if it were not there. All other scores are finite: what would be larger is the largest finite
    number, a NaN scale counts as 0. Accumulation in float32 or better. Scores are constants: forward-mode derivatives
    and those of torch.func are refused.

    Args:
        features: [T, D], float32, bfloat16 or float16; with `index`, [N, D] with any number of rows.
        cu_seqlens: integer [S+1], segments on the packed axis; empty segments are legal.
        num_neighbors: k, at least 1.
        metric: "euclidean" or "cosine".
        include_self: a token is its own first neighbour.
        squared: the mean is one of squared distances.
        density_scale: float32, bfloat16 or float16 [T], >= 0, e.g. 1 + saliency; None means all 1.
        offsets: float32, bfloat16 or float16 [T, C], e.g. (t, h, w) over their extents. Row i of d is added
            `offset_weight` * o_ij / (largest o_ij of the row + 1e-6), o_ij = ||offsets_i - offsets_j||: the row-wise
            min-max, whose minimum is the 0 of the token itself. d is no longer symmetric then.
        offset_weight: >= 0.
        index: integer [T], row of `features` of every token of the packed axis; None means they are the rows in order.
        max_seqlen: upper bound of the segment lengths. Given as an int, nothing is read from the device. Kernels cut a
            longer segment there: the scores of the rest are undefined, and no memory beyond the tensors is touched.
        backend: "auto", "triton" or "reference".
        validate: check the values of device tensors too (one read each); those of CPU tensors always are.

    Returns:
        float32 [T].

    Raises:
        BackendUnavailable: "triton" cannot run here, or not at this size.
        TypeError: wrong dtypes. ValueError: wrong shapes, devices or offsets, an `index` that is no row, a negative
            scale or weight, a weight without `offsets`, a tensor that is being differentiated.

    Example:
        >>> import torch
        >>> from seats_ops import functional as F
        >>> features = torch.tensor([[0.0], [1.0], [2.0], [7.0], [8.0], [9.0]])  # two groups of three
        >>> scores = F.dpc_knn(features, torch.tensor([0, 6]), num_neighbors=3)
        >>> scores.topk(2).indices.tolist()  # their centres
        [1, 4]
    """
    rows = check_values("features", features, 2).shape[0]
    if features.shape[1] == 0:
        raise ValueError(f"features: expected at least one channel, got {describe(features)}")
    check_same_device(
        "features", features, cu_seqlens=cu_seqlens, density_scale=density_scale, offsets=offsets, index=index
    )
    if index is not None:
        index = check_index("index", index, rows, validate)
    packed = "features" if index is None else "index"
    total = rows if index is None else index.shape[0]
    cu_seqlens = check_cu_seqlens("cu_seqlens", cu_seqlens, total, validate)
    if isinstance(num_neighbors, bool) or not isinstance(num_neighbors, int):
        raise TypeError(f"num_neighbors: expected an int, got {describe(num_neighbors)}")
    if num_neighbors < 1:
        raise ValueError(f"num_neighbors: expected at least 1, got {num_neighbors}")
    if metric not in METRICS:
        raise ValueError(f"metric: expected one of {METRICS}, got {metric!r}")
    for name, flag in (("include_self", include_self), ("squared", squared)):
        if not isinstance(flag, bool):
            raise TypeError(f"{name}: expected True or False, got {describe(flag)}")
    check_constant("features", features)
    if density_scale is not None:
        check_length("density_scale", check_values("density_scale", density_scale, 1), total, packed)
        if (validate or reads_are_free(density_scale)) and bool((density_scale < 0).any()):
            raise ValueError(f"density_scale: expected entries >= 0, got a minimum of {float(density_scale.min())}")
        check_constant("density_scale", density_scale)
        density_scale = density_scale.detach()
    offset_weight = _check_weight(offset_weight)
    if offsets is not None:
        check_length("offsets", check_values("offsets", offsets, 2), total, packed)
        if offsets.shape[1] == 0:
            raise ValueError(f"offsets: expected at least one coordinate, got {describe(offsets)}")
        check_constant("offsets", offsets)
        offsets = offsets.detach() if offset_weight else None
    elif offset_weight:
        raise ValueError(f"offset_weight: expected 0 without offsets, got {offset_weight}")
    check_max_seqlen("max_seqlen", max_seqlen, cu_seqlens)
    if max_seqlen is None:
        max_seqlen = longest_segment(cu_seqlens)
    # No segment has more neighbours; a larger number need not fit the operator's integers.
    num_neighbors = min(num_neighbors, max(total, 1))
    return op.dpc_knn(
        features.detach(),
        cu_seqlens,
        num_neighbors,
        metric,
        include_self,
        squared,
        density_scale,
        offsets,
        offset_weight,
        index,
        max_seqlen,
        check_backend(backend),
    )


def _check_weight(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"offset_weight: expected a number >= 0, got {describe(value)}")
    if not 0.0 <= value <= FLOAT32.max:
        raise ValueError(f"offset_weight: expected a finite number >= 0 in float32, got {value!r}")
    return float(value)
