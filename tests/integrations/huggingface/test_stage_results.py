"""What a stage of one's own returns is looked at where it acts, inside a model and inside `Pruning`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from seats_ops import Modality, ModalityDropper, Schedule, StagePruner, TokenLayout
from seats_ops.integrations import Pruning, attach
from seats_ops.testing import layout_of_runs
from seats_ops.testing.mixed_devices import OneDevice
from tests.custom_stages import Custom, every_other, without

CLIP = [(Modality.TEXT, 2), (Modality.VIDEO, 6), (Modality.TEXT, 2)]
LAYOUT = layout_of_runs([CLIP, [(Modality.TEXT, 1), (Modality.AUDIO, 4), (Modality.TEXT, 1), (Modality.VIDEO, 2)]])
TOTAL, QUERIES = 18, (9, 15)
FEATURES = torch.arange(2.0 * TOTAL).reshape(TOTAL, 2)
WINDOWS = torch.ones(3, 2, dtype=torch.int64)

NO_MASK: dict[str, tuple[type[Exception], Callable[[TokenLayout], Any]]] = {
    "nothing": (TypeError, lambda layout: None),
    "a list": (TypeError, lambda layout: every_other(layout).tolist()),
    "numpy": (TypeError, lambda layout: every_other(layout).numpy()),
    "0 and 1": (TypeError, lambda layout: every_other(layout).long()),
    "bytes": (TypeError, lambda layout: every_other(layout).byte()),
    "indices": (TypeError, lambda layout: every_other(layout).nonzero().squeeze(1)),
    "floats": (TypeError, lambda layout: every_other(layout).float()),
    "floats with a gradient": (TypeError, lambda layout: every_other(layout).float().requires_grad_()),
    "sparse": (TypeError, lambda layout: every_other(layout).to_sparse()),
    "a column": (ValueError, lambda layout: every_other(layout)[:, None]),
    "one short": (ValueError, lambda layout: every_other(layout)[1:]),
    "one for all": (ValueError, lambda layout: torch.tensor(True)),
    "another device": (ValueError, lambda layout: every_other(layout).to("meta")),
    "three": (TypeError, lambda layout: (every_other(layout), WINDOWS, None)),
    "a pair without budgets": (TypeError, lambda layout: (every_other(layout), None)),
    "budgets of int32": (TypeError, lambda layout: (every_other(layout), WINDOWS.int())),
    "budgets of one modality": (ValueError, lambda layout: (every_other(layout), WINDOWS[:, :1])),
    "flat budgets": (ValueError, lambda layout: (every_other(layout), WINDOWS.flatten())),
    "budgets elsewhere": (ValueError, lambda layout: (every_other(layout), WINDOWS.to("meta"))),
    "budgets below zero": (ValueError, lambda layout: (every_other(layout), -WINDOWS)),
}


def run(stage: Any, layer: int = 0, layout: TokenLayout = LAYOUT) -> Pruning:
    schedule = Schedule(stage) if layer == 0 else Schedule(after_layer={layer: stage})
    pruning = Pruning(schedule, layout, score=lambda layer, hidden, query, offsets: hidden[:, 0])
    hidden = FEATURES[: len(layout)].clone()
    (hidden,) = pruning.before_llm(hidden)
    for index in range(1, layer + 1):
        (hidden,) = pruning.after_layer(index, hidden)
    return pruning


@pytest.mark.parametrize("kind", NO_MASK)
def test_what_is_no_mask(kind: str) -> None:
    error, choose = NO_MASK[kind]
    with pytest.raises(error, match=r"Custom before the LLM: expected .* got"):
        run(Custom(choose))
    with pytest.raises(error, match=r"Custom after layer 2: expected .* got"):
        run(Custom(choose), layer=2)


@pytest.mark.parametrize("tokens", [QUERIES[:1], QUERIES[1:], (0, 1, 8, 9), tuple(range(10)), tuple(range(TOTAL))])
def test_the_query_stays(tokens: tuple[int, ...]) -> None:
    row = 1 if tokens == QUERIES[1:] else 0
    with pytest.raises(ValueError, match=rf"Custom after layer 1: expected to keep .* got none of prompt {row}"):
        run(Custom(lambda layout: without(layout, *tokens)), layer=1)


def test_all_but_the_query_may_go() -> None:
    stage = Custom(lambda layout: ~without(layout, *QUERIES))
    pruning = run(stage)
    assert pruning.trace.stages[0].num_tokens == 2 and pruning.cu_seqlens.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"ModalityDropper .* a token of every prompt, got none of prompt 0"):
        run(ModalityDropper(), layout=layout_of_runs([[(Modality.VIDEO, 3)]]))


def test_masks_in_other_clothes() -> None:
    expected = run(Custom(every_other)).trace
    for dress in (
        lambda mask: torch.stack([mask, ~mask], 1)[:, 0],  # every second entry of a storage
        lambda mask: nn.Parameter(mask, requires_grad=False),
        lambda mask: (mask, WINDOWS),
    ):
        trace = run(Custom(lambda layout, dress=dress: dress(every_other(layout)))).trace
        assert [x.tolist() for x in trace.stages[0].kept_indices] == [
            x.tolist() for x in expected.stages[0].kept_indices
        ]
    assert trace.stages[0].budgets is WINDOWS


@dataclass(frozen=True)
class Shifting(Custom):
    """Writes to what it is given."""

    inputs: ClassVar[tuple[str, ...]] = ("features",)

    def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Any:  # type: ignore[override]
        (features if self.choose(layout) else layout.position).add_(1)
        return every_other(layout)


@pytest.mark.parametrize("features", [True, False])
def test_inputs_are_left_alone(features: bool) -> None:
    layout = layout_of_runs([CLIP])
    with pytest.raises(ValueError, match="Shifting after layer 1: expected inputs to be left as they are"):
        run(Shifting(lambda _: features), layer=1, layout=layout)


@dataclass(frozen=True)
class Named:
    """Has attributes of names that mean something elsewhere."""

    inputs: ClassVar[tuple[str, ...]] = ("saliency",)
    weighted: bool = False
    select: str = "top"

    def __call__(self, saliency: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        return layout.is_modality(Modality.TEXT) | (saliency > 3)

    def to_dict(self) -> dict[str, Any]:
        return {}


def test_names_mean_nothing() -> None:
    with pytest.raises(ValueError, match="saliency"):
        Pruning(Schedule(Named()), LAYOUT)
    pruning = Pruning(Schedule(Named()), LAYOUT, saliency=torch.arange(float(TOTAL)))
    pruning.before_llm(FEATURES)
    assert [x.tolist() for x in pruning.trace.stages[0].kept_indices] == [[0, 1, *range(4, 10)], list(range(8))]


class Reluctant(StagePruner):
    """Takes half of what it would keep as a StagePruner."""

    def __call__(self, scores: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        return super().__call__(scores, layout, backend=backend) & every_other(layout)


def test_a_subclass_that_chooses_otherwise() -> None:
    plain, half = (run(kind(0.5), layer=1).trace.stages[0] for kind in (StagePruner, Reluctant))
    assert plain.budgets is not None and half.budgets is None
    both = torch.isin(LAYOUT.position[:10], plain.kept_indices[0]) & every_other(LAYOUT)[:10]
    assert half.kept_indices[0].tolist() == LAYOUT.position[:10][both].tolist()
    assert half.num_tokens < plain.num_tokens


@pytest.mark.parametrize("scores", [torch.ones(3), torch.ones(TOTAL, 1), torch.ones(TOTAL, dtype=torch.int64), None])
def test_scores_of_a_decoder_are_looked_at(scores: Any) -> None:
    pruning = Pruning(Schedule(after_layer={1: StagePruner(0.5)}), LAYOUT, score=lambda *_: scores)
    pruning.before_llm(FEATURES)
    with pytest.raises((TypeError, ValueError), match="score: expected"):
        pruning.after_layer(1, FEATURES)


def test_a_stage_takes_one_read() -> None:
    device = OneDevice()
    with device:
        layout = replace(LAYOUT.to(device.place), host=None)
        stages = [Custom(every_other), ModalityDropper(("audio",)), Custom(every_other)]
        pruning = Pruning(Schedule(stages), layout)
        before = device.all_reads
        pruning.before_llm(device.put(FEATURES))
    assert [stage.num_tokens for stage in pruning.trace.stages] == [12, 10, 10]
    assert device.all_reads - before == len(stages)


def test_in_inference_mode() -> None:
    with torch.inference_mode():
        trace = run(Custom(every_other), layer=1).trace
    assert trace == run(Custom(every_other), layer=1).trace


@pytest.mark.parametrize("layer", [0, 3])
def test_inside_a_model(thinker: nn.Module, silent_clip: dict[str, Any], layer: int) -> None:
    def generate(choose: Callable[[TokenLayout], Any]) -> tuple[list[int], int]:
        stage = Custom(choose)
        with attach(thinker, Schedule(stage) if layer == 0 else Schedule(after_layer={layer: stage})) as trace:
            tokens = thinker.generate(**silent_clip, max_new_tokens=2, do_sample=False)
        return tokens.tolist()[0], trace.stages[0].num_tokens

    tokens, left = generate(every_other)
    assert left < silent_clip["input_ids"].shape[1]
    with pytest.raises(TypeError, match=r"Custom .*: expected a bool"):
        generate(lambda layout: every_other(layout).long())
    for drops in (lambda layout: without(layout, len(layout) - 1), lambda layout: layout.modality != 0):
        with pytest.raises(ValueError, match=r"Custom .*: expected to keep the last text token"):
            generate(drops)
    with pytest.raises(ValueError, match=r"Custom .*: expected to keep a token of every prompt"):
        generate(lambda layout: torch.zeros(len(layout), dtype=torch.bool))
    assert generate(every_other) == (tokens, left)


@dataclass(frozen=True)
class Scribbler(Custom):
    """Writes to what it is given."""

    inputs: ClassVar[tuple[str, ...]] = ("features",)

    def __call__(self, features: Any, layout: TokenLayout, *, backend: str = "auto") -> Any:
        features.zero_()
        return self.choose(layout)


def test_what_is_written_to_in_inference_mode_is_a_copy() -> None:
    with torch.inference_mode():
        hidden = FEATURES.clone()
        pruning = Pruning(Schedule(Scribbler(every_other)), LAYOUT)
        (kept,) = pruning.before_llm(hidden)
    assert torch.equal(hidden, FEATURES)
    assert torch.equal(kept, FEATURES[every_other(LAYOUT)])
