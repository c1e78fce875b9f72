"""compact is differentiable in the tensors it gathers."""

from __future__ import annotations

import pytest
import torch

from seats_ops import functional as F


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_gradients_go_to_the_kept_entries(dim: int) -> None:
    keep_mask = torch.tensor([True, False, True, True, False])
    shape = [2, 3, 4]
    shape[dim] = 5
    first = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    second = torch.randn(shape, dtype=torch.float64, requires_grad=True)

    def gathered(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return F.compact(keep_mask, *tensors, dim=dim)

    assert torch.autograd.gradcheck(gathered, (first, second))
    F.compact(keep_mask, first, dim=dim)[0].sum().backward()
    kept = torch.zeros(5, dtype=torch.float64).masked_fill(keep_mask, 1.0)
    view = [1, 1, 1]
    view[dim] = 5
    assert torch.equal(first.grad, kept.view(view).expand(shape))


def test_one_tensor_needs_a_gradient_and_another_cannot_have_one() -> None:
    keep_mask = torch.tensor([False, True, True])
    values = torch.randn(3, 2, requires_grad=True)
    kept, ids = F.compact(keep_mask, values, torch.arange(3))
    kept.sum().backward()
    assert ids.tolist() == [1, 2]
    assert values.grad is not None
    assert values.grad.tolist() == [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
