"""Every kernel at sizes of a few blocks: quick on a device, and small enough for `make ttsem`, which has none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seats_ops import functional as F
from seats_ops.ops.max_min_diversity import triton as kernels
from seats_ops.testing import certify_dpp, certify_greedy, clustered_features, near_constant_saliency, packed_offsets
from tests.ops.dpc_oracle import wrong

pytestmark = pytest.mark.gpu
DEVICE = "cuda"
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
LENGTHS = [150, 0, 33, 1]
TOTAL = sum(LENGTHS)


def normal(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [24, 80])
def test_attention_received(dtype: torch.dtype, dim: int) -> None:
    query, key = (normal((TOTAL, 2, dim), seed, dtype) for seed in range(2))
    offsets = packed_offsets(LENGTHS)
    expected = F.attention_received(query, key, offsets, backend="reference")
    saliency = F.attention_received(
        query.to(DEVICE), key.to(DEVICE), offsets.to(DEVICE), max_seqlen=150, backend="triton"
    )
    torch.testing.assert_close(saliency.cpu(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_attention_received_of_a_given_logsumexp(dtype: torch.dtype) -> None:
    query, key = (normal((TOTAL, 2, 80), seed, dtype) for seed in range(2))
    offsets = packed_offsets(LENGTHS)
    scores = torch.einsum("qhd,khd->hqk", query.double(), key.double()) / 80**0.5
    window = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))
    logsumexp = scores.masked_fill(window[:, None] != window, float("-inf")).logsumexp(-1).float()
    expected = F.attention_received(query, key, offsets, backend="reference")
    moved = [x.to(DEVICE) for x in (query, key, offsets)]
    saliency = F.attention_received(*moved, logsumexp=logsumexp.to(DEVICE), max_seqlen=150, backend="triton")
    torch.testing.assert_close(saliency.cpu(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [24, 80])
def test_query_relevance(dtype: torch.dtype, dim: int) -> None:
    query, key = normal((4, 6, dim), 0, dtype), normal((TOTAL, 2, dim), 1, dtype)
    offsets = packed_offsets(LENGTHS)
    expected = F.query_relevance(query, key, offsets, backend="reference")
    scores = F.query_relevance(query.to(DEVICE), key.to(DEVICE), offsets.to(DEVICE), max_seqlen=150, backend="triton")
    torch.testing.assert_close(scores.cpu(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("placed", [False, True])
def test_dpc_knn(dtype: torch.dtype, metric: str, placed: bool) -> None:
    features = clustered_features(TOTAL, 80, seed=1, dtype=dtype)
    place = {"offsets": torch.arange(TOTAL)[:, None] / TOTAL, "offset_weight": 0.2} if placed else {}
    moved = {name: value.to(DEVICE) if isinstance(value, Tensor) else value for name, value in place.items()}
    given = features.to(DEVICE), packed_offsets(LENGTHS).to(DEVICE)
    options = {"num_neighbors": 5, "metric": metric}
    scores = F.dpc_knn(*given, **options, **moved, max_seqlen=150, backend="triton").cpu()
    assert not wrong(scores, features, LENGTHS, **options, **place)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("path", ["one chunk", "a chunk per window", "too long for a matrix", "scattered rows"])
@pytest.mark.parametrize("first", ["spread", "weight"])
def test_max_min_diversity(dtype: torch.dtype, path: str, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights of a first pick by weight are of both signs."""
    if path == "a chunk per window":
        monkeypatch.setattr(kernels, "MATRIX_BYTES", 1)
    if path == "too long for a matrix":
        monkeypatch.setattr(kernels, "MAX_MATRIX", 100)
    features = clustered_features(TOTAL, 100, seed=1, dtype=dtype)
    weights = near_constant_saliency(TOTAL, seed=1)
    if first == "weight":
        weights = torch.where(torch.arange(TOTAL) % 3 == 0, -weights, weights)
    offsets, counts = packed_offsets(LENGTHS), torch.tensor([20, 3, 9, 1])
    index = torch.randperm(TOTAL, generator=torch.Generator().manual_seed(0)) if path == "scattered rows" else None
    arguments = [x.to(DEVICE) for x in (features, offsets, counts)]
    scattered = {} if index is None else {"index": index.to(DEVICE)}
    bounds = {"max_seqlen": 150, "max_keep": 20}
    keep = F.max_min_diversity(
        *arguments, weights=weights.to(DEVICE), first=first, **scattered, **bounds, backend="triton"
    ).cpu()
    packed = features if index is None else features[index]
    certificate = certify_greedy(packed, offsets, counts, keep, weights=weights, first=first)
    assert certificate, certificate.reason


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scattered", [False, True])
def test_greedy_dpp(dtype: torch.dtype, scattered: bool) -> None:
    features = clustered_features(TOTAL, 100, seed=1, dtype=dtype)
    quality = near_constant_saliency(TOTAL, seed=1, spread=0.5)
    offsets, counts = packed_offsets(LENGTHS), torch.tensor([20, 3, 9, 1])
    index = torch.randperm(TOTAL, generator=torch.Generator().manual_seed(0))
    arguments = [x.to(DEVICE) for x in (features, offsets, counts)]
    options = {"quality": quality.to(DEVICE), "max_seqlen": 150, "max_keep": 20}
    options |= {"index": index.to(DEVICE)} if scattered else {}
    keep = F.greedy_dpp(*arguments, **options, backend="triton").cpu()
    packed = features[index] if scattered else features
    certificate = certify_dpp(packed, offsets, counts, keep, quality=quality)
    assert certificate, certificate.reason


