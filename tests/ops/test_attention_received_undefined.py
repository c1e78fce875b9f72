"""attention_received where the softmax is undefined, and where an infinite key leaves it defined."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from seats_ops import functional as F
from seats_ops.testing import packed_offsets

NAN, INF = float("nan"), float("inf")
# One segment, several padded to one length, and one long enough for another way of multiplying.
LENGTHS = [[20], [1, 17, 30], [5, 130]]


def heads(total: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    query, key = torch.randn(2, total, 2, 64, generator=torch.Generator().manual_seed(seed))
    return query, key


def exact(query: Tensor, key: Tensor, offsets: Tensor) -> Tensor:
    """Column sums of a dense float64 softmax of every segment."""
    parts = []
    for start, end in pairwise(offsets.tolist()):
        q, k = (x[start:end].double().transpose(0, 1) for x in (query, key))
        parts.append((0.125 * q @ k.mT).softmax(-1).sum(1).mean(0))
    return torch.cat(parts).float()


@pytest.mark.parametrize("where", ["query", "key"])
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_one_value_makes_its_segment_undefined(lengths: list[int], bad: float, where: str) -> None:
    offsets = packed_offsets(lengths)
    untouched = F.attention_received(*heads(sum(lengths)), offsets)
    for start, end in pairwise(offsets.tolist()):
        query, key = heads(sum(lengths))
        (query if where == "query" else key)[(start + end) // 2, 1, 3] = bad
        got, expected = F.attention_received(query, key, offsets), exact(query, key, offsets)
        # An infinite key that no query sees as +inf leaves a segment defined, else all of it is gone.
        assert len(set(expected[start:end].isnan().tolist())) == 1
        assert bad == bad or bool(expected[start:end].isnan().all())
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5, equal_nan=True)
        clean = torch.cat([untouched[:start], got[start:end], untouched[end:]])
        torch.testing.assert_close(got, clean, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("hidden", [1, 40, 129])
def test_keys_that_nobody_looks_at(hidden: int, first: bool) -> None:
    """Logits of -inf are weights of 0, wherever they stand."""
    query, key = heads(130)
    query[..., 0] = -query[..., 0].abs() - 0.1
    key[..., 0] = 0.0
    (key[:hidden] if first else key[130 - hidden :])[..., 0] = INF
    offsets = packed_offsets([130])
    got = F.attention_received(query, key, offsets)
    assert bool(got.isfinite().all())
    torch.testing.assert_close(got, exact(query, key, offsets), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [12, 130])
def test_all_keys_out_of_sight_or_one_beyond_measure(length: int) -> None:
    query, key = heads(length)
    query[..., 0], offsets = 1.0, packed_offsets([length])
    for some in (slice(None), slice(3, 4)):
        changed = key.clone()
        changed[some, :, 0] = -INF if some == slice(None) else INF
        assert bool(F.attention_received(query, changed, offsets).isnan().all())


def test_finite_keys_whose_logits_overflow() -> None:
    """What matters is the logit: 1e25 * 1e25 is infinite in float32."""
    query, key = heads(130)
    query[..., 0], key[7, :, 0] = 1e25, 1e25
    assert bool(F.attention_received(query, key, packed_offsets([130])).isnan().all())


@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_given_denominator_that_is_undefined(bad: float) -> None:
    query, key = heads(50)
    offsets = packed_offsets([20, 30])
    key[31, 0, 2] = bad
    logsumexp = torch.empty(2, 50)
    for start, end in ((0, 20), (20, 50)):
        q, k = (x[start:end].transpose(0, 1) for x in (query, key))
        logsumexp[:, start:end] = (0.125 * q @ k.mT).logsumexp(-1)
    got = F.attention_received(query, key, offsets, logsumexp=logsumexp)
    assert bool(got[20:].isnan().all())
    torch.testing.assert_close(got[:20], exact(query, key, offsets)[:20], rtol=1e-5, atol=1e-6)
