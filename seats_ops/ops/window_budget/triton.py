"""window_budget as one launch: one program per prompt, everything in registers.

A pass over the tokens adds up sizes and scores per (window, modality) by comparing window ids with lanes, in a fixed
order. Softmax, rounding, clamping and the split need one value per lane. The repair finds its water level by bisection.
Only a prompt with several windows of one modality makes further passes over the tokens: 33 to find the score of the
last kept token, one to count kept tokens per window. Work: T * W comparisons. More than
2048 windows in a batch do not fit; `op.py` says so.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from seats_ops.ops.kernels import bounds, ordered_key, round_half_even
from seats_ops.ops.launch import KernelConfig, launch
from seats_ops.ops.tile_tables import tiles
from seats_ops.ops.tiles import Table

VIDEO, AUDIO = tl.constexpr(1), tl.constexpr(2)
LIMIT = tl.constexpr(1e30)
LOWEST, HIGHEST = tl.constexpr(-3.4028234663852886e38), tl.constexpr(3.4028234663852886e38)
# More than a prompt has tokens, so that a larger total says no more; two of them add up inside int32.
MOST = tl.constexpr(2**29)
# Windows are held in one of these numbers of lanes.
LANES = (16, 64, 256, 1024, 2048)


@triton.jit
def _softmax(logit, exists):
    # A small temperature makes infinities, whose difference would be NaN.
    logit = tl.where(exists, tl.minimum(tl.maximum(logit, LOWEST), HIGHEST), float("-inf"))
    power = tl.where(exists, tl.exp(logit - tl.max(logit, 0)), 0.0)
    return tl.where(exists, tl.div_rn(power, tl.sum(power, 0)), 0.0)


@triton.jit
def _raise_level(level, cap, amount):
    """Add `amount` units, each to the lowest level below its cap, ties to the first lane (all int32)."""
    amount = tl.minimum(amount, tl.sum(cap - level, 0))
    # The highest water that takes no more than `amount`.
    low = tl.min(level, 0)
    high = tl.full((), 2**30, tl.int32)
    for _step in range(31):
        middle = low + (high - low + 1) // 2
        taken = tl.sum(tl.maximum(tl.minimum(middle, cap) - level, 0), 0)
        low = tl.where(taken <= amount, middle, low)
        high = tl.where(taken <= amount, high, middle - 1)
    filled = tl.maximum(level, tl.minimum(low, cap))
    rest = amount - tl.sum(filled - level, 0)
    at_water = ((filled == low) & (filled < cap)).to(tl.int32)
    return filled + tl.where((at_water != 0) & (tl.cumsum(at_water, 0) <= rest), 1, 0)


@triton.jit
def _split(budget, video_weight, audio_weight, num_video, num_audio, total_video, total_audio):
    """A window's budget shared between its modalities."""
    video_pull = video_weight * total_video.to(tl.float32)
    audio_pull = audio_weight * total_audio.to(tl.float32)
    share = tl.div_rn(video_pull, video_pull + audio_pull + 1e-12)
    video = tl.minimum(round_half_even(budget.to(tl.float32) * share), num_video)
    audio = tl.minimum(budget - video, num_audio)
    video = tl.minimum(video + (budget - video - audio), num_video)
    audio = tl.minimum(audio + (budget - video - audio), num_audio)
    lift = (num_video > 0) & (video < 1)
    audio = tl.where(lift & (audio > 1), audio - 1, audio)
    video = tl.where(lift, 1, video)
    lift = (num_audio > 0) & (audio < 1)
    video = tl.where(lift & (video > 1), video - 1, video)
    audio = tl.where(lift, 1, audio)
    return video, audio


