"""What stages are told of an encoder, from queries and keys of its last attention; whichever engine ran it."""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from einops import reduce
from torch import Tensor

from seats_ops.cost.prompt_lengths import split_blocks
from seats_ops.functional import attention_received
from seats_ops.ops.primitive import full_precision
from seats_ops.ops.segments import counts_to_offsets

Received = Callable[[Tensor, Tensor, list[int]], Tensor]


def received_within(query: Tensor, key: Tensor, scale: float, lengths: list[int], backend: str) -> Tensor:
    """float32 [T] attention received in segments of these lengths, for q and k [T, H, D]."""
    offsets = counts_to_offsets(torch.tensor(lengths, dtype=torch.int64, device="cpu"))
    return attention_received(
        query,
        key,
        offsets.to(query.device, torch.int32, non_blocking=True),
        scale=scale,
        max_seqlen=max(lengths),
        backend=backend,
    )


def mean_received(query: Tensor, key: Tensor, scale: float, lengths: list[int], backend: str) -> Tensor:
    """float32 [T]: attention received in the whole item, mean over its queries."""
    received = received_within(query, key, scale, lengths, backend)
    counts = torch.tensor(lengths, dtype=torch.int64, device="cpu")
    each = counts.repeat_interleave(counts).to(received.dtype)
    return received / each.to(received.device, non_blocking=True)


def mean_key(key: Tensor, merged: int) -> Tensor:
    """float32 [tokens, head_dim] from [T, H, head_dim]: mean over heads and the positions of a token."""
    return key.unflatten(0, (-1, merged)).mean((1, 2), dtype=torch.float32)


def seen_by_the_mean(query: Tensor, key: Tensor, scale: float, shapes: list[list[int]], merged: int) -> Tensor:
    """What the mean query of a frame sees of the frame's tokens (FastVID, section 3.3, as released for Qwen2.5-VL).

    Args:
        query, key: [T, H, D], before rotary embedding; frames one after another.
        scale: of the products.
        shapes: (t, h, w) of every item: t frames of h * w positions.
        merged: neighbouring positions that make a token; those left over at the end of an item have none.

    Returns:
        float32 [tokens], adding up to 1 over a frame; mean over heads.
    """
    sizes, pieces = [t * h * w for t, h, w in shapes], []
    for (t, h, w), q, k in zip(shapes, query.split(sizes), key.split(sizes), strict=True):
        tokens = h * w // merged
        means = q.unflatten(0, (t, h * w)).mean(1, dtype=torch.float32)
        each = k.unflatten(0, (t, h * w))[:, : tokens * merged].unflatten(1, (tokens, merged))
        each = each.mean(2, dtype=torch.float32)
        with full_precision(q.device):
            logits = torch.einsum("thd,tnhd->tnh", means, each) * scale
        pieces.append(logits.softmax(1).mean(2).flatten())
    return torch.cat(pieces)


def per_token(received: Tensor, merged: int) -> Tensor:
    """Mean over the positions of a token."""
    return reduce(received, "(token place) -> token", "mean", place=merged)


def whole_tokens(x: Tensor, positions: list[int], merged: int) -> Tensor:
    """Tokens are groups of neighbouring positions, per item; what is left over at the end has no token."""
    if not any(n % merged for n in positions):
        return x
    return torch.cat([item[: n // merged * merged] for item, n in zip(x.split(positions), positions, strict=True)])


def sound_positions(frames: int, chunk: int, halvings: int) -> int:
    """Encoder positions of an audio: every chunk of mel frames is halved on its own, rounding up."""
    total = 0
    for length in split_blocks(frames, chunk):
        for _ in range(halvings):
            length = (length + 1) // 2
        total += length
    return total


def told(
    asked: Collection[str],
    turned: tuple[Tensor, Tensor],
    plain: tuple[Tensor, Tensor],
    shapes: list[list[int]],
    windows: list[int],
    merged: int,
    scale: float,
    received: Received,
    backend: str,
) -> dict[str, Tensor]:
    """float32 [tokens, ...] by the full name of an input, of those that are asked for.

    Args:
        asked: names, see `seats_ops.Stage`; others are passed over.
        turned, plain: q and k [T, H, D], after rotary embedding and before it, which is the same where there is none.
        shapes: (t, h, w) of every item, in positions; a sound is one frame.
        windows: positions in every window of SEATS section 3.1.
        merged: neighbouring positions that make a token; those left over at the end of an item have none.
        scale: of the products.
        received: of q, k and `windows`, attention received, float32 [T].
        backend: of primitives.
    """
    positions, found = [t * h * w for t, h, w in shapes], {}
    if "saliency" in asked:
        found["saliency"] = per_token(whole_tokens(received(*turned, windows), positions, merged), merged)
    if "saliency:mean" in asked:
        mean = mean_received(*turned, scale, positions, backend)
        found["saliency:mean"] = per_token(whole_tokens(mean, positions, merged), merged)
    if "saliency:pooled" in asked:
        found["saliency:pooled"] = seen_by_the_mean(*plain, scale, shapes, merged)
    if "keys" in asked:
        found["keys"] = mean_key(whole_tokens(turned[1], positions, merged), merged)
    return found


def paper_windows(grids: list[list[int]], grids_per_window: int) -> list[int]:
    """Positions in every window of SEATS section 3.1, of items (t, h, w)."""
    return [n * h * w for t, h, w in grids for n in split_blocks(t, grids_per_window)]
