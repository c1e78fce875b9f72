"""`check_stage` accepts the stages of this package and finds what is wrong with each of these."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from seats_ops import DiversitySelector, Modality, ModalityDropper, RecordedStage, Schedule, StagePruner, TokenLayout
from seats_ops.testing import check_stage, layout_of_runs
from tests.custom_stages import Custom, every_other
from tests.operators.test_custom_allocators import Even
from tests.operators.test_stage_protocol import MINE

TEXT = Modality.TEXT


def name(value: Any) -> str:
    """Of a case: the class of a stage, or the rules it breaks; the same in every process."""
    return "+".join(sorted(value)) if isinstance(value, set) else getattr(value, "__name__", type(value).__name__)


@pytest.mark.parametrize(
    "stage",
    [
        DiversitySelector(0.5),
        DiversitySelector({"video": 0.25, "image": 0.0}, weighted=False),
        StagePruner(0.5),
        StagePruner({"audio": 0.0}, windows="runs"),
        ModalityDropper(("video", "audio", "image")),
        *MINE,
    ],
    ids=name,
)
def test_ours_pass(stage: Any) -> None:
    check_stage(stage)


def test_a_recorded_stage_passes_on_what_was_recorded() -> None:
    layout = layout_of_runs([[(TEXT, 1), (Modality.VIDEO, 3), (TEXT, 1)], [(TEXT, 2)]])
    with pytest.raises(AssertionError, match=r"- call: on .*: ValueError: layout: expected 2 prompt"):
        check_stage(RecordedStage(((0, 2, 4), (1,))))
    # It knows its prompts by their number, so it has another choice for one of them alone.
    with pytest.raises(AssertionError, match=r"- prompts: on layouts\[0\], prompt 0 alone: ValueError"):
        check_stage(RecordedStage(((0, 2, 4), (1,))), [layout])
    check_stage(RecordedStage(((0, 2, 4),)), [layout_of_runs([[(TEXT, 1), (Modality.VIDEO, 3), (TEXT, 1)]])])


def cold(layout: TokenLayout) -> Tensor:
    """Every other token by chance."""
    return layout.is_modality(TEXT) | (torch.rand(len(layout)) < 0.5)


def shaken(layout: TokenLayout) -> Tensor:
    """Chance of its own."""
    generator = torch.Generator()
    generator.seed()
    return layout.is_modality(TEXT) | (torch.rand(len(layout), generator=generator) < 0.5)


def rolled(layout: TokenLayout) -> Tensor:
    """No chance in the result, but in the state of others."""
    random.random()
    return every_other(layout)


def reseeded(layout: TokenLayout) -> Tensor:
    torch.manual_seed(3)
    return every_other(layout)


SEEN: list[int] = []


def tired(layout: TokenLayout) -> Tensor:
    """Gives up after a long batch, for good."""
    SEEN.append(len(layout))
    return every_other(layout) | torch.full_like(layout.modality, max(SEEN) > 100, dtype=torch.bool)


def greedy(layout: TokenLayout) -> Tensor:
    """A part of all tokens, whosoever they are."""
    keep_mask = layout.is_modality(TEXT)
    keep_mask[: len(layout) // 2] = True
    return keep_mask


def moving(layout: TokenLayout) -> Tensor:
    keep_mask = every_other(layout)
    layout.position.mul_(2)
    return keep_mask


def fails_without_windows(layout: TokenLayout) -> Tensor:
    assert layout.window is not None
    return every_other(layout)


def fails_without_media(layout: TokenLayout) -> Tensor:
    media = (layout.modality != TEXT).nonzero().flatten()
    return torch.arange(len(layout), device=layout.modality.device) != media.max()


def made_on_the_host(layout: TokenLayout) -> Tensor:
    return torch.arange(len(layout)) >= 0


def mixed_with_the_host(layout: TokenLayout) -> Tensor:
    return layout.is_modality(TEXT) | (torch.arange(len(layout)) % 2 == 0)


CHOICES: dict[str, tuple[str, Callable[[TokenLayout], Any]]] = {
    "no mask": ("result: on one prompt: expected a bool", lambda layout: None),
    "numbers": ("result: on one prompt: expected a bool", lambda layout: every_other(layout).long()),
    "a short mask": ("result: on one prompt: expected a bool", lambda layout: every_other(layout)[1:]),
    "other budgets": ("result: on one prompt: expected budgets", lambda layout: (every_other(layout), layout.modality)),
    "no query": ("query: on one prompt: expected to keep the last text", lambda layout: ~layout.is_modality(TEXT)),
    "no token": ("query: on one prompt: expected to keep a token", lambda layout: layout.modality < 0),
    "an error": ("call: on a prompt of text", fails_without_media),
    "only with windows": ("call: on no block and window ids: AssertionError", fails_without_windows),
    "global chance": ("random state: on one prompt", cold),
    "own chance": ("deterministic: on one prompt, called twice", shaken),
    "earlier calls": ("deterministic: on one prompt, called again after others", tired),
    "python's chance": ("random state: on one prompt", rolled),
    "a seed": ("random state: on one prompt", reseeded),
    "prompts that share": ("prompts: on several prompts, prompt 0 alone", greedy),
    "a layout that moves": ("inputs: on one prompt: expected layout and tensors", moving),
    "the wrong device": ("device: on one prompt, on another device: .* expected a bool", made_on_the_host),
    "two devices": ("device: on one prompt, on another device: RuntimeError: .* of one device", mixed_with_the_host),
}


@pytest.mark.parametrize("kind", CHOICES)
def test_choices_that_break_a_rule(kind: str) -> None:
    match, choose = CHOICES[kind]
    with pytest.raises(AssertionError, match=f"Custom breaks the protocol of seats_ops.Stage:(.|\n)*- {match}"):
        check_stage(Custom(choose))


def test_the_report_names_every_rule_and_only_those() -> None:
    with pytest.raises(AssertionError) as caught:
        check_stage(Custom(lambda layout: cold(layout) & ~layout.is_modality(TEXT)))
    rules = [line.split(":")[0] for line in str(caught.value).splitlines()[1:]]
    assert sorted(rules) == ["- deterministic", "- device", "- prompts", "- query", "- random state"]
    check_stage(Custom(every_other))


@dataclass(frozen=True)
class Writing:
    """Changes its features."""

    inputs: ClassVar[tuple[str, ...]] = ("features",)

    def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        features.relu_()
        return every_other(layout)

    def to_dict(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Halves(Writing):
    """Fails in another dtype than float32."""

    def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        return every_other(layout) | (features @ torch.zeros(16, 1, device=features.device)).bool()[:, 0]


class Loose(Custom):
    """Nothing can remember what it said."""

    __hash__ = None  # type: ignore[assignment]


@dataclass
class Soft:
    """Anybody may change it."""

    inputs: ClassVar[tuple[str, ...]] = ()

    calls: list[int] = field(default_factory=list)

    def __call__(self, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        self.calls.append(len(layout))
        return every_other(layout)

    def to_dict(self) -> dict[str, Any]:
        return {"calls": torch.tensor(0)}


@dataclass(frozen=True)
class Forgetful(Custom):
    """Equal to nothing but itself, and so read back as another."""

    choose: Any = every_other
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Forgetful:
        return cls()


@dataclass(frozen=True)
class Miscounting(Custom):
    """Says that it keeps all."""

    def count_tokens(self, found: dict[str, int]) -> dict[str, int]:
        return found


class Miscounted(Even):
    """Likewise, of budgets."""

    def count_tokens(self, found: dict[str, int], keep_ratio: Any) -> dict[str, int]:
        return found

    def to_dict(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("stage", "rules"),
    [
        (Writing(), {"inputs"}),
        (Halves(), {"call"}),
        (Loose(every_other), {"hashable"}),
        (Soft(), {"frozen", "hashable", "to_dict", "state"}),
        (Forgetful(), {"equality", "from_dict"}),
        (Miscounting(every_other), {"count_tokens"}),
        (StagePruner(0.5, allocator=Even()), {"to_dict"}),
        (StagePruner(0.5, allocator=Miscounted()), {"count_tokens", "from_dict"}),
        (type("Custom", (Custom,), {"inputs": ("score",)})(every_other), {"schedule"}),
        (Custom, {"schedule"}),
    ],
    ids=name,
)
def test_stages_that_break_rules(stage: Any, rules: set[str]) -> None:
    with pytest.raises(AssertionError) as caught:
        check_stage(stage)
    assert {line[2:].split(":")[0] for line in str(caught.value).splitlines()[1:]} == rules


@dataclass(frozen=True)
class Bare:
    """Of somebody who has not read on."""

    def __call__(self, layout: Any, *, backend: str = "auto") -> Any:
        return layout.is_modality(TEXT)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(AssertionError, match=r"Bare.* without inputs and to_dict"):
        check_stage(Bare())
    with pytest.raises(TypeError, match=r"before_llm: .*Bare.* without inputs and to_dict"):
        Schedule(before_llm=[Bare()])


@dataclass(frozen=True)
class Owner(Custom):
    """Its `allocator` is a word of its own."""

    allocator: Any = field(default_factory=Even)


def test_an_attribute_means_nothing_by_its_name() -> None:
    check_stage(Owner(every_other))


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_under_a_default_device(device: str) -> None:
    torch.set_default_device(device)
    try:
        check_stage(DiversitySelector(0.5))
    finally:
        torch.set_default_device(None)
