"""Saliency of pictures that an encoder sees crop by crop (Phi-4), in the order of the LLM's tokens."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from seats_ops.integrations.huggingface.families.tower_kinds import CropTower
from seats_ops.integrations.huggingface.scores.saliency import Captured, Encoded, SaliencyOptions, TowerWatch


def watch_crops(
    family: CropTower, thinker: Any, options: SaliencyOptions, on_encoded: Callable[[Encoded], None]
) -> TowerWatch:
    """Hook the encoder's layer whose output becomes the tokens."""
    tower = thinker.get_submodule(family.path)
    # Counted as hidden states are, of which the first one comes before all layers.
    number = tower.layer_idx if tower.layer_idx < 0 else tower.layer_idx - 1
    attention = tower.img_processor.encoder.layers[number].self_attn
    names = ("q_proj", "k_proj") if options.needed else ()
    return TowerWatch(tower, attention, names, functools.partial(_encode, tower, attention, options), on_encoded)


def _encode(tower: Any, attention: Any, options: SaliencyOptions, captured: Captured, _output: Any) -> Encoded:
    mask = captured.arguments["image_attention_mask"].bool()
    if options.needed:
        received = _received(attention, options, captured, mask)
        # The tower's own way from patches to tokens.
        pooled = received.view(-1, 1, *mask.shape[2:])
        if hasattr(tower, "img_processor_padding"):
            pooled = tower.img_processor_padding(pooled)
        pooled = tower.image_token_compression(pooled).view(*mask.shape[:2], -1)
        pooled = pooled.unflatten(-1, (int(pooled.shape[-1] ** 0.5), -1))
    else:
        pooled = torch.zeros(mask[:, :, ::2, ::2].shape, dtype=torch.float32, device="cpu")
    shapes = (captured.arguments["image_sizes"].view(-1, 2) // tower.crop_size).tolist()
    pictures = [_in_reading_order(*picture) for picture in zip(pooled, mask[:, :, ::2, ::2].cpu(), shapes, strict=True)]
    saliency, lengths = torch.cat(pictures), tuple(map(len, pictures))
    return Encoded(len(saliency), {"saliency": saliency} if options.needed else {}, lengths=lengths)


def _received(attention: Any, options: SaliencyOptions, captured: Captured, mask: Tensor) -> Tensor:
    """float32 [pictures * crops * patches]; padding is not attended to and receives nothing."""
    q, k = (captured.projected[name].flatten(0, 1) for name in ("q_proj", "k_proj"))
    seen = mask.flatten().nonzero().squeeze(1).to(q.device)
    q, k = (x.index_select(0, seen).unflatten(-1, (-1, attention.head_dim)) for x in (q, k))
    # The paper has windows for videos and sound; a crop is what the encoder attends in.
    segments = dataclasses.replace(options, segments="paper")
    received = segments.received(q, k, attention, mask.flatten(0, 1).flatten(1).sum(1).tolist(), captured)
    return received.new_zeros(mask.numel()).index_copy(0, seen, received)


def _in_reading_order(pooled: Tensor, mask: Tensor, shape: list[int]) -> Tensor:
    """Saliency [tokens] of one picture: its crops put together, a separator, the whole picture made small.

    A line break is no place in the picture: it gets the mean of its row, and the separator the mean of all.

    Args:
        pooled: float [crops, S, S], the small whole first.
        mask: bool, the same shape, on the CPU: False where a crop reaches beyond the picture.
        shape: crops from top to bottom and from left to right.
    """
    small, crops, seen = pooled[0], pooled[1 : 1 + shape[0] * shape[1]], mask[1 : 1 + shape[0] * shape[1]]
    whole, seen = (rearrange(x, "(r c) h w -> (r h) (c w)", r=shape[0]) for x in (crops, seen))
    whole = whole[: int(seen[:, 0].sum()), : int(seen[0].sum())]
    return torch.cat([_lines(whole), whole.mean()[None], _lines(small)])


def _lines(grid: Tensor) -> Tensor:
    return torch.cat([grid, grid.mean(1, keepdim=True)], 1).flatten()
