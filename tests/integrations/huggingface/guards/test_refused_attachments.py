"""Models, schedules and options that attach itself turns away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from seats_ops import DiversitySelector, ModalityDropper, Schedule, StagePruner, UnsupportedModelState
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.guards.refusals import LATE, REFUSED
from tests.integrations.huggingface.models import small_omni, small_thinker
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.upstream import audio_tower, text_model, vision_tower


@pytest.fixture
def attention() -> str:
    return "sdpa"


def replace_forward(module: nn.Module) -> None:
    module.forward = torch.compile(module.forward, backend="eager")


def compile_in_place(module: nn.Module) -> None:
    module.compile(backend="eager")


COMPILED: dict[str, Callable[[nn.Module], object]] = {
    "forward": lambda thinker: replace_forward(thinker),
    "inner_forward": lambda thinker: replace_forward(thinker.model),
    "forward_of_text_model": lambda thinker: replace_forward(text_model(thinker)),
    "in_place": lambda thinker: compile_in_place(thinker),
    "inner_in_place": lambda thinker: compile_in_place(thinker.model),
    "text_model_in_place": lambda thinker: compile_in_place(text_model(thinker)),
}


@pytest.mark.parametrize("how", COMPILED)
def test_a_compiled_model(thinker: nn.Module, how: str) -> None:
    """Compiled code that has run once no longer looks at hooks."""
    COMPILED[how](thinker)
    footprint = probes.footprint(thinker)
    with pytest.raises(UnsupportedModelState, match="compile"), attach(thinker, LATE):
        pass
    assert probes.footprint(thinker) == footprint


def test_a_wrapped_model() -> None:
    for model in (small_thinker(), small_omni()):
        wrapped = torch.compile(model, backend="eager")
        with pytest.raises(UnsupportedModelState, match="compile"), attach(wrapped, LATE):
            pass


WATCHED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "vision": lambda thinker: vision_tower(thinker).blocks[-1].attn,
    "audio": lambda thinker: audio_tower(thinker).layers[-1].self_attn,
}


@pytest.mark.parametrize("tower", WATCHED)
def test_a_compiled_encoder(thinker: nn.Module, clip: dict[str, Any], tower: str) -> None:
    """The query and key that saliency is made of are out of sight, once the compiled code has run."""
    torch._dynamo.reset()
    replace_forward(WATCHED[tower](thinker))
    probes.generate(thinker, clip, 1)
    footprint = probes.footprint(thinker)
    with pytest.raises(UnsupportedModelState, match="compile"), attach(thinker, SCHEDULES["preset"](thinker.config)):
        probes.generate(thinker, clip, 1)
    assert probes.footprint(thinker) == footprint


def test_a_context_that_saw_no_forward_says_so(thinker: nn.Module) -> None:
    """A function that was compiled around the model and has run once goes past the hooks too."""
    with pytest.warns(RuntimeWarning, match="nothing was pruned"), attach(thinker, LATE):
        pass


def test_attaching_twice(thinker: nn.Module, clip: dict[str, Any]) -> None:
    schedule = SCHEDULES["preset"](thinker.config)
    with attach(thinker, schedule):
        expected = probes.generate(thinker, clip)
    with attach(thinker, schedule):
        with pytest.raises(UnsupportedModelState, match="attached"), attach(thinker, LATE):
            pass
        assert torch.equal(probes.generate(thinker, clip).logits, expected.logits)
    with attach(thinker, schedule):
        assert torch.equal(probes.generate(thinker, clip).logits, expected.logits)


@pytest.mark.filterwarnings("ignore:attach. no forward")
def test_attaching_to_the_thinker_of_an_attached_model() -> None:
    model = small_omni()
    for outer, inner in ((model, model.thinker), (model.thinker, model)):
        with attach(outer, LATE), pytest.raises(UnsupportedModelState, match="attached"), attach(inner, LATE):
            pass


UNSUPPORTED: dict[str, Callable[[nn.Module], Any]] = {
    "linear": lambda model: nn.Linear(2, 2),
    "inner_model": lambda model: model.model,
    "text_model": text_model,
    "not_a_module": lambda model: "Qwen/Qwen2.5-Omni-7B",
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_other_models(thinker: nn.Module, kind: str) -> None:
    with pytest.raises(TypeError, match="model"), attach(UNSUPPORTED[kind](thinker), LATE):
        pass


def test_sliding_window_layers() -> None:
    text = {
        "use_sliding_window": True,
        "sliding_window": 16,
        "max_window_layers": 2,
        "layer_types": ["full_attention"] * 2 + ["sliding_attention"] * 5,
    }
    model = small_thinker(text=text)
    footprint = probes.footprint(model)
    with pytest.raises(REFUSED, match="sliding"), attach(model, LATE):
        pass
    assert probes.footprint(model) == footprint


ARGUMENTS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "kv_policy_value": (ValueError, "kv_policy", {"kv_policy": "per_layer"}),
    "kv_policy_type": (REFUSED, "kv_policy", {"kv_policy": None}),
    "backend": (ValueError, "backend", {"backend": "cuda"}),
    "saliency_segments": (ValueError, "saliency_segments", {"saliency_segments": "frames"}),
    "schedule_dict": (TypeError, "schedule", {"schedule": LATE.to_dict()}),
    "schedule_stage": (TypeError, "schedule", {"schedule": ModalityDropper()}),
    "schedule_none": (TypeError, "schedule", {"schedule": None}),
    "layer_beyond_the_model": (ValueError, "layer", {"schedule": Schedule(after_layer={8: ModalityDropper()})}),
    "layers_of_another_model": (
        ValueError,
        "layer",
        {"schedule": Schedule(before_llm=DiversitySelector(0.5), after_layer={16: StagePruner(0.9)})},
    ),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments_of_attach(thinker: nn.Module, case: str) -> None:
    error, match, arguments = ARGUMENTS[case]
    footprint = probes.footprint(thinker)
    with pytest.raises(error, match=match), attach(thinker, **{"schedule": LATE} | arguments):
        pass
    assert probes.footprint(thinker) == footprint
