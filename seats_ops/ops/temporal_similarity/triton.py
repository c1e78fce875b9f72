"""temporal_similarity as one launch: a program per block of tokens walks over the channels of both rows of its pairs.

Every row is read twice, as a token and as a partner; the second time mostly from L2, as partners are a frame away. A
pair's three sums are added up in the same order whichever of its rows comes first.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from seats_ops.ops.launch import KernelConfig, launch
from seats_ops.ops.tile_tables import tiles
from seats_ops.ops.tiles import Table


@triton.jit(do_not_specialize=["total"])
def temporal_similarity_kernel(
    features, partner, similarity, missing, eps, total, channels, TOKENS: tl.constexpr, CHANNELS: tl.constexpr
):
    first = tl.program_id(0).to(tl.int64) * TOKENS
    lane = tl.arange(0, TOKENS)
    token = first + lane
    inside = token < total
    # Compared in 64 bits: a number that an unsigned dtype holds is no negative one.
    other = tl.load(partner + token, mask=inside, other=0).to(tl.int64)
    paired = inside & (other >= 0) & (other < total)
    # 64-bit addresses once per block for the tokens, once per row for their partners.
    own_rows = features + first * channels + (lane * channels)[:, None]
    other_rows = features + (tl.where(paired, other, 0) * channels)[:, None]
    channel = tl.arange(0, CHANNELS)
    product = tl.zeros((TOKENS,), tl.float32)
    own_square = tl.zeros((TOKENS,), tl.float32)
    other_square = tl.zeros((TOKENS,), tl.float32)
    for start in range(0, channels, CHANNELS):
        read = paired[:, None] & (start + channel < channels)[None, :]
        x = tl.load(own_rows + (start + channel)[None, :], mask=read, other=0.0).to(tl.float32)
        y = tl.load(other_rows + (start + channel)[None, :], mask=read, other=0.0).to(tl.float32)
        product += tl.sum(x * y, 1)
        own_square += tl.sum(x * x, 1)
        other_square += tl.sum(y * y, 1)
    # Which NaN is not, either.
    finite = (own_square < float("inf")) & (other_square < float("inf"))
    # The larger norm first, whichever it is: their product may overflow or vanish, and the order must not matter.
    larger = tl.sqrt_rn(tl.where(own_square > other_square, own_square, other_square)) + eps
    smaller = tl.sqrt_rn(tl.where(own_square > other_square, other_square, own_square)) + eps
    cosine = tl.where(finite, tl.div_rn(tl.div_rn(product, larger), smaller), float("nan"))
    tl.store(similarity + token, tl.where(paired, cosine, missing), mask=inside)


def temporal_similarity(features: Tensor, partner: Tensor, missing: float, eps: float) -> Tensor:
    """See `api.temporal_similarity`."""
    total, channels = features.shape
    similarity = torch.empty(total, dtype=torch.float32, device=features.device)
    tile = tiles(features.device)["temporal_similarity"]
    launch(
        temporal_similarity_kernel,
        (triton.cdiv(total, tile["TOKENS"]),),
        features.contiguous(),
        partner.contiguous(),
        similarity,
        missing,
        eps,
        total,
        channels,
        **tile.options,
    )
    return similarity


def configs(table: Table) -> tuple[KernelConfig, ...]:
    """What is launched under a launch table."""
    tile = table["temporal_similarity"]
    return tuple(
        KernelConfig(
            f"temporal_similarity_{dtype}",
            temporal_similarity_kernel,
            {
                "features": f"*{dtype}",
                "partner": "*i64",
                "similarity": "*fp32",
                "missing": "fp32",
                "eps": "fp32",
                "total": "i32",
                "channels": "i32",
            },
            tile.blocks,
            expects=("wide_loads",),
            **tile.limits,
        )
        for dtype in ("fp32", "bf16", "fp16")
    )
