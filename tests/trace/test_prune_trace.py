"""A trace as a value: equality, files, and records that stay what they were."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from seats_ops import Merge, PruneTrace, RecordedStage, Schedule
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
    assert stage.split() == ["StagePruner", "3", "3", "2", "1", "0", "0", "25.0%", "-"]
    assert "kept, mean of 2 layers: video 100.0%\n" in text
    assert "9 over 2 layers, 75.0% of the full cache" in text


def test_what_was_asked_for_stands_beside_what_was_kept() -> None:
    """By hand: half of four video tokens before layer 1, of which three stay, a third of those after it."""
    counts = [{"text": 2, "video": n, "audio": 6} for n in (3, 1)]
    stages = [
        StageRecord("A", 0, [torch.arange(11)], 11, counts[0], asked={"video": 0.5, "audio": 1.0}),
        StageRecord("B", 1, [torch.arange(9)], 9, counts[1], asked={"video": 0.3, "audio": 1.0}),
    ]
    trace = PruneTrace(stages, [12], {"text": 2, "video": 4, "audio": 6}, [9, 9])
    text = trace.summary()
    assert [line.split()[-2:] for line in text.splitlines()[3:5]] == [["90.0%", "80.0%"], ["70.0%", "66.0%"]]
    assert "kept, mean of 2 layers: video 50.0% (asked 32.5%), audio 100.0% (asked 100.0%)\n" in text
    again = PruneTrace.from_json(trace.to_json())
    assert again == trace and [stage.asked for stage in again.stages] == [stage.asked for stage in stages]
    # Who knows no more than format 2 replays it as well.
    assert json.loads(trace.to_json())["format"] == 2


@pytest.mark.parametrize("asked", [{"text": 0.5}, {"video": 1.5}, {"video": "half"}, [0.5], None])
def test_an_odd_share_is_refused(asked: Any) -> None:
    data = json.loads(_trace().to_json())
    data["stages"][0]["asked"] = asked
    with pytest.raises(ValueError, match="asked: expected shares from 0 to 1 by modality"):
        PruneTrace.from_json(json.dumps(data))


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


def _merged(**more: Any) -> PruneTrace:
    """Two prompts; the first one's columns begin at 1, as padding moves them."""
    counts = {"text": 2, "video": 2, "audio": 0, "image": 0}
    merge = Merge(
        torch.tensor([[1, 2], [0, 1], [1, 2]]),
        torch.tensor([[1, 0], [0, 3], [1, 2]]),
        torch.tensor([0.1, -0.25, 1 / 3]),
    )
    kept = [torch.tensor([1, 4]), torch.tensor([2, 4])]
    record = StageRecord("Merging", 0, kept, 4, counts, merge=merge, multiplicity=torch.tensor([2.0, 1, 2, 1]), **more)
    return PruneTrace([record], [4, 5], {"text": 2, "video": 7, "audio": 0, "image": 0}, [2, 2])


def test_a_trace_without_merges_is_written_as_it_always_was() -> None:
    data = json.loads(_trace().to_json())
    assert data["format"] == 2
    names = {"name", "layer", "num_tokens", "counts", "kept_indices", "budgets", "scores"}
    assert set(data["stages"][0]) == names
    stage = _trace().as_schedule().to_dict()["after_layer"]
    assert set(next(iter(dict(stage).values()))[0]) == {"type", "kept"}


MORE = {
    "order": [torch.tensor([4, 1]), torch.tensor([2, 4])],
    "positions": "renumbered",
    "kv_rule": "long",
    "values": True,
}


@pytest.mark.parametrize("name", [None, *MORE])
def test_what_only_some_stages_do_is_stored(name: str | None, tmp_path: Path) -> None:
    trace = _merged(**({} if name is None else {name: MORE[name]}))
    trace.save(tmp_path / "trace.json")
    again = PruneTrace.load(tmp_path / "trace.json")
    assert again == trace and json.loads(trace.to_json())["format"] == 3
    first, second = trace.stages[0], again.stages[0]
    assert first.merge is not None and second.merge is not None
    assert all(torch.equal(a, b) for a, b in zip(first.merge, second.merge, strict=True))
    assert second.multiplicity is not None and torch.equal(second.multiplicity, torch.tensor([2.0, 1, 2, 1]))
    assert (second.positions, second.kv_rule, second.values) == (first.positions, first.kv_rule, first.values)
    if name is not None:
        assert again != _merged()
    other = _merged()
    assert other.stages[0].merge is not None
    other.stages[0].merge.coefficient[1] = 0
    assert other != _merged()


def test_each_of_them_alone_makes_it_format_3() -> None:
    for name, value in {**MORE, "multiplicity": torch.ones(3)}.items():
        trace = _trace()
        trace.stages[0] = dataclasses.replace(trace.stages[0], **{name: value})
        assert json.loads(trace.to_json())["format"] == 3, name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"merge": {"target": [[0, 1]], "source": [], "coefficient": ""}},
            "merge: expected as many targets as sources",
        ),
        ({"multiplicity": ""}, "Merging: expected multiplicity of 4 tokens, got 0"),
        ({"order": [[4, 1]]}, "Merging: expected order to hold the columns of kept_indices"),
        ({"order": [[4, 1], [3, 4]]}, "Merging: expected order to hold the columns of kept_indices"),
    ],
)
def test_damaged_merges_are_refused(change: dict[str, Any], said: str) -> None:
    data = json.loads(_merged().to_json())
    data["stages"][0].update(change)
    with pytest.raises(ValueError, match=said):
        PruneTrace.from_json(json.dumps(data))


def test_a_replay_merges_alike() -> None:
    trace = _merged(order=MORE["order"])
    schedule = PruneTrace.from_json(trace.to_json()).as_schedule()
    stage = schedule.before_llm[0]
    assert isinstance(stage, RecordedStage)
    assert stage.merge == (((1, 3, -0.25),), ((2, 0, float(torch.tensor(0.1))), (2, 2, float(torch.tensor(1 / 3)))))
    assert stage.order == ((4, 1), (2, 4)) and stage.inputs == ("features",) and stage.merges
    assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule and hash(schedule)


def test_what_cannot_be_replayed_is_named() -> None:
    with pytest.raises(ValueError, match="Merging before the LLM: expected a stage whose new values are a merge"):
        _merged(values=True).as_schedule()
    trace = _merged()
    assert trace.stages[0].merge is not None
    trace.stages[0].merge.source[0, 0] = 0
    with pytest.raises(ValueError, match="Merging before the LLM: expected merges within a prompt"):
        trace.as_schedule()
