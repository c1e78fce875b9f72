"""Schedules for the 7-layer model: the preset with and without a late drop, and some nobody would choose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seats_ops import DiversitySelector, ModalityDropper, Schedule, StagePruner, seats
from tests.integrations.huggingface.prompt.prompt_tokens import moving, token_id

SCHEDULES: dict[str, Callable[[Any], Schedule]] = {
    "preset": lambda config: seats(config, video=0.3, audio=0.6, drop_layers=(2, 3, 4), late_layer=7),
    "preset_without_late_drop": lambda config: seats(config, video=0.2, audio=0.5, drop_layers=(3, 5), late_layer=None),
    "droppers_at_odd_layers": lambda config: Schedule(
        after_layer={1: ModalityDropper(("audio",)), 5: ModalityDropper(("video",))}
    ),
    "only_audio_dropped": lambda config: Schedule(after_layer={3: ModalityDropper(("audio",))}),
    "before_the_last_layer": lambda config: Schedule(after_layer={6: ModalityDropper()}),
    "pruners_only": lambda config: Schedule(after_layer={2: StagePruner(0.5), 4: StagePruner(0.4)}),
    "selector_only": lambda config: Schedule(before_llm=DiversitySelector({"video": 0.4, "audio": 0.3})),
    "unweighted_selector_late_drop": lambda config: Schedule(
        before_llm=DiversitySelector(0.5, weighted=False), after_layer={6: ModalityDropper()}
    ),
    "several_stages_at_one_place": lambda config: Schedule(
        before_llm=[DiversitySelector(0.6), DiversitySelector({"audio": 0.5})],
        after_layer={3: [StagePruner(0.5), ModalityDropper(("audio",))], 4: ModalityDropper(("video",))},
    ),
    "selector_inside_the_llm": lambda config: Schedule(
        before_llm=DiversitySelector(0.8), after_layer={2: DiversitySelector({"video": 0.5})}
    ),
    "one_modality_before_the_llm": lambda config: Schedule(
        before_llm=ModalityDropper(("audio",)), after_layer={1: StagePruner(0.5)}
    ),
}

DEEP_SCHEDULES: dict[str, Callable[[Any], Schedule]] = {
    "preset": lambda config: small_preset(config, drop_layers=(1, 2, 3), late_layer=5, encoder_ratio_scale=2.0),
    "preset_right_after_deepstack": lambda config: small_preset(
        config, drop_layers=(3, 4), late_layer=6, encoder_ratio_scale=1.7
    ),
    "pruners_in_a_row": lambda config: Schedule(after_layer={layer: StagePruner(0.7) for layer in (1, 2, 3, 4)}),
    "what_moves_is_gone_between": lambda config: Schedule(after_layer={2: ModalityDropper((moving(config),))}),
    "images_gone_between": lambda config: Schedule(
        before_llm=DiversitySelector({"image": 0.5, moving(config): 0.6}),
        after_layer={1: ModalityDropper(("image",)), 2: StagePruner(0.5), 3: DiversitySelector({moving(config): 0.5})},
    ),
}
"""For every family: drops after layers 1 to 3, whose outputs DeepStack adds to, and right behind them."""


def small_preset(config: Any, **options: Any) -> Schedule:
    """The preset of a family, with ratios for what it takes."""
    ratios = {"video": 0.3, "audio": 0.45}
    return seats(config, **{kind: x for kind, x in ratios.items() if token_id(config, kind) is not None}, **options)
