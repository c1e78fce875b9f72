"""Kernels that return sets, counts and sums in a fixed order: exactly the reference's, or a certified greedy choice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seats_ops import functional as F
from seats_ops.ops.launch import count_launches
from seats_ops.ops.tile_grid import changed
from seats_ops.ops.tile_tables import hold_tiles
from seats_ops.ops.tiles import DEFAULT
from seats_ops.testing import (
    certify_dpp,
    certify_greedy,
    clustered_features,
    near_constant_saliency,
    packed_offsets,
    tied_features,
)
from seats_ops.testing.interpreter import program_order
from seats_ops.testing.strategies import id_dtypes, seeds, segment_lengths, value_dtypes
from tests.ops.window_budget_oracle import literal_budgets, pack, random_prompt

SPECIAL = torch.tensor([float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1e-45, 3e38, 0.5, 0.5])


@given(st.integers(0, 80), st.integers(0, 6), st.booleans(), seeds(), value_dtypes(), id_dtypes())
def test_segment_topk(total: int, groups: int, special: bool, seed: int, dtype: torch.dtype, ids: torch.dtype) -> None:
    random = torch.Generator().manual_seed(seed)
    scores = SPECIAL[torch.randint(len(SPECIAL), (total,), generator=random)]
    if not special:
        scores = torch.randn(total, generator=random)
    segment = torch.randint(-1, groups, (total,), generator=random).to(ids)
    budget = torch.randint(0, 20, (groups,), generator=random).to(ids)
    keep = F.segment_topk(scores.to(dtype), segment, budget)
    assert torch.equal(keep, F.segment_topk(scores.to(dtype), segment, budget, backend="reference"))


@given(st.integers(0, 80), st.integers(0, 2), seeds(), value_dtypes())
def test_compact(total: int, dim: int, seed: int, dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(seed)
    keep_mask = torch.rand(total, generator=random) < torch.rand((), generator=random)
    shapes = [[2, 3, 5, 8], [3, 2, 4]]
    tensors = []
    for shape in shapes:
        shape[dim] = total
        tensors.append(torch.randn(shape, generator=random).to(dtype))
    ids = torch.arange(total).expand(*shapes[1][:dim], total)
    compacted = F.compact(keep_mask, *tensors, ids, dim=dim)
    expected = F.compact(keep_mask, *tensors, ids, dim=dim, backend="reference")
    assert all(torch.equal(got, want) for got, want in zip(compacted, expected, strict=True))


@given(st.integers(1, 12), st.integers(0, 30), st.integers(1, 20), seeds(), value_dtypes(), id_dtypes())
def test_merge_rows(total: int, number: int, dim: int, seed: int, dtype: torch.dtype, ids: torch.dtype) -> None:
    """Sums in one order: equal to the bit, and so are gradients."""
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(total, dim, generator=random).to(dtype)
    features[0] = SPECIAL[torch.randint(len(SPECIAL), (dim,), generator=random)].to(dtype)
    target, source = torch.randint(total, (2, number), generator=random).to(ids)
    coefficient, grad = torch.randn(number, generator=random), torch.randn(total, dim, generator=random).to(dtype)
    results = []
    for backend in ("triton", "reference"):
        leaf = features.clone().requires_grad_()
        merged = F.merge_rows(leaf, target, source, coefficient, backend=backend)
        merged.backward(grad)
        results.append((merged.detach(), leaf.grad))
    torch.testing.assert_close(*results, rtol=0, atol=0, equal_nan=True)


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6)), max_size=6), max_size=3),
    st.floats(0, 1),
    st.sampled_from(["equal", "steps", "realistic", "peaked", "extreme"]),
    seeds(),
    value_dtypes(),
)
def test_window_budget(
    rows: list[list[tuple[int, int]]], ratio: float, style: str, seed: int, dtype: torch.dtype
) -> None:
    random = np.random.default_rng(seed)
    prompts = [random_prompt(sizes, ratio, style, random, shuffled=True) for sizes in rows]
    packed = pack(prompts, seed=seed)
    packed["scores"] = packed["scores"].to(dtype)
    packed |= {"num_windows": sum(map(len, rows)), "temperature": 0.1}
    same = torch.equal(F.window_budget(**packed), F.window_budget(**packed, backend="reference"))
    # Only where a rounded share lies next to a half may two orders of summation part ways.
    if style == "equal" or dtype != torch.float32 or all(literal_budgets(p, 0.1)[1] > 1e-4 for p in prompts):
        assert same


def test_totals_of_an_absent_modality_are_not_spent_on_the_other() -> None:
    """Two windows of video, no audio: the top three video tokens, whatever is asked for audio."""
    scores, window = torch.arange(12.0), torch.arange(12) // 6
    video = torch.ones(12, dtype=torch.int64)
    budgets = F.window_budget(scores, video, window, torch.tensor([[3, 5]]), num_windows=2, temperature=0.1)
    assert budgets.tolist() == [[0, 0], [3, 0]]


WEIGHTED = ("not", "saliency", "either sign", "negative", "first by weight")


def weights_of(weighted: str, total: int, seed: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor | None, str]:
    """Weights, and how the first token is picked."""
    if weighted == "not":
        return None, "spread"
    saliency = near_constant_saliency(total, seed=seed, dtype=dtype)
    if weighted == "saliency":
        return saliency, "spread"
    if weighted == "negative":
        return -saliency, "spread"
    signs = torch.randint(0, 2, (total,), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return saliency * signs.to(dtype), "weight" if weighted == "first by weight" else "spread"


@given(
    segment_lengths(max_segments=6, max_length=40),
    st.sampled_from([1, 24, 100]),
    st.sampled_from(WEIGHTED),
    st.booleans(),
    seeds(),
    value_dtypes(),
)
def test_max_min_diversity(
    lengths: list[int], dim: int, weighted: str, indexed: bool, seed: int, dtype: torch.dtype
) -> None:
    features = clustered_features(sum(lengths), dim, seed=seed, dtype=dtype)
    weights, first = weights_of(weighted, sum(lengths), seed, dtype)
    num_keep = torch.tensor([n // 3 for n in lengths], dtype=torch.int64)
    rows, index = features, None
    if indexed:
        index = torch.randperm(len(features) + 3, generator=torch.Generator().manual_seed(seed))[: len(features)]
        rows = torch.full((len(features) + 3, dim), torch.nan, dtype=dtype).index_copy(0, index, features)
    keep = F.max_min_diversity(rows, packed_offsets(lengths), num_keep, weights=weights, index=index, first=first)
    certificate = certify_greedy(features, packed_offsets(lengths), num_keep, keep, weights=weights, first=first)
    assert certificate, certificate.reason


@pytest.mark.parametrize(
    ("dtype", "weighted"),
    [
        *itertools.product([torch.float32, torch.bfloat16, torch.float16], ["not", "saliency"]),
        (torch.float32, "negative"),
        (torch.bfloat16, "first by weight"),
    ],
    ids=str,
)
def test_windows_too_long_for_a_matrix(dtype: torch.dtype, weighted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seats_ops.ops.max_min_diversity.triton.MAX_MATRIX", 32)
    lengths, num_keep = [70, 0, 33, 1, 5], torch.tensor([9, 2, 12, 0, 5])
    features = clustered_features(sum(lengths), 150, seed=3, dtype=dtype)
    weights, first = weights_of(weighted, sum(lengths), 3)
    index = torch.randperm(len(features), generator=torch.Generator().manual_seed(4))
    rows = torch.empty_like(features).index_copy(0, index, features)
    with count_launches() as launched:
        keep = F.max_min_diversity(rows, packed_offsets(lengths), num_keep, weights=weights, index=index, first=first)
    assert "gram_kernel" not in launched
    certificate = certify_greedy(features, packed_offsets(lengths), num_keep, keep, weights=weights, first=first)
    assert certificate, certificate.reason


@given(segment_lengths(max_segments=6, max_length=30), seeds(), st.integers(1, 8))
def test_max_min_diversity_ties(lengths: list[int], seed: int, kinds: int) -> None:
    features = tied_features(sum(lengths), seed=seed, kinds=kinds)
    arguments = features, packed_offsets(lengths), torch.tensor([n // 2 for n in lengths], dtype=torch.int64)
    assert torch.equal(F.max_min_diversity(*arguments), F.max_min_diversity(*arguments, backend="reference"))


@settings(max_examples=12)
@given(
    segment_lengths(max_segments=3, max_length=20),
    st.sampled_from([3, 24, 150]),
    st.booleans(),
    st.booleans(),
    seeds(),
    value_dtypes(),
)
def test_greedy_dpp(lengths: list[int], dim: int, weighted: bool, indexed: bool, seed: int, dtype: torch.dtype) -> None:
    features = clustered_features(sum(lengths), dim, seed=seed, dtype=dtype)
    quality = near_constant_saliency(sum(lengths), seed=seed, spread=0.9, dtype=dtype) if weighted else None
    num_keep = torch.tensor([n // 3 for n in lengths], dtype=torch.int64)
    rows, index = features, None
    if indexed:
        index = torch.randperm(len(features) + 3, generator=torch.Generator().manual_seed(seed))[: len(features)]
        rows = torch.full((len(features) + 3, dim), torch.nan, dtype=dtype).index_copy(0, index, features)
    keep = F.greedy_dpp(rows, packed_offsets(lengths), num_keep, quality=quality, index=index)
    certificate = certify_dpp(features, packed_offsets(lengths), num_keep, keep, quality=quality)
    assert certificate, certificate.reason


def test_greedy_dpp_of_many_picks() -> None:
    """Factors of several blocks; the data leave no near-tie, so that the reference agrees to the token."""
    features = torch.randn(60, 72, generator=torch.Generator().manual_seed(0))
    quality = torch.linspace(1.0, 3.0, 60)[torch.randperm(60, generator=torch.Generator().manual_seed(1))]
    offsets, num_keep = packed_offsets([60]), torch.tensor([24])
    with hold_tiles({**DEFAULT, "dpp_step": changed(DEFAULT["dpp_step"], {"TOKENS": 32, "CHANNELS": 16})}):
        keep = F.greedy_dpp(features, offsets, num_keep, quality=quality)
    certificate = certify_dpp(features, offsets, num_keep, keep, quality=quality)
    assert certificate, certificate.reason
    assert torch.equal(keep, F.greedy_dpp(features, offsets, num_keep, quality=quality, backend="reference"))


@settings(max_examples=6)
@given(segment_lengths(max_segments=2, max_length=20), seeds(), st.integers(1, 8), st.booleans())
def test_greedy_dpp_ties(lengths: list[int], seed: int, kinds: int, weighted: bool) -> None:
    features = tied_features(sum(lengths), seed=seed, kinds=kinds)
    random = torch.Generator().manual_seed(seed)
    quality = 2.0 ** torch.randint(-1, 2, (sum(lengths),), generator=random) if weighted else None
    arguments = features, packed_offsets(lengths), torch.tensor([n // 2 for n in lengths], dtype=torch.int64)
    keep = F.greedy_dpp(*arguments, quality=quality)
    assert torch.equal(keep, F.greedy_dpp(*arguments, quality=quality, backend="reference"))


def test_negative_control_of_greedy_dpp() -> None:
    features = clustered_features(66, 100, seed=0, dtype=torch.bfloat16)
    offsets, num_keep = packed_offsets([66]), torch.tensor([10])
    right = F.greedy_dpp(features, offsets, num_keep)
    wrong = F.greedy_dpp(shuffled_features(0), offsets, num_keep)
    assert certify_dpp(features, offsets, num_keep, right)
    assert not certify_dpp(features, offsets, num_keep, wrong)


def shuffled_features(seed: int) -> Tensor:
    order = torch.randperm(66, generator=torch.Generator().manual_seed(seed))
    return clustered_features(66, 100, seed=seed, dtype=torch.bfloat16)[order]


@pytest.mark.parametrize("seed", range(4))
def test_negative_control(seed: int) -> None:
    """A kernel that saw garbage, such as bfloat16 bits multiplied as integers, would not pass on this data."""
    features = clustered_features(66, 100, seed=seed, dtype=torch.bfloat16)
    offsets, num_keep = packed_offsets([66]), torch.tensor([22])
    right = F.max_min_diversity(features, offsets, num_keep)
    wrong = F.max_min_diversity(shuffled_features(seed), offsets, num_keep)
    assert certify_greedy(features, offsets, num_keep, right)
    assert not certify_greedy(features, offsets, num_keep, wrong)


@settings(max_examples=2)
@given(seeds())
def test_the_order_of_programs_changes_nothing(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    features = clustered_features(90, 24, seed=seed, dtype=torch.bfloat16)
    scores = near_constant_saliency(90, seed=seed)
    segment = torch.randint(-1, 5, (90,), generator=random)
    offsets, counts = packed_offsets([30, 0, 17, 43]), torch.tensor([10, 2, 5, 14])
    results = []
    for order in ("forward", "reversed", "shuffled"):
        with program_order(order, seed):
            keep = F.segment_topk(scores, segment, torch.tensor([3, 0, 9, 30, 5]))
            diverse = F.max_min_diversity(features, offsets, counts, weights=scores)
            merged = F.merge_rows(features[:9], segment.clamp(min=0), torch.arange(90) % 9, scores)
            spread = F.greedy_dpp(features, offsets, counts // 6, quality=scores)
            results.append((keep, diverse, spread, merged, *F.compact(keep, features, segment)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, results[0], strict=True))


@given(
    segment_lengths(max_segments=3, max_length=70),
    st.sampled_from([None, 0.05, 0.7]),
    st.integers(0, 4),
    st.sampled_from([1, 6, 60]),
    seeds(),
    value_dtypes(),
    id_dtypes(),
)
def test_group_budget(
    groups: list[int],
    temperature: float | None,
    minimum: int,
    width: int,
    seed: int,
    dtype: torch.dtype,
    ids: torch.dtype,
) -> None:
    """Shares of a few and of many sizes, NaN and infinities among them."""
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(sum(groups), generator=random).mul(width).exp2() if temperature is None else None
    scores = torch.randn(sum(groups), generator=random) if scores is None else scores
    scores[::7], scores[::11], scores[::13] = 0.0, float("nan"), float("inf")
    lengths = torch.randint(0, 60, (sum(groups),), generator=random).to(ids)
    totals = torch.tensor([int(part.sum() * 0.4) for part in lengths.split(groups)] if groups else [], dtype=ids)
    given = scores.to(dtype), lengths, totals, packed_offsets(groups, ids)
    bounds = {"temperature": temperature, "minimum": minimum}
    budgets = F.group_budget(*given, **bounds)
    assert torch.equal(budgets, F.group_budget(*given, **bounds, backend="reference"))


def test_group_budget_of_a_long_video() -> None:
    random = torch.Generator().manual_seed(0)
    scores, lengths, totals = torch.rand(2000, generator=random), torch.full((2000,), 169), torch.tensor([60000])
    given = scores, lengths, totals, packed_offsets([2000])
    for temperature in (None, 0.1):
        budgets = F.group_budget(*given, temperature=temperature, minimum=1)
        assert torch.equal(budgets, F.group_budget(*given, temperature=temperature, minimum=1, backend="reference"))
