"""Generation, a decoding loop and later turns equal what the full-length oracle computes from the same kept sets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.agreement import TOLERANCE, assert_agrees, next_in_forward, next_in_generate
from tests.integrations.huggingface.oracle import oracle_logits
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.upstream import CACHE, cache_of

QUESTION = [21, 150, 33, 7, 250]


@pytest.fixture(params=SCHEDULES)
def schedule(request: pytest.FixtureRequest, thinker: nn.Module) -> Any:
    return SCHEDULES[request.param](thinker.config)


def test_generate(thinker: nn.Module, pristine: nn.Module, clip: dict[str, Any], kv_policy: str, schedule: Any) -> None:
    with attach(thinker, schedule, kv_policy=kv_policy) as trace:
        answer = probes.generate(thinker, clip)
    kept = probes.kept_sets(trace)
    assert len(kept[-1][1]) < clip["input_ids"].shape[1]
    start = next_in_generate(thinker, clip)
    assert_agrees(pristine, clip, kept, kv_policy, [answer], answer.ids[:-1], list(range(start, start + 7)))


def test_decoding_loop(
    thinker: nn.Module, pristine: nn.Module, clip: dict[str, Any], kv_policy: str, schedule: Any
) -> None:
    with attach(thinker, schedule, kv_policy=kv_policy) as trace:
        answer = probes.loop(thinker, clip)
    kept = probes.kept_sets(trace)
    start = next_in_forward(thinker, clip)
    assert_agrees(pristine, clip, kept, kv_policy, [answer], answer.ids[:-1], list(range(start, start + 7)))


def test_second_turn_by_hand(
    thinker: nn.Module, pristine: nn.Module, clip: dict[str, Any], kv_policy: str, schedule: Any
) -> None:
    with attach(thinker, schedule, kv_policy=kv_policy) as trace:
        first = probes.loop(thinker, clip, 3)
        kept = probes.kept_sets(trace)
        second = probes.decode(thinker, torch.tensor([first.ids[-1], *QUESTION]), first.cache, 4)
    fed = [*first.ids, *QUESTION, *second.ids[:-1]]
    start = next_in_forward(thinker, clip)
    assert_agrees(pristine, clip, kept, kv_policy, [first, second], fed, list(range(start, start + len(fed))))
    assert first.cache.get_seq_length() == clip["input_ids"].shape[1] + len(fed)


@pytest.mark.parametrize("passed", ["whole_conversation", "new_tokens"])
def test_second_turn_by_generate(
    thinker: nn.Module, pristine: nn.Module, clip: dict[str, Any], kv_policy: str, schedule: Any, passed: str
) -> None:
    """The ids of the whole conversation hold the media of the first turn, which are in the cache already."""
    with attach(thinker, schedule, kv_policy=kv_policy) as trace:
        first = probes.generate(thinker, clip, 3)
        kept = probes.kept_sets(trace)
        conversation = torch.cat([clip["input_ids"], torch.tensor([first.ids + QUESTION])], dim=1)
        turn = {"input_ids": conversation, "attention_mask": torch.ones_like(conversation)}
        if passed == "new_tokens":
            turn["input_ids"] = conversation[:, first.cache.get_seq_length() :]
        second = probes.generate(thinker, turn, 4, **{CACHE: first.cache})
    fed = [*first.ids, *QUESTION, *second.ids[:-1]]
    start, after = next_in_generate(thinker, clip), next_in_forward(thinker, clip)
    positions = [start, start + 1, *range(after + 2, after + len(fed))]
    assert_agrees(pristine, clip, kept, kv_policy, [first, second], fed, positions)


@torch.no_grad()
def test_loop_that_passes_masks_and_positions(
    thinker: nn.Module, pristine: nn.Module, clip: dict[str, Any], kv_policy: str, schedule: Any
) -> None:
    """The mask is as long as the conversation, longer than what any layer holds."""
    start, length, rows = next_in_generate(thinker, clip), clip["input_ids"].shape[1], []
    fed = [[11], [12], [13, 14, 15], [16]]
    with attach(thinker, schedule, kv_policy=kv_policy) as trace:
        cache = cache_of(thinker(**clip, use_cache=True))
        for tokens in fed:
            done = cache.get_seq_length() - length
            mask = torch.ones(1, length + done + len(tokens), dtype=torch.long)
            positions = torch.arange(start + done, start + done + len(tokens)).expand(3, 1, -1)
            ids = torch.tensor([tokens])
            output = thinker(input_ids=ids, attention_mask=mask, position_ids=positions, **{CACHE: cache})
            rows.append(output.logits[0])
    flat = [token for tokens in fed for token in tokens]
    later = range(start, start + len(flat))
    expected: Tensor = oracle_logits(pristine, clip, probes.kept_sets(trace), kv_policy, flat, later)[length:]
    assert (torch.cat(rows) - expected).abs().max() < TOLERANCE
