"""What attach refuses: each refusal comes before any token, names the argument, and leaves the model as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Cache, DynamicCache, GenerationConfig, StaticCache
from transformers.cache_utils import Fp8QuantizedLayer

from seats_ops import DiversitySelector, ModalityDropper, Schedule, StagePruner, UnsupportedModelState
from seats_ops.integrations import attach
from tests.integrations import probes
from tests.integrations.models import small_omni, small_thinker
from tests.integrations.oracle import merged_embeddings, prompt_positions
from tests.integrations.prompts import Text, Video, build_prompt
from tests.integrations.schedules import SCHEDULES

REFUSED = (UnsupportedModelState, ValueError, TypeError)
LATE = Schedule(after_layer={3: ModalityDropper()})


@pytest.fixture(params=["sdpa"])
def attention(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def silent_clip(thinker: nn.Module) -> dict[str, Any]:
    """A video without sound: upstream checks less of it."""
    return build_prompt(thinker.config, Text(9), Video((5, 4, 6)), Text(7))


def assert_refused(
    model: nn.Module,
    inputs: dict[str, Any],
    match: str,
    call: Callable[[], Any],
    *,
    error: Any = UnsupportedModelState,
    kv_policy: str = "uniform",
) -> None:
    """`call` raises inside a context before logits exist, the context stays usable, and nothing is left after it."""
    untouched = probes.generate(model, inputs, 3)
    schedule = SCHEDULES["preset"](model.config)
    with attach(model, schedule, kv_policy=kv_policy):
        expected = probes.generate(model, inputs, 3)
    footprint = probes.footprint(model)
    with attach(model, schedule, kv_policy=kv_policy):
        with probes.produced_logits(model) as produced, pytest.raises(error, match=match):
            call()
        assert produced == []
        assert torch.equal(probes.generate(model, inputs, 3).logits, expected.logits)
    assert probes.footprint(model) == footprint
    assert torch.equal(probes.generate(model, inputs, 3).logits, untouched.logits)


MODES: dict[str, tuple[str, dict[str, Any]]] = {
    "prompt_lookup": ("prompt_lookup_num_tokens", {"prompt_lookup_num_tokens": 3}),
    "early_exit": ("assistant_early_exit|assisted", {"assistant_early_exit": 2}),
    "chunked_prefill": ("prefill_chunk_size", {"prefill_chunk_size": 16}),
    "no_cache": ("use_cache", {"use_cache": False}),
    "beams": ("num_beams", {"num_beams": 2}),
    "several_sequences": ("num_return_sequences", {"num_return_sequences": 2, "do_sample": True}),
    "static_cache": ("cache_implementation", {"cache_implementation": "static"}),
    "quantized_cache": ("cache_implementation", {"cache_implementation": "quantized"}),
    "offloaded_cache": ("cache_implementation", {"cache_implementation": "offloaded"}),
}


@pytest.mark.parametrize("mode", MODES)
def test_generation_modes(thinker: nn.Module, silent_clip: dict[str, Any], mode: str) -> None:
    match, options = MODES[mode]
    call = lambda: thinker.generate(**silent_clip, **{"max_new_tokens": 3, "do_sample": False} | options)  # noqa: E731
    assert_refused(thinker, silent_clip, match, call)


@pytest.mark.parametrize("mode", MODES)
def test_generation_modes_in_a_config(thinker: nn.Module, silent_clip: dict[str, Any], mode: str) -> None:
    match, options = MODES[mode]
    config = GenerationConfig(max_new_tokens=3, pad_token_id=297, **options)
    assert_refused(thinker, silent_clip, match, lambda: thinker.generate(**silent_clip, generation_config=config))


@pytest.mark.parametrize("mode", ["prompt_lookup", "chunked_prefill", "no_cache", "beams", "static_cache"])
def test_generation_modes_in_the_models_own_config(silent_clip: dict[str, Any], thinker: nn.Module, mode: str) -> None:
    match, options = MODES[mode]
    with probes.produced_logits(thinker) as produced, attach(thinker, LATE):
        for name, value in options.items():
            setattr(thinker.generation_config, name, value)
        with pytest.raises(UnsupportedModelState, match=match):
            thinker.generate(**silent_clip, max_new_tokens=3)
    assert produced == []


def test_an_assistant_model(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    assistant = small_thinker(seed=1)
    call = lambda: thinker.generate(**silent_clip, assistant_model=assistant, max_new_tokens=3, do_sample=False)  # noqa: E731
    assert_refused(thinker, silent_clip, "assistant_model", call)


def test_a_cache_is_optional_for_the_per_layer_policy(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    with attach(thinker, LATE, kv_policy="per-layer"):
        assert len(probes.generate(thinker, silent_clip, 2, use_cache=False).ids) == 2


CACHES: dict[str, Callable[[Any], Cache]] = {
    "static": lambda text: StaticCache(config=text, max_cache_len=256),
    "quantized": lambda text: Cache(layers=[Fp8QuantizedLayer() for _ in range(text.num_hidden_layers)]),
    "offloaded": lambda text: DynamicCache(config=text, offloading=True),
}


@pytest.mark.parametrize("kind", CACHES)
@pytest.mark.parametrize("entry", ["generate", "forward"])
def test_caches(thinker: nn.Module, silent_clip: dict[str, Any], kind: str, entry: str) -> None:
    def call() -> None:
        cache = CACHES[kind](thinker.config.text_config)
        if entry == "generate":
            thinker.generate(**silent_clip, past_key_values=cache, max_new_tokens=3)
        else:
            thinker(**silent_clip, past_key_values=cache)

    assert_refused(thinker, silent_clip, "past_key_values", call)


def test_labels(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    call = lambda: thinker(**silent_clip, labels=silent_clip["input_ids"])  # noqa: E731
    assert_refused(thinker, silent_clip, "labels", call, error=REFUSED)


def test_a_batch(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    twice = {
        name: torch.cat([value, value]) if torch.is_tensor(value) else value for name, value in silent_clip.items()
    }
    assert_refused(thinker, silent_clip, "input_ids|batch", lambda: thinker(**twice))
    assert_refused(thinker, silent_clip, "input_ids|batch", lambda: thinker.generate(**twice, max_new_tokens=3))


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(thinker: nn.Module, silent_clip: dict[str, Any], side: str) -> None:
    ids, mask = silent_clip["input_ids"], silent_clip["attention_mask"]
    pad, unseen = torch.full((1, 3), 297), torch.zeros(1, 3, dtype=torch.long)
    order = slice(None) if side == "left" else slice(None, None, -1)
    padded = silent_clip | {
        "input_ids": torch.cat([pad, ids][order], dim=1),
        "attention_mask": torch.cat([unseen, mask][order], dim=1),
    }
    assert_refused(thinker, silent_clip, "attention_mask", lambda: thinker(**padded))
    assert_refused(thinker, silent_clip, "attention_mask", lambda: thinker.generate(**padded, max_new_tokens=3))


def test_a_prepared_mask(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    length = silent_clip["input_ids"].shape[1]
    positions = prompt_positions(thinker, silent_clip)[:, None]
    mask = torch.zeros(1, 1, length, length).masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
    for prepared in (mask, mask == 0, {"full_attention": mask}):
        inputs = silent_clip | {"attention_mask": prepared, "position_ids": positions}
        assert_refused(thinker, silent_clip, "attention_mask", lambda inputs=inputs: thinker(**inputs), error=REFUSED)


def test_embeddings_without_ids(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    with torch.no_grad():
        embeddings = merged_embeddings(thinker, silent_clip)[None]
    mask = silent_clip["attention_mask"]
    forward = lambda: thinker(inputs_embeds=embeddings, attention_mask=mask)  # noqa: E731
    generate = lambda: thinker.generate(inputs_embeds=embeddings, attention_mask=mask, max_new_tokens=3)  # noqa: E731
    assert_refused(thinker, silent_clip, r"inputs_embeds|input_ids", forward, error=REFUSED)
    assert_refused(thinker, silent_clip, r"inputs_embeds|input_ids", generate, error=REFUSED)


def test_encoder_outputs_of_the_caller(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    """They carry no saliency: it is seen only while the tower runs under the context."""
    with torch.no_grad():
        video = thinker.get_video_features(silent_clip["pixel_values_videos"], silent_clip["video_grid_thw"])
    without = {name: value for name, value in silent_clip.items() if name != "pixel_values_videos"}
    call = lambda: thinker(**without, mm_encoder_outputs={"video": video})  # noqa: E731
    assert_refused(thinker, silent_clip, "mm_encoder_outputs", call, error=REFUSED)


def test_new_media_in_a_later_turn(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    def by_hand() -> None:
        first = probes.loop(thinker, silent_clip, 2)
        with probes.produced_logits(thinker) as later:
            try:
                thinker(**silent_clip, past_key_values=first.cache)
            finally:
                assert later == []

    def by_generate() -> None:
        first = probes.generate(thinker, silent_clip, 2)
        ids = torch.cat([silent_clip["input_ids"], torch.tensor([first.ids]), silent_clip["input_ids"]], dim=1)
        clip = {name: value for name, value in silent_clip.items() if "ids" not in name and "attention" not in name}
        with probes.produced_logits(thinker) as later:
            try:
                thinker.generate(ids, attention_mask=torch.ones_like(ids), past_key_values=first.cache, **clip)
            finally:
                assert later == []

    footprint = probes.footprint(thinker)
    for call in (by_hand, by_generate):
        with attach(thinker, LATE), pytest.raises(REFUSED, match=r"input_ids|past_key_values"):
            call()
        assert probes.footprint(thinker) == footprint


def test_the_talker(silent_clip: dict[str, Any]) -> None:
    """It scatters masks of the full prompt into hidden states that are shorter."""
    model = small_omni(talker=True)
    footprint = probes.footprint(model)
    with probes.produced_logits(model.thinker) as produced:
        with pytest.raises(UnsupportedModelState, match=r"generation_mode|talker"), attach(model, LATE):
            model.generate(**silent_clip, thinker_max_new_tokens=3)
    assert produced == []
    assert probes.footprint(model) == footprint


COMPILED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "wrapped": lambda model: torch.compile(model, backend="eager"),
    "forward": lambda model: _replace_forward(model, model),
    "inner_forward": lambda model: _replace_forward(model, model.model.language_model),
    "in_place": lambda model: _compile_in_place(model, model),
    "text_model_in_place": lambda model: _compile_in_place(model, model.model.language_model),
}


def _replace_forward(model: nn.Module, module: nn.Module) -> nn.Module:
    module.forward = torch.compile(module.forward, backend="eager")
    return model


def _compile_in_place(model: nn.Module, module: nn.Module) -> nn.Module:
    module.compile(backend="eager")
    return model


@pytest.mark.parametrize("how", COMPILED)
def test_a_compiled_model(thinker: nn.Module, how: str) -> None:
    """Compiled code that has run once no longer looks at hooks."""
    compiled = COMPILED[how](thinker)
    footprint = probes.footprint(thinker)
    with pytest.raises(UnsupportedModelState, match="compile"), attach(compiled, LATE):
        pass
    assert probes.footprint(thinker) == footprint


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


def test_attaching_to_the_thinker_of_an_attached_model() -> None:
    model = small_omni()
    for outer, inner in ((model, model.thinker), (model.thinker, model)):
        with attach(outer, LATE), pytest.raises(UnsupportedModelState, match="attached"), attach(inner, LATE):
            pass


UNSUPPORTED: dict[str, Callable[[nn.Module], Any]] = {
    "linear": lambda model: nn.Linear(2, 2),
    "inner_model": lambda model: model.model,
    "text_model": lambda model: model.model.language_model,
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


ARGUMENTS: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
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
