"""Recorded calls of the authors' implementation, made again with other dtypes, devices and backends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seats_ops import functional as F
from seats_ops.layout import Modality
from seats_ops.testing.data import packed_offsets
from seats_ops.testing.golden import GoldenCase
from seats_ops.testing.recorded_query import query_and_key


@dataclass(frozen=True)
class Outcome:
    """How one replayed case compares with the record.

    Attributes:
        decided: tokens kept in the record, or numbers compared.
        differing: of those, how many are not in the new selection; for scores 0.
        margin: largest relative gap between what the record chose and what was chosen instead. For diversity a window
            that differs counts with its smallest gap; budgets that were rounded the other way do not count.
        error: largest absolute difference of scores; 0 for selections.
    """

    decided: int
    differing: int = 0
    margin: float = 0.0
    error: float = 0.0


Place = dict[str, Any]
"""dtype, device and backend to replay with."""


def _cast(tensor: Tensor, place: Place) -> Tensor:
    return tensor.to(dtype=place["dtype"], device=place["device"])


def diversity(case: GoldenCase, place: Place) -> Outcome:
    """max_min_diversity on the recorded features and saliency."""
    stored = case.tensors()
    windows, length, dim = stored["features"].shape
    weights = stored.get("attention")
    keep = F.max_min_diversity(
        _cast(stored["features"].reshape(-1, dim), place),
        packed_offsets([length] * windows).to(place["device"]),
        torch.full((windows,), case.params["num_retained"], dtype=torch.int64, device=place["device"]),
        weights=None if weights is None else weights.flatten().to(place["device"]),
        backend=place["backend"],
    ).cpu()
    expected = torch.zeros(windows, length, dtype=torch.bool, device="cpu").scatter(1, stored["keep"], True)
    missing = (expected & ~keep.view(windows, length)).sum(1)
    gaps = case.entry.get("min_relative_margin_per_window", [0.0] * windows)
    crossed = [gap for gap, count in zip(gaps, missing.tolist(), strict=True) if count]
    return Outcome(int(expected.sum()), int(missing.sum()), max(crossed, default=0.0))


def budget(case: GoldenCase, place: Place) -> Outcome:
    """window_budget and segment_topk on the recorded scores."""
    stored, params = case.tensors(), case.params
    video, audio = stored["video_mask"], stored["audio_mask"]
    window = torch.full_like(stored["scores"], -1, dtype=torch.int64)
    for mask in (video, audio):
        starts = mask & ~torch.nn.functional.pad(mask, (1, 0))[:-1]
        window[mask] = (starts.cumsum(0) - 1)[mask]
    modality = (video * int(Modality.VIDEO) + audio * int(Modality.AUDIO)).to(place["device"])
    scores, window = _cast(stored["scores"], place), window.to(place["device"])
    budgets = F.window_budget(
        scores,
        modality,
        window,
        torch.tensor(
            [[params["requested_video"], params["requested_audio"]]], dtype=torch.int64, device=place["device"]
        ),
        num_windows=int(window.max()) + 1,
        temperature=params["temperature"],
        backend=place["backend"],
    )
    segment = torch.where(window >= 0, 2 * window + (modality == int(Modality.AUDIO)).long(), -1)
    keep = F.segment_topk(scores, segment, budgets.flatten(), backend=place["backend"]).cpu()
    missing, extra = stored["keep_mask"] & ~keep, keep & ~stored["keep_mask"]
    margin = 0.0
    # Inside one window and modality ranks were swapped; between them a rounded budget went the other way.
    for group in segment.cpu()[missing].unique().tolist():
        lost, won = (stored["scores"][mask & (segment.cpu() == group)] for mask in (missing, extra))
        if len(won):
            margin = max(margin, float((lost.max() - won.min()).abs() / lost.max().abs().clamp(min=1e-30)))
    return Outcome(int((stored["keep_mask"] & (video | audio)).sum()), int(missing.sum()), margin)


def attention(case: GoldenCase, place: Place) -> Outcome:
    """attention_received on the recorded queries and keys, those of encoders before tokens are merged."""
    stored, params = case.tensors(), case.params
    total = stored["q"].shape[1]
    expected = stored["attn_mean" if "attn_mean" in stored else "attn_mean_pre_pool"]
    lengths = [min(params["window"], total - start) for start in range(0, total, params["window"])]
    query, key = (_cast(stored[name].transpose(0, 1), place) for name in "qk")
    saliency = F.attention_received(query, key, packed_offsets(lengths).to(place["device"]), backend=place["backend"])
    return Outcome(total, error=float((saliency.cpu() - expected).abs().max()))


def relevance(case: GoldenCase, place: Place) -> Outcome:
    """query_relevance on the queries and keys of the recorded layers."""
    query, key = (_cast(heads, place) for heads in query_and_key(case))
    scores = F.query_relevance(query, key, backend=place["backend"]).cpu()
    return Outcome(len(scores), error=float((scores - case.tensors()["scores"]).abs().max()))


REPLAYS: dict[str, tuple[str, Callable[[GoldenCase, Place], Outcome]]] = {
    "max_min_diversity": ("diversity", diversity),
    "window_budget + segment_topk": ("budget", budget),
    "attention_received": ("attention_received", attention),
    "attention_received, encoders": ("attention_received_encoder", attention),
    "query_relevance": ("query_scores", relevance),
}
