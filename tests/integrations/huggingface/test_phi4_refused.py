"""What is refused for Phi-4-multimodal, and what transformers itself gets wrong with it, attached or not."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import pad
from transformers import DynamicCache

from seats_ops import UnsupportedModelState
from seats_ops.cost import PromptLengths, prefill_cost
from seats_ops.integrations import attach
from tests.integrations.huggingface import flash_stand_in, probes
from tests.integrations.huggingface.batching import answers, batch_of
from tests.integrations.huggingface.guards.refusals import LATE
from tests.integrations.huggingface.phi4_model import phi4, phi4_config
from tests.integrations.huggingface.prompts import Audio, Image, Part, Text, build_prompt
from tests.integrations.huggingface.schedules import DEEP_SCHEDULES
from tests.integrations.huggingface.upstream import CACHE

SEVERAL: dict[str, list[Part]] = {
    "2 sounds": [Text(3), Audio(190), Text(2), Audio(190), Text(4)],
    "2 sounds side by side": [Text(3), Audio(190), Audio(190), Text(4)],
    "2 pictures": [Text(3), Image((1, 4, 6)), Text(1), Image((1, 4, 6)), Text(4)],
    "2 pictures side by side": [Text(3), Image((1, 4, 6)), Image((1, 4, 6)), Text(4)],
}


@pytest.fixture
def model() -> Any:
    return phi4()


def heard(model: Any, *, frames: int = 430, seed: int = 1) -> dict[str, Any]:
    return build_prompt(model.config, Text(3), Audio(frames), Text(4), seed=seed)


@pytest.mark.parametrize("name", SEVERAL)
def test_several_answers_about_several_items(model: Any, name: str) -> None:
    """transformers copies item by item: also without pruning, a second answer is not to the prompt that was given."""
    row = build_prompt(model.config, *SEVERAL[name])
    once = answers(model, row, 1)[1][0]
    twice = answers(model, row, 1, num_return_sequences=2, do_sample=True)[1]
    assert all((logits - once).abs().max() > 0.1 for logits in twice)
    batch = batch_of([build_prompt(model.config, Text(7)), row])
    for schedule in (LATE, DEEP_SCHEDULES["preset"](model.config)):
        for options in ({"num_beams": 2}, {"num_return_sequences": 2, "do_sample": True}):
            match = " ".join(name.split()[:2])
            with attach(model, schedule), probes.produced_logits(model) as produced:
                with pytest.raises(UnsupportedModelState, match=match):
                    model.generate(**batch, max_new_tokens=2, **options)
                assert produced == []


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.filterwarnings("ignore:_compile flag on create_block_mask")
@pytest.mark.parametrize("kind", ["flash_attention_2", "flex_attention"])
def test_attention_that_loses_the_bias_of_the_audio_encoder(model: Any, kind: str) -> None:
    footprint = probes.footprint(model)
    with pytest.MonkeyPatch.context() as patch:
        flash_stand_in.install(patch)
        model.set_attn_implementation(kind)
        with pytest.raises(UnsupportedModelState, match=f"audio encoder, got {kind}"), attach(model, LATE):
            pass
        assert probes.footprint(model) == footprint
        model.set_attn_implementation({"audio_config": "sdpa"})
        with attach(model, LATE), torch.no_grad(), torch.compiler.set_stance("force_eager"):
            assert model(**heard(model)).logits.isfinite().all()


def test_a_sliding_window_within_the_context() -> None:
    model = phi4(sliding_window=4095)
    footprint = probes.footprint(model)
    with pytest.raises(UnsupportedModelState, match="sliding"), attach(model, LATE):
        pass
    assert probes.footprint(model) == footprint
    with pytest.raises(ValueError, match="sliding"):
        prefill_cost(phi4_config(sliding_window=4095), LATE, PromptLengths(text=9))


def test_a_cache_with_a_sliding_window_within_the_context(model: Any) -> None:
    cache = DynamicCache(config=phi4_config(sliding_window=4095))
    inputs = heard(model)
    for entry in ("generate", "forward"):
        with attach(model, LATE), probes.produced_logits(model) as produced:
            with pytest.raises(UnsupportedModelState, match="DynamicSlidingWindowLayer"):
                call: Any = model.generate if entry == "generate" else model
                call(**inputs, **{CACHE: cache})
            assert produced == []


def test_padding_that_hides_a_part_of_a_sound(model: Any) -> None:
    inputs = heard(model)
    inputs["attention_mask"][0, :10] = 0
    with attach(model, LATE), probes.produced_logits(model) as produced:
        with pytest.raises(ValueError, match="input_ids: expected 54 audio tokens as the encoder produced, got 47"):
            model.generate(**inputs, max_new_tokens=2)
        assert produced == []


@torch.no_grad()
def test_transformers_encodes_padding_of_sounds(model: Any) -> None:
    """The same sound is another one beside a longer sound: its encoder attends to padding, a little less."""
    alone = heard(model, frames=200)
    padded = alone | {
        "audio_input_features": pad(alone["audio_input_features"], (0, 0, 0, 230)),
        "audio_attention_mask": (torch.arange(430) < 200)[None],
    }
    assert (model(**alone).logits - model(**padded).logits).abs().max() > 0.1


@torch.no_grad()
def test_transformers_projects_sounds_by_the_pictures_of_others(model: Any) -> None:
    rows = [heard(model), build_prompt(model.config, Text(3), Audio(430), Image((1, 4, 6)), Text(4))]
    assert (model(**batch_of(rows)).logits[0, -1] - model(**rows[0]).logits[0, -1]).abs().max() > 0.1


@torch.no_grad()
def test_transformers_looks_at_whole_crops_causally(model: Any) -> None:
    """Fused attention takes the vision encoder for a decoder where no patch is padding."""
    inputs = build_prompt(model.config, Text(3), Image((1, 8, 8)), Text(4))
    expected = phi4("eager")(**inputs).logits
    assert (model(**inputs).logits - expected).abs().max() > 0.1
    model.set_attn_implementation({"vision_config": "eager"})
    assert (model(**inputs).logits - expected).abs().max() < 2e-5


def test_transformers_forgets_the_prompt_where_the_rotary_embedding_changes(model: Any) -> None:
    """`generate` drops the cache and goes on from single tokens once the first context is full."""
    inputs = heard(model, frames=190)
    length = inputs["input_ids"].shape[1]
    model = phi4(original_max_position_embeddings=length + 1)
    held: list[int] = []
    masked: list[int] = []

    def note(_: nn.Module, __: Any, kwargs: dict[str, Any]) -> None:
        cache, mask = kwargs.get(CACHE), kwargs.get("attention_mask")
        held.append(0 if cache is None else cache.get_seq_length())
        masked.append(0 if mask is None else mask.shape[1])

    model.model.register_forward_pre_hook(note, with_kwargs=True)
    probes.generate(model, inputs, 5)
    assert held == [0, length, 0, 0, 0]
    # Before 5.18 the mask of all tokens comes with one of them, which is refused.
    stale = masked[2] > 1
    held.clear()
    with attach(model, LATE), pytest.raises(ValueError, match=r"^attention_mask") if stale else nullcontext():
        probes.generate(model, inputs, 5)
    assert held == [0, length, 0, 0, 0][: 3 if stale else 5]


def test_media_after_a_prompt_in_the_cache(model: Any) -> None:
    with attach(model, LATE):
        cache = probes.loop(model, heard(model), 2).cache
        turn = heard(model, seed=2) | {"attention_mask": None, CACHE: cache}
        with probes.produced_logits(model) as produced, pytest.raises(UnsupportedModelState, match="new media"):
            model(**turn)
        assert produced == []
