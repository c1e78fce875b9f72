"""Measuring: the runs see the same prompt, keep what their schedule says, and leave the model as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seats_ops import PruneTrace, Schedule
from seats_ops.cli.clip import load_clip
from seats_ops.cli.inputs import own_inputs
from seats_ops.cli.run import PAPER_RATIOS, Run, layer_medians, measure, paper_runs
from seats_ops.cli.tables import layer_flops, mean_retention, paper_flops, result_note, result_table
from seats_ops.cost import PromptLengths, prefill_cost
from seats_ops.integrations.huggingface.prompt.token_layout import MediaTokens, build_token_layout

RATIOS = ("fewer", "faster")


@pytest.fixture(scope="module")
def inputs(tiny_config: Any, make_video: Callable[..., Path]) -> dict[str, Any]:
    return own_inputs(load_clip(make_video()), "What is this?", tiny_config, frame_tokens=48)


@pytest.fixture(scope="module")
def lengths(tiny_config: Any, inputs: dict[str, Any]) -> PromptLengths:
    return PromptLengths.from_layout(
        build_token_layout(
            inputs["input_ids"], MediaTokens.from_config(tiny_config), video_grid_thw=inputs["video_grid_thw"]
        )
    )


@pytest.fixture(scope="module")
def steps() -> list[str]:
    return []


@pytest.fixture(scope="module")
def runs(tiny_model: Any, inputs: dict[str, Any], steps: list[str]) -> list[Run]:
    runs = paper_runs(tiny_model.config)
    measure(tiny_model, inputs, runs, repeats=2, max_new_tokens=3, progress=steps.append)
    return runs


def test_the_papers_pairs_of_ratios() -> None:
    # arXiv 2605.20035, main results, Qwen2.5-Omni-7B: R (Rv-Ra) in percent.
    assert PAPER_RATIOS == {35: (0.30, 0.65), 25: (0.20, 0.55), 15: (0.10, 0.45), 10: (0.06, 0.35)}


def test_every_run_is_measured(runs: list[Run], steps: list[str]) -> None:
    assert [run.name for run in runs] == ["all tokens", "SEATS 35%", "SEATS 25%", "SEATS 15%", "SEATS 10%"]
    assert len(steps) == len(runs) * 3
    for run in runs:
        assert len(run.answer) == 3
        assert len(run.prefill_seconds) == 2
        assert all(0 < part < whole for part, whole in zip(run.encoder_seconds, run.prefill_seconds, strict=True))


def test_layers_are_timed_where_there_is_a_trace_to_show_them_with(runs: list[Run]) -> None:
    assert runs[0].layer_seconds == []
    for run in runs[1:]:
        assert [len(times) for times in run.layer_seconds] == [28, 28]
        assert all(seconds > 0 for times in run.layer_seconds for seconds in times)
        assert layer_medians(run)[3] == pytest.approx((run.layer_seconds[0][3] + run.layer_seconds[1][3]) / 2)
        assert run.layer_clock.startswith("CPU time of ")


def test_the_unpruned_run_answers_like_the_model_alone(
    runs: list[Run], tiny_model: Any, inputs: dict[str, Any]
) -> None:
    output = tiny_model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert runs[0].answer == output[0, inputs["input_ids"].shape[1] :].tolist()
    assert runs[0].trace is None


def test_nothing_stays_on_the_model(runs: list[Run], tiny_model: Any) -> None:
    hooks = [h for m in tiny_model.modules() for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())]
    assert hooks == []
    assert "generate" not in tiny_model.__dict__


def test_an_average_layer_sees_what_was_asked_for(runs: list[Run]) -> None:
    for run in runs[1:]:
        assert run.trace is not None
        kept = mean_retention(run.trace, 28)
        # Whole tokens per block and window: a few of several hundred video and 133 audio tokens.
        assert kept["video"] == pytest.approx(run.retention[0], abs=0.03)
        assert kept["audio"] == pytest.approx(run.retention[1], abs=0.03)


def test_kv_bytes_are_those_of_the_surviving_tokens(runs: list[Run], tiny_config: Any, lengths: PromptLengths) -> None:
    for run in runs:
        predicted = prefill_cost(tiny_config, run.schedule or Schedule(), lengths, kv_element_bytes=4)
        assert run.kv_bytes == predicted.kv_bytes


def test_fewer_tokens_cost_fewer_flops(runs: list[Run], tiny_config: Any, lengths: PromptLengths) -> None:
    layers, paper = layer_flops(tiny_config, runs, lengths.total), paper_flops(tiny_config, runs, lengths.total)
    assert paper[0] == prefill_cost(tiny_config, Schedule(), lengths).flops
    assert layers == sorted(layers, reverse=True)
    # The output head, 32 x 151,700 multiply-adds for each of the tokens left: all of them, or the text.
    head = 32 * 151_700
    assert [p - n for p, n in zip(paper, layers, strict=True)] == [head * lengths.total] + [head * lengths.text] * 4


def test_mean_retention_of_a_hand_made_trace() -> None:
    trace = PruneTrace.from_json(
        '{"format": 1, "prompt_lengths": [30], "prompt_counts": {"text": 10, "video": 20}, "kv_lengths": [],'
        ' "stages": [{"name": "DiversitySelector", "layer": 0, "num_tokens": 20, "counts": {"text": 10, "video": 10},'
        ' "kept_indices": [[]], "budgets": null}, {"name": "ModalityDropper", "layer": 3, "num_tokens": 10,'
        ' "counts": {"text": 10, "video": 0}, "kept_indices": [[]], "budgets": null}]}'
    )
    assert mean_retention(trace, 4) == {"video": pytest.approx((10 + 10 + 10 + 0) / (4 * 20))}


def test_under_the_table_stands_what_was_asked_for(runs: list[Run]) -> None:
    note = result_note(runs, 28, "CPU s")
    assert "(asked for, row by row: video 30.0%, 20.0%, 10.0%, 6.0%; audio 65.0%, 55.0%, 45.0%, 35.0%)" in note
    assert "asked" not in result_note(runs[:1], 28, "CPU s")


def test_the_table_says_what_was_measured(runs: list[Run], tiny_config: Any, lengths: PromptLengths) -> None:
    table = result_table(runs, lengths, 28, {"here": layer_flops(tiny_config, runs, lengths.total)}, "CPU s")
    columns = [list(column.cells) for column in table.columns]
    assert columns[0] == [run.name for run in runs]
    assert columns[1][0] == columns[2][0] == "100.0%"
    assert columns[3] == [f"{lengths.total:,}"] + [f"{lengths.text:,}"] * 4
    ratios = [cells for column, cells in zip(table.columns, columns, strict=True) if column.header[1:] in RATIOS]
    assert [cells[0].lstrip("~") for cells in ratios] == ["1.0x"] * 3
    keys = [lengths.total / (lengths.total if run.trace is None else lengths.text) for run in runs]
    assert ratios[1] == [f"{ratio:.1f}x" for ratio in keys]


def test_a_failing_run_leaves_no_hook(tiny_model: Any, inputs: dict[str, Any]) -> None:
    broken = {**inputs, "video_grid_thw": torch.tensor([[1, 2, 2]])}
    with pytest.raises((ValueError, RuntimeError, IndexError)):
        measure(tiny_model, broken, paper_runs(tiny_model.config), repeats=1, max_new_tokens=1)
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in tiny_model.modules())
