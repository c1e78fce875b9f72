"""What an engine holds for a request follows what stays of it: KV blocks, encoder outputs, the context."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

pytest.importorskip("vllm")

from seats_ops import DiversitySelector, Schedule
from seats_ops.cost import PromptLengths
from tests.integrations.vllm.agreement import check
from tests.integrations.vllm.cases import CASES, SCHEDULES, clip
from tests.integrations.vllm.checkpoint import tokenizer
from tests.integrations.vllm.engines import answers, close, engine
from tests.integrations.vllm.predicted import of_clip, of_sound, planned

Start = Callable[..., Any]
References = dict[str, dict[str, Any]]
SHORT = {"max_model_len": 448}
"""Less than the longest case has without its stages."""
CACHE = 2**30
"""Bytes that the engines of the tests have for keys and values."""


@dataclass
class Held:
    """What the scheduler holds at most for the requests that it has.

    Attributes:
        blocks: of the KV cache.
        encoded: tokens of encoder outputs, item by item.
    """

    blocks: int = 0
    encoded: list[int] = field(default_factory=list)


def scheduler_of(llm: Any) -> Any:
    return llm.llm_engine.engine_core.engine_core.scheduler


@contextmanager
def watched(llm: Any) -> Iterator[Held]:
    llm.reset_mm_cache()
    llm.llm_engine.reset_encoder_cache()
    cache, encoder = scheduler_of(llm).kv_cache_manager, scheduler_of(llm).encoder_cache_manager
    held, free = Held(), cache.block_pool.get_num_free_blocks()
    allocate_slots, allocate = cache.allocate_slots, encoder.allocate

    def slots(*args: Any, **kwargs: Any) -> Any:
        found = allocate_slots(*args, **kwargs)
        held.blocks = max(held.blocks, free - cache.block_pool.get_num_free_blocks())
        return found

    def outputs(request: Any, item: int) -> None:
        before = encoder.num_free_slots
        allocate(request, item)
        held.encoded.append(before - encoder.num_free_slots)

    cache.allocate_slots, encoder.allocate = slots, outputs
    try:
        yield held
    finally:
        del cache.allocate_slots, encoder.allocate
    assert cache.block_pool.get_num_free_blocks() == free


def lengths_of(name: str) -> PromptLengths:
    """Of a case, as `seats-ops plan` counts them from seconds; the text by its tokens, without the marks of media."""
    case = CASES[name]
    ids = tokenizer()(case.prompt)["input_ids"]
    # A video with its sound has the sound's begin and end besides its own.
    text = len(ids) - len(case.videos) - (0 if case.together else len(case.sounds)) + 2 * case.together
    if not case.videos:
        return of_sound(text, 6.0) if case.sounds else PromptLengths(text)
    return of_clip(text, len(case.videos[0]) / case.fps, case.fps, sound=case.together)


def test_requests_that_the_planned_cache_takes_at_once(started: Start) -> None:
    scheduler = scheduler_of(started("weighted"))
    # A plan is for bfloat16, this engine has float32: as much as a plan's in half the memory.
    plan = planned(SCHEDULES["weighted"], lengths_of("video"), cache=CACHE // 2)
    (group,) = scheduler.kv_cache_config.kv_cache_groups
    assert group.kv_cache_spec.page_size_bytes * len(group.layer_names) == 2 * plan.block_bytes
    free = scheduler.kv_cache_manager.block_pool.get_num_free_blocks()
    assert free // plan.pruned.blocks == plan.pruned.at_once
    assert free == CACHE // 2 // plan.block_bytes - 1


PREDICTED = [("text", 1), ("video", 1), ("sound", 1), ("sound in video", 1), ("video", 50), ("sound in video", 50)]


@pytest.mark.parametrize(("name", "answer"), PREDICTED)
@pytest.mark.parametrize("schedule", ["weighted", "all kept"])
def test_what_is_planned_is_what_the_engine_holds(schedule: str, name: str, answer: int, started: Start) -> None:
    llm = started(schedule)
    plan = planned(SCHEDULES["weighted"], lengths_of(name), answer)
    expected = plan.pruned if schedule == "weighted" else plan.whole
    with watched(llm) as held:
        (got,) = answers(llm, [CASES[name]], answer)
    assert (len(got["prompt"]), held.blocks) == (expected.tokens, expected.blocks)


@pytest.mark.parametrize("name", ["video", "sound in video", "images", "two videos and a sound"])
@pytest.mark.parametrize("schedule", ["all kept", "weighted"])
def test_the_scheduler_counts_what_encoders_leave(
    schedule: str, name: str, started: Start, references: References
) -> None:
    llm, expected = started(schedule), references[schedule][name]
    with watched(llm) as held:
        answers(llm, [CASES[name]])
    assert sum(held.encoded) == sum(map(len, expected["kept"].values()))
    items = len(CASES[name].videos) + len(CASES[name].images) + len(CASES[name].sounds)
    # A video and its sound are one, and nothing is held for the sound alone.
    assert len([n for n in held.encoded if n]) == items - CASES[name].together


def test_a_prompt_that_fits_only_pruned_is_refused_unpruned(started: Start, references: References) -> None:
    from vllm.exceptions import VLLMClientError

    name = "7.5 frames a second"
    pruned, whole = len(references["weighted"][name]["prompt"]), references["weighted"][name]["whole"]
    assert pruned < SHORT["max_model_len"] < whole
    unpruned = started("all kept", **SHORT)
    with pytest.raises(VLLMClientError, match=rf"length {whole}\).*maximum model length of 448"):
        answers(unpruned, [CASES[name]])
    check(answers(unpruned, [CASES["sound in video"]])[0], references["all kept"]["sound in video"])
    check(answers(started("weighted", **SHORT), [CASES[name]])[0], references["weighted"][name])


def test_media_longer_than_the_context_even_when_pruned(started: Start, references: References) -> None:
    from vllm.exceptions import VLLMClientError

    llm = started("weighted", **SHORT)
    # 100 grids of 16 tokens, two of them a block, of which 0.3 * 32 = 9.6, so 10, stay: 500 and the text.
    long = replace(CASES["video"], videos=[clip(1, 200)])
    length = 50 * 10 + lengths_of("video").text
    with watched(llm) as held, pytest.raises(VLLMClientError, match=rf"length {length}\).*maximum model length of 448"):
        answers(llm, [long])
    assert (held.blocks, held.encoded) == (0, [])
    check(answers(llm, [CASES["sound in video"]])[0], references["weighted"]["sound in video"])


def test_sound_stays_whole_where_a_schedule_names_only_video(checkpoint: Any, references: References) -> None:
    llm = engine(checkpoint, Schedule(DiversitySelector({"video": 0.3})))
    try:
        check(answers(llm, [CASES["sound"]])[0], references["all kept"]["sound"])
        check(answers(llm, [CASES["video"]])[0], references["weighted"]["video"])
        (both,) = answers(llm, [CASES["sound in video"]])
    finally:
        close(llm)
    kept = len(references["weighted"]["sound in video"]["kept"]["video"]), lengths_of("sound in video").audio
    assert len(both["prompt"]) == lengths_of("sound in video").text + sum(kept)
