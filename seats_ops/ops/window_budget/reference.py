"""window_budget in PyTorch, closed form: no loop over windows or tokens.

The one-token-at-a-time repair of the paper's implementation raises (or lowers) a water level: raising the smallest
budget below its size again and again leaves every budget at min(size, max(budget, level)), with the last tokens going
to the first windows at the level. Lowering the largest budget above 1 is the same thing upside down.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.ops.segment_topk.reference import rank_in_segment
from seats_ops.ops.segments import counts_to_offsets, rows_of, segment_sums
from seats_ops.validation import reads_are_free

VIDEO, AUDIO = 1, 2
LIMIT = 1e30


def window_budget(
    scores: Tensor,
    modality: Tensor,
    window: Tensor,
    totals: Tensor,
    num_windows: int,
    temperature: float,
    window_offsets: Tensor,
) -> Tensor:
    """See `api.window_budget`."""
    if num_windows == 0:
        return totals.new_zeros((0, 2), dtype=torch.int64)
    # Above the number of tokens a total keeps them all, whatever the other one is.
    totals = totals.long().clamp(max=scores.shape[0])
    row = rows_of(window_offsets, num_windows)
    # One segment per (window, modality), video and audio of a window next to each other; one more for everything else.
    slot = torch.where(modality == VIDEO, 2 * window.long(), 2 * window.long() + 1)
    budgeted = (window >= 0) & ((modality == VIDEO) | (modality == AUDIO))
    slot = torch.where(budgeted, slot, 2 * num_windows)
    sizes, means = _sizes_and_means(scores, slot, num_windows)

    logits = (means / temperature).clamp(torch.finfo(torch.float32).min, torch.finfo(torch.float32).max)
    weights = _softmax_over_windows(logits, sizes.sum(1) > 0, row, window_offsets)
    budget = _inter_window(weights, sizes.sum(1), totals.sum(1), row, window_offsets)
    shared = _intra_window(budget, weights, sizes, totals[row])
    one_part = _has_one_part(sizes, row, window_offsets)
    if reads_are_free(one_part) and not bool(one_part.any()):
        return shared
    plain = _global_topk_counts(scores, slot, row, totals, num_windows)
    return torch.where(one_part[row, None], plain, shared)


def _sizes_and_means(scores: Tensor, slot: Tensor, num_windows: int) -> tuple[Tensor, Tensor]:
    """int64 and float32 [W, 2]: number of tokens and mean score of each (window, modality)."""
    sizes = torch.zeros(2 * num_windows + 1, dtype=torch.int64, device=scores.device)
    sizes.scatter_add_(0, slot, torch.ones_like(slot))
    ordered = scores.float().nan_to_num(nan=0.0).clamp(-LIMIT, LIMIT)[slot.argsort(stable=True)]
    means = segment_sums(ordered, counts_to_offsets(sizes)) / sizes.clamp(min=1)
    return sizes[:-1].view(-1, 2), means[:-1].view(-1, 2)


def _softmax_over_windows(logits: Tensor, exists: Tensor, row: Tensor, offsets: Tensor) -> Tensor:
    """Softmax of each column of [W, 2] over the windows of a prompt that hold tokens; 0 elsewhere."""
    logits = torch.where(exists[:, None], logits, -torch.inf)
    peak = logits.new_full((offsets.shape[0] - 1, 2), -torch.inf)
    peak = peak.scatter_reduce(0, row[:, None].expand(-1, 2), logits, "amax")
    power = torch.where(exists[:, None], (logits - peak[row]).exp(), 0.0)
    norm = torch.stack([segment_sums(power[:, m].contiguous(), offsets) for m in range(2)], 1)
    return torch.where(exists[:, None], power / norm[row], 0.0)


def _inter_window(weights: Tensor, sizes: Tensor, total: Tensor, row: Tensor, offsets: Tensor) -> Tensor:
    """int64 [W]: budgets of whole windows, summing to max(total, windows with tokens) per prompt."""
    share = weights.mean(1) * total[row].float()
    budget = torch.minimum(share.round().long().clamp(min=1), sizes)
    missing = total - segment_sums(budget, offsets)
    sign = torch.where(missing < 0, -1, 1)[row]
    cap = torch.where(sign > 0, sizes, torch.where(sizes > 0, -1, 0))
    return sign * _raise_level(sign * budget, cap, missing.abs(), row, offsets)


def _raise_level(level: Tensor, cap: Tensor, amount: Tensor, row: Tensor, offsets: Tensor) -> Tensor:
    """Add `amount` units per prompt, each to the lowest `level` below its `cap`, ties to the first window.

    Each entry is flat until the water reaches its level, rises with it and stops at its cap: with the levels (+1) and
    caps (-1) sorted, the running slope says how many units one step of the water takes.
    """
    amount = torch.minimum(amount, segment_sums(cap - level, offsets))
    height = torch.cat([level, cap])
    slope = torch.cat([torch.ones_like(level), -torch.ones_like(cap)])
    owner = torch.cat([row, row])
    # Sorts by prompt, then by height: heights are token counts, far inside 32 bits.
    order = (owner * 2**32 + height).argsort(stable=True)
    height, slope, owner = height[order], slope[order].cumsum(0), owner[order]
    step = torch.zeros_like(height)
    # Slopes of a prompt add up to 0, so nothing is carried from one prompt into the next.
    step[1:] = (height[1:] - height[:-1]) * slope[:-1]
    first = 2 * offsets.long()
    taken = step.cumsum(0)
    taken = taken - torch.nn.functional.pad(taken, (1, 0))[first[:-1]][owner]
    last = first[:-1] + segment_sums((taken <= amount[owner]).long(), first) - 1
    last = last.clamp(min=0)
    rest = amount - taken[last]
    rise = rest // slope[last].clamp(min=1)
    water = (height[last] + rise)[row]
    rest = (rest - rise * slope[last])[row]
    filled = torch.maximum(level, torch.minimum(water, cap))
    at_water = (filled == water) & (filled < cap)
    place = at_water.long().cumsum(0)
    before = torch.nn.functional.pad(place, (1, 0))[offsets.long()[:-1]][row]
    return filled + (at_water & (place - before <= rest)).long()


def _intra_window(budget: Tensor, weights: Tensor, sizes: Tensor, totals: Tensor) -> Tensor:
    """int64 [W, 2]: a window's budget split into (video, audio)."""
    num_video, num_audio = sizes.unbind(1)
    pull = weights * totals.float()
    share = pull[:, 0] / (pull.sum(1) + 1e-12)
    video = torch.minimum((budget.float() * share).round().long(), num_video)
    audio = torch.minimum(budget - video, num_audio)
    video = torch.minimum(video + (budget - video - audio), num_video)
    audio = torch.minimum(audio + (budget - video - audio), num_audio)

    lift = (num_video > 0) & (video < 1)
    audio = torch.where(lift & (audio > 1), audio - 1, audio)
    video = torch.where(lift, 1, video)
    lift = (num_audio > 0) & (audio < 1)
    video = torch.where(lift & (video > 1), video - 1, video)
    audio = torch.where(lift, 1, audio)
    return torch.stack([video, audio], 1)


def _global_topk_counts(scores: Tensor, slot: Tensor, row: Tensor, totals: Tensor, num_windows: int) -> Tensor:
    """int64 [W, 2]: per window and modality, how many of its tokens are in the prompt's top-total of that modality."""
    num_rows = totals.shape[0]
    outside = slot == 2 * num_windows
    group = torch.where(outside, 2 * num_rows, 2 * row[(slot // 2).clamp(max=num_windows - 1)] + slot % 2)
    limit = torch.nn.functional.pad(totals.flatten(), (0, 1))
    chosen = rank_in_segment(scores, group, 2 * num_rows + 1) < limit[group]
    counts = torch.zeros(2 * num_windows + 1, dtype=torch.int64, device=scores.device)
    return counts.scatter_add_(0, slot, chosen.long())[:-1].view(-1, 2)


def _has_one_part(sizes: Tensor, row: Tensor, offsets: Tensor) -> Tensor:
    """bool [B]: the prompt has at most one window with tokens, or tokens of at most one modality."""
    windows = segment_sums((sizes.sum(1) > 0).long(), offsets)
    modalities = sum((segment_sums(sizes[:, m].contiguous(), offsets) > 0).long() for m in range(2))
    return (windows <= 1) | (modalities <= 1)
