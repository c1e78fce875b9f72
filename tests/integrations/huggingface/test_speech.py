"""Answers in speech: the talker of a full model hears a pruned thinker as it would hear a whole one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from seats_ops import Schedule, UnsupportedModelState, seats
from seats_ops.integrations import attach
from seats_ops.integrations.huggingface.guards import guards
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.speech_models import SPEAKERS, Speaker


@pytest.fixture(params=SPEAKERS)
def speaker(request: pytest.FixtureRequest) -> Speaker:
    return SPEAKERS[request.param]()


def preset(speaker: Speaker) -> Schedule:
    return seats(speaker.model.config, video=0.3, audio=0.6, drop_layers=(2, 3, 5), late_layer=7)


def test_nothing_pruned_changes_no_bit(speaker: Speaker) -> None:
    ids, wave = speaker.speak()
    footprint = probes.footprint(speaker.model)
    with attach(speaker.model, Schedule()):
        again = speaker.speak()
    assert torch.equal(again[0], ids) and torch.equal(again[1], wave)
    assert wave.numel() > 50 and wave.std() > 0.01
    assert probes.footprint(speaker.model) == footprint


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", SPEAKERS)
def test_a_pruned_thinker_speaks(family: str, attention: str, kv_policy: str) -> None:
    """It says what it writes; what it sounds like depends on what was pruned."""
    speaker = SPEAKERS[family](attention)
    _, whole = speaker.speak()
    with attach(speaker.model, preset(speaker), kv_policy=kv_policy) as trace:
        ids, wave = speaker.speak()
        assert trace.stages[-1].num_tokens < trace.prompt_lengths[0] / 2
        written = speaker.model.thinker.generate(
            **speaker.thinker_inputs,
            max_new_tokens=5,
            min_new_tokens=5,
            do_sample=False,
            eos_token_id=speaker.keywords.get("thinker_eos_token_id"),
        )
    assert torch.equal(ids, written)
    assert wave.isfinite().all() and (wave.shape != whole.shape or not torch.equal(wave, whole))
    assert torch.equal(speaker.speak()[1], whole)


def expected_states(trace: Any, states: tuple[Tensor, ...], embeds: Tensor, index: int, norm: Any) -> Tensor:
    """Column by column: the output of the last layer that ran on a token, up to layer `index`."""
    columns = list(range(embeds.shape[1]))
    found = {column: embeds[0, column] for column in columns}
    kept_for = {stage.layer + 1: stage.kept_indices[0].tolist() for stage in trace.stages}
    for layer in range(1, index + 1):
        columns = kept_for.get(layer, columns)
        for place, column in enumerate(columns):
            found[column] = states[layer][0, place]
    last = index == len(states) - 1
    return torch.stack([norm(row) if last and column not in columns else row for column, row in sorted(found.items())])


@pytest.mark.parametrize(
    "name", ["preset", "several_stages_at_one_place", "selector_inside_the_llm", "droppers_at_odd_layers"]
)
def test_dropped_tokens_keep_the_state_with_which_they_left(
    speaker: Speaker, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = guards.whole_prompt_states, []

    def watched(states: Any, prefill: Any, norm: Any, heard: Any) -> Any:
        calls.append((states, prefill.embeds, norm, heard, original(states, prefill, norm, heard)))
        return calls[-1][-1]

    monkeypatch.setattr(guards, "whole_prompt_states", watched)
    with attach(speaker.model, SCHEDULES[name](speaker.model.thinker.config)) as trace:
        speaker.speak()
    ((states, embeds, norm, heard, whole),) = calls
    assert embeds.shape[1] == trace.prompt_lengths[0]
    for index in heard:
        index %= len(states)
        assert whole[index].shape == embeds.shape
        expected = embeds[0] if index == 0 else expected_states(trace, states, embeds, index, norm)
        torch.testing.assert_close(whole[index][0], expected)


@pytest.mark.parametrize(
    "options",
    [
        {"thinker_num_beams": 2},
        {"thinker_num_return_sequences": 2},
        {"thinker_use_cache": False},
        {"thinker_max_new_tokens": 1},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_upstream_cannot_speak_is_refused(speaker: Speaker, options: dict[str, Any]) -> None:
    keywords = {**speaker.keywords, **options}
    with (
        attach(speaker.model, preset(speaker)),
        probes.produced_logits(speaker.model.thinker) as produced,
        pytest.raises(UnsupportedModelState, match=next(iter(options)).removeprefix("thinker_")),
    ):
        speaker.model.generate(**speaker.inputs, **keywords)
    assert produced == []
    with attach(speaker.model, preset(speaker)):
        speaker.speak()


@pytest.mark.parametrize("name", ["num_beams", "use_cache"])
def test_the_same_in_the_thinkers_own_config(speaker: Speaker, name: str) -> None:
    config: Any = speaker.model.thinker.generation_config
    setattr(config, name, {"num_beams": 2, "use_cache": False}[name])
    with (
        attach(speaker.model, preset(speaker), kv_policy="per-layer"),
        probes.produced_logits(speaker.model.thinker) as produced,
        pytest.raises(UnsupportedModelState, match=f"thinker_{name}"),
    ):
        speaker.speak()
    assert produced == []


def test_pixels_without_the_prefix() -> None:
    speaker = SPEAKERS["qwen2_5_omni"]()
    with (
        attach(speaker.model, preset(speaker)),
        pytest.raises(UnsupportedModelState, match="thinker_pixel_values_videos"),
    ):
        speaker.model.generate(**speaker.thinker_inputs, **speaker.keywords)


def test_a_talker_without_an_audio_config() -> None:
    speaker = SPEAKERS["qwen3_omni"]()
    del speaker.model.talker.config.audio_config
    with (
        attach(speaker.model, preset(speaker)),
        pytest.raises(UnsupportedModelState, match="audio_config"),
    ):
        speaker.speak()


def test_text_from_a_model_that_could_speak(speaker: Speaker) -> None:
    silent = {"generation_mode": "text"} if "Qwen2_5" in type(speaker.model).__name__ else {"return_audio": False}
    thinker_only = {name: x for name, x in speaker.keywords.items() if name.startswith("thinker_")}
    with attach(speaker.model, preset(speaker)):
        spoken, _ = speaker.speak()
        answer = speaker.model.generate(**speaker.thinker_inputs, **thinker_only, **silent)
    answer = answer[0] if isinstance(answer, tuple) else answer
    assert torch.equal(getattr(answer, "sequences", answer), spoken)
