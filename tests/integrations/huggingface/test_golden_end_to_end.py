"""The whole path against the authors' implementation: what is kept, scored, answered and cached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seats_ops import DiversitySelector, WindowBudgetAllocator
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.golden_case import FAMILIES, GoldenCase
from tests.integrations.huggingface.models import golden_thinker
from tests.integrations.huggingface.prompts import columns_of


@pytest.fixture(params=[(family, number) for family in FAMILIES for number in range(4)], ids="{0[0]}-{0[1]}".format)
def case(request: pytest.FixtureRequest, golden_dir: Path) -> GoldenCase:
    family, number = request.param
    return GoldenCase.load(golden_dir, number, family)


@pytest.fixture
def model(case: GoldenCase, golden_dir: Path, attention: str) -> nn.Module:
    return golden_thinker(golden_dir, attention, case.params["family"])


def test_every_stage_keeps_the_same_tokens(case: GoldenCase, model: nn.Module, kv_policy: str) -> None:
    with attach(model, case.schedule(model.config), kv_policy=kv_policy) as trace:
        probes.generate(model, case.inputs, 1)
    assert [stage.layer for stage in trace.stages] == [layer for layer, _ in case.kept]
    for stage, (layer, columns) in zip(trace.stages, case.kept, strict=True):
        assert len(stage.kept_indices) == 1
        assert stage.kept_indices[0].dtype == torch.int64
        assert stage.kept_indices[0].tolist() == columns.tolist(), f"after layer {layer}"
        assert stage.num_tokens == len(columns)
    assert trace.prompt_lengths == [case.params["sequence"]]


def test_stages_carry_the_names_of_their_operators(case: GoldenCase, model: nn.Module) -> None:
    with attach(model, case.schedule(model.config)) as trace:
        probes.generate(model, case.inputs, 1)
    late = ["ModalityDropper"] * (case.params["late_block_layer_1_based"] is not None)
    drops = ["StagePruner"] * len(case.params["drop_layers_1_based"])
    assert [stage.name for stage in trace.stages] == ["DiversitySelector", *drops, *late]


def test_budgets_per_window(case: GoldenCase, model: nn.Module) -> None:
    with attach(model, case.schedule(model.config)) as trace:
        probes.generate(model, case.inputs, 1)
    for stage in trace.stages:
        if stage.name != "StagePruner":
            assert stage.budgets is None
            continue
        by_kind = [case.numbers[f"seats.after_layer_{stage.layer}_{kind}_budget"] for kind in ("video", "audio")]
        expected = torch.stack(by_kind, dim=1)
        # Where a run was emptied its neighbours are one, and there is a window less.
        assert torch.equal(stage.budgets[: len(expected)], expected), f"after layer {stage.layer}"
        assert not stage.budgets[len(expected) :].any()


def test_plain_forward_selects_what_generate_selects(case: GoldenCase, model: nn.Module) -> None:
    with torch.no_grad(), attach(model, case.schedule(model.config)) as trace:
        logits = model(**case.inputs).logits
    for stage, (_, columns) in zip(trace.stages, case.kept, strict=True):
        assert stage.kept_indices[0].tolist() == columns.tolist()
    assert (logits[0, -1] - case.numbers["seats.last_logits"]).abs().max() < 2e-4


def test_logits_and_greedy_tokens(case: GoldenCase, model: nn.Module) -> None:
    with attach(model, case.schedule(model.config)):
        answer = probes.generate(model, case.inputs, 4)
    assert (answer.logits[0] - case.numbers["seats.last_logits"]).abs().max() < 2e-4
    assert answer.ids == case.numbers["seats.generated"].tolist()


def test_cache_lengths(case: GoldenCase, model: nn.Module) -> None:
    with attach(model, case.schedule(model.config)) as trace:
        answer = probes.generate(model, case.inputs, 4)
    assert trace.kv_lengths == case.numbers["seats.kv_lengths"].tolist()
    assert probes.physical_lengths(answer.cache) == case.numbers["seats.kv_lengths_after_generation"].tolist()
    assert answer.cache.get_seq_length() == case.params["sequence"] + 3


def test_per_layer_policy_differs_from_the_reference_only_after_the_prefill(case: GoldenCase, model: nn.Module) -> None:
    with attach(model, case.schedule(model.config), kv_policy="per-layer") as trace:
        answer = probes.generate(model, case.inputs, 4)
    assert (answer.logits[0] - case.numbers["seats.last_logits"]).abs().max() < 2e-4
    seen = [
        min(len(columns) for at, columns in case.kept if at < layer)
        for layer in range(1, case.params["num_layers"] + 1)
    ]
    assert trace.kv_lengths == seen
    assert probes.physical_lengths(answer.cache) == [length + 3 for length in seen]


def test_saliency(case: GoldenCase, model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = probes.recorded_calls(monkeypatch, DiversitySelector)
    with attach(model, case.schedule(model.config)):
        probes.generate(model, case.inputs, 1)
    (call,) = calls
    for kind in ("video", "audio"):
        got = call["saliency"][columns_of(model.config, case.inputs, kind)]
        assert (got - case.numbers[f"seats.{kind}_attention"]).abs().max() < 1e-5, kind


def test_query_scores(case: GoldenCase, model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = probes.recorded_calls(monkeypatch, WindowBudgetAllocator)
    with attach(model, case.schedule(model.config)):
        probes.generate(model, case.inputs, 1)
    layers = case.params["drop_layers_1_based"]
    assert len(calls) == len(layers)
    for layer, call in zip(layers, calls, strict=True):
        torch.testing.assert_close(
            call["scores"], case.numbers[f"seats.after_layer_{layer}_scores"], rtol=1e-3, atol=1e-6
        )


def test_reference_backend_selects_the_same(case: GoldenCase, model: nn.Module) -> None:
    with attach(model, case.schedule(model.config), backend="reference") as trace:
        probes.generate(model, case.inputs, 1)
    assert [stage.kept_indices[0].tolist() for stage in trace.stages] == [kept.tolist() for _, kept in case.kept]


def test_recorded_trace_replays_without_scoring(
    case: GoldenCase, model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with attach(model, case.schedule(model.config)) as trace:
        answer = probes.generate(model, case.inputs, 4)
    trace.save(tmp_path / "trace.json")
    scored: list[Any] = [
        probes.recorded_calls(monkeypatch, operator) for operator in (DiversitySelector, WindowBudgetAllocator)
    ]
    with attach(model, type(trace).load(tmp_path / "trace.json").as_schedule()) as replayed:
        again = probes.generate(model, case.inputs, 4)
    assert scored == [[], []]
    assert [stage.kept_indices[0].tolist() for stage in replayed.stages] == [kept.tolist() for _, kept in case.kept]
    assert torch.equal(again.logits, answer.logits)
    assert replayed.kv_lengths == trace.kv_lengths