@pytest.mark.parametrize("kinds", [1, 2], ids=["one modality", "two modalities"])
def test_window_budget(kinds: int) -> None:
    token = torch.arange(1500)
    arguments = {
        "scores": near_constant_saliency(1500, seed=2) * 1e-3,
        "modality": token % (kinds + 1),
        "window": torch.where(token % (kinds + 1) > 0, token // 300, -1),
        "totals": torch.tensor([[100, 60 if kinds == 2 else 0]]),
    }
    expected = F.window_budget(**arguments, num_windows=5, temperature=0.1, backend="reference")
    moved = {name: tensor.to(DEVICE) for name, tensor in arguments.items()}
    assert torch.equal(F.window_budget(**moved, num_windows=5, temperature=0.1, backend="triton").cpu(), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_segment_topk(dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(0)
    scores = torch.randint(-9, 9, (1300,), generator=random).to(dtype)
    segment = torch.randint(-1, 4, (1300,), generator=random)
    budget = torch.tensor([5, 0, 700, 100])
    expected = F.segment_topk(scores, segment, budget, backend="reference")
    keep = F.segment_topk(scores.to(DEVICE), segment.to(DEVICE), budget.to(DEVICE), backend="triton")
    assert torch.equal(keep.cpu(), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [24, 200])
def test_temporal_similarity(dtype: torch.dtype, dim: int) -> None:
    features, partner = normal((TOTAL, dim), 0, dtype), torch.arange(TOTAL).sub(40).clamp(min=-1)
    features[90] = 0
    features[7, 3] = float("nan")
    expected = F.temporal_similarity(features, partner, missing=float("inf"), backend="reference")
    moved = features.to(DEVICE), partner.to(DEVICE)
    similarity = F.temporal_similarity(*moved, missing=float("inf"), backend="triton")
    torch.testing.assert_close(similarity.cpu(), expected, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("temperature", [None, 0.7])
def test_group_budget(dtype: torch.dtype, temperature: float | None) -> None:
    scores, lengths = normal((TOTAL,), 0, dtype).abs(), torch.arange(TOTAL) % 23
    scores[::9] = float("nan")
    given = scores, lengths, torch.tensor([700, 5, 90, 9]), packed_offsets(LENGTHS)
    bounds = {"temperature": temperature, "minimum": 2, "max_groups": 150}
    expected = F.group_budget(*given, **bounds, backend="reference")
    assert torch.equal(F.group_budget(*(x.to(DEVICE) for x in given), **bounds, backend="triton").cpu(), expected)


@pytest.mark.parametrize("total", [1, 1023, 1300])
def test_kept_index(total: int) -> None:
    keep = torch.rand(total, generator=torch.Generator().manual_seed(0)) < 0.3
    keep[0] = True
    got = torch.ops.seats_ops.kept_index(keep.to(DEVICE), int(keep.sum()), "triton")
    assert torch.equal(got.cpu(), keep.nonzero().flatten())


@pytest.mark.parametrize("dim", [0, 1])
def test_compact(dim: int) -> None:
    random = torch.Generator().manual_seed(0)
    keep = torch.rand(1300, generator=random) < 0.3
    shapes = [[3, 40], [2, 5], [3]]
    for shape in shapes:
        shape.insert(dim, 1300)
    tensors = [torch.randn(shape, generator=random).bfloat16() for shape in shapes]
    tensors.append(torch.arange(1300).expand(*shapes[2][:dim], 1300))
    num_kept = int(keep.sum())
    got = F.compact(keep.to(DEVICE), *(t.to(DEVICE) for t in tensors), dim=dim, num_kept=num_kept, backend="triton")
    expected = F.compact(keep, *tensors, dim=dim, backend="reference")
    assert all(torch.equal(a.cpu(), b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [24, 1030])
def test_merge_rows(dtype: torch.dtype, dim: int) -> None:
    random = torch.Generator().manual_seed(0)
    target, source = torch.randint(90, (700,), generator=random), torch.randint(TOTAL, (700,), generator=random)
    coefficient = torch.randn(700, generator=random)
    results = []
    for backend, to in (("triton", DEVICE), ("reference", "cpu")):
        features = normal((TOTAL, dim), 1, dtype).to(to).requires_grad_()
        merged = F.merge_rows(features, *(t.to(to) for t in (target, source, coefficient)), backend=backend)
        (grad,) = torch.autograd.grad(merged, features, normal((TOTAL, dim), 2, dtype).to(to))
        results.append([merged.detach().cpu(), grad.cpu()])
    assert all(torch.equal(got, expected) for got, expected in zip(*results, strict=True))
