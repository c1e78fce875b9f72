"""SEATS by (config, ratio), and its stages one by one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from transformers import Qwen2_5OmniThinkerConfig

from seats_ops import DiversitySelector, Modality, ModalityDropper, Schedule, StagePruner, WindowBudgetAllocator, seats
from seats_ops.cost import PromptLengths, prefill_cost, split_blocks
from seats_ops.methods import at_equal_cost, method
from seats_ops.methods.seats import PAPER_RATIOS
from seats_ops.operators.stage import ratio_of
from tests.methods.cases import check_rows, check_stored, kept, layouts, run_stage, tensors_for


def config_of(model_type: str, layers: int) -> Any:
    text = SimpleNamespace(num_hidden_layers=layers)
    return SimpleNamespace(model_type=f"{model_type}_thinker", text_config=text)


OMNI = config_of("qwen2_5_omni", 28)


@pytest.mark.parametrize(("family", "layers"), [("qwen2_5_omni", 28), ("qwen3_omni_moe", 48)])
@pytest.mark.parametrize("percent", [10, 15, 25, 35])
def test_a_retention_of_the_paper_is_its_pair(family: str, layers: int, percent: int) -> None:
    config = config_of(family, layers)
    video, audio = PAPER_RATIOS[family][percent]
    schedule = method("seats")(config, percent / 100)
    assert schedule == seats(config, video, audio)
    check_stored(schedule)


def test_a_mapping_is_video_and_audio_and_options_are_handed_on() -> None:
    ratios = {"audio": 0.35, "video": 0.06}
    options: dict[str, Any] = {"drop_layers": (12, 20), "late_layer": None, "temperature": 0.7, "windows": "runs"}
    assert method("seats")(OMNI, ratios) == seats(OMNI, 0.06, 0.35)
    assert method("seats")(OMNI, ratios, **options) == seats(OMNI, 0.06, 0.35, **options)
    assert method("seats")(config_of("qwen2_5_vl", 28), {"video": 0.2}) == seats(config_of("qwen2_5_vl", 28), 0.2)
    for ratio, match in (({"image": 0.2}, "ratio"), (0.36, "retention")):
        with pytest.raises(ValueError, match=match):
            method("seats")(OMNI, ratio)


def test_the_selector_alone() -> None:
    assert method("seats-selector")(None, 0.2) == Schedule(DiversitySelector(0.2))
    schedule = method("seats-selector")(None, {"video": 0.1, "image": 0.5}, weighted=False)
    assert schedule == Schedule(DiversitySelector({"video": 0.1, "image": 0.5}, weighted=False))
    check_stored(schedule)


def test_the_pruner_alone_meets_the_average() -> None:
    schedule = method("seats-pruner")(OMNI, {"video": 0.7, "audio": 0.9})
    check_stored(schedule)
    assert [layer for layer, _ in schedule.stages()] == [16, 18, 20]
    for name, target in (("video", 0.7), ("audio", 0.9)):
        share, total = 1.0, 0.0
        for layer in range(1, 29):
            total += share
            for stage in schedule.after_layer.get(layer, ()):
                share *= ratio_of(stage.keep_ratio, Modality[name.upper()])
        assert total / 28 == pytest.approx(target, abs=2e-4)
    stages = [stage for _, stage in schedule.stages()]
    assert all(isinstance(stage, StagePruner) and stage.allocator == WindowBudgetAllocator(0.1) for stage in stages)
    with pytest.raises(ValueError, match="video"):
        method("seats-pruner")(OMNI, 0.5)  # 16 of 28 layers see all tokens.
    later = method("seats-pruner")(config_of("qwen2_5_vl", 28), 0.9, drop_layers=[20, 24], temperature=0.5)
    assert [(layer, stage.allocator.temperature) for layer, stage in later.stages()] == [(20, 0.5), (24, 0.5)]


def test_the_dropper_alone() -> None:
    assert method("seats-dropper")(OMNI, 23 / 28) == Schedule(after_layer={23: ModalityDropper()})
    assert method("seats-dropper")(OMNI, 1.0) == Schedule()
    check_stored(method("seats-dropper")(OMNI, 0.5))
    with pytest.raises(ValueError, match="ratio"):
        method("seats-dropper")(OMNI, 0.01)
    with pytest.raises(TypeError, match="ratio"):
        method("seats-dropper")(OMNI, {"video": 0.5})


@pytest.mark.parametrize("name", ["seats-selector", "seats-pruner", "seats-dropper"])
def test_stages_run_on_every_layout(name: str) -> None:
    for _, stage in method(name)(OMNI, 0.7).stages():
        for layout in layouts().values():
            tensors = tensors_for(layout, "clustered")
            assert len(kept(run_stage(stage, layout, tensors)[0])) <= len(layout)
            check_rows(stage, layout, tensors)


def test_ratios_that_are_refused_for_being_too_high_do_not_hide_those_that_cost_the_same() -> None:
    lengths = PromptLengths(590, split_blocks(9600, 288), split_blocks(1570, 50))
    (found,) = at_equal_cost(["seats"], Qwen2_5OmniThinkerConfig(), lengths, retention=0.15)
    assert found.retained is not None and found.retained.layer_average == pytest.approx(0.15, rel=0.02)


@pytest.mark.parametrize("exact", [False, True])
def test_totals_are_exact_where_that_is_asked_for(exact: bool) -> None:
    """Ten blocks of 24 tokens at 0.105: 2.52 of each, so 3, or 25.2 of all."""
    lengths = PromptLengths(10, split_blocks(240, 24), split_blocks(240, 24))
    entering = 25 if exact else 30
    alone = method("seats-selector")(OMNI, 0.105, exact_total=exact)
    whole = method("seats")(OMNI, {"video": 0.075, "audio": 0.075}, exact_total=exact)
    assert whole == seats(OMNI, 0.075, 0.075, exact_total=exact)
    for schedule in (alone, whole):
        assert prefill_cost(Qwen2_5OmniThinkerConfig(), schedule, lengths).tokens_per_layer[0] == 10 + 2 * entering
        check_stored(schedule)
    with pytest.raises(TypeError, match="exact_total"):
        seats(OMNI, 0.075, 0.075, exact_total="no")
