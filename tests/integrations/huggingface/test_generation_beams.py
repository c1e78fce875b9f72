"""Beams and several answers per prompt, against runs of single prompts that are told what to say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seats_ops import Schedule, UnsupportedModelState
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.agreement import TOLERANCE, next_in_generate
from tests.integrations.huggingface.batching import Told, alone, answers, assert_kept_alike, batch_of, converse
from tests.integrations.huggingface.prompts import Audio, Image, Text, Video, build_prompt
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.upstream import CACHE, cache_of, needs

BEAMS, STEPS = 3, 4
PLACES = [("sdpa", "uniform", 1), ("sdpa", "per-layer", 3), ("eager", "uniform", 3), ("eager", "per-layer", 1)]


@pytest.fixture
def rows(thinker: nn.Module) -> list[dict[str, Any]]:
    """At most one sound each, pictures as many as they like."""
    prompts = (
        [Text(9), Video((5, 4, 6), 1.0, mel_frames=430), Text(7)],
        [Text(3), Image((1, 4, 6)), Text(2), Image((1, 6, 4)), Text(4)],
        [Text(3), Image((1, 4, 4)), Text(1), Video((2, 4, 8), 1.0, mel_frames=231), Text(4)],
    )
    built = [build_prompt(thinker.config, *parts, seed=seed) for seed, parts in enumerate(prompts)]
    return [row | {"use_audio_in_video": True} for row in built]


class Teller:
    """Log-probabilities of the next token after a prompt and some tokens, each time from a run of its own."""

    def __init__(self, model: nn.Module, schedule: Schedule, kv_policy: str) -> None:
        self.model, self.schedule, self.kv_policy = model, schedule, kv_policy

    def __call__(self, row: dict[str, Any], said: list[int]) -> Tensor:
        with attach(self.model, self.schedule, kv_policy=self.kv_policy):
            logits = converse(self.model, row, [next_in_generate(self.model, row)], [[[token]] for token in said])
        return logits[0, -1].log_softmax(-1)


def beam_search(teller: Teller, row: dict[str, Any]) -> tuple[list[list[int]], list[float]]:
    """The best answers and their scores, mean log-probability of a token, best first."""
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(STEPS):
        longer = []
        for score, said in beams:
            best = teller(row, said).topk(BEAMS)
            longer += [(score + float(p), [*said, int(i)]) for p, i in zip(*best, strict=True)]
        beams = sorted(longer, reverse=True)[:BEAMS]
    return [said for _, said in beams], [score / STEPS for score, _ in beams]


@pytest.mark.parametrize(("attention", "kv_policy", "count"), PLACES)
@needs("copies of media")
@needs("copies of several media", lambda count, **_: count > 1)
def test_beam_search(thinker: nn.Module, rows: list[dict[str, Any]], kv_policy: str, count: int) -> None:
    schedule, rows = SCHEDULES["preset"](thinker.config), rows[:count]
    batch = batch_of(rows)
    options = {"num_beams": BEAMS, "num_return_sequences": BEAMS, "max_new_tokens": STEPS, "do_sample": False}
    with attach(thinker, schedule, kv_policy=kv_policy) as trace:
        output = thinker.generate(**batch, **options, return_dict_in_generate=True, output_scores=True)
    assert_kept_alike(trace, batch, alone(thinker, rows, schedule, 1, kv_policy=kv_policy))
    assert all(len(stage.kept_indices) == count for stage in trace.stages)
    assert trace.prompt_lengths == [row["input_ids"].shape[1] for row in rows]
    said = output.sequences[:, -STEPS:].view(count, BEAMS, STEPS).tolist()
    for row, got, scores in zip(rows, said, output.sequences_scores.view(count, BEAMS), strict=True):
        expected, expected_scores = beam_search(Teller(thinker, schedule, kv_policy), row)
        assert got == expected
        assert (scores - torch.tensor(expected_scores)).abs().max() < TOLERANCE


@pytest.mark.parametrize(("attention", "kv_policy", "count"), PLACES)
@needs("copies of media")
@needs("copies of several media", lambda count, **_: count > 1)
def test_sampling_several_answers(thinker: nn.Module, rows: list[dict[str, Any]], kv_policy: str, count: int) -> None:
    """Drawn with one seed from what single prompts predict: the same tokens."""
    schedule, rows, copies = SCHEDULES["preset"](thinker.config), rows[:count], 2
    batch = batch_of(rows)
    options = {"num_return_sequences": copies, "do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    torch.manual_seed(3)
    with attach(thinker, schedule, kv_policy=kv_policy) as trace:
        sequences = thinker.generate(**batch, **options, max_new_tokens=STEPS)
    assert_kept_alike(trace, batch, alone(thinker, rows, schedule, 1, kv_policy=kv_policy))
    tell = Teller(thinker, schedule, kv_policy)
    torch.manual_seed(3)
    said: list[list[int]] = [[] for _ in range(count * copies)]
    for _ in range(STEPS):
        told = torch.stack([tell(rows[i // copies], answer) for i, answer in enumerate(said)])
        for answer, token in zip(said, torch.multinomial(told.exp(), 1)[:, 0].tolist(), strict=True):
            answer.append(token)
    assert sequences[:, -STEPS:].tolist() == said
    assert said[0] != said[1]


@pytest.mark.parametrize("attention", ["sdpa"])
@needs("copies of media")
def test_a_turn_after_several_answers(thinker: nn.Module, rows: list[dict[str, Any]], kv_policy: str) -> None:
    schedule, row = SCHEDULES["preset"](thinker.config), rows[0]
    torch.manual_seed(4)
    question = torch.tensor([[21, 150, 33]]).expand(2, -1)
    with attach(thinker, schedule, kv_policy=kv_policy):
        first = thinker.generate(
            **row, num_return_sequences=2, do_sample=True, max_new_tokens=3, return_dict_in_generate=True
        )
        talk = torch.cat([first.sequences, question], 1)
        turn = {"input_ids": talk, "attention_mask": torch.ones_like(talk)}
        ids, logits = answers(thinker, turn, 3, **{CACHE: cache_of(first)})
    assert first.sequences[0].tolist() != first.sequences[1].tolist()
    for i in range(2):
        with attach(thinker, schedule, kv_policy=kv_policy):
            said = torch.tensor([first.sequences[i, -3:].tolist()])
            cache = probes.generate(thinker, row, 3, logits_processor=[Told(said)]).cache
            turn = {"input_ids": talk[i : i + 1], "attention_mask": torch.ones(1, talk.shape[1], dtype=torch.long)}
            expected = answers(thinker, turn, 3, **{CACHE: cache})
        assert ids[i].tolist() == expected[0][0].tolist()
        assert (logits[i] - expected[1][0]).abs().max() < TOLERANCE


SEVERAL = {"beams": {"num_beams": 2}, "answers": {"num_return_sequences": 2, "do_sample": True}}


@pytest.mark.parametrize("attention", ["sdpa"])
@pytest.mark.parametrize("options", SEVERAL.values(), ids=SEVERAL)
def test_several_sounds_in_a_prompt_are_refused(thinker: nn.Module, options: dict[str, Any]) -> None:
    rows = [
        build_prompt(thinker.config, Text(3), Audio(190), Text(4)),
        build_prompt(thinker.config, Text(3), Audio(190), Text(2), Audio(95), Text(4)),
    ]
    with attach(thinker, SCHEDULES["preset"](thinker.config)):
        with probes.produced_logits(thinker) as produced, pytest.raises(UnsupportedModelState, match="2 sounds"):
            thinker.generate(**batch_of(rows), max_new_tokens=2, **options)
        assert produced == []
        assert thinker.generate(**batch_of(rows), max_new_tokens=2, do_sample=False).shape[0] == 2


@pytest.mark.parametrize("attention", ["sdpa"])
def test_transformers_mixes_up_several_sounds(thinker: nn.Module) -> None:
    """Why they are refused: without pruning, too, a second answer is not to the prompt that was given."""
    row = build_prompt(thinker.config, Text(3), Audio(190), Text(2), Audio(95), Text(4))
    once = answers(thinker, row, 1)[1][0]
    twice = answers(thinker, row, 1, num_return_sequences=2, do_sample=True)[1]
    assert all((logits - once).abs().max() > 0.1 for logits in twice)


@pytest.mark.parametrize("attention", ["sdpa"])
@needs("copies of media")
@needs("copies of several media")
def test_beams_past_the_guard(thinker: nn.Module, rows: list[dict[str, Any]], kv_policy: str) -> None:
    """`generate` of the class is not looked at: copies are told from the features, and tokens selected for each."""
    schedule, batch = SCHEDULES["preset"](thinker.config), batch_of(rows)
    options = {"num_beams": BEAMS, "max_new_tokens": STEPS, "do_sample": False}
    with attach(thinker, schedule, kv_policy=kv_policy):
        expected = thinker.generate(**batch, **options)
    with attach(thinker, schedule, kv_policy=kv_policy) as trace:
        got = type(thinker).generate(thinker, **batch, **options)
    assert torch.equal(got, expected)
    assert len(trace.stages[0].kept_indices) == len(rows) * BEAMS
