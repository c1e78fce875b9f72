"""The horizon of models of which it is known."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import pytest
import torch

from seats_ops import ModalityDropper, Schedule
from seats_ops.compare.answers import answer, answer_along
from seats_ops.horizon import Horizon, measure_horizon
from seats_ops.integrations import attach, family_of
from tests.horizon.models import clip, hooks_of, parameters_of, reads_at, reads_until, sound, written
from tests.integrations.huggingface.batching import batch_of
from tests.integrations.huggingface.models import small_omni

READS = 4
ROWS = 6


@pytest.fixture(scope="module")
def until_four() -> Any:
    return reads_until(READS)


@pytest.fixture(scope="module")
def found(until_four: Any) -> Horizon:
    return measure_horizon(until_four, [clip(until_four, seed) for seed in range(ROWS)], seed=7)


def test_what_leaves_after_the_last_layer_that_reads_is_not_missed(found: Horizon) -> None:
    assert (found.num_layers, found.layers, found.num_rows) == (7, tuple(range(7)), ROWS)
    assert found.modalities == ("video", "audio")
    assert found.ways == ("media", "video", "audio", "relevance", "shuffled")
    for (way, layer), cell in found.cells.items():
        assert cell.rows == tuple(range(ROWS))
        if layer >= READS:
            assert cell.agreement == (1.0,) * ROWS, (way, layer)
            assert cell.kl == pytest.approx([0.0] * ROWS, abs=1e-9), (way, layer)
            assert cell.tokens == found.tokens
        else:
            assert min(cell.kl) > 1e-5, (way, layer)
    # One layer more to read is one chance more, and each modality is less than both.
    losses = [found.mean("media", layer, "kl").value for layer in range(READS + 1)]
    assert losses == sorted(losses, reverse=True)
    assert found.mean("media", 0).value < 0.5


def test_it_says_what_pruning_by_hand_says(until_four: Any, found: Horizon) -> None:
    inputs = clip(until_four, 2)
    with torch.no_grad():
        full = until_four(**inputs).logits[0, -1].double().log_softmax(-1)
        with attach(until_four, Schedule(after_layer={2: ModalityDropper(("audio",))})):
            pruned = until_four(**inputs).logits[0, -1].double().log_softmax(-1)
    cell = found.cell("audio", 2)
    # The head multiplies one row instead of 144, which float32 rounds otherwise.
    assert cell.kl[2] == pytest.approx(float((full.exp() * (full - pruned)).sum()), rel=1e-5)
    assert (found.tokens[2], cell.tokens[2]) == (int(full.argmax()), int(pruned.argmax()))
    assert cell.agreement[2] == float(full.argmax() == pruned.argmax())


def test_relevance_that_is_right_beats_chance_and_no_other_layer_gains(until_four: Any) -> None:
    model = reads_at(3)
    found = measure_horizon(model, [clip(model, seed) for seed in range(8)], layers=[1, 3, 5])
    assert found.gain(3).low > 0  # type: ignore[operator]
    assert found.mean("relevance", 3, "kl").value < 0.2 * found.mean("shuffled", 3, "kl").value
    assert found.gain(3, "agreement").value >= 0
    # Nothing reads behind layer 4: neither choice can hurt.
    assert found.gain(5).value == pytest.approx(0, abs=1e-9)


def test_keeping_all_loses_nothing_whatever_the_scores(until_four: Any) -> None:
    found = measure_horizon(until_four, [clip(until_four, 0)], layers=[2], share=1.0)
    for way in ("relevance", "shuffled"):
        assert found.cell(way, 2).kl == pytest.approx([0.0], abs=1e-12)


def test_shuffles_are_seeded_by_row_and_layer_and_not_by_batch(until_four: Any, found: Horizon) -> None:
    rows = [clip(until_four, seed) for seed in range(3)]
    # Same clip twice: what chance keeps of it differs.
    twice = measure_horizon(until_four, [rows[0], rows[0]], layers=[1], seed=7)
    assert twice.cell("relevance", 1).kl[0] == twice.cell("relevance", 1).kl[1]
    assert twice.cell("shuffled", 1).kl[0] != twice.cell("shuffled", 1).kl[1]
    assert twice.cell("shuffled", 1).kl[0] == found.cell("shuffled", 1).kl[0]
    batched = measure_horizon(until_four, [batch_of(rows)], layers=[1, 2], seed=7)
    for layer in (1, 2):
        for way in found.ways:
            assert batched.cell(way, layer).kl == pytest.approx(found.cell(way, layer).kl[:3], abs=1e-5), (way, layer)
    other = measure_horizon(until_four, [rows[0]], layers=[1], seed=8)
    assert other.cell("shuffled", 1).kl[0] != found.cell("shuffled", 1).kl[0]


def test_rows_count_where_something_of_theirs_leaves(until_four: Any) -> None:
    found = measure_horizon(until_four, [sound(until_four, 0), clip(until_four, 1)], layers=[0, 2])
    assert found.cell("video", 2).rows == (1,)
    assert found.cell("audio", 2).rows == found.cell("media", 2).rows == (0, 1)
    # Without video, sound alone is all there is.
    assert found.cell("audio", 2).kl[0] == found.cell("media", 2).kl[0]
    alone = measure_horizon(until_four, [sound(until_four, 0)], layers=[2])
    assert (alone.modalities, alone.ways) == (("audio",), ("media", "relevance", "shuffled"))


@pytest.mark.parametrize("policy", ["uniform", "per-layer"])
def test_longer_answers_are_led_along_the_full_models(until_four: Any, policy: str) -> None:
    inputs, schedule = clip(until_four, 1), Schedule(after_layer={READS: ModalityDropper(("video", "audio", "image"))})
    found = measure_horizon(until_four, [inputs], layers=[READS], answer_tokens=3, kv_policy=policy)
    full = answer(until_four, inputs, 3)
    with attach(until_four, schedule, kv_policy=policy):
        along = answer_along(until_four, inputs, full.tokens)
    log_p, log_q = (each.logits.double().log_softmax(-1) for each in (full, along))
    (kl,) = found.cell("media", READS).kl
    assert kl == pytest.approx(float((log_p.exp() * (log_p - log_q)).sum(-1).mean()), abs=1e-9)
    # What came before the drop is still read by the tokens of the answer, if its keys stay.
    assert (kl < 1e-9) == (policy == "per-layer")


def test_an_answer_is_looked_at_up_to_its_end(until_four: Any) -> None:
    rows = [clip(until_four, seed) for seed in range(2)]
    first = [answer(until_four, row, 1).tokens[0] for row in rows]
    assert first[0] != first[1]
    short = measure_horizon(until_four, [rows[0]], layers=[1])
    until_four.generation_config.eos_token_id, before = first[0], until_four.generation_config.eos_token_id
    try:
        ended = measure_horizon(until_four, [batch_of(rows)], layers=[1], answer_tokens=3)
    finally:
        until_four.generation_config.eos_token_id = before
    for way in short.ways:
        assert ended.cell(way, 1).kl[0] == pytest.approx(short.cell(way, 1).kl[0], abs=1e-5)
        assert ended.cell(way, 1).agreement[1] in [pytest.approx(n / 3) for n in range(4)]


def test_a_full_omni_model_is_measured_by_its_thinker_and_a_family_is_handed_on() -> None:
    omni = small_omni()
    inputs = clip(omni.thinker, 0)
    found = measure_horizon(omni, [inputs], layers=[2])
    assert found.cells == measure_horizon(omni.thinker, [inputs], layers=[2]).cells
    with pytest.raises(TypeError, match="model: expected one of Other, got"):
        measure_horizon(omni, [inputs], family=_renamed(family_of(omni)))


def _renamed(family: Any) -> Any:
    from dataclasses import replace

    return replace(family, thinker="Other", full_model=None)


def test_nothing_of_it_stays_behind(until_four: Any) -> None:
    inputs = clip(until_four, 0)
    kept = {name: value.clone() for name, value in inputs.items() if torch.is_tensor(value)}
    before, hooks, drawn = parameters_of(until_four), hooks_of(until_four), torch.get_rng_state()
    with torch.no_grad():
        said = until_four(**inputs).logits
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        measure_horizon(until_four, [inputs], layers=[1, 3])
        with pytest.raises(ValueError, match="text alone"):
            measure_horizon(until_four, [written(until_four)])
    with torch.no_grad():
        assert torch.equal(until_four(**inputs).logits, said)
    assert hooks_of(until_four) == hooks and torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, inputs[name]) for name, value in kept.items())
    assert all(torch.equal(value, before[name]) for name, value in parameters_of(until_four).items())


def test_prompts_are_asked_for_one_at_a_time_and_progress_is_told(until_four: Any) -> None:
    told: list[tuple[int, float, str]] = []

    def prompts() -> Any:
        for seed in range(2):
            assert not told or told[-1][0] == seed - 1
            yield clip(until_four, seed)

    measure_horizon(until_four, prompts(), layers=[0, 5], progress=lambda *said: told.append(said))
    assert [said for said in told if said[0] == 1] == [(1, done, text) for number, done, text in told if number == 0]
    assert told[0] == (0, 0.0, "layer 0, media") and told[-1][2] == "layer 5, shuffled"
    # Three ways to drop before the first layer, five after the fifth.
    assert [done for number, done, _ in told if number == 0] == [step / 8 for step in range(8)]


def test_a_batch_that_fails_is_left_out_where_that_is_asked_for(until_four: Any) -> None:
    failed: list[tuple[int, str]] = []

    def damaged() -> Any:
        raise OSError("cut off")

    given = [clip(until_four, 0), damaged, written(until_four), lambda: clip(until_four, 1)]
    found = measure_horizon(until_four, given, layers=[1], on_error=lambda n, error: failed.append((n, str(error))))
    assert [number for number, _ in failed] == [1, 2] and failed[0][1] == "cut off"
    assert found == measure_horizon(until_four, [clip(until_four, 0), clip(until_four, 1)], layers=[1])
    with pytest.raises(OSError, match="cut off"):
        measure_horizon(until_four, given, layers=[1])
    with pytest.raises(ValueError, match="prompts: expected at least one batch that runs, got none"):
        measure_horizon(until_four, [damaged], on_error=lambda n, error: None)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"layers": []}, ValueError, r"layers: expected ints from 0 to 6, got \[\]"),
        ({"layers": [7]}, ValueError, r"layers: expected ints from 0 to 6, got \[7\]"),
        ({"layers": [True]}, ValueError, r"layers: expected ints from 0 to 6, got \[True\]"),
        ({"layers": [2, 2]}, ValueError, r"layers: expected each once, got \[2, 2\]"),
        ({"share": 0.0}, ValueError, "share: expected one above 0"),
        ({"share": 1.5}, ValueError, "share: expected"),
        ({"answer_tokens": 0}, ValueError, "answer_tokens: expected an int from 1, got"),
        ({"seed": -1}, ValueError, "seed: expected an int from 0, got"),
        ({"kv_policy": "some"}, ValueError, "kv_policy: expected one of"),
        ({"backend": "some"}, ValueError, "backend: expected one of"),
        ({"family": "qwen"}, TypeError, "family: expected a Family or None, got"),
        ({"labels": "who"}, TypeError, "labels: expected a str per row, got"),
        ({"labels": [1]}, TypeError, "labels: expected a str per row, got"),
        ({"labels": ["a"], "on_error": print}, ValueError, "labels: expected None with on_error"),
        ({"labels": []}, ValueError, "labels: expected one per row, got 0"),
        ({"labels": ["a", "b"], "layers": [6]}, ValueError, "labels: expected 1, one per row, got 2"),
    ],
)
def test_options_that_cannot_be(until_four: Any, options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        measure_horizon(until_four, [clip(until_four, 0)], **options)


def test_prompts_that_cannot_be(until_four: Any) -> None:
    measured = partial(measure_horizon, until_four, layers=[6])
    with pytest.raises(ValueError, match="prompts: expected at least one batch that runs, got none"):
        measured([])
    with pytest.raises(TypeError, match="prompts: expected mappings with input_ids"):
        measured([{"pixel_values": torch.zeros(1)}])
    with pytest.raises(TypeError, match="prompts: expected mappings with input_ids"):
        measured(["a clip"])
    with pytest.raises(ValueError, match="expected audio, video or pictures in every row, got row 1 of text alone"):
        measured([clip(until_four, 0), written(until_four)])
    padded = batch_of([clip(until_four, 0), sound(until_four, 1)], side="right")
    with pytest.raises(ValueError, match="attention_mask: expected rows padded on the left"):
        measured([padded])


def test_a_model_in_training_is_refused(until_four: Any) -> None:
    until_four.train()
    try:
        with pytest.raises(ValueError, match="model: expected one in evaluation mode"):
            measure_horizon(until_four, [clip(until_four, 0)])
    finally:
        until_four.eval()
