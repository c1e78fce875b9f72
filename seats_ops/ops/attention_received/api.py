"""attention_received: how much attention every token of a segment receives."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.backend import check_backend
from seats_ops.ops.attention_received import op
from seats_ops.ops.derivatives import check_constant
from seats_ops.validation import (
    check_cu_seqlens,
    check_max_seqlen,
    check_same_device,
    check_scale,
    check_values,
    describe,
    longest_segment,
)


def attention_received(
    query: Tensor,
    key: Tensor,
    cu_seqlens: Tensor,
    *,
    scale: float | None = None,
    logsumexp: Tensor | None = None,
    max_seqlen: int | None = None,
    backend: str = "auto",
    validate: bool = False,
) -> Tensor:
    """Column sums of softmax(scale * q k^T) inside every segment, averaged over heads (SEATS section 3.1, saliency).

    Every token attends to all tokens of its segment; the attention a token receives is summed over the queries, so the
    mean over a segment is 1. Accumulation in float32. No more than a bounded tile of the attention matrix exists at a
    time (see `reference.py` for the bound). Values are those of the exact softmax: a logit of -inf is a weight of 0; a
    row with a NaN or +inf logit, or with nothing but -inf, has none, and makes all values of its segment NaN, no other.
    Where q k^T itself leaves the range of float32, `scale` may come too late: NaN for Triton, finite for the reference.
    They are constants: forward-mode derivatives and those of torch.func are refused.

    Args:
        query: [T, H, D], float32, bfloat16 or float16, after rotary embedding where the encoder has one.
        key: [T, H, D] of the same dtype.
        cu_seqlens: integer [N+1], segments on the packed axis; empty segments are legal.
        scale: default D ** -0.5.
        logsumexp: float32 [H, T], log of the softmax denominator of every row, as attention kernels return it; computed
            here if not given. It must belong to the same segments.
        max_seqlen: upper bound of the segment lengths. Given as an int, nothing is read from the device. Kernels cut a
            longer segment there: the values of the rest are undefined, and no memory beyond the tensors is touched.
        backend: "auto", "triton" or "reference".
        validate: check the values of a `cu_seqlens` on a device too (one read); on the CPU they always are.

    Returns:
        float32 [T].

    Raises:
        BackendUnavailable: "triton" cannot run here, or not at this size.
        TypeError: wrong dtypes. ValueError: wrong shapes, devices or offsets, a tensor that is being differentiated.

    Example:
        >>> import torch
        >>> from seats_ops import functional as F
        >>> query, key = torch.randn(2, 6, 4, 8)  # six tokens, four heads
        >>> received = F.attention_received(query, key, cu_seqlens=torch.tensor([0, 2, 6]))
        >>> [round(float(segment.mean()), 4) for segment in received.split([2, 4])]
        [1.0, 1.0]
    """
    check_values("query", query, 3)
    check_values("key", key, 3)
    if query.dtype != key.dtype:
        raise TypeError(f"key: expected {query.dtype} as query has, got {describe(key)}")
    if query.shape != key.shape:
        raise ValueError(f"key: expected shape {list(query.shape)} as query has, got {describe(key)}")
    if query.shape[1] == 0 or query.shape[2] == 0:
        raise ValueError(f"query: expected at least one head and one channel, got {describe(query)}")
    check_same_device("query", query, key=key, cu_seqlens=cu_seqlens, logsumexp=logsumexp)
    if logsumexp is not None and (logsumexp.dtype != torch.float32 or logsumexp.shape != query.shape[1::-1]):
        expected = f"float32 [{query.shape[1]}, {query.shape[0]}]"
        raise ValueError(f"logsumexp: expected {expected}, got {describe(logsumexp)}")
    cu_seqlens = check_cu_seqlens("cu_seqlens", cu_seqlens, query.shape[0], validate)
    check_max_seqlen("max_seqlen", max_seqlen, cu_seqlens)
    if max_seqlen is None:
        max_seqlen = longest_segment(cu_seqlens)
    scale = check_scale(scale, query.shape[2])
    check_constant("query", query)
    check_constant("key", key)
    if logsumexp is not None:
        check_constant("logsumexp", logsumexp)
        logsumexp = logsumexp.detach()
    return op.attention_received(
        query.detach(), key.detach(), cu_seqlens, logsumexp, scale, max_seqlen, check_backend(backend)
    )
