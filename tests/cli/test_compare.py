"""compare() on a tiny model: the numbers are the model's, nothing measured is lost, nothing stays on the model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seats_ops import ModalityDropper, PruneTrace, Schedule, seats
from seats_ops.cli.clip import load_clip
from seats_ops.cli.inputs import own_inputs
from seats_ops.compare import ALL_TOKENS, Comparison, Prompt, compare
from seats_ops.compare.answers import answer, answer_along
from seats_ops.cost import PromptLengths, prefill_cost
from seats_ops.integrations import attach
from seats_ops.measure.prefill import last_logits_only

LENGTH = 4


@pytest.fixture(scope="module")
def inputs(tiny_config: Any, make_video: Callable[..., Path]) -> dict[str, Any]:
    return own_inputs(load_clip(make_video()), "What is this?", tiny_config, frame_tokens=32)


@pytest.fixture(scope="module")
def schedules(tiny_config: Any) -> dict[str, Schedule]:
    late = Schedule(after_layer={2: [ModalityDropper()]})
    return {"late <i>": late, "SEATS 10%": seats(tiny_config, video=0.06, audio=0.35)}


def damaged() -> Prompt:
    raise ValueError("video: b.mp4 is damaged")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compared")


@pytest.fixture(scope="module")
def found(tiny_model: Any, inputs: dict[str, Any], schedules: dict[str, Schedule], out: Path) -> Comparison:
    prompts = {"a <b>": Prompt(inputs, "<script>alert(1)</script>"), "b": damaged, "c": lambda: Prompt(inputs)}
    return compare(tiny_model, prompts, schedules, max_new_tokens=LENGTH, repeats=2, out=out, notes=["by hand"])


def test_a_damaged_prompt_is_reported_and_the_next_one_goes_on(found: Comparison) -> None:
    assert sorted(record.name for record in found.records) == ["a <b>", "c"]
    assert [(record.name, record.error) for record in found.failed] == [("b", "video: b.mp4 is damaged")]


def test_answers_are_those_of_the_model(
    found: Comparison, tiny_model: Any, inputs: dict[str, Any], schedules: dict[str, Schedule]
) -> None:
    prompt = inputs["input_ids"].shape[1]
    runs = {run.name: run for run in found.records[0].runs}
    assert list(runs) == [ALL_TOKENS, *schedules]
    alone = tiny_model.generate(**inputs, max_new_tokens=LENGTH, do_sample=False)[0, prompt:].tolist()
    assert list(runs[ALL_TOKENS].answer) == alone
    assert runs[ALL_TOKENS].agreement is None
    for name, schedule in schedules.items():
        with attach(tiny_model, schedule):
            pruned = tiny_model.generate(**inputs, max_new_tokens=LENGTH, do_sample=False)[0, prompt:].tolist()
        assert list(runs[name].answer) == pruned


def test_kl_is_that_of_a_loop_that_feeds_the_answer(
    found: Comparison, tiny_model: Any, inputs: dict[str, Any], schedules: dict[str, Schedule]
) -> None:
    full = next(run.answer for run in found.records[0].runs)
    p = _by_hand(tiny_model, inputs, full).double().log_softmax(-1)
    for name, schedule in schedules.items():
        with attach(tiny_model, schedule):
            q = _by_hand(tiny_model, inputs, full).double().log_softmax(-1)
        expected = (p.exp() * (p - q)).sum(-1)
        agreement = next(run.agreement for run in found.records[0].runs if run.name == name)
        assert agreement is not None
        assert expected.max() > 1e-6
        torch.testing.assert_close(torch.tensor(agreement.kl, dtype=torch.float64), expected, rtol=1e-3, atol=1e-9)


@torch.no_grad()
def _by_hand(model: Any, inputs: dict[str, Any], tokens: tuple[int, ...]) -> torch.Tensor:
    """Logits [tokens, vocab] at the places of an answer: a prefill, then one forward per token."""
    output = model(**inputs, use_cache=True)
    logits, mask = [output.logits[0, -1]], inputs["attention_mask"]
    for token in tokens[:-1]:
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        position = torch.full((3, 1, 1), mask.shape[1] - 1, dtype=torch.long) + model.model.rope_deltas.view(1, 1, 1)
        output = model(
            input_ids=torch.tensor([[token]]),
            attention_mask=mask,
            position_ids=position,
            past_key_values=output.past_key_values,
            use_cache=True,
        )
        logits.append(output.logits[0, -1])
    return torch.stack(logits)


@torch.no_grad()
def test_along_its_own_answer_a_model_says_the_same(tiny_model: Any, inputs: dict[str, Any]) -> None:
    with last_logits_only(tiny_model):
        free = answer(tiny_model, inputs, LENGTH)
        along = answer_along(tiny_model, inputs, free.tokens)
        other = answer_along(tiny_model, inputs, [7, 8, 9])
    assert along.tokens == free.tokens and torch.equal(along.logits, free.logits)
    assert other.tokens == (7, 8, 9)
    assert torch.equal(other.logits[0], free.logits[0])


def test_costs_are_of_the_tokens_that_were_kept(
    found: Comparison, tiny_config: Any, schedules: dict[str, Schedule], inputs: dict[str, Any]
) -> None:
    record = found.records[0]
    full, late, _ = record.runs
    length = inputs["input_ids"].shape[1]
    assert record.prompt_tokens is not None and sum(record.prompt_tokens.values()) == length
    assert full.mean_tokens == full.last_tokens == length
    text = record.prompt_tokens["text"]
    assert late.last_tokens == text and late.mean_tokens == pytest.approx((2 * length + 26 * text) / 28)
    assert (full.kept, full.asked) == ({}, {})
    assert late.kept == pytest.approx({"video": 2 / 28, "audio": 2 / 28}) and late.asked == pytest.approx(late.kept)
    # One KV head of 16 numbers, keys and values, float32, 28 layers.
    assert (full.kv_bytes, late.kv_bytes) == (length * 28 * 2 * 16 * 4, text * 28 * 2 * 16 * 4)
    lengths = PromptLengths(text=text, video_blocks=(record.prompt_tokens["video"],))
    both = PromptLengths(text, lengths.video_blocks, (record.prompt_tokens["audio"],))
    assert late.flops == sum(prefill_cost(tiny_config, schedules["late <i>"], both).flops_per_layer)
    assert full.flops == sum(prefill_cost(tiny_config, Schedule(), both).flops_per_layer)
    for run in record.runs:
        assert len(run.first_token_seconds) == len(run.prefill_seconds) == 2
        assert all(0 < rest < whole for rest, whole in zip(run.prefill_seconds, run.first_token_seconds, strict=True))
        assert run.peak_bytes > run.kv_bytes


def test_nothing_stays_on_the_model(found: Comparison, tiny_model: Any) -> None:
    hooks = [h for m in tiny_model.modules() for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())]
    assert hooks == []
    assert "generate" not in tiny_model.__dict__


def test_the_folder_holds_all_of_it(found: Comparison, out: Path) -> None:
    assert found.page == out / "index.html"
    stored = json.loads((out / "overall.json").read_text())
    assert stored["overall"]["late <i>"]["kl"]["value"] == found.overall["late <i>"]["kl"].value
    assert [record["name"] for record in stored["records"]] == [record.name for record in found.records]
    page = found.page.read_text()
    links = re.findall(r'href="([^"]+)"', page)
    assert len(links) == 4 and all((out / link).is_file() for link in links)
    traces = [PruneTrace.load((out / link).with_suffix(".json")) for link in links]
    assert [trace.saliency is not None for trace in traces] == [False, True] * 2  # a late drop looks at nothing
    assert "<script>" not in page and "a &lt;b&gt;" in page and "&lt;script&gt;alert(1)" in page
    assert "by hand" in page and "video: b.mp4 is damaged" in page


def test_the_same_call_goes_on_where_it_stopped(
    found: Comparison, tiny_model: Any, inputs: dict[str, Any], schedules: dict[str, Schedule], out: Path
) -> None:
    def never() -> Prompt:
        raise AssertionError("run anew")

    again: list[str] = []

    def now_whole() -> Prompt:
        again.append("b")
        return Prompt(inputs)

    options: dict[str, Any] = {"max_new_tokens": LENGTH, "repeats": 2, "out": out}
    second = compare(tiny_model, {"a <b>": never, "b": now_whole, "c": never}, schedules, **options)
    assert again == ["b"] and not second.failed
    kept = {record.name: record for record in second.records}
    assert {name: kept[name] for name in ("a <b>", "c")} == {record.name: record for record in found.records}
    other = dict(reversed(schedules.items()))
    turned = compare(tiny_model, {"a <b>": never, "c": never}, other, **options)
    assert list(turned.overall) == list(other) and list(turned.differences) == ["late <i>"]
    assert all([run.name for run in record.runs] == [ALL_TOKENS, *other] for record in turned.records)
    changed = compare(tiny_model, {"a <b>": never}, schedules, identities={"a <b>": 2}, **options)
    assert [(r.name, r.error) for r in changed.failed] == [("a <b>", "AssertionError: run anew")]


def test_an_interrupt_keeps_what_was_measured(
    tiny_model: Any, inputs: dict[str, Any], schedules: dict[str, Schedule], tmp_path: Path
) -> None:
    def stop() -> Prompt:
        raise KeyboardInterrupt

    one = {"late <i>": schedules["late <i>"]}
    options: dict[str, Any] = {"max_new_tokens": 1, "repeats": 1, "out": tmp_path, "pages": False}
    with pytest.raises(KeyboardInterrupt):
        compare(tiny_model, {"a": Prompt(inputs), "b": stop}, one, **options)
    assert [json.loads(line).get("name") for line in (tmp_path / "prompts.jsonl").read_text().splitlines()] == [
        None,
        "a",
    ]
    assert not (tmp_path / "prompts").exists()
    # Pages that are wanted now are made, as they are where a disk was full.
    del options["pages"]
    assert not compare(tiny_model, {"a": Prompt(inputs)}, one, **options).failed
    assert len(list((tmp_path / "prompts").rglob("*.html"))) == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"prompts": {}}, "prompts: expected a mapping of names with at least one entry"),
        ({"schedules": {}}, "schedules: expected a mapping of names"),
        ({"schedules": {ALL_TOKENS: Schedule()}}, "schedules: expected other names than 'all tokens'"),
        (
            {"schedules": {"deep": Schedule(after_layer={28: [ModalityDropper()]})}},
            r"schedules\['deep'\]: schedule: expected layers from 1 to 27, .* got \[28\]",
        ),
        ({"schedules": {"x": "seats"}}, r"schedules\['x'\]: schedule: expected a Schedule, got"),
        ({"repeats": 0}, "repeats: expected an int from 1, got 0"),
        ({"max_new_tokens": 1.5}, "max_new_tokens: expected an int from 1, got 1.5"),
        ({"backend": "cuda"}, "backend: expected one of"),
        ({"kv_policy": "none"}, "kv_policy: expected one of"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    tiny_model: Any, tmp_path: Path, change: dict[str, Any], error: str
) -> None:
    arguments: dict[str, Any] = {"prompts": {"a": damaged}, "schedules": {"all": Schedule()}, **change}
    with pytest.raises((TypeError, ValueError), match=error):
        compare(tiny_model, arguments.pop("prompts"), arguments.pop("schedules"), out=tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()


def test_a_batch_is_no_prompt(tiny_model: Any, inputs: dict[str, Any]) -> None:
    two = {**inputs, "input_ids": inputs["input_ids"].repeat(2, 1)}
    found = compare(tiny_model, {"two": Prompt(two)}, {"all": Schedule()})
    assert found.failed[0].error == "inputs: expected one prompt, got a batch of 2" and found.page is None
