"""Tensors of more than 2^31 elements: offsets that a 32-bit integer cannot hold."""

from __future__ import annotations

import pytest
import torch

from seats_ops import functional as F
from seats_ops.testing import certify_dpp, certify_greedy, clustered_features, packed_offsets
from tests.ops.dpc_oracle import wrong

pytestmark = pytest.mark.gpu
CHANNELS = 4096
TOTAL = 2**31 // CHANNELS + 1000
TAIL = 400


@pytest.fixture(autouse=True)
def needs_memory() -> None:
    free, _ = torch.cuda.mem_get_info()
    if free < 24 * 2**30:
        pytest.skip(f"needs 24 GiB of free device memory, {free / 2**30:.0f} found")


def test_compact_moves_the_last_rows() -> None:
    source = torch.zeros(TOTAL, CHANNELS, dtype=torch.bfloat16, device="cuda")
    rows = torch.randn(TAIL, CHANNELS).bfloat16()
    source[-TAIL:] = rows.cuda()
    keep = torch.zeros(TOTAL, dtype=torch.bool, device="cuda")
    keep[-TAIL:] = True
    (kept,) = F.compact(keep, source, num_kept=TAIL, backend="triton")
    assert torch.equal(kept.cpu(), rows)


def test_merge_rows_of_the_last_rows() -> None:
    features = torch.zeros(TOTAL, CHANNELS, dtype=torch.bfloat16, device="cuda")
    features[-TAIL:] = torch.randn(TAIL, CHANNELS).bfloat16().cuda()
    source = torch.arange(TOTAL - TAIL, TOTAL, device="cuda")
    merged = F.merge_rows(features, source.flip(0), source, torch.full((TAIL,), 2.0, device="cuda"), backend="triton")
    assert torch.equal(merged[-TAIL:], 2 * features[-TAIL:].flip(0))


def test_max_min_diversity_of_the_last_window() -> None:
    features = torch.zeros(TOTAL, CHANNELS, dtype=torch.bfloat16, device="cuda")
    tail = clustered_features(TAIL, CHANNELS, seed=0, clusters=30, dtype=torch.bfloat16)
    features[-TAIL:] = tail.cuda()
    lengths = [TAIL] * (TOTAL // TAIL - 1)
    lengths = [*lengths, TOTAL - TAIL - sum(lengths), TAIL]
    counts = torch.tensor([1] * (len(lengths) - 1) + [40])
    keep = F.max_min_diversity(
        features, packed_offsets(lengths).cuda(), counts.cuda(), max_seqlen=max(lengths), backend="triton"
    )
    certificate = certify_greedy(tail, packed_offsets([TAIL]), counts[-1:], keep[-TAIL:].cpu())
    assert certificate, certificate.reason


def test_dpc_knn_of_the_last_segment() -> None:
    features = torch.zeros(TOTAL, CHANNELS, dtype=torch.bfloat16, device="cuda")
    tail = clustered_features(64, CHANNELS, seed=0, clusters=9, dtype=torch.bfloat16)
    features[-64:] = tail.cuda()
    lengths = [TAIL] * (TOTAL // TAIL - 1)
    lengths = [*lengths, TOTAL - 64 - sum(lengths), 64]
    offsets = packed_offsets(lengths).cuda()
    scores = F.dpc_knn(features, offsets, num_neighbors=4, max_seqlen=max(lengths), backend="triton")
    assert not wrong(scores[-64:].cpu(), tail, [64], num_neighbors=4)


def test_greedy_dpp_of_the_last_segment() -> None:
    features = torch.zeros(TOTAL, CHANNELS, dtype=torch.bfloat16, device="cuda")
    tail = clustered_features(TAIL, CHANNELS, seed=0, clusters=30, dtype=torch.bfloat16)
    features[-TAIL:] = tail.cuda()
    offsets, counts = packed_offsets([TOTAL - TAIL, TAIL]), torch.tensor([1, 40])
    keep = F.greedy_dpp(features, offsets.cuda(), counts.cuda(), max_seqlen=TOTAL - TAIL, max_keep=40, backend="triton")
    certificate = certify_dpp(tail, packed_offsets([TAIL]), counts[-1:], keep[-TAIL:].cpu())
    assert certificate, certificate.reason


def test_query_relevance_of_the_last_prompt() -> None:
    key = torch.zeros(TOTAL, 32, 128, dtype=torch.bfloat16, device="cuda")
    query, tail = torch.randn(2, 32, 128).bfloat16(), torch.randn(TAIL, 32, 128).bfloat16()
    key[-TAIL:] = tail.cuda()
    offsets = packed_offsets([TOTAL - TAIL, TAIL])
    scores = F.query_relevance(query.cuda(), key, offsets.cuda(), max_seqlen=TOTAL - TAIL, backend="triton")
    expected = F.query_relevance(query[1:].float(), tail.float(), packed_offsets([TAIL]), backend="reference")
    torch.testing.assert_close(scores[-TAIL:].cpu(), expected, rtol=1e-4, atol=1e-7)


def test_attention_received_by_the_last_segment() -> None:
    heads = torch.zeros(TOTAL, 32, 128, dtype=torch.bfloat16, device="cuda")
    tail = torch.randn(TAIL, 32, 128).bfloat16()
    heads[-TAIL:] = tail.cuda()
    lengths = [TAIL] * (TOTAL // TAIL - 1)
    lengths = [*lengths, TOTAL - TAIL - sum(lengths), TAIL]
    offsets = packed_offsets(lengths).cuda()
    saliency = F.attention_received(heads, heads, offsets, max_seqlen=max(lengths), backend="triton")
    expected = F.attention_received(tail.float(), tail.float(), packed_offsets([TAIL]), backend="reference")
    torch.testing.assert_close(saliency[-TAIL:].cpu(), expected, rtol=1e-4, atol=1e-5)


def test_temporal_similarity_of_the_last_rows() -> None:
    features = torch.zeros(TOTAL, CHANNELS, dtype=torch.bfloat16, device="cuda")
    tail = torch.randn(TAIL, CHANNELS).bfloat16()
    features[-TAIL:] = tail.cuda()
    partner = torch.full((TOTAL,), -1, device="cuda")
    partner[:TAIL] = torch.arange(TOTAL - TAIL, TOTAL, device="cuda")
    partner[-TAIL + 1 :] = torch.arange(TOTAL - TAIL, TOTAL - 1, device="cuda")
    features[:TAIL] = features[-TAIL:].flip(0)
    similarity = F.temporal_similarity(features, partner, backend="triton")
    rows = torch.cat([tail.flip(0), tail])
    pairs = torch.cat([torch.arange(TAIL, 2 * TAIL), torch.tensor([-1]), torch.arange(TAIL, 2 * TAIL - 1)])
    expected = F.temporal_similarity(rows, pairs, backend="reference")
    torch.testing.assert_close(torch.cat([similarity[:TAIL], similarity[-TAIL:]]).cpu(), expected, rtol=1e-5, atol=1e-6)
