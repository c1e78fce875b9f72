"""query_relevance: how much one query token of a prompt attends to each of its tokens."""

from __future__ import annotations

from torch import Tensor

from seats_ops.backend import check_backend
from seats_ops.ops.derivatives import check_constant
from seats_ops.ops.query_relevance import op
from seats_ops.ops.segments import offsets_of_one_row
from seats_ops.validation import (
    check_cu_seqlens,
    check_max_seqlen,
    check_same_device,
    check_scale,
    check_values,
    describe,
    longest_segment,
)


def query_relevance(
    query: Tensor,
    key: Tensor,
    cu_seqlens: Tensor | None = None,
    *,
    scale: float | None = None,
    max_seqlen: int | None = None,
    backend: str = "auto",
    validate: bool = False,
) -> Tensor:
    """softmax(scale * q k^T) over all tokens of a prompt, averaged over query heads (SEATS section 3.2).

    One query token per prompt, no causal mask, text keys included; accumulation in float32. The scores of a prompt add
    up to 1. Query head h reads key head h // (Hq // Hkv), as in grouped-query attention. Scores are those
    of the exact softmax: a logit of -inf is a weight of 0; a NaN or +inf logit, or nothing but -inf, makes all of that
    prompt NaN. They are constants: forward-mode derivatives and those of torch.func are refused.

    Args:
        query: [B, Hq, D], float32, bfloat16 or float16.
        key: [T, Hkv, D] of the same dtype, packed; Hkv divides Hq.
        cu_seqlens: integer [B+1]; None means one prompt (B = 1).
        scale: default D ** -0.5.
        max_seqlen: upper bound of the prompt lengths. Given as an int, nothing is read from the device. Kernels cut a
            longer prompt there or a little later: the scores of the rest are undefined, and no memory beyond the
            tensors is touched.
        backend: "auto", "triton" or "reference".
        validate: check the values of device tensors too (one read); those of CPU tensors always are.

    Returns:
        float32 [T].

    Raises:
        BackendUnavailable: "triton" cannot run here, or not at this size.
        TypeError: wrong dtypes. ValueError: wrong shapes, devices or offsets, a tensor that is being differentiated.

    Example:
        >>> import torch
        >>> from seats_ops import functional as F
        >>> query = torch.tensor([[[1.0, 0.0]]])  # one prompt, one head
        >>> key = torch.tensor([[[0.0, 1.0]], [[9.0, 0.0]], [[0.0, 0.0]]])  # three tokens
        >>> scores = F.query_relevance(query, key)
        >>> int(scores.argmax()), round(float(scores.sum()), 4)
        (1, 1.0)
    """
    check_values("query", query, 3)
    check_values("key", key, 3)
    if query.dtype != key.dtype:
        raise TypeError(f"key: expected {query.dtype} as query has, got {describe(key)}")
    if query.shape[2] != key.shape[2] or query.shape[2] == 0:
        raise ValueError(f"key: expected head_dim {query.shape[2]} as query has, got {describe(key)}")
    if key.shape[1] == 0 or query.shape[1] % key.shape[1]:
        raise ValueError(f"key: expected a number of heads that divides {query.shape[1]}, got {describe(key)}")
    check_same_device("query", query, key=key, cu_seqlens=cu_seqlens)
    if cu_seqlens is None:
        cu_seqlens, max_seqlen = offsets_of_one_row(key), key.shape[0]
    else:
        cu_seqlens = check_cu_seqlens("cu_seqlens", cu_seqlens, key.shape[0], validate)
        check_max_seqlen("max_seqlen", max_seqlen, cu_seqlens)
    if cu_seqlens.shape[0] - 1 != query.shape[0]:
        raise ValueError(f"query: expected {cu_seqlens.shape[0] - 1} row(s), one per prompt, got {describe(query)}")
    if max_seqlen is None:
        max_seqlen = longest_segment(cu_seqlens)
    scale = check_scale(scale, query.shape[2])
    check_constant("query", query)
    check_constant("key", key)
    return op.query_relevance(query.detach(), key.detach(), cu_seqlens, scale, max_seqlen, check_backend(backend))
