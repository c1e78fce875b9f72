"""merge_rows is differentiable in its features: what autograd finds is the matrix of the map, and its transpose."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import forward_ad

from seats_ops import functional as F
from seats_ops.ops.merge_rows.op import merge
from seats_ops.testing.strategies import seeds, value_dtypes

# Row 0 merges three rows, row 3 another target, row 4 itself twice; rows 1, 2 and 5 stay.
TARGET, SOURCE = torch.tensor([0, 4, 0, 3, 0, 4]), torch.tensor([1, 4, 2, 0, 3, 4])
COEFFICIENT = torch.tensor([0.5, 1.0, 0.25, 2.0, -1.0, 0.5])
FEATURES = torch.randint(-8, 9, (6, 3), generator=torch.Generator().manual_seed(0)).float()


def matrix(total: int, target: Tensor, source: Tensor, coefficient: Tensor) -> Tensor:
    """[T, T]: the map, written down entry by entry."""
    entries = torch.eye(total)
    for row in set(target.tolist()):
        entries[row] = 0.0
    for to, of, weight in zip(target.tolist(), source.tolist(), coefficient.tolist(), strict=True):
        entries[to, of] += weight
    return entries


MAP = matrix(6, TARGET, SOURCE, COEFFICIENT)


def merged(features: Tensor) -> Tensor:
    return F.merge_rows(features, TARGET, SOURCE, COEFFICIENT)


def power(features: Tensor) -> Tensor:
    return merged(features).pow(2).sum() / 2


@given(st.integers(1, 12), st.integers(0, 20), seeds(), value_dtypes())
def test_the_gradient_is_the_transposed_map(total: int, number: int, seed: int, dtype: torch.dtype) -> None:
    """Whole numbers, so that no dtype rounds."""
    random = torch.Generator().manual_seed(seed)
    target, source = torch.randint(total, (2, number), generator=random)
    coefficient = torch.randint(-2, 3, (number,), generator=random).float()
    features = torch.zeros(total, 3, dtype=dtype, requires_grad=True)
    grad = torch.randint(-2, 3, (total, 3), generator=random).to(dtype)
    F.merge_rows(features, target, source, coefficient).backward(grad)
    assert features.grad is not None and features.grad.dtype == dtype
    expected = matrix(total, target, source, coefficient).T @ grad.float()
    assert torch.equal(features.grad.float(), expected)


def test_gradients_of_other_rows_do_not_leak() -> None:
    """A target that is no source has none, whatever reaches it, and passes nothing on by coefficient but its own."""
    features = FEATURES.clone().requires_grad_()
    grad = torch.ones(6, 3)
    grad[5] = torch.nan
    merged(features).backward(grad)
    assert features.grad is not None
    assert torch.equal(features.grad[:5], (MAP.T @ torch.ones(6, 3))[:5])
    assert features.grad[5].isnan().all()


def test_backward_twice() -> None:
    features = FEATURES.clone().requires_grad_()
    (first,) = torch.autograd.grad(merged(features).pow(3).sum(), features, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), features)
    # d/dx sum(g) with g = M^T 3 (M x)^2 is M^T diag(6 M x) M 1.
    value = MAP @ FEATURES
    assert torch.equal(first, MAP.T @ (3 * value.pow(2)))
    assert torch.equal(second, MAP.T @ (6 * value * (MAP @ torch.ones(6, 3))))


def test_forward_mode() -> None:
    tangent = FEATURES.flip(0)
    value, change = torch.func.jvp(merged, (FEATURES,), (tangent,))
    assert torch.equal(value, MAP @ FEATURES) and torch.equal(change, MAP @ tangent)
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(merged(forward_ad.make_dual(FEATURES, tangent)))
        assert torch.equal(dual.tangent, MAP @ tangent)


def test_transforms() -> None:
    column = FEATURES[:, :1]
    for jacobian in (torch.func.jacfwd, torch.func.jacrev):
        assert torch.equal(jacobian(merged)(column).reshape(6, 6), MAP)
    assert torch.equal(torch.func.grad(power)(FEATURES), MAP.T @ MAP @ FEATURES)
    assert torch.equal(torch.func.hessian(power)(column).reshape(6, 6), MAP.T @ MAP)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_a_mapped_dimension(dim: int) -> None:
    both = torch.stack([FEATURES, 2 * FEATURES], dim)
    expected = torch.stack([MAP @ FEATURES, 2 * MAP @ FEATURES], dim)
    assert torch.equal(torch.vmap(merged, in_dims=dim, out_dims=dim)(both), expected)
    gradients = torch.vmap(torch.func.grad(power), in_dims=dim, out_dims=dim)(both)
    assert torch.equal(gradients, torch.stack([MAP.T @ MAP @ x for x in both.unbind(dim)], dim))


def test_triples_that_are_mapped_are_refused() -> None:
    with pytest.raises(ValueError, match=r"target, source, coefficient: expected the same for all"):
        torch.vmap(lambda t: merge(FEATURES, t, SOURCE, COEFFICIENT, None, "reference"))(TARGET[None])


def test_coefficients_are_constants() -> None:
    def weighted(coefficient: Tensor) -> Tensor:
        return F.merge_rows(FEATURES, TARGET, SOURCE, coefficient)

    with pytest.raises(ValueError, match="coefficient"):
        weighted(COEFFICIENT.clone().requires_grad_())
    with pytest.raises(ValueError, match="coefficient"):
        torch.func.jvp(weighted, (COEFFICIENT,), (COEFFICIENT,))
    with pytest.raises(ValueError, match="coefficient"):
        torch.func.grad(lambda c: weighted(c).sum())(COEFFICIENT)
    with torch.no_grad():
        assert torch.equal(weighted(COEFFICIENT.clone().requires_grad_()), MAP @ FEATURES)
