"""Saliency of sound from an encoder that adds a bias to its attention (Phi-4)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange, reduce
from torch import Tensor
from torch.nn.functional import pad

from seats_ops.errors import BackendUnavailable, UnsupportedModelState
from seats_ops.integrations.huggingface.families.tower_kinds import ConformerTower
from seats_ops.integrations.huggingface.scores.saliency import Captured, Encoded, SaliencyOptions, TowerWatch
from seats_ops.ops.primitive import full_precision


def watch_conformer(
    family: ConformerTower, thinker: Any, options: SaliencyOptions, on_encoded: Callable[[Encoded], None]
) -> TowerWatch:
    """Hook the last layer of the encoder; raises UnsupportedModelState for attention that loses the bias."""
    tower = thinker.get_submodule(family.path)
    attention = tower.encoder.encoders[-1].self_attn
    kind = tower.encoder.config._attn_implementation
    if kind not in ("sdpa", "eager"):
        raise UnsupportedModelState(
            f"model: expected sdpa or eager attention in the audio encoder, got {kind}, which has no bias per head: "
            "model.set_attn_implementation({'audio_config': 'sdpa'})"
        )
    names = ("q_proj", "k_proj") if options.needed else ()
    return TowerWatch(tower, attention, names, functools.partial(_encode, family, attention, options), on_encoded)


def _encode(
    family: ConformerTower, attention: Any, options: SaliencyOptions, captured: Captured, _output: Any
) -> Encoded:
    sizes = torch.as_tensor(captured.arguments["audio_embed_sizes"], dtype=torch.int64, device="cpu")
    lengths = tuple(sizes.tolist())
    if not options.needed:
        return Encoded(sum(lengths), {}, lengths=lengths)
    if options.backend == "triton":
        raise BackendUnavailable(
            "backend='triton' for saliency of sound: no kernel adds a bias to attention, 'auto' may"
        )
    q, k = (captured.projected[name].unflatten(-1, (-1, attention.head_dim)) for name in ("q_proj", "k_proj"))
    # Sounds of more than 500 positions are encoded in chunks, which whole windows fit into.
    chunks, positions = q.shape[0] // len(lengths), q.shape[1]
    sounds = torch.tensor(lengths, dtype=torch.int64, device=q.device)[:, None]
    valid = (torch.arange(chunks * positions, dtype=torch.int64, device=q.device) < sounds).view(-1, positions)
    bias = captured.attention["attention_mask"].detach()
    window = family.window if options.segments == "paper" else None
    received = biased_attention_received(q, k, bias, valid, attention.scaling, window).reshape(len(lengths), -1)
    saliency = torch.cat([row[:n] for row, n in zip(received, lengths, strict=True)])
    return Encoded(sum(lengths), {"saliency": saliency}, None, lengths)


def biased_attention_received(
    query: Tensor, key: Tensor, bias: Tensor, valid: Tensor, scale: float, window: int | None
) -> Tensor:
    """Attention that each position receives from the others of its window, averaged over heads (SEATS section 3.1).

    Args:
        query, key: [N, P, H, D].
        bias: [N, H, P, P], added to the scaled products.
        valid: bool [N, P], False at padding. A window has none of it; padding never asks.
        scale: of the products.
        window: positions per window. None: all P of them, padding included, as the encoder itself attends.

    Returns:
        float32 [N, P].
    """
    count = query.shape[1]
    size = window or count
    short = -count % size
    q, k = (rearrange(pad(x.float(), (0, 0, 0, 0, 0, short)), "n (w p) h d -> n w h p d", p=size) for x in (query, key))
    # Windows attend to themselves: the diagonal of the blocks.
    blocks = rearrange(pad(bias.float(), (0, short, 0, short)), "n h (w p) (v q) -> n h p q w v", p=size, q=size)
    with full_precision(query.device):
        products = q @ k.transpose(-1, -2)
    logits = products * scale + rearrange(blocks.diagonal(dim1=-2, dim2=-1), "n h p q w -> n w h p q")
    asks = rearrange(pad(valid, (0, short)), "n (w p) -> n w 1 p 1", p=size)
    if window is not None:
        logits = logits.masked_fill(~asks.transpose(-1, -2), -torch.inf)
    weights = logits.softmax(-1).masked_fill(~asks, 0.0)
    return reduce(weights, "n w h p q -> n (w q)", "sum")[:, :count] / query.shape[2]
