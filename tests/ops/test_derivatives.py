"""Derivatives of every kind are right or refused: none is zero because an operator was passed by."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from seats_ops import BackendUnavailable
from seats_ops import functional as F

KEEP = torch.tensor([True, False, True, True])
RANDOM = torch.Generator().manual_seed(0)
X, TANGENT = torch.randn(2, 4, 3, dtype=torch.float64, generator=RANDOM)
HEADS, CHANGE = torch.randn(2, 4, 2, 8, generator=RANDOM)
OFFSETS = torch.tensor([0, 4])
SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "attention_received query": lambda x: F.attention_received(x, HEADS, OFFSETS),
    "attention_received key": lambda x: F.attention_received(HEADS, x, OFFSETS),
    "dpc_knn features": lambda x: F.dpc_knn(x.flatten(1), OFFSETS, num_neighbors=2),
    "query_relevance query": lambda x: F.query_relevance(x[:1], HEADS),
    "query_relevance key": lambda x: F.query_relevance(HEADS[:1], x),
    "temporal_similarity features": lambda x: F.temporal_similarity(x[:, 0], torch.tensor([1, -1, 0, 3])),
}


def kept(x: Tensor) -> Tensor:
    return F.compact(KEEP, x, torch.arange(4))[0]


def test_compact_in_forward_mode() -> None:
    value, tangent = torch.func.jvp(kept, (X,), (TANGENT,))
    assert torch.equal(value, X[KEEP]) and torch.equal(tangent, TANGENT[KEEP])
    with forward_ad.dual_level():
        ids, dual = F.compact(KEEP, torch.arange(4), forward_ad.make_dual(X, TANGENT))
        assert torch.equal(forward_ad.unpack_dual(dual).tangent, TANGENT[KEEP])
        assert ids.tolist() == [0, 2, 3]
    jacobian = torch.func.jacfwd(kept)(X).reshape(9, 12)
    assert torch.equal(jacobian, torch.eye(12, dtype=torch.float64).view(4, 3, 12)[KEEP].reshape(9, 12))


def test_compact_of_higher_order() -> None:
    x = X.clone().requires_grad_()
    assert torch.autograd.gradcheck(kept, (x,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda x: kept(x).pow(3), (x,))


def test_compact_in_forward_mode_has_no_kernel() -> None:
    with pytest.raises(BackendUnavailable), forward_ad.dual_level():
        F.compact(KEEP, forward_ad.make_dual(X, TANGENT), backend="triton")


@pytest.mark.parametrize("name", SCORES)
def test_scores_refuse_to_be_differentiated(name: str) -> None:
    argument, score = name.split()[1], SCORES[name]
    with pytest.raises(ValueError, match=argument):
        torch.func.jvp(score, (HEADS,), (CHANGE,))
    with pytest.raises(ValueError, match=argument), forward_ad.dual_level():
        score(forward_ad.make_dual(HEADS, CHANGE))
    with pytest.raises(ValueError, match=argument):
        torch.func.grad(lambda x: score(x).pow(2).sum())(HEADS)
    with pytest.raises(ValueError, match=argument):
        torch.vmap(torch.func.grad(lambda x: score(x).pow(2).sum()))(HEADS[None])
    with pytest.raises(RuntimeError, match="does not require grad"):
        score(HEADS.clone().requires_grad_()).sum().backward()


@pytest.mark.parametrize("name", SCORES)
def test_constants_may_be_scored_while_others_are_differentiated(name: str) -> None:
    score = SCORES[name]
    expected = score(HEADS)
    weighted = torch.func.grad(lambda x: (x * score(HEADS)).sum())(torch.ones(4))
    assert torch.equal(weighted, expected)
    _, change = torch.func.jvp(lambda x: x.sum() * score(x.detach()), (HEADS,), (CHANGE,))
    torch.testing.assert_close(change, CHANGE.sum() * expected)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", SCORES)
def test_scores_of_a_mapped_tensor(name: str) -> None:
    both = torch.stack([HEADS, 2 * HEADS])
    torch.testing.assert_close(torch.vmap(SCORES[name])(both), torch.stack([SCORES[name](x) for x in both]))


def test_a_given_denominator_is_a_constant_too() -> None:
    total = torch.logsumexp(torch.einsum("qhd,khd->hqk", HEADS, HEADS) * HEADS.shape[-1] ** -0.5, -1)
    offsets = torch.tensor([0, len(HEADS)])

    def score(denominator: Tensor) -> Tensor:
        return F.attention_received(HEADS, HEADS, offsets, logsumexp=denominator)

    with pytest.raises(ValueError, match="logsumexp"):
        torch.func.jvp(score, (total,), (torch.ones_like(total),))
    assert not score(total.clone().requires_grad_()).requires_grad


def test_compact_in_transforms() -> None:
    mask, x = torch.tensor([True, False, True, True]), torch.arange(4.0)
    assert torch.func.grad(lambda a: F.compact(mask, a)[0].pow(3).sum())(x).tolist() == [0.0, 0.0, 12.0, 27.0]
    second = torch.func.hessian(lambda a: F.compact(mask, a)[0].pow(3).sum())(x)
    assert torch.equal(second, torch.diag(torch.tensor([0.0, 0.0, 12.0, 18.0])))
    both = torch.vmap(lambda a: F.compact(mask, a, num_kept=3)[0])(torch.stack([x, 2 * x]))
    assert both.tolist() == [[0.0, 2.0, 3.0], [0.0, 4.0, 6.0]]