@triton.jit
def _shared(video_logit, audio_logit, num_video, num_audio, total_video, total_audio):
    """Budgets of windows that share the totals, split between modalities (all int32 [WINDOWS])."""
    size = num_video + num_audio
    exists = size > 0
    video_weight = _softmax(video_logit, exists)
    audio_weight = _softmax(audio_logit, exists)
    wanted = total_video + total_audio
    weight = (video_weight + audio_weight) * 0.5
    budget = tl.minimum(tl.maximum(round_half_even(weight * wanted.to(tl.float32)), 1), size)
    missing = wanted - tl.sum(budget, 0)
    sign = tl.where(missing < 0, -1, 1)
    # Taking from the largest above 1 is adding to the smallest, upside down.
    cap = tl.where(missing < 0, tl.where(exists, -1, 0), size)
    budget = sign * _raise_level(sign * budget, cap, tl.abs(missing))
    return _split(budget, video_weight, audio_weight, num_video, num_audio, total_video, total_audio)


@triton.jit
def _tokens(scores, modality, window, start, total, first_window, end_window, BLOCK: tl.constexpr):
    """A block of tokens: lane of the window (-1 if none of this prompt), modality, score."""
    token = tl.cast(start, tl.int64) + tl.arange(0, BLOCK)
    inside = token < total
    kind = tl.load(modality + token, mask=inside, other=0).to(tl.int64)
    number = tl.load(window + token, mask=inside, other=0).to(tl.int64)
    here = inside & (number >= first_window) & (number < end_window)
    budgeted = here & ((kind == VIDEO) | (kind == AUDIO))
    score = tl.load(scores + token, mask=budgeted, other=0.0).to(tl.float32)
    # Narrowed after they were compared: 2^32 + 1 is no video.
    place = tl.where(budgeted, number - first_window, -1).to(tl.int32)
    return place, tl.where(budgeted, kind, 0).to(tl.int32), score


