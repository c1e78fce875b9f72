"""The preset for the families beside Qwen2.5-Omni: their layers and temperature, and those without sound or video."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from transformers import (
    Phi4MultimodalConfig,
    Qwen2_5_VLConfig,
    Qwen3OmniMoeConfig,
    Qwen3OmniMoeThinkerConfig,
    Qwen3VLConfig,
    Qwen3VLMoeConfig,
)

from seats_ops import DiversitySelector, ModalityDropper, Schedule, StagePruner, WindowBudgetAllocator, seats

VIDEO_ONLY: dict[str, Callable[..., Any]] = {
    "qwen2_5_vl": Qwen2_5_VLConfig,
    "qwen3_vl": Qwen3VLConfig,
    "qwen3_vl_moe": Qwen3VLMoeConfig,
}


def omni(num_layers: int) -> Qwen3OmniMoeThinkerConfig:
    return Qwen3OmniMoeThinkerConfig(text_config={"num_hidden_layers": num_layers})


def layers_of(schedule: Schedule) -> tuple[list[int], list[int]]:
    """Layers with a StagePruner, and those with a ModalityDropper."""
    kinds = {layer: {type(stage) for stage in stages} for layer, stages in schedule.after_layer.items()}
    assert all(len(kind) == 1 for kind in kinds.values())
    return tuple([layer for layer, kind in kinds.items() if kind == {cls}] for cls in (StagePruner, ModalityDropper))


def test_qwen3_omni_30b() -> None:
    """The paper's R=10; ratios as the authors' implementation prints them."""
    expected = {
        layer: StagePruner(ratio, allocator=WindowBudgetAllocator(0.3))
        for layer, ratio in ((27, 0.9255), (31, 0.7813), (35, 0.2390))
    }
    schedule = seats(omni(48), video=0.07, audio=0.45)
    assert schedule == Schedule(
        before_llm=DiversitySelector({"video": 1.4 * 0.07, "audio": 1.4 * 0.45}),
        after_layer=expected | {39: ModalityDropper()},
    )


def test_whole_model_config_and_thinker_config_give_the_same() -> None:
    whole = Qwen3OmniMoeConfig(thinker_config={"text_config": {"num_hidden_layers": 48}})
    assert seats(whole, video=0.07, audio=0.45) == seats(omni(48), video=0.07, audio=0.45)


@pytest.mark.parametrize(
    ("num_layers", "drops", "dropper"),
    [(48, [27, 31, 35], 39), (36, [20, 23, 26], 29), (28, [16, 18, 20], 22), (94, [53, 61, 69], 77)],
)
@pytest.mark.parametrize("family", ["qwen3_omni", "qwen3_vl", "qwen3_vl_moe"])
def test_layers_scale_from_48(family: str, num_layers: int, drops: list[int], dropper: int) -> None:
    """Depths of published models: 30B-A3B, 4B and 8B, 2B, 235B-A22B."""
    text = {"num_hidden_layers": num_layers}
    config = omni(num_layers) if family == "qwen3_omni" else VIDEO_ONLY[family](text_config=text)
    schedule = seats(config, video=0.1, audio=0.4 if family == "qwen3_omni" else None)
    assert layers_of(schedule) == (drops, [dropper])
    pruners = [stage for stages in schedule.after_layer.values() for stage in stages if isinstance(stage, StagePruner)]
    assert {pruner.allocator.temperature for pruner in pruners} == {0.3}


@pytest.mark.parametrize(
    ("num_layers", "drops", "dropper"), [(28, [16, 18, 20], 23), (36, [21, 23, 26], 30), (80, [46, 51, 57], 68)]
)
def test_layers_of_qwen2_5_vl_scale_from_28(num_layers: int, drops: list[int], dropper: int) -> None:
    schedule = seats(Qwen2_5_VLConfig(text_config={"num_hidden_layers": num_layers}), video=0.1)
    assert layers_of(schedule) == (drops, [dropper])


@pytest.mark.parametrize("family", VIDEO_ONLY)
def test_families_that_hear_nothing(family: str) -> None:
    config = VIDEO_ONLY[family](text_config={"num_hidden_layers": 28})
    schedule = seats(config, video=0.1)
    assert schedule == seats(config, video=0.1, audio=None)
    assert schedule.before_llm == (DiversitySelector({"video": 1.4 * 0.1}),)
    with pytest.raises(ValueError, match=r"audio: expected None, as the model takes no audio, got 0\.4"):
        seats(config, video=0.1, audio=0.4)


def test_an_omni_model_needs_a_ratio_for_audio() -> None:
    with pytest.raises(TypeError, match="audio: expected a number"):
        seats(omni(48), video=0.1)


@pytest.mark.parametrize("family", VIDEO_ONLY)
def test_options_hold_for_every_family(family: str) -> None:
    config = VIDEO_ONLY[family](text_config={"num_hidden_layers": 28})
    schedule = seats(config, video=0.3, drop_layers=(20, 12), late_layer=None, temperature=0.7, windows="runs")
    pruners = {layer: stage for layer, (stage,) in schedule.after_layer.items()}
    assert list(pruners) == [12, 20]
    assert {(pruner.allocator.temperature, pruner.windows) for pruner in pruners.values()} == {(0.7, "runs")}


@pytest.mark.parametrize(("num_layers", "drops", "dropper"), [(32, [18, 21, 23], 26), (28, [16, 18, 20], 23)])
def test_phi4_hears_and_sees_no_video(num_layers: int, drops: list[int], dropper: int) -> None:
    """By depth from the 28 layers of Qwen2.5-Omni: nobody published settings for Phi-4."""
    config = Phi4MultimodalConfig(num_hidden_layers=num_layers)
    schedule = seats(config, audio=0.35)
    assert schedule == seats(config, None, 0.35)
    assert layers_of(schedule) == (drops, [dropper])
    assert schedule.before_llm == (DiversitySelector({"audio": 1.4 * 0.35}),)
    with pytest.raises(ValueError, match=r"video: expected None, as the model takes no video, got 0\.1"):
        seats(config, video=0.1, audio=0.35)
    with pytest.raises(TypeError, match="audio: expected a number"):
        seats(config)


def test_a_family_with_video_needs_a_ratio_for_it() -> None:
    with pytest.raises(TypeError, match="video: expected a number"):
        seats(omni(48), audio=0.4)
