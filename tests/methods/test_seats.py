"""The `seats` preset: the authors' schedules, scaled layers, and requests it refuses."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import Qwen2_5OmniConfig, Qwen2_5OmniThinkerConfig, Qwen3OmniMoeThinkerConfig

from seats_ops import (
    DiversitySelector,
    ModalityDropper,
    Schedule,
    StagePruner,
    WindowBudgetAllocator,
    seats,
)

ROWS = json.loads((Path(__file__).parents[1] / "golden" / "decay_schedule.json").read_text())


def parsed_layers(text: str | None) -> list[int]:
    return [int(part) for part in re.split("[-,]", text)] if text else []


def thinker(num_layers: int) -> Qwen2_5OmniThinkerConfig:
    return Qwen2_5OmniThinkerConfig(text_config={"num_hidden_layers": num_layers})


def config_of(row: dict[str, Any]) -> Any:
    """A thinker's config of the family and depth of a recorded schedule."""
    classes = {"Qwen2.5-Omni": Qwen2_5OmniThinkerConfig, "Qwen3-Omni": Qwen3OmniMoeThinkerConfig}
    (cls,) = (cls for name, cls in classes.items() if row["inputs"]["model"].startswith(name))
    return cls(text_config={"num_hidden_layers": row["outputs"]["num_layers"]})


def row_id(row: dict[str, Any]) -> str:
    given = row["inputs"]
    return f"{row['description'][:40]} {given['model']} {given['video_ratio']}"


def ratio_for(keep_ratio: Any, modality: str) -> float:
    return keep_ratio if isinstance(keep_ratio, float) else keep_ratio[modality]


def unpacked(schedule: Schedule) -> tuple[DiversitySelector, dict[int, StagePruner], dict[int, ModalityDropper]]:
    (selector,) = schedule.before_llm
    stages = [(layer, stage) for layer, stages in schedule.after_layer.items() for stage in stages]
    pruners = {layer: stage for layer, stage in stages if isinstance(stage, StagePruner)}
    droppers = {layer: stage for layer, stage in stages if isinstance(stage, ModalityDropper)}
    assert len(pruners) + len(droppers) == len(stages)
    return selector, pruners, droppers


def reaches_its_target(row: dict[str, Any]) -> bool:
    """A user's request that the method can meet: known layers, a target between all drops and none, ratios up to 1."""
    given, recorded = row["inputs"], row["outputs"]
    late, layers = given["late_block_layer"], parsed_layers(given["progressive_drop_layers"])
    lists = [recorded[f"{m}_inner_progressive_ratio_list"] for m in ("video", "audio")]
    return (
        max(given["video_encoder_ratio"], given["audio_encoder_ratio"]) <= 1
        and (late is None or late <= recorded["num_layers"])
        and all(layer < (late or recorded["num_layers"] + 1) - 1 for layer in layers)
        and all(ratios and ratios[-1] > 0 and set(ratios) != {1.0} for ratios in lists)
    )


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_preset_gives_the_golden_schedule_or_refuses(row: dict[str, Any]) -> None:
    given, recorded = row["inputs"], row["outputs"]

    def build() -> Schedule:
        return seats(
            config_of(row),
            video=given["video_ratio"],
            audio=given["audio_ratio"],
            drop_layers=parsed_layers(given["progressive_drop_layers"]),
            late_layer=given["late_block_layer"],
            encoder_ratio_scale=given["encoder_ratio_scale"],
        )

    if not reaches_its_target(row):
        with pytest.raises(ValueError):
            build()
        return
    selector, pruners, droppers = unpacked(build())
    for modality in ("video", "audio"):
        encoder_ratio = ratio_for(selector.keep_ratio, modality)
        assert encoder_ratio == pytest.approx(given[f"{modality}_encoder_ratio"], abs=1e-12)
        ratios = [ratio_for(pruner.keep_ratio, modality) for _, pruner in sorted(pruners.items())]
        assert ratios == recorded[f"{modality}_inner_progressive_ratio_list"]
    assert sorted(pruners) == recorded["drop_layers"]
    late = given["late_block_layer"]
    assert list(droppers) == ([] if late is None else [late - 1])


def test_the_golden_rows_hold_both_kinds() -> None:
    assert {reaches_its_target(row) for row in ROWS} == {True, False}
    assert {config_of(row).model_type for row in ROWS} == {"qwen2_5_omni_thinker", "qwen3_omni_moe_thinker"}


