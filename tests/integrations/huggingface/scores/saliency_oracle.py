"""Saliency and Stage I once more, from the attention weights an eager tower computed, in plain loops and float64."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from tests.integrations.huggingface.oracle_inputs import encoded_audio
from tests.integrations.huggingface.prompt.prompt_tokens import audio_tokens
from tests.integrations.huggingface.upstream import audio_tower, vision_tower

Segment = tuple[Tensor, Tensor, Tensor]  # query [H, n, d], key [H, n, d], weights [H, n, n] of one attention segment


@torch.no_grad()
def last_block_segments(attention: nn.Module, run: Callable[[], Any]) -> list[Segment]:
    """Runs an eager tower and returns what its last attention computed, segment by segment."""
    segments: list[Segment] = []
    modeling: Any = sys.modules[type(attention).__module__]
    original = modeling.eager_attention_forward

    def recording(module: nn.Module, query: Tensor, key: Tensor, *rest: Any, **options: Any) -> Any:
        output, weights = original(module, query, key, *rest, **options)
        if module is attention:
            segments.append((query[0].double(), key[0].double(), weights[0].double()))
        return output, weights

    with mock.patch.object(modeling, "eager_attention_forward", recording):
        run()
    assert segments
    return segments


def received(segments: list[Segment], windows: Sequence[int] | None) -> Tensor:
    """Attention received per position: in the tower's own segments, or in consecutive windows of the given lengths."""
    if windows is None:
        return torch.cat([weights.mean(0).sum(0) for _, _, weights in segments])
    query, key = (torch.cat([segment[i] for segment in segments], dim=1) for i in (0, 1))
    sums, start = [], 0
    for length in windows:
        q, k = query[:, start : start + length], key[:, start : start + length]
        sums.append((q @ k.transpose(1, 2) * query.shape[-1] ** -0.5).softmax(-1).mean(0).sum(0))
        start += length
    assert start == query.shape[1]
    return torch.cat(sums)


def cut(total: int, length: int) -> list[int]:
    """`total` in consecutive pieces of `length`, the last one short."""
    return [min(length, total - start) for start in range(0, total, length)]


def window_order(vision: Any, grids: list[list[int]]) -> list[int]:
    """Merged token that sits at each place of the vision tower, which works window by window inside a temporal grid."""
    side = vision.window_size // vision.spatial_merge_size // vision.patch_size
    order: list[int] = []
    for time, height, width in grids:
        rows, columns, base = height // vision.spatial_merge_size, width // vision.spatial_merge_size, len(order)
        for t in range(time):
            for top in range(0, rows, side):
                for left in range(0, columns, side):
                    for y in range(top, min(top + side, rows)):
                        order += [base + (t * rows + y) * columns + x for x in range(left, min(left + side, columns))]
    return order


def visual_saliency(thinker: nn.Module, pixels: Tensor, grids: Tensor, windows: str) -> Tensor:
    """`[merged tokens]` float64 in prompt order; `windows` is "paper" (2 temporal grids) or "encoder"."""
    tower, shapes = vision_tower(thinker), grids.tolist()
    segments = last_block_segments(tower.blocks[-1].attn, functools.partial(tower, pixels, grid_thw=grids))
    lengths = [n for t, h, w in shapes for n in cut(t * h * w, 2 * h * w)] if windows == "paper" else None
    merged = received(segments, lengths).view(-1, tower.spatial_merge_size**2).mean(1)
    if not hasattr(tower.config, "window_size"):
        return merged
    natural = torch.empty_like(merged)
    natural[window_order(tower.config, shapes)] = merged
    return natural


def audio_saliency(
    thinker: nn.Module, features: Tensor, mask: Tensor, windows: str, length: int | None = None
) -> Tensor:
    """`[audio tokens]` float64; `windows` is "paper" (restarting at each audio) or "encoder".

    `length`: positions in a window, if not the authors' 100 before pooling (Qwen2.5-Omni) or 52 (Qwen3-Omni).
    """
    tower, mel = audio_tower(thinker), mask.sum(1).tolist()
    run = functools.partial(encoded_audio, tower, features, mask)
    segments = last_block_segments(tower.layers[-1].self_attn, run)
    pooled = 2 if tower.config.model_type.startswith("qwen2_5") else 1
    tokens = [audio_tokens(thinker.config, frames) for frames in mel]
    positions = [(frames + 1) // 2 for frames in mel] if pooled == 2 else tokens
    length = length or {2: 100, 1: 52}[pooled]
    scores = received(segments, [n for total in positions for n in cut(total, length)] if windows == "paper" else None)
    pairs = [
        item[: n * pooled].view(n, pooled).mean(1) for item, n in zip(scores.split(positions), tokens, strict=True)
    ]
    return torch.cat(pairs)


def select(features: Tensor, weights: Tensor, ratio: float) -> tuple[list[int], float]:
    """One block of Stage I: ascending picks, and the smallest relative lead of a pick over its runner-up."""
    count = len(features)
    keep = max(1, min(count, round(ratio * count)))
    if keep == count:
        return list(range(count)), float("inf")
    unit = features.double() / (features.double().norm(dim=1, keepdim=True) + 1e-8)
    distance, weight = 1 - unit @ unit.T, weights.double()
    nearest = distance.sort(dim=0).values[1]  # before the first pick: to the nearest other token
    picked: list[int] = []
    lead = float("inf")
    while len(picked) < keep:
        score = weight * nearest
        score[picked] = -torch.inf
        best = int(score.argmax())
        ranked = score.sort(descending=True).values
        lead = min(lead, float((ranked[0] - ranked[1]) / ranked[0].abs()))
        nearest = torch.minimum(nearest, distance[best]) if picked else distance[best]
        picked.append(best)
    return sorted(picked), lead
