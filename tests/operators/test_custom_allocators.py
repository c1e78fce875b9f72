"""Allocators and stages of one's own: budgets are looked at, counts are theirs to say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from seats_ops import (
    DiversitySelector,
    Modality,
    ModalityDropper,
    Schedule,
    StagePruner,
    TokenLayout,
    WindowBudgetAllocator,
)
from seats_ops.cost import PromptLengths, prefill_cost, realised_retention, token_counts
from seats_ops.testing import layout_of_runs
from tests.cost.test_prefill import text_config
from tests.custom_stages import Custom, every_other

LAYOUT = layout_of_runs([[(Modality.TEXT, 2), *[(Modality.VIDEO, 6), (Modality.AUDIO, 4)] * 3, (Modality.TEXT, 1)]])
LENGTHS = PromptLengths.from_layout(LAYOUT)
SCORES = torch.linspace(0, 1, len(LAYOUT))


@dataclass(frozen=True)
class Even:
    """The same number for every window and modality."""

    each: int = 2

    def __call__(self, scores: Tensor, layout: TokenLayout, keep_ratio: Any, *, backend: str = "auto") -> Tensor:
        return torch.full((layout.windows()[1], 2), self.each, dtype=torch.int64, device=scores.device)


class Counted(Even):
    """For prompts of three windows that hold so many tokens of both."""

    def count_tokens(self, found: Mapping[str, int], keep_ratio: Any) -> dict[str, int]:
        return {**found, "video": 3 * self.each, "audio": 3 * self.each}


def test_budgets_are_followed() -> None:
    keep_mask = StagePruner(0.5, allocator=Even())(SCORES, LAYOUT)
    assert [int((keep_mask & (LAYOUT.modality == kind)).sum()) for kind in range(3)] == [3, 6, 6]


@pytest.mark.parametrize(
    ("error", "change"),
    [
        (TypeError, lambda budgets: None),
        (TypeError, lambda budgets: budgets.tolist()),
        (TypeError, lambda budgets: budgets.int()),
        (TypeError, lambda budgets: budgets.float()),
        (TypeError, lambda budgets: (budgets, None)),
        (ValueError, lambda budgets: budgets.flatten()),
        (ValueError, lambda budgets: budgets.T),
        (ValueError, lambda budgets: budgets[1:]),
        (ValueError, lambda budgets: budgets.to("meta")),
        (ValueError, lambda budgets: budgets - 3),
    ],
)
def test_budgets_are_looked_at(error: type[Exception], change: Callable[[Tensor], Any]) -> None:
    class Broken(Even):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return change(super().__call__(*args, **kwargs))

    with pytest.raises(error, match="Broken: expected budgets"):
        StagePruner(0.5, allocator=Broken())(SCORES, LAYOUT)


@pytest.mark.parametrize("allocator", [None, 0.1, Even, lambda scores, layout: None, StagePruner(0.5)])
def test_what_is_no_allocator(allocator: Any) -> None:
    with pytest.raises(TypeError, match="allocator"):
        StagePruner(0.5, allocator=allocator)


class Colder(WindowBudgetAllocator):
    """A subclass may grant anything."""


class Reverse(StagePruner):
    """A subclass may keep anything."""

    def __call__(self, scores: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        return super().__call__(-scores, layout, backend=backend)[:]


class Shy(ModalityDropper):
    """Likewise."""

    def __call__(self, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        return super().__call__(layout) | every_other(layout)


@pytest.mark.parametrize(
    "stage",
    [
        StagePruner(0.5, allocator=Even()),
        StagePruner(0.5, allocator=Colder()),
        Reverse(0.5),
        Shy(),
        type("Softer", (DiversitySelector,), {})(0.5),
        Custom(every_other),
    ],
    ids=lambda stage: type(stage).__name__,
)
def test_no_counts_without_being_told(stage: Any) -> None:
    schedule, name = Schedule(after_layer={1: stage}), type(getattr(stage, "allocator", stage)).__name__
    name = type(stage).__name__ if name == "WindowBudgetAllocator" else name
    for count in (
        lambda: token_counts(schedule, LENGTHS),
        lambda: prefill_cost(text_config(), schedule, LENGTHS),
        lambda: realised_retention(schedule, LENGTHS, 4),
    ):
        with pytest.raises(TypeError, match=f"schedule: expected stages .* with count_tokens, got {name}"):
            count()


@dataclass(frozen=True)
class HalfTheText(Custom):
    """Keeps every other token, of text too."""

    def count_tokens(self, found: Mapping[str, int]) -> dict[str, int]:
        return {name: (n + 1) // 2 for name, n in found.items()}


def test_counts_as_told() -> None:
    stages = [StagePruner(0.5, allocator=Counted()), HalfTheText(every_other), ModalityDropper(("audio",))]
    pruned, halved, dropped = token_counts(Schedule(after_layer={1: stages}), LENGTHS)
    assert (pruned.text, pruned.video, pruned.audio, pruned.low, pruned.high) == (3, 6, 6, 15, 15)
    assert (halved.text, halved.video, halved.audio, halved.low, halved.high) == (2, 3, 3, 8, 8)
    assert (dropped.name, dropped.total, dropped.low, dropped.high) == ("ModalityDropper", 5, 5, 5)
    cost = prefill_cost(text_config(), Schedule(after_layer={1: stages}), LENGTHS)
    assert cost.tokens_per_layer[:2] == (33, 5)


def test_what_is_told_of_a_prediction_is_one() -> None:
    schedule = Schedule(after_layer={1: [StagePruner(0.5), HalfTheText(every_other), StagePruner(0.5)]})
    pruned, halved, again = token_counts(schedule, LENGTHS)
    assert pruned.low < pruned.high and (halved.text, halved.video, halved.audio) == (2, 5, 3)
    assert halved.low == 0 and halved.high == pruned.high
    assert again.low <= 2 and again.low <= again.total <= again.high <= halved.high
    with pytest.raises(ValueError, match="expected DiversitySelector before"):
        token_counts(Schedule([HalfTheText(every_other), DiversitySelector(0.5)]), LENGTHS)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (None, TypeError),
        ({"video": 1}, TypeError),
        ({"text": 3, "video": 1.5, "audio": 1, "image": 0}, TypeError),
        ({"text": 3, "video": 19, "audio": 1, "image": 0}, ValueError),
        ({"text": 3, "video": -1, "audio": 1, "image": 0}, ValueError),
        ({"text": 2, "video": 1, "audio": 1, "image": 0}, ValueError),  # budgets leave text alone
    ],
)
def test_what_is_told_is_looked_at(said: Any, error: type[Exception]) -> None:
    class Odd(Even):
        def count_tokens(self, found: Any, keep_ratio: Any) -> Any:
            return said

    with pytest.raises(error, match=r"Odd\.count_tokens: expected"):
        token_counts(Schedule(after_layer={1: StagePruner(0.5, allocator=Odd())}), LENGTHS)
