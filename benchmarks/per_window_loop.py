"""Stage I and one Stage II drop as research code writes them: a loop over windows, in plain torch."""

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


def budgets_in_windows(scores: Tensor, window: Tensor, num_windows: int, total: int) -> list[int]:
    """[T] -> budget of every window: by means, repaired one token at a time."""
    means = torch.stack([scores[window == i].mean() for i in range(num_windows)])
    budgets = [int(budget) for budget in ((means / 0.1).softmax(0) * total).round()]
    while sum(budgets) > total:
        budgets[budgets.index(max(budgets))] -= 1
    return budgets


def drop_in_windows(query: Tensor, key: Tensor, window: Tensor, total: int, tensors: list[Tensor]) -> list[Tensor]:
    """[H, D], [T, H, D], window per token or -1: scores, budgets, top-k per window, a gather per tensor."""
    keys = key.repeat_interleave(query.shape[0] // key.shape[1], 1)
    scores = (torch.einsum("hd,thd->ht", query, keys) * query.shape[-1] ** -0.5).softmax(-1).mean(0)
    num_windows = int(window.max()) + 1
    keep = window < 0
    for i, budget in enumerate(budgets_in_windows(scores, window, num_windows, total)):
        members = (window == i).nonzero().squeeze(1)
        keep[members[scores[members].topk(min(budget, len(members))).indices]] = True
    return [tensor[keep] for tensor in tensors]
