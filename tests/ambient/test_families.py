"""A pruned prefill of every family keeps and answers what it does without settings around it."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from seats_ops import DiversitySelector, Schedule, StagePruner, UnsupportedModelState
from seats_ops.integrations import attach
from tests.ambient.modes import MODES, NEUTRAL, ROUNDING, Mode
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.prompts import Text, Video, build_prompt, stills
from tests.integrations.huggingface.schedules import small_preset

Answer = tuple[Tensor, list[list[int]]]
KEEP_ALL = Schedule(before_llm=DiversitySelector(1.0), after_layer={2: StagePruner(1.0)})


# transformers itself sorts patches of pictures into bins that it makes in the default dtype.
MODELS_OWN = [("default_float16", "phi4_multimodal")]
CASES = [(mode, family) for mode in NEUTRAL for family in SMALL if (mode, family) not in MODELS_OWN]
REPLAYED = [(mode, family) for mode in ROUNDING for family in SMALL]


def test_pictures_under_a_default_of_float16() -> None:
    model, inputs, schedule, _ = family_case("phi4_multimodal")
    with NEUTRAL["default_float16"](), pytest.raises(UnsupportedModelState, match=r"image_pixel_values.*float16"):
        answer(model, inputs, schedule)


def prompt_for(family: str, config: Any) -> dict[str, Any]:
    """A clip, with sound where the family interleaves it, between two pieces of text."""
    sound = 430 if "omni" in family else None
    return build_prompt(config, *stills(config, Text(9), Video((5, 4, 6), 1.0, mel_frames=sound), Text(7)))


def schedule_for(config: Any) -> Schedule:
    return small_preset(config, drop_layers=(2, 3, 4), late_layer=6, encoder_ratio_scale=1.7)


@functools.cache
def family_case(family: str) -> tuple[Any, dict[str, Any], Schedule, Answer]:
    """A model, a prompt, a schedule, and what comes out without any settings."""
    model = SMALL[family]("sdpa")
    inputs, schedule = prompt_for(family, model.config), schedule_for(model.config)
    return model, inputs, schedule, answer(model, inputs, schedule)


def answer(model: Any, inputs: dict[str, Any], schedule: Schedule) -> Answer:
    with torch.no_grad(), attach(model, schedule) as trace:
        logits = model(**inputs).logits
    return logits, [stage.kept_indices[0].tolist() for stage in trace.stages]


@pytest.mark.parametrize(("mode", "family"), CASES)
def test_ambient_state_changes_nothing(mode: str, family: str) -> None:
    model, inputs, schedule, (logits, kept) = family_case(family)
    with NEUTRAL[mode]():
        got = answer(model, inputs, schedule)
    assert got[1] == kept
    assert torch.equal(got[0], logits)


class Recorder(TorchDispatchMode):
    """Remembers every call of a primitive, with its answer."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.namespace == "seats_ops":
            self.calls.append((func, tree_map_only(Tensor, torch.clone, args), result))
        return result


@pytest.mark.parametrize(("mode", "family"), REPLAYED)
def test_what_reaches_the_model_reaches_no_primitive(mode: str, family: str) -> None:
    """What the model's own modules compute is the caller's choice; what is made of it is not."""
    model, inputs, schedule, _ = family_case(family)
    with MODES[mode](), Recorder() as recorder:
        answer(model, inputs, schedule)
    used = {func._schema.name.removeprefix("seats_ops::") for func, _, _ in recorder.calls}
    assert used >= {"attention_received", "max_min_diversity", "query_relevance", "window_budget", "segment_topk"}
    for func, args, result in recorder.calls:
        torch.testing.assert_close(func(*args), result, rtol=0, atol=0)


@pytest.mark.parametrize("family", SMALL)
@pytest.mark.parametrize("mode", ROUNDING.values(), ids=ROUNDING)
def test_keeping_everything_is_bit_identical(mode: Mode, family: str) -> None:
    model, inputs, _, _ = family_case(family)
    with mode(), torch.no_grad():
        plain = model(**inputs).logits
        assert torch.equal(answer(model, inputs, KEEP_ALL)[0], plain)
