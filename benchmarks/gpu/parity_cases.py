"""One call of every primitive at a clip's shapes, and how two answers to it are compared."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.drop_inputs import HEAD_DIM, HEADS, KEY_HEADS, pruned_layout
from benchmarks.entry import Size
from seats_ops import Modality
from seats_ops import functional as F
from seats_ops.operators.stage import num_kept
from seats_ops.testing import certify_dpp, certify_greedy, clustered_features, near_constant_saliency, packed_offsets

CPU = torch.device("cpu")
GREEDY = "greedy"
# One in so many decisions may fall the other way, where kernel and reference add up in another order.
MOST_TIES = 100


@dataclass(frozen=True)
class Case:
    """`call(**inputs, backend=...)` gives what `judge(got, expected)` compares; "allowed" is how far it may be off."""

    inputs: dict[str, Tensor]
    call: Callable[..., Tensor]
    judge: Callable[[Tensor, Tensor], dict[str, Any]]


def _randn(*shape: int, seed: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32).to(dtype)


def _errors(got: Tensor, expected: Tensor, absolute: float) -> dict[str, Any]:
    """Beside the tolerance of tests/gpu: "excess" is the error over what that allows."""
    error = (got.double() - expected.double()).abs()
    size = expected.double().abs()
    found = {
        "error": error,
        "relative_error": error / size.clamp(min=1e-30),
        "excess": error / (absolute + 1e-5 * size),
    }
    # `max` keeps a NaN.
    return {
        "decided": expected.numel(),
        **{name: float(each.max()) for name, each in found.items()},
        "allowed": {"excess": 1.0},
    }


def _differences(got: Tensor, expected: Tensor) -> dict[str, Any]:
    """Of what must be equal to the bit."""
    differing = int((got != expected).sum())
    return {"decided": expected.numel(), "differing": differing, "margin": None, "allowed": {"differing": 0}}


def _budgets(got: Tensor, expected: Tensor) -> dict[str, Any]:
    """A number on a rounding tie may go either way, by one token; few are on one."""
    off = int((got - expected).abs().max())
    return {
        **_differences(got, expected),
        "off": off,
        "allowed": {"off": 1, "differing": expected.numel() // MOST_TIES},
    }


def attention_received(size: Size, dtype: torch.dtype) -> Case:
    lengths = [2 * size.side**2] * (size.grids // 2)
    query, key = (_randn(sum(lengths), 16, 80, seed=seed, dtype=dtype) for seed in range(2))
    inputs = {"query": query, "key": key, "cu_seqlens": packed_offsets(lengths)}
    return Case(
        inputs,
        functools.partial(F.attention_received, max_seqlen=lengths[0]),
        functools.partial(_errors, absolute=1e-5),
    )


def attention_received_audio(size: Size, dtype: torch.dtype) -> Case:
    """Heads of 64, a last window that is shorter, and the denominators that an attention kernel would give."""
    total = 2 * size.audio_tokens - 7
    lengths = [min(100, total - start) for start in range(0, total, 100)]
    query, key = (_randn(total, 20, 64, seed=seed, dtype=dtype) for seed in range(2))
    rows = zip(query.float().split(lengths), key.float().split(lengths), strict=True)
    logits = [torch.einsum("qhd,khd->hqk", q, k) * 64**-0.5 for q, k in rows]
    given = torch.cat([each.logsumexp(-1) for each in logits], dim=-1)
    inputs = {"query": query, "key": key, "cu_seqlens": packed_offsets(lengths), "logsumexp": given}
    return Case(
        inputs, functools.partial(F.attention_received, max_seqlen=100), functools.partial(_errors, absolute=1e-5)
    )


def query_relevance(size: Size, dtype: torch.dtype) -> Case:
    tokens = len(pruned_layout(size, CPU))
    query = _randn(1, HEADS, HEAD_DIM, seed=0, dtype=dtype)
    key = _randn(tokens, KEY_HEADS, HEAD_DIM, seed=1, dtype=dtype)
    inputs = {"query": query, "key": key, "cu_seqlens": packed_offsets([tokens])}
    return Case(
        inputs, functools.partial(F.query_relevance, max_seqlen=tokens), functools.partial(_errors, absolute=1e-7)
    )


def dpc_knn(size: Size, dtype: torch.dtype) -> Case:
    """Frames of tokens at whole numbers on one axis: densities are equal or far apart."""
    lengths = [size.side**2 // 4] * size.grids
    features = torch.zeros(sum(lengths), size.hidden_size)
    position = torch.randint(40, (sum(lengths),), generator=torch.Generator().manual_seed(5))
    features[:, 0] = position.float() * 8
    inputs = {"features": features.to(dtype), "cu_seqlens": packed_offsets(lengths)}
    call = functools.partial(F.dpc_knn, num_neighbors=4, max_seqlen=lengths[0])
    return Case(inputs, call, functools.partial(_errors, absolute=1e-6))


def max_min_diversity(size: Size, dtype: torch.dtype) -> Case:
    lengths = [size.side**2 // 2] * (size.grids // 2)
    features = clustered_features(sum(lengths), size.hidden_size, seed=1, clusters=40, dtype=dtype)
    weights, offsets = near_constant_saliency(sum(lengths), seed=1), packed_offsets(lengths)
    counts = torch.tensor([num_kept(lengths[0], size.kept[0])] * len(lengths))

    def judge(got: Tensor, expected: Tensor) -> dict[str, Any]:
        """A window may part ways at a near-tie: the certificate says how wide a gap was crossed."""
        missing = int((expected & ~got).sum())
        certificate = certify_greedy(features, offsets, counts, got, weights=weights)
        margin = max(certificate.worst_gap, default=0.0) if certificate else None
        return {
            "decided": int(expected.sum()),
            "differing": missing,
            "margin": margin,
            "certificate": certificate.reason or GREEDY,
            "allowed": {},
        }

    inputs = {"features": features, "cu_seqlens": offsets, "num_keep": counts, "weights": weights}
    return Case(inputs, functools.partial(F.max_min_diversity, max_seqlen=lengths[0]), judge)


def greedy_dpp(size: Size, dtype: torch.dtype) -> Case:
    lengths = [size.side**2 // 2] * (size.grids // 2)
    features = clustered_features(sum(lengths), size.hidden_size, seed=1, clusters=40, dtype=dtype)
    quality, offsets = near_constant_saliency(sum(lengths), seed=1, spread=0.5), packed_offsets(lengths)
    most = num_kept(lengths[0], size.kept[0])
    counts = torch.tensor([most] * len(lengths))

    def judge(got: Tensor, expected: Tensor) -> dict[str, Any]:
        certificate = certify_dpp(features, offsets, counts, got, quality=quality)
        return {
            "decided": int(expected.sum()),
            "differing": int((expected & ~got).sum()),
            "margin": max(certificate.worst_gap, default=0.0) if certificate else None,
            "certificate": certificate.reason or GREEDY,
            "allowed": {},
        }

    inputs = {"features": features, "cu_seqlens": offsets, "num_keep": counts, "quality": quality}
    return Case(inputs, functools.partial(F.greedy_dpp, max_seqlen=lengths[0], max_keep=most), judge)


def _drop(size: Size, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, int]:
    """Scores, modality and window of every token of a drop, number of windows."""
    layout = pruned_layout(size, CPU)
    window, num_windows = layout.windows()
    scores = _randn(len(layout), seed=2, dtype=torch.float32).softmax(0).to(dtype)
    return scores, layout.modality, window, num_windows


def window_budget(size: Size, dtype: torch.dtype) -> Case:
    scores, modality, window, num_windows = _drop(size, dtype)
    inside = int((window >= 0).sum())
    totals = torch.tensor([[inside // 4, inside // 2 - inside // 4]])
    inputs = {"scores": scores, "modality": modality, "window": window, "totals": totals}
    return Case(inputs, functools.partial(F.window_budget, num_windows=num_windows, temperature=0.1), _budgets)


def segment_topk(size: Size, dtype: torch.dtype) -> Case:
    scores, modality, window, num_windows = _drop(size, dtype)
    segment = torch.where(window >= 0, 2 * window + (modality == Modality.AUDIO), -1)
    budget = torch.bincount(segment[segment >= 0], minlength=2 * num_windows) // 2
    return Case({"scores": scores, "segment": segment, "budget": budget}, F.segment_topk, _differences)


def compact(size: Size, dtype: torch.dtype) -> Case:
    tokens = len(pruned_layout(size, CPU))
    keep, hidden = torch.arange(tokens) % 3 > 0, _randn(tokens, size.hidden_size, seed=3, dtype=dtype)
    # Rows that no wide load fits: of odd width, and of single bytes.
    narrow, mask = _randn(tokens, 3, seed=4, dtype=dtype), torch.arange(tokens)[:, None] % 5 == torch.arange(3)

    def call(keep: Tensor, backend: str, **slabs: Tensor) -> Tensor:
        gathered = F.compact(keep, *slabs.values(), backend=backend)
        return torch.cat([each.reshape(-1).float() for each in gathered])

    return Case({"keep": keep, "hidden": hidden, "narrow": narrow, "mask": mask}, call, _differences)


def merge_rows(size: Size, dtype: torch.dtype) -> Case:
    tokens = len(pruned_layout(size, CPU))
    random = torch.Generator().manual_seed(6)
    # A few rows take many others up, most stay.
    target = torch.randint(1 + tokens // 10, (2 * tokens,), generator=random, dtype=torch.int64)
    source = torch.randint(tokens, (2 * tokens,), generator=random, dtype=torch.int64)
    inputs = {
        "features": _randn(tokens, size.hidden_size, seed=5, dtype=dtype),
        "target": target,
        "source": source,
        "coefficient": _randn(2 * tokens, seed=7, dtype=torch.float32),
    }
    return Case(inputs, F.merge_rows, _differences)


def temporal_similarity(size: Size, dtype: torch.dtype) -> Case:
    """Every second frame compared with the one before it."""
    places = size.side**2 // 4
    token = torch.arange(size.video_tokens)
    features = clustered_features(len(token), size.hidden_size, seed=1, clusters=40, dtype=dtype)
    inputs = {"features": features, "partner": torch.where(token // places % 2 == 1, token - places, -1)}
    return Case(inputs, F.temporal_similarity, functools.partial(_errors, absolute=1e-6))


def group_budget(size: Size, dtype: torch.dtype) -> Case:
    """A quarter of the tokens shared over the grids of a clip, by a softmax."""
    places = size.side**2 // 4
    inputs = {
        "scores": _randn(size.grids, seed=5, dtype=dtype),
        "lengths": torch.full((size.grids,), places),
        "totals": torch.tensor([size.video_tokens // 4]),
        "cu_groups": packed_offsets([size.grids]),
    }
    return Case(inputs, functools.partial(F.group_budget, temperature=0.7, minimum=1), _differences)


CASES: dict[str, Callable[[Size, torch.dtype], Case]] = {
    case.__name__: case
    for case in (
        attention_received,
        attention_received_audio,
        query_relevance,
        dpc_knn,
        max_min_diversity,
        greedy_dpp,
        window_budget,
        segment_topk,
        compact,
        merge_rows,
        temporal_similarity,
        group_budget,
    )
}
