"""A trace as a value: equality, files, and records that stay what they were."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seats_ops import PruneTrace
from seats_ops.trace.records import StageRecord


def _trace() -> PruneTrace:
    counts = {"text": 2, "video": 1, "audio": 0, "image": 0}
    record = StageRecord("StagePruner", 3, [torch.tensor([0, 2, 5])], 3, counts, torch.tensor([[1, 0]]))
    return PruneTrace([record], [6], {"text": 2, "video": 4, "audio": 0, "image": 0}, [6, 3])


def test_json_and_files_give_an_equal_trace(tmp_path: Path) -> None:
    trace = _trace()
    trace.save(tmp_path / "trace.json")
    for other in (PruneTrace.from_json(trace.to_json()), PruneTrace.load(tmp_path / "trace.json")):
        assert other == trace
        assert torch.equal(other.stages[0].kept_indices[0], torch.tensor([0, 2, 5]))
    other = _trace()
    other.stages[0].kept_indices[0][1] = 3
    assert other != trace


@pytest.mark.parametrize("text", ["{}", '{"format": 1}', '{"format": 99, "stages": []}', "[]"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="text: expected a prune trace"):
        PruneTrace.from_json(text)


def test_a_new_prefill_leaves_held_records_alone() -> None:
    trace = _trace()
    held = trace.stages
    trace.clear()
    assert len(held) == 1
    assert trace.stages == []


def test_summary_shows_every_stage_and_the_cache(capsys: pytest.CaptureFixture[str]) -> None:
    text = _trace().summary()
    assert capsys.readouterr().out == "" and repr(text) == text
    prompt, stage = text.splitlines()[2:4]
    assert prompt.split() == ["prompt", "6", "2", "4", "0", "0"]
    assert stage.split() == ["StagePruner", "3", "3", "2", "1", "0", "0", "25.0%"]
    assert "9 over 2 layers, 75.0% of the full cache" in text


def test_keys_of_a_batch_are_those_of_all_its_rows() -> None:
    """Rows are as long as the longest: two of six columns, of which the second layer holds three."""
    batch = PruneTrace([], [6, 4], {"text": 2, "video": 8}, [6, 3])
    assert "18 over 2 layers, 75.0% of the full cache" in batch.summary()


def test_a_trace_is_shown_in_one_line() -> None:
    trace = _trace()
    assert repr(trace) == "<PruneTrace: 1 prompt(s), 1 stage(s), 3 of 6 tokens left>"
    trace.clear()
    assert "0 of 0 tokens" in repr(trace)


def test_a_modality_without_a_budget_that_is_left_was_let_be() -> None:
    def granted(counts: dict[str, int], budgets: list[list[int]]) -> object:
        return StageRecord("P", 3, [torch.arange(9)], 9, counts, torch.tensor(budgets)).granted()

    assert granted({"video": 6, "audio": 3}, [[0, 1], [0, 2]]) == [(None, 1), (None, 2)]
    assert granted({"video": 0, "audio": 3}, [[0, 1], [0, 2]]) == [(0, 1), (0, 2)]
    assert granted({"video": 4, "audio": 0}, [[0, 0], [4, 0]]) == [(0, 0), (4, 0)]
    assert StageRecord("P", 3, [torch.arange(9)], 9, {}).granted() is None


def test_a_trace_without_stages_says_so() -> None:
    with pytest.raises(ValueError, match="expected a prune trace, got no stages in it"):
        PruneTrace.from_json(_trace().to_json().replace('"stages"', '"steps"'))