@triton.jit(do_not_specialize=["total", "num_windows"])
def window_budget_kernel(
    scores,
    modality,
    window,
    totals,
    window_offsets,
    budgets,
    temperature,
    total,
    num_windows,
    WINDOWS: tl.constexpr,
    BLOCK: tl.constexpr,
    SCAN: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    first_window, end_window = bounds(window_offsets, row, num_windows, num_windows)
    total_video = tl.minimum(tl.maximum(tl.load(totals + 2 * row).to(tl.int64), 0), MOST).to(tl.int32)
    total_audio = tl.minimum(tl.maximum(tl.load(totals + 2 * row + 1).to(tl.int64), 0), MOST).to(tl.int32)

    lane = tl.arange(0, WINDOWS)
    num_video = tl.zeros((WINDOWS,), tl.int32)
    num_audio = tl.zeros((WINDOWS,), tl.int32)
    sum_video = tl.zeros((WINDOWS,), tl.float32)
    sum_audio = tl.zeros((WINDOWS,), tl.float32)
    for start in range(0, total, BLOCK):
        place, kind, score = _tokens(scores, modality, window, start, total, first_window, end_window, BLOCK)
        score = tl.where(score != score, 0.0, score)
        score = tl.minimum(tl.maximum(score, -LIMIT), LIMIT)
        here = place[:, None] == lane[None, :]
        video = here & (kind == VIDEO)[:, None]
        audio = here & (kind == AUDIO)[:, None]
        num_video += tl.sum(video.to(tl.int32), 0)
        num_audio += tl.sum(audio.to(tl.int32), 0)
        sum_video += tl.sum(tl.where(video, score[:, None], 0.0), 0)
        sum_audio += tl.sum(tl.where(audio, score[:, None], 0.0), 0)
    used_windows = tl.sum((num_video + num_audio > 0).to(tl.int32), 0)
    all_video, all_audio = tl.sum(num_video, 0), tl.sum(num_audio, 0)
    mask = lane < end_window - first_window
    out = budgets + (first_window + lane) * 2
    # Each branch stores what it computed: a value per window that lived across both would be spilled.
    if (used_windows > 1) & ((all_video == 0) | (all_audio == 0)):
        best = tl.where(all_video > 0, tl.minimum(total_video, all_video), tl.minimum(total_audio, all_audio))
        kept = _global_topk(
            scores,
            modality,
            window,
            total,
            first_window,
            end_window,
            best,
            lane,
            WINDOWS,
            BLOCK,
            SCAN,
        ).to(tl.int64)
        tl.store(out, tl.where(all_video > 0, kept, 0), mask=mask)
        tl.store(out + 1, tl.where(all_audio > 0, kept, 0), mask=mask)
    else:
        mean_video = tl.div_rn(sum_video, tl.maximum(num_video, 1).to(tl.float32))
        mean_audio = tl.div_rn(sum_audio, tl.maximum(num_audio, 1).to(tl.float32))
        video_logit, audio_logit = tl.div_rn(mean_video, temperature), tl.div_rn(mean_audio, temperature)
        video, audio = _shared(video_logit, audio_logit, num_video, num_audio, total_video, total_audio)
        video = tl.where(used_windows > 1, video, tl.minimum(num_video, total_video))
        audio = tl.where(used_windows > 1, audio, tl.minimum(num_audio, total_audio))
        tl.store(out, video.to(tl.int64), mask=mask)
        tl.store(out + 1, audio.to(tl.int64), mask=mask)


@triton.jit
def _global_topk(
    scores,
    modality,
    window,
    total,
    first_window,
    end_window,
    wanted,
    lane,
    WINDOWS: tl.constexpr,
    BLOCK: tl.constexpr,
    SCAN: tl.constexpr,
):
    """int32 [WINDOWS]: tokens per window among the `wanted` best of the prompt, ties to the lowest index."""
    low = tl.full((), -(2**31), tl.int64)
    high = tl.full((), 2**31 - 1, tl.int64)
    for _step in range(32):
        middle = (low + high + 1) >> 1
        reached = _count_from(scores, modality, window, total, first_window, end_window, middle, SCAN)
        low = tl.where(reached >= wanted, middle, low)
        high = tl.where(reached >= wanted, high, middle - 1)
    ties = wanted - _count_from(scores, modality, window, total, first_window, end_window, low + 1, SCAN)
    kept = tl.zeros((WINDOWS,), tl.int32)
    seen = tl.full((), 0, tl.int32)
    for start in range(0, total, BLOCK):
        place, _kind, score = _tokens(scores, modality, window, start, total, first_window, end_window, BLOCK)
        key = ordered_key(score)
        tied = ((place >= 0) & (key == low)).to(tl.int32)
        chosen = (key > low) | ((tied != 0) & (seen + tl.cumsum(tied, 0) <= ties))
        kept += tl.sum(((place[:, None] == lane[None, :]) & chosen[:, None]).to(tl.int32), 0)
        seen += tl.sum(tied, 0)
    return kept


@triton.jit
def _count_from(scores, modality, window, total, first_window, end_window, key_from, BLOCK: tl.constexpr):
    count = tl.full((), 0, tl.int32)
    for start in range(0, total, BLOCK):
        place, _kind, score = _tokens(scores, modality, window, start, total, first_window, end_window, BLOCK)
        count += tl.sum(((place >= 0) & (ordered_key(score) >= key_from)).to(tl.int32), 0)
    return count


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
    budgets = torch.empty(num_windows, 2, dtype=torch.int64, device=scores.device)
    lanes = next(lanes for lanes in LANES if num_windows <= lanes)
    launch(
        window_budget_kernel,
        (totals.shape[0] if num_windows else 0,),
        scores.contiguous(),
        modality.contiguous(),
        window.contiguous(),
        totals.contiguous(),
        window_offsets.contiguous(),
        budgets,
        temperature,
        scores.shape[0],
        num_windows,
        WINDOWS=lanes,
        **tiles(scores.device)[f"window_budget/{lanes}"].options,
    )
    return budgets


def configs(table: Table) -> tuple[KernelConfig, ...]:
    """What is launched under a launch table."""
    return tuple(
        KernelConfig(
            f"window_budget_{lanes}_{dtype}",
            window_budget_kernel,
            {
                "scores": f"*{dtype}",
                **dict.fromkeys(("modality", "window", "totals", "window_offsets", "budgets"), "*i64"),
                "temperature": "fp32",
                "total": "i32",
                "num_windows": "i32",
            },
            {"WINDOWS": lanes, **table[f"window_budget/{lanes}"].blocks},
            **table[f"window_budget/{lanes}"].limits,
        )
        for lanes in LANES
        for dtype in ("fp32", "bf16", "fp16")
    )
