"""A trace replayed as a schedule: the same logits and tokens, whatever its stages did besides dropping."""

from __future__ import annotations

import pytest
import torch

from seats_ops import PruneTrace, Schedule
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.test_stage_outputs import (
    COUNT,
    Answering,
    backwards,
    just_kept,
    merging,
    prompt,
    renumbered,
)

SCHEDULES = {
    "merge": Schedule(Answering(merging, merges=True), {3: Answering(merging, merges=True, every=4)}),
    "order": Schedule(Answering(backwards), {3: Answering(merging, merges=True, every=4)}),
    "positions": Schedule((), {3: Answering(renumbered, renumbers=True)}),
    "keys": Schedule((), {2: Answering(just_kept, kv_rule="long"), 4: Answering(just_kept, every=4)}),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("family", ["qwen2_5_omni", "qwen3_vl"])
def test_a_replay_answers_alike(family: str, name: str) -> None:
    model, inputs = SMALL[family]("sdpa"), prompt(family)
    with attach(model, SCHEDULES[name]) as trace:
        expected = probes.generate(model, inputs, COUNT)
    replay = PruneTrace.from_json(trace.to_json()).as_schedule()
    with attach(model, Schedule.from_dict(replay.to_dict())) as again:
        found = probes.generate(model, inputs, COUNT)
    assert found.ids == expected.ids and torch.equal(found.logits, expected.logits)
    assert again.kv_lengths == trace.kv_lengths
    assert [stage.num_tokens for stage in again.stages] == [stage.num_tokens for stage in trace.stages]
