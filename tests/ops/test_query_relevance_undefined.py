"""query_relevance where the softmax is undefined, and where an infinite key leaves it defined."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from seats_ops import functional as F
from seats_ops.testing import packed_offsets

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("where", ["query", "key"])
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("lengths", [[140], [9, 140], [30, 31, 32]])
def test_one_value_makes_its_prompt_undefined(lengths: list[int], bad: float, where: str) -> None:
    offsets, random = packed_offsets(lengths), torch.Generator().manual_seed(0)
    for prompt, (start, end) in enumerate(pairwise(offsets.tolist())):
        query = torch.randn(len(lengths), 4, 16, generator=random)
        key = torch.randn(sum(lengths), 2, 16, generator=random)
        # Of the two queries that share a key head, one sees +inf.
        query[:, :2, 3] = torch.tensor([1.0, -1.0])
        clean = F.query_relevance(query, key, offsets)
        if where == "query":
            query[prompt, 1, 3] = bad
        else:
            key[(start + end) // 2, 0, 3] = bad
        got = F.query_relevance(query, key, offsets)
        inside = torch.zeros(sum(lengths), dtype=torch.bool)
        inside[start:end] = True
        assert bool(got[inside].isnan().all())
        torch.testing.assert_close(got[~inside], clean[~inside], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("hidden", [1, 70, 139])
def test_keys_that_the_query_does_not_see(hidden: int, first: bool) -> None:
    random = torch.Generator().manual_seed(1)
    query, key = torch.randn(1, 2, 16, generator=random), torch.randn(140, 1, 16, generator=random)
    query[..., 0], key[..., 0] = -1.0, 0.0
    (key[:hidden] if first else key[140 - hidden :])[..., 0] = INF
    logits = 0.25 * torch.einsum("hd,nd->hn", query[0].double(), key[:, 0].double())
    expected = logits.softmax(-1).mean(0).float()
    torch.testing.assert_close(F.query_relevance(query, key), expected, rtol=1e-4, atol=1e-7)
    key[..., 0] = INF
    assert bool(F.query_relevance(query, key).isnan().all())
