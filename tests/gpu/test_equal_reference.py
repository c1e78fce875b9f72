"""The kernels on a device against the reference on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from seats_ops import functional as F
from seats_ops.testing import certify_dpp, certify_greedy, clustered_features, near_constant_saliency, packed_offsets
from tests.ops.dpc_oracle import wrong
from tests.ops.window_budget_oracle import literal_budgets, pack, random_prompt

pytestmark = pytest.mark.gpu
DEVICE = "cuda"
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def normal(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [64, 80, 128, 200, 256])
def test_attention_received(dtype: torch.dtype, dim: int) -> None:
    lengths = [1320, 0, 77, 1]
    query, key = (normal((sum(lengths), 3, dim), seed, dtype) for seed in range(2))
    offsets = packed_offsets(lengths)
    expected = F.attention_received(query.float(), key.float(), offsets, backend="reference")
    saliency = F.attention_received(query.to(DEVICE), key.to(DEVICE), offsets.to(DEVICE), backend="triton")
    torch.testing.assert_close(saliency.cpu(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [64, 80, 128, 200, 256])
def test_query_relevance(dtype: torch.dtype, dim: int) -> None:
    lengths = [5000, 1, 0, 333]
    query, key = normal((4, 28, dim), 0, dtype), normal((sum(lengths), 4, dim), 1, dtype)
    offsets = packed_offsets(lengths)
    expected = F.query_relevance(query.float(), key.float(), offsets, backend="reference")
    scores = F.query_relevance(query.to(DEVICE), key.to(DEVICE), offsets.to(DEVICE), backend="triton")
    torch.testing.assert_close(scores.cpu(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "lengths", [[330] * 8 + [50] * 9 + [0, 1], [5000, 40]], ids=["windows", "one too long for a matrix"]
)
def test_max_min_diversity(dtype: torch.dtype, lengths: list[int]) -> None:
    features = clustered_features(sum(lengths), 3584, seed=1, clusters=40, dtype=dtype)
    weights = near_constant_saliency(sum(lengths), seed=1)
    offsets, counts = packed_offsets(lengths), torch.tensor([min(60, n // 3) for n in lengths])
    arguments = [x.to(DEVICE) for x in (features, offsets, counts)]
    keep = F.max_min_diversity(*arguments, weights=weights.to(DEVICE), backend="triton").cpu()
    certificate = certify_greedy(features, offsets, counts, keep, weights=weights)
    assert certificate, certificate.reason


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("lengths", [[169] * 4 + [0, 1], [700]], ids=["frames", "a clip"])
def test_dpc_knn(dtype: torch.dtype, lengths: list[int]) -> None:
    features = clustered_features(sum(lengths), 256, seed=1, clusters=20, dtype=dtype)
    given = features.to(DEVICE), packed_offsets(lengths).to(DEVICE)
    scores = F.dpc_knn(*given, num_neighbors=4, backend="triton").cpu()
    assert not wrong(scores, features, lengths, num_neighbors=4)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("lengths", [[576] * 4 + [50, 0, 1], [9000, 40]], ids=["images", "a long segment"])
def test_greedy_dpp(dtype: torch.dtype, lengths: list[int]) -> None:
    features = clustered_features(sum(lengths), 1024, seed=1, clusters=40, dtype=dtype)
    quality = near_constant_saliency(sum(lengths), seed=1, spread=0.9)
    offsets, counts = packed_offsets(lengths), torch.tensor([min(64, n // 3) for n in lengths])
    arguments = [x.to(DEVICE) for x in (features, offsets, counts)]
    keep = F.greedy_dpp(*arguments, quality=quality.to(DEVICE), backend="triton").cpu()
    certificate = certify_dpp(features, offsets, counts, keep, quality=quality)
    assert certificate, certificate.reason


@pytest.mark.parametrize("style", ["equal", "realistic", "peaked", "extreme"])
def test_window_budget(style: str) -> None:
    random = np.random.default_rng(3)
    rows = [[(288, 50)] * 20, [(120, 25)], [(64, 0)] * 5, [(40, 50)] * 3 + [(0, 50), (288, 0)]]
    prompts = [random_prompt(sizes, 0.3, style, random) for sizes in rows]
    packed = pack(prompts, seed=3)
    num_windows = sum(map(len, rows))
    on_device = {name: tensor.to(DEVICE) for name, tensor in packed.items()}
    budgets = F.window_budget(**on_device, num_windows=num_windows, temperature=0.1, backend="triton").tolist()
    for prompt in prompts:
        mine, budgets = budgets[: prompt.num_windows], budgets[prompt.num_windows :]
        expected, tie_distance = literal_budgets(prompt, 0.1, np.float32 if style == "equal" else np.float64)
        assert (style != "equal" and tie_distance <= 1e-4) or mine == expected


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_segment_topk(dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(0)
    scores = torch.randint(-50, 50, (12_000,), generator=random).to(dtype)
    scores[::97] = float("nan")
    segment = torch.randint(-1, 128, (12_000,), generator=random)
    budget = torch.randint(0, 150, (128,), generator=random)
    expected = F.segment_topk(scores, segment, budget, backend="reference")
    keep = F.segment_topk(scores.to(DEVICE), segment.to(DEVICE), budget.to(DEVICE), backend="triton")
    assert torch.equal(keep.cpu(), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [3584, 1001])
def test_temporal_similarity(dtype: torch.dtype, dim: int) -> None:
    features, partner = normal((2000, dim), 0, dtype), torch.arange(2000).sub(169).clamp(min=-1)
    features[500:600] = features[331:431]
    expected = F.temporal_similarity(features, partner, backend="reference")
    similarity = F.temporal_similarity(features.to(DEVICE), partner.to(DEVICE), backend="triton").cpu()
    torch.testing.assert_close(similarity, expected, rtol=1e-5, atol=1e-6)
    # Equal pairs tie, in either order and anywhere.
    row = torch.arange(700) % 2
    pair = F.temporal_similarity(features[row].to(DEVICE), torch.where(row == 0, 699, 350).to(DEVICE), backend="triton")
    assert len(set(pair.tolist())) == 1


@pytest.mark.parametrize("backend", ["triton", "reference"])
@pytest.mark.parametrize("temperature", [None, 0.01, 0.7])
@pytest.mark.parametrize("groups", [60, 400, 2000])
def test_group_budget(groups: int, temperature: float | None, backend: str) -> None:
    """Integers from the shares on, and a series for exp: a device gives what the CPU gives, by either backend."""
    scores, lengths = normal((3 * groups,), 0, torch.float32).abs(), torch.arange(3 * groups) % 200
    given = scores, lengths, torch.tensor([groups * 90, groups, groups * 20]), packed_offsets([groups] * 3)
    bounds = {"temperature": temperature, "minimum": 3, "max_groups": groups}
    expected = F.group_budget(*given, **bounds, backend="reference")
    assert torch.equal(F.group_budget(*(x.to(DEVICE) for x in given), **bounds, backend=backend).cpu(), expected)


@pytest.mark.parametrize("dim", [0, 1])
def test_compact(dim: int) -> None:
    random = torch.Generator().manual_seed(0)
    keep = torch.rand(4000, generator=random) < 0.3
    shapes: list[list[int]] = [[3, 3584], [3, 128], [3, 7], [3]]
    tensors = []
    for shape in shapes:
        shape.insert(min(dim, len(shape)), 4000)
        tensors.append(torch.randn(shape, generator=random).bfloat16())
    tensors.append(torch.arange(4000).expand(*shapes[-1][:dim], 4000))
    got = F.compact(keep.to(DEVICE), *(t.to(DEVICE) for t in tensors), dim=dim, backend="triton")
    expected = F.compact(keep, *tensors, dim=dim, backend="reference")
    assert all(torch.equal(a.cpu(), b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_merge_rows(dtype: torch.dtype) -> None:
    """The sums of both have one order, that of the triples."""
    random = torch.Generator().manual_seed(0)
    features = normal((4000, 3584), 0, dtype)
    # Some targets have hundreds of triples, others a few, most rows none.
    target = torch.randint(30, (9000,), generator=random) ** 2
    source, coefficient = torch.randint(4000, (9000,), generator=random), torch.randn(9000, generator=random)
    triples = target, source, coefficient
    expected = F.merge_rows(features, *triples, backend="reference")
    for backend in ("triton", "reference"):
        merged = F.merge_rows(features.to(DEVICE), *(t.to(DEVICE) for t in triples), backend=backend)
        assert torch.equal(merged.cpu(), expected)


def test_merge_rows_with_triples_out_of_range() -> None:
    features = torch.arange(8.0, device=DEVICE).view(4, 2)
    target, source = torch.tensor([0, 2**40, 1, -1], device=DEVICE), torch.tensor([1, 0, 4, 0], device=DEVICE)
    triples = target, source, torch.ones(4, device=DEVICE)
    for backend in ("triton", "reference"):
        merged = F.merge_rows(features, *triples, validate=False, backend=backend)
        assert merged.tolist() == [[2.0, 3.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]]
