"""What else `generate` hands out: a stream of tokens, hidden states, attention maps; and a model in bfloat16."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.generation.streamers import BaseStreamer

from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.agreement import TOLERANCE, next_in_generate
from tests.integrations.huggingface.batching import alone, answers, assert_rows_alike, batch_of, offsets, rows_of
from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.oracle import oracle_logits
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.upstream import needs

STEPS = 4


class _Collector(BaseStreamer):
    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.ended = False

    def put(self, value: Tensor) -> None:
        self.seen.append(value.flatten().tolist())

    def end(self) -> None:
        self.ended = True


def test_a_stream_holds_the_same_tokens(thinker: nn.Module, clip: dict[str, Any], kv_policy: str) -> None:
    with attach(thinker, SCHEDULES["preset"](thinker.config), kv_policy=kv_policy):
        expected = probes.generate(thinker, clip)
        collector = _Collector()
        streamed = probes.generate(thinker, clip, streamer=collector)
    probes.assert_same(streamed, expected)
    prompt, *tokens = collector.seen
    assert prompt == clip["input_ids"][0].tolist()
    assert [token for piece in tokens for token in piece] == expected.ids
    assert collector.ended


def lengths_seen(trace: Any, prompt: int) -> list[int]:
    """Slots per row of what each of 7 layers runs on."""
    after = {stage.layer: max(len(row) for row in stage.kept_indices) for stage in trace.stages}
    return [min([prompt, *(n for layer, n in after.items() if layer < number)]) for number in range(1, 8)]


@pytest.mark.parametrize("name", ["preset", "droppers_at_odd_layers"])
@pytest.mark.parametrize("kind", ["clip", "batch"])
def test_lengths_of_hidden_states_and_attention_maps(kv_policy: str, kind: str, name: str) -> None:
    """Entry 0 is what the first layer was given, entry l what layer l made of what it saw, before a drop after it."""
    model = small_thinker("eager")
    rows = rows_of(model.config, "interleaved")
    batch = rows[0] if kind == "clip" else batch_of(rows)
    options = {"output_hidden_states": True, "output_attentions": True, "max_new_tokens": STEPS, "do_sample": False}
    with attach(model, SCHEDULES[name](model.config), kv_policy=kv_policy) as trace:
        output = model.generate(**batch, **options, output_logits=True, return_dict_in_generate=True)
    count, seen = len(batch["input_ids"]), lengths_seen(trace, batch["input_ids"].shape[1])
    states, maps = output.hidden_states, output.attentions
    assert [tuple(x.shape) for x in states[0]] == [(count, n, 64) for n in [seen[0], *seen]]
    assert [tuple(x.shape) for x in maps[0]] == [(count, 8, n, n) for n in seen]
    for step in range(1, STEPS):
        assert [tuple(x.shape) for x in states[step]] == [(count, 1, 64)] * 8
        assert [tuple(x.shape) for x in maps[step]] == [(count, 8, 1, n + step) for n in trace.kv_lengths]
    for step in range(STEPS):
        assert torch.equal(model.lm_head(states[step][-1])[:, -1], output.logits[step])


@torch.no_grad()
@pytest.mark.parametrize("attention", ["eager"])
def test_hidden_states_are_those_of_the_rows(thinker: nn.Module) -> None:
    """Read from the right, where every row ends, each entry of a batch equals that of the single row."""
    rows, schedule = rows_of(thinker.config, "separate"), SCHEDULES["preset"](thinker.config)
    with attach(thinker, schedule):
        single = [thinker(**row, output_hidden_states=True, output_attentions=True) for row in rows]
        both = thinker(**batch_of(rows), output_hidden_states=True, output_attentions=True)
    for row, expected in enumerate(single):
        for got, wanted in zip(both.hidden_states, expected.hidden_states, strict=True):
            assert (got[row, -wanted.shape[1] :] - wanted[0]).abs().max() < TOLERANCE
        for got, wanted in zip(both.attentions, expected.attentions, strict=True):
            n = wanted.shape[-1]
            assert (got[row, :, -n:, -n:] - wanted[0]).abs().max() < TOLERANCE
            assert not got[row, :, -n:, :-n].any()


@needs("copies of media")
def test_without_a_cache_under_the_per_layer_policy(thinker: nn.Module) -> None:
    """Every token runs the whole batch again; no stage here depends on the query, so the same tokens stay."""
    rows, schedule = rows_of(thinker.config, "separate"), SCHEDULES["unweighted_selector_late_drop"](thinker.config)
    expected = alone(thinker, rows, schedule, 3, kv_policy="per-layer")
    batch = batch_of(rows)
    beams = {"num_beams": 2, "max_new_tokens": 3, "do_sample": False}
    with attach(thinker, schedule, kv_policy="per-layer") as trace:
        ids, logits = answers(thinker, batch, 3, use_cache=False)
        assert [len(stage.kept_indices) for stage in trace.stages] == [4, 4]
        few = batch_of([rows[0], rows[2]])
        assert torch.equal(
            thinker.generate(**few, **beams, use_cache=False), thinker.generate(**few, **beams, use_cache=True)
        )
    assert_rows_alike(ids, logits, expected)


def distance(logits: Tensor, exact: Tensor) -> float:
    """Root mean square error, relative to how far the exact logits spread."""
    return float((logits.float() - exact.float()).pow(2).mean().sqrt() / exact.float().std())


@pytest.mark.parametrize("name", ["preset", "several_stages_at_one_place"])
def test_bfloat16(attention: str, clip: dict[str, Any], kv_policy: str, name: str) -> None:
    """The same weights in float64, told what to keep and to say, are about as near as they are without pruning."""
    model = small_thinker(attention).to(torch.bfloat16)
    plain = probes.generate(model, clip)
    with attach(model, SCHEDULES[name](model.config), kv_policy=kv_policy) as trace:
        pruned = probes.generate(model, clip)
    start, prompt = next_in_generate(model, clip), clip["input_ids"].shape[1]
    everything = [(0, torch.arange(prompt))]

    def error(answer: probes.Answer, kept: Any) -> float:
        exact = oracle_logits(model, clip, kept, kv_policy, answer.ids[:-1], range(start, start + 7))[-8:]
        return distance(answer.logits, exact)

    rounding = error(plain, everything)
    assert rounding < 0.05
    assert error(pruned, probes.kept_sets(trace)) < 2 * rounding
    assert error(pruned, everything) > 5 * rounding


def test_a_batch_in_bfloat16(attention: str, kv_policy: str) -> None:
    """Of every row, told what it kept. Near-ties fall as they like in this precision."""
    model = small_thinker(attention).to(torch.bfloat16)
    rows = rows_of(model.config, "interleaved")
    batch = batch_of(rows)
    with attach(model, SCHEDULES["preset"](model.config), kv_policy=kv_policy) as trace:
        _, logits = answers(model, batch, 1)
    for i, (row, first) in enumerate(zip(rows, offsets(batch), strict=True)):
        kept = [(stage.layer, stage.kept_indices[i] - first) for stage in trace.stages]
        assert distance(logits[i, 0], oracle_logits(model, row, kept, kv_policy)[-1]) < 0.05
