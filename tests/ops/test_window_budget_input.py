"""window_budget at the edges: no tokens, non-finite scores, memory layout, and arguments that are refused."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from seats_ops import BackendUnavailable
from seats_ops import functional as F

NONE = torch.zeros(0, dtype=torch.int64)


@pytest.mark.parametrize("num_windows", [0, 3])
def test_no_tokens(num_windows: int) -> None:
    arguments = (torch.zeros(0), NONE, NONE, torch.zeros(1, 2, dtype=torch.int64))
    budgets = F.window_budget(*arguments, num_windows=num_windows, temperature=0.1)
    assert budgets.tolist() == [[0, 0]] * num_windows


def test_no_prompts() -> None:
    budgets = F.window_budget(
        torch.zeros(0),
        NONE,
        NONE,
        torch.zeros(0, 2, dtype=torch.int64),
        num_windows=0,
        temperature=0.1,
        window_offsets=torch.tensor([0]),
    )
    assert budgets.shape == (0, 2)


def test_text_only_prompt_between_others() -> None:
    modality = torch.tensor([1, 2, 1, 2, 0, 0, 1, 1, 1])
    window = torch.tensor([0, 0, 1, 1, -1, -1, 2, 3, 3])
    scores = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9, 0.7, 0.8])
    totals = torch.tensor([[2, 2], [0, 0], [2, 0]])
    offsets = torch.tensor([0, 2, 2, 4])
    budgets = F.window_budget(scores, modality, window, totals, num_windows=4, temperature=0.1, window_offsets=offsets)
    assert budgets.tolist() == [[1, 1], [1, 1], [1, 0], [1, 0]]


def test_windows_of_one_token() -> None:
    modality = torch.tensor([1, 2, 1])
    budgets = F.window_budget(
        torch.tensor([0.3, 0.1, 0.2]), modality, torch.arange(3), torch.tensor([[1, 1]]), num_windows=3, temperature=0.1
    )
    assert budgets.tolist() == [[1, 0], [0, 1], [1, 0]]


def test_an_empty_window_leaves_the_softmax_alone() -> None:
    """Its mean counts as nothing, not as 0: with scores far below 0 it would take the whole softmax."""
    modality, window = 1 + torch.arange(40) % 2, torch.arange(40) // 10
    scores = -20 - torch.rand(40, generator=torch.Generator().manual_seed(2))
    totals = torch.tensor([[9, 11]])
    without = F.window_budget(scores, modality, window, totals, num_windows=4, temperature=0.1)
    between = F.window_budget(scores, modality, window + (window > 1), totals, num_windows=5, temperature=0.1)
    assert between[2].tolist() == [0, 0]
    assert torch.equal(between[[0, 1, 3, 4]], without)


def test_one_window_takes_its_totals_as_they_are() -> None:
    """A prompt with one window is a plain top-k per modality, also where a total is 0 although there are tokens."""
    modality, window = torch.tensor([1, 1, 1, 2, 2, 2]), torch.tensor([1] * 6)
    for totals in ([0, 2], [3, 0], [1, 1], [2, 3], [0, 0]):
        budgets = F.window_budget(
            torch.linspace(0, 1, 6), modality, window, torch.tensor([totals]), num_windows=3, temperature=0.1
        )
        assert budgets.tolist() == [[0, 0], totals, [0, 0]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), 3e38])
def test_non_finite_scores_are_deterministic_and_bounded(bad: float) -> None:
    random = torch.Generator().manual_seed(0)
    scores = torch.rand(60, generator=random)
    modality, window = 1 + torch.arange(60) % 2, torch.arange(60) // 12
    window_offsets = torch.tensor([0, 2, 5])
    totals = torch.tensor([[6, 7], [9, 8]])
    clean = F.window_budget(
        scores, modality, window, totals, num_windows=5, temperature=0.1, window_offsets=window_offsets
    )
    scores[torch.tensor([25, 30, 31, 50])] = bad
    got, again = (
        F.window_budget(scores, modality, window, totals, num_windows=5, temperature=0.1, window_offsets=window_offsets)
        for _ in range(2)
    )
    assert torch.equal(got, again) and torch.equal(got[:2], clean[:2])
    assert bool((got >= 1).all()) and bool((got <= 6).all())
    lifted_from_one = sum(1 for budget in got[2:].tolist() if budget == [1, 1])
    assert 17 <= int(got[2:].sum()) <= 17 + lifted_from_one


def test_nan_in_a_single_modality_ranks_last() -> None:
    scores = torch.tensor([float("nan"), 0.1, float("nan"), 0.2, 0.3])
    window = torch.tensor([0, 0, 1, 1, 1])
    budgets = [
        F.window_budget(
            scores, torch.ones(5, dtype=torch.int64), window, torch.tensor([[k, 0]]), num_windows=2, temperature=0.1
        )[:, 0].tolist()
        for k in range(6)
    ]
    assert budgets == [[0, 0], [0, 1], [0, 2], [1, 2], [2, 2], [2, 3]]


def test_memory_layout_and_inputs() -> None:
    random = torch.Generator().manual_seed(1)
    inputs = {
        "scores": torch.rand(40, generator=random),
        "modality": 1 + torch.arange(40) % 2,
        "window": torch.arange(40) // 10,
        "totals": torch.tensor([[7, 9]]),
    }
    before = {name: tensor.clone() for name, tensor in inputs.items()}
    budgets = F.window_budget(**inputs, num_windows=4, temperature=0.3)
    strided = {name: tensor.repeat_interleave(2, dim=-1)[..., ::2] for name, tensor in inputs.items()}
    assert not any(tensor.is_contiguous() for tensor in strided.values())
    assert torch.equal(F.window_budget(**strided, num_windows=4, temperature=0.3), budgets)
    assert torch.equal(F.window_budget(**inputs, num_windows=4, temperature=0.3, backend="reference"), budgets)
    assert all(torch.equal(inputs[name], before[name]) for name in inputs)


VALID: dict[str, Any] = {
    "scores": torch.ones(4),
    "modality": torch.tensor([1, 2, 0, 1]),
    "window": torch.tensor([0, 0, -1, 1]),
    "totals": torch.tensor([[1, 1]]),
    "num_windows": 2,
    "temperature": 0.1,
    "window_offsets": torch.tensor([0, 2]),
}
BAD = [
    ("scores", torch.ones(4, 1), ValueError),
    ("scores", torch.ones(4, dtype=torch.int32), TypeError),
    ("modality", torch.tensor([1, 2, 0]), ValueError),
    ("modality", torch.tensor([1.0, 2.0, 0.0, 1.0]), TypeError),
    ("modality", torch.tensor([1, 2, 0, 1], device="meta"), ValueError),
    ("window", torch.tensor([0, 0, -1]), ValueError),
    ("window", torch.tensor([0, 0, -1, 2]), ValueError),
    ("window", torch.tensor([0, 0, -2, 1]), ValueError),
    ("window", torch.tensor([0.0, 0.0, -1.0, 1.0]), TypeError),
    ("totals", torch.tensor([1, 1]), ValueError),
    ("totals", torch.tensor([[1, 1, 1]]), ValueError),
    ("totals", torch.tensor([[1, -1]]), ValueError),
    ("totals", torch.tensor([[1.0, 1.0]]), TypeError),
    ("totals", torch.tensor([[1, 1]], device="meta"), ValueError),
    ("num_windows", -1, ValueError),
    ("num_windows", 2.0, TypeError),
    ("temperature", 0.0, ValueError),
    ("temperature", -0.1, ValueError),
    ("temperature", float("nan"), ValueError),
    ("temperature", float("inf"), ValueError),
    ("temperature", "hot", TypeError),
    ("window_offsets|totals", {"window_offsets": torch.tensor([0, 1, 2])}, ValueError),
    ("window_offsets", torch.tensor([0, 3]), ValueError),
    ("window_offsets", torch.tensor([1, 2]), ValueError),
    ("window_offsets", torch.tensor([0.0, 2.0]), TypeError),
    ("window_offsets|totals", {"window_offsets": None, "totals": torch.tensor([[1, 1], [1, 1]])}, ValueError),
    ("backend", "fast", ValueError),
]


@pytest.mark.parametrize(("name", "value", "error"), BAD)
def test_bad_arguments_are_named(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        F.window_budget(**{**VALID, **(value if isinstance(value, dict) else {name: value})})


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter runs kernels on CPU tensors")
def test_triton_is_refused_on_cpu_tensors() -> None:
    with pytest.raises(BackendUnavailable, match="triton"):
        F.window_budget(**VALID, backend="triton")
