"""What an entry of the launch table is timed on: a call that launches its kernels, and when its result is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seats_ops import functional as F
from seats_ops.ops.tiles import DEFAULT
from seats_ops.testing import certify_dpp, certify_greedy, clustered_features, near_constant_saliency, packed_offsets

# Entries by primitive: the first part of their name says which kernel they are of.
KERNELS = {
    "attention_received": {
        "attention_received": ("row_logsumexp_kernel", "column_sum_kernel"),
        "head_mean": ("head_mean_kernel",),
    },
    "dpc_knn": {"dpc_knn": ("squares_kernel", "density_kernel", "separation_kernel")},
    "max_min_diversity": {
        "gram": ("gram_kernel",),
        "distances": ("distances_kernel",),
        "greedy": ("greedy_kernel",),
        "norms": ("norms_kernel",),
        "second_smallest": ("second_smallest_kernel",),
        "step": ("step_kernel",),
    },
    "greedy_dpp": {"dpp_variances": ("variances_kernel",), "dpp_step": ("dpp_step_kernel",)},
    "query_relevance": {"query_logits": ("query_logits_kernel",), "query_scores": ("query_scores_kernel",)},
    "window_budget": {"window_budget": ("window_budget_kernel",)},
    "segment_topk": {"segment_topk": ("segment_topk_kernel",)},
    "compact": {"kept_index": ("kept_index_kernel",), "gather": ("gather_kernel",)},
    "merge_rows": {"triple_rows": ("triple_rows_kernel",), "merge_rows": ("merge_rows_kernel",)},
    "group_budget": {"group_budget": ("group_budget_kernel",)},
    "temporal_similarity": {"temporal_similarity": ("temporal_similarity_kernel",)},
}
LONG = ("norms", "second_smallest", "step")
WIDTHS = {"16": 16, "32": 32, "64": 64, "128": 128, "wide": 256}


@dataclass(frozen=True)
class Case:
    """One entry's work.

    Attributes:
        entry: of the launch table.
        kernels: whose time counts.
        run: the call, through the kernels.
        fault: what is wrong with a result, "" if nothing is.
    """

    entry: str
    kernels: tuple[str, ...]
    run: Callable[[], Tensor]
    fault: Callable[[Tensor], str]


def entries(primitive: str) -> list[str]:
    """Names in the launch table that belong to a primitive."""
    return [entry for entry in DEFAULT if entry.partition("/")[0] in KERNELS[primitive]]


def case_of(entry: str, device: torch.device, small: bool) -> Case:
    """On the shapes of Qwen2.5-Omni-7B and a clip of a minute, or on a few tokens."""
    name, _, rest = entry.partition("/")
    primitive = next(primitive for primitive, kernels in KERNELS.items() if name in kernels)
    build = _long_windows if name in LONG else globals()[f"_{primitive}"]
    return Case(entry, KERNELS[primitive][name], *build(name, rest.split("/"), _Size(device, small)))


@dataclass(frozen=True)
class _Size:
    device: torch.device
    small: bool

    def __call__(self, large: int, small: int) -> int:
        return small if self.small else large

    def normal(self, *shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
        random = torch.Generator().manual_seed(seed)
        return torch.randn(*shape, generator=random, dtype=torch.float32, device="cpu").to(self.device, dtype)

    def numbers(self, below: int, total: int) -> Tensor:
        random = torch.Generator().manual_seed(1)
        return torch.randint(below, (total,), generator=random, dtype=torch.int64, device="cpu").to(self.device)


Work = tuple[Callable[[], Tensor], Callable[[Tensor], str]]


def _dtype(case: str) -> torch.dtype:
    return torch.float32 if case == "fp32" else torch.bfloat16


def _close(call: Callable[..., Tensor], atol: float, *arguments: Tensor, **options: Any) -> Work:
    """Scores, as near to the reference of the same values in float32 as the tests of the kernels ask."""
    exact = [tensor.float() if tensor.is_floating_point() else tensor for tensor in arguments]
    expected = call(*exact, **options, backend="reference")

    def fault(result: Tensor) -> str:
        off = (result - expected).abs() - (atol + 1e-5 * expected.abs())
        return "" if bool((off <= 0).all()) else f"a score is {float(off.max()):.1e} beyond its rounding"

    return lambda: call(*arguments, **options, backend="triton"), fault


def _equal(call: Callable[..., Tensor], *arguments: Tensor, **options: Any) -> Work:
    """Selections and counts, bit by bit."""
    expected = call(*arguments, **options, backend="reference")

    def fault(result: Tensor) -> str:
        different = int((result != expected).sum())
        return f"{different} of {expected.numel()} values are not the reference's" if different else ""

    return lambda: call(*arguments, **options, backend="triton"), fault


def _attention_received(name: str, case: list[str], size: _Size) -> Work:
    dtype, width = (_dtype(case[0]), case[1]) if name == "attention_received" else (torch.float32, "64")
    channels, window = {"64": 64, "128": 80, "wide": 256}[width], size(1320, 40)
    lengths = [window] * size(8, 1) + [window // 3]
    query, key = (size.normal(sum(lengths), size(16, 1), channels, seed=seed, dtype=dtype) for seed in range(2))
    offsets = packed_offsets(lengths).to(size.device)
    return _close(F.attention_received, 1e-5, query, key, offsets, max_seqlen=window)


def _query_relevance(name: str, case: list[str], size: _Size) -> Work:
    channels, total = WIDTHS[case[0] if name == "query_logits" else "128"], size(12416, 90)
    query = size.normal(1, size(28, 2), channels, dtype=torch.bfloat16)
    key = size.normal(total, size(4, 1), channels, seed=1, dtype=torch.bfloat16)
    offsets = packed_offsets([total]).to(size.device)
    return _close(F.query_relevance, 1e-7, query, key, offsets, max_seqlen=total)


def _dpc_knn(name: str, case: list[str], size: _Size) -> Work:
    lengths = [size(169, 20)] * size(64, 2)
    # Whole numbers on one axis: densities are equal or far apart, so that no rounding moves a token's nearest peak.
    features = torch.zeros(sum(lengths), size(3584, 16), device=size.device)
    features[:, 0] = size.numbers(40, sum(lengths)).float() * 8
    offsets = packed_offsets(lengths).to(size.device)
    return _close(F.dpc_knn, 1e-6, features.to(_dtype(case[0])), offsets, num_neighbors=4, max_seqlen=lengths[0])


def _max_min_diversity(name: str, case: list[str], size: _Size) -> Work:
    dtype = _dtype(case[0]) if name == "gram" else torch.bfloat16
    longest = int(case[0]) if name == "greedy" else size(338, 40)
    # One window of the greedy kernel's largest length, or as many as the clip has.
    lengths = [longest] * (size(4, 1) if name == "greedy" else size(32, 2))
    lengths = [longest - longest // 3, *lengths[1:]] if size.small else lengths
    channels = size(3584 if name == "gram" else 64, 16)
    return _selection(F.max_min_diversity, lengths, channels, size(longest // 8, 3), dtype, size)


def _long_windows(name: str, case: list[str], size: _Size) -> Work:
    from seats_ops.ops.max_min_diversity.large import max_min_large

    def call(features: Tensor, offsets: Tensor, keep: Tensor, **o: Any) -> Tensor:
        return max_min_large(features, offsets, keep, o["weights"], o["max_seqlen"], o["max_keep"], "spread")

    dtype = _dtype(case[0]) if name == "second_smallest" else torch.bfloat16
    return _selection(call, [size(6000, 50)], size(3584, 16), size(16, 3), dtype, size)


def _greedy_dpp(name: str, case: list[str], size: _Size) -> Work:
    """Images of 576 tokens."""
    length, keep = size(576, 50), size(64, 3)
    lengths = [length] * size(8, 1)
    features = clustered_features(sum(lengths), size(1024, 16), seed=1, clusters=40, dtype=torch.bfloat16)
    quality = near_constant_saliency(sum(lengths), seed=1, spread=0.5)
    offsets, counts = packed_offsets(lengths), torch.full((len(lengths),), keep, dtype=torch.int64)
    arguments = [tensor.to(size.device) for tensor in (features, offsets, counts)]
    options: dict[str, Any] = {"quality": quality.to(size.device), "max_seqlen": length, "max_keep": keep}

    def fault(result: Tensor) -> str:
        return certify_dpp(features, offsets, counts, result.cpu(), quality=quality).reason

    return lambda: F.greedy_dpp(*arguments, **options, backend="triton"), fault


def _selection(
    call: Callable[..., Tensor], lengths: list[int], channels: int, keep: int, dtype: torch.dtype, size: _Size
) -> Work:
    """Where a near-tie falls the other way the selection is another one and right: a proof in float64 decides."""
    total, longest = sum(lengths), max(lengths)
    features = clustered_features(total, channels, seed=1, clusters=40, dtype=dtype)
    weights, counts = near_constant_saliency(total, seed=1), torch.full((len(lengths),), keep, dtype=torch.int64)
    offsets = packed_offsets(lengths)
    arguments = [tensor.to(size.device) for tensor in (features, offsets, counts)]
    options: dict[str, Any] = {"weights": weights.to(size.device), "max_seqlen": longest, "max_keep": keep}
    expected = F.max_min_diversity(*arguments, **options, backend="reference")

    def fault(result: Tensor) -> str:
        if torch.equal(result, expected):
            return ""
        return certify_greedy(features, offsets, counts, result.cpu(), weights=weights).reason

    return lambda: call(*arguments, **options, **({"backend": "triton"} if call is F.max_min_diversity else {})), fault


def _window_budget(name: str, case: list[str], size: _Size) -> Work:
    windows, total = int(case[0]), size(12416, 3 * int(case[0]))
    token = torch.arange(total, dtype=torch.int64, device=size.device)
    # Multiples of a sixteenth add up without rounding, in any order.
    scores = size.numbers(64, total).float() / 16
    totals = torch.tensor([[total // 5, total // 6]], dtype=torch.int64, device=size.device)
    options = {"num_windows": windows, "temperature": 0.1}
    return _equal(F.window_budget, scores, 1 + token % 2, token * windows // total, totals, **options)


def _segment_topk(name: str, case: list[str], size: _Size) -> Work:
    total, segments = size(12416, 90), size(128, 3)
    token = torch.arange(total, dtype=torch.int64, device=size.device)
    budget = torch.full((segments,), total // segments // 3, dtype=torch.int64, device=size.device)
    return _equal(F.segment_topk, size.numbers(50, total).float(), token * segments // total, budget)


def _compact(name: str, case: list[str], size: _Size) -> Work:
    total = size(12416, 90)
    keep = size.numbers(10, total) < 4
    hidden = size.normal(total, size(3584, 24), dtype=torch.bfloat16)
    kept = int(keep.sum())

    def call(keep: Tensor, hidden: Tensor, **options: Any) -> Tensor:
        return F.compact(keep, hidden, **options)[0]

    return _equal(call, keep, hidden, num_kept=kept)


def _merge_rows(name: str, case: list[str], size: _Size) -> Work:
    total = size(12416, 90)
    features = size.normal(total, size(3584, 24), dtype=torch.bfloat16)
    source = torch.arange(total, dtype=torch.int64, device=size.device)
    return _equal(F.merge_rows, features, size.numbers(total // 10, total), source, size.normal(total, seed=1))


def _temporal_similarity(name: str, case: list[str], size: _Size) -> Work:
    frames, places = size(64, 3), size(169, 30)
    features = size.normal(frames * places, size(3584, 24), dtype=torch.bfloat16)
    partner = torch.arange(frames * places, dtype=torch.int64, device=size.device) - places
    return _close(F.temporal_similarity, 1e-6, features, partner.clamp(min=-1))


def _group_budget(name: str, case: list[str], size: _Size) -> Work:
    groups = int(case[0]) - 1
    scores = size.normal(groups)
    lengths = torch.full((groups,), 169, dtype=torch.int64, device=size.device)
    totals, offsets = lengths.sum(0, keepdim=True) // 4, packed_offsets([groups]).to(size.device)
    return _equal(F.group_budget, scores, lengths, totals, offsets, temperature=0.7, minimum=1)