@pytest.mark.parametrize(
    ("num_layers", "drops", "dropper"), [(28, [16, 18, 20], 23), (36, [21, 23, 26], 30), (56, [32, 36, 40], 47)]
)
def test_family_defaults_scale_with_depth(num_layers: int, drops: list[int], dropper: int) -> None:
    selector, pruners, droppers = unpacked(seats(thinker(num_layers), video=0.06, audio=0.35))
    assert (sorted(pruners), list(droppers)) == (drops, [dropper])
    assert selector.weighted
    assert {(pruner.allocator, pruner.windows) for pruner in pruners.values()} == {
        (WindowBudgetAllocator(0.1), "layout")
    }
    assert list(droppers.values()) == [ModalityDropper(("video", "audio"))]
    assert list(seats(thinker(num_layers), video=0.06, audio=0.35).after_layer) == [*drops, dropper]


def test_options_of_the_preset() -> None:
    schedule = seats(
        thinker(28), video=0.3, audio=0.5, drop_layers=(20, 12), late_layer=None, temperature=0.7, windows="runs"
    )
    _, pruners, droppers = unpacked(schedule)
    assert list(pruners) == [12, 20] and not droppers
    assert {(p.allocator.temperature, p.windows) for p in pruners.values()} == {(0.7, "runs")}


def test_whole_model_config_and_thinker_config_give_the_same() -> None:
    whole = Qwen2_5OmniConfig(thinker_config={"text_config": {"num_hidden_layers": 28}})
    assert seats(whole, video=0.06, audio=0.35) == seats(thinker(28), video=0.06, audio=0.35)


@pytest.mark.parametrize(
    ("match", "arguments"),
    [
        ("video", {"video": -0.1}),
        ("video", {"video": 1.2}),
        ("video", {"video": math.nan}),
        ("audio", {"audio": math.inf}),
        ("audio", {"audio": 1.01}),
        ("video", {"video": 0.8}),
        ("audio", {"audio": 0.72}),
        ("encoder_ratio_scale|video|audio", {"encoder_ratio_scale": 1.0}),
        ("encoder_ratio_scale|video|audio", {"video": 0.1, "audio": 0.1, "encoder_ratio_scale": 3.0}),
        ("encoder_ratio_scale", {"encoder_ratio_scale": 0.0}),
        ("encoder_ratio_scale", {"encoder_ratio_scale": math.nan}),
        ("drop_layers", {"drop_layers": (0, 16)}),
        ("drop_layers", {"drop_layers": (16, 29)}),
        ("drop_layers", {"drop_layers": (16, 29), "late_layer": None}),
        ("drop_layers", {"drop_layers": (16, 16, 20)}),
        ("drop_layers", {"drop_layers": (16, 18, 23)}),
        ("drop_layers", {"drop_layers": (16, 24)}),
        ("drop_layers", {"drop_layers": (16, 26)}),
        ("late_layer", {"late_layer": 0}),
        ("late_layer", {"late_layer": 99}),
        ("temperature", {"temperature": 0.0}),
        ("windows", {"windows": "adjacent"}),
    ],
)
def test_bad_requests_name_the_argument(match: str, arguments: dict) -> None:
    with pytest.raises(ValueError, match=match):
        seats(thinker(28), **{"video": 0.3, "audio": 0.65, **arguments})


@pytest.mark.parametrize(
    ("match", "arguments"),
    [
        ("video", {"video": "0.3"}),
        ("audio", {"audio": None}),
        ("drop_layers", {"drop_layers": "16-18-20"}),
        ("drop_layers", {"drop_layers": [16.0, 18.0]}),
        ("drop_layers", {"drop_layers": 16}),
        ("late_layer", {"late_layer": "24"}),
        ("temperature", {"temperature": "low"}),
    ],
)
def test_requests_of_the_wrong_type_name_the_argument(match: str, arguments: dict) -> None:
    with pytest.raises(TypeError, match=match):
        seats(thinker(28), **{"video": 0.3, "audio": 0.65, **arguments})


@pytest.mark.parametrize("num_layers", [2, 4, 6])
def test_scaled_layers_that_collide_ask_for_drop_layers(num_layers: int) -> None:
    with pytest.raises(ValueError, match="drop_layers"):
        seats(thinker(num_layers), video=0.3, audio=0.65)


@pytest.mark.parametrize(
    "config",
    [
        SimpleNamespace(model_type="llama", num_hidden_layers=32),
        SimpleNamespace(num_hidden_layers=28),
        {"model_type": "qwen2_5_omni"},
        None,
    ],
)
def test_unknown_models_are_refused(config: object) -> None:
    with pytest.raises((TypeError, ValueError), match="config"):
        seats(config, video=0.06, audio=0.35)
