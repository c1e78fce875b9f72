"""Stage I and one Stage II drop as research code writes them: a loop over windows, plain torch, for counting only."""

from __future__ import annotations

import torch
from torch import Tensor


def saliency_of_windows(query: Tensor, key: Tensor, lengths: list[int]) -> Tensor:
    """[T, H, D] twice -> [T]: softmax per window, mean over heads, sum over queries."""
    parts = []
    for q, k in zip(query.split(lengths), key.split(lengths), strict=True):
        logits = torch.einsum("qhd,khd->hqk", q, k) * query.shape[-1] ** -0.5
        parts.append(logits.softmax(-1).mean(0).sum(0))
    return torch.cat(parts)


def select_in_windows(features: Tensor, saliency: Tensor, lengths: list[int], num_keep: int) -> Tensor:
    """[T, D], [T] -> kept tokens: greedy picks, each read by the host."""
    kept, start = [], 0
    for x, weight in zip(features.split(lengths), saliency.split(lengths), strict=True):
        x = x / (x.norm(dim=-1, keepdim=True) + 1e-8)
        distance = 1.0 - x @ x.T
        score = weight * distance.topk(2, dim=0, largest=False).values[1]
        picks = [int(score.argmax())]
        for _ in range(num_keep - 1):
            score = weight * distance[picks].min(dim=0).values
            score[picks] = -1.0
            picks.append(int(score.argmax()))
        kept.append(torch.tensor(sorted(picks)) + start)
        start += len(x)
    return torch.cat(kept)


def drop_in_windows(query: Tensor, key: Tensor, lengths: list[int], total: int, tensors: list[Tensor]) -> list[Tensor]:
    """[H, D], [T, H, D]: budgets by means, repaired one token at a time; top-k per window; a gather per tensor."""
    scores = torch.einsum("hd,khd->hk", query, key).softmax(-1).mean(0)
    windows = scores.split(lengths)
    weights = (torch.stack([w.mean() for w in windows]) / 0.1).softmax(0)
    budgets = [int(budget) for budget in (weights * total).round()]
    while sum(budgets) > total:
        budgets[budgets.index(max(budgets))] -= 1
    kept, start = [], 0
    for window, budget in zip(windows, budgets, strict=True):
        kept.append(window.topk(min(budget, len(window))).indices.sort().values + start)
        start += len(window)
    index = torch.cat(kept)
    return [tensor[index] for tensor in tensors]
