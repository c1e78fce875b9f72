"""`seats(...)`: the paper's schedule for a model, from its config alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from seats_ops.operators.diversity_selector import DiversitySelector
from seats_ops.operators.modality_dropper import ModalityDropper
from seats_ops.operators.stage_pruner import StagePruner
from seats_ops.operators.window_budget_allocator import WindowBudgetAllocator
from seats_ops.schedule import Schedule, average_retention, solve_keep_ratios
from seats_ops.validation import check_positive, check_ratio, describe


@dataclass(frozen=True)
class Family:
    """The paper's settings for one model family (SEATS section 4.1); layers are 1-based and scale with depth.

    Attributes:
        num_layers: of the model that the layers are given for.
        drop_layers, late_layer, temperature: see `seats`.
        sees_video, hears: whether its models take video and audio.
    """

    num_layers: int
    drop_layers: tuple[int, ...]
    late_layer: int
    temperature: float
    sees_video: bool = True
    hears: bool = True


_QWEN2_5 = Family(num_layers=28, drop_layers=(16, 18, 20), late_layer=24, temperature=0.1)
_QWEN3 = Family(num_layers=48, drop_layers=(27, 31, 35), late_layer=40, temperature=0.3)
# The paper covers the two Omni families; a video-only family takes the settings of the one it shares its decoder with.
# Nobody published settings for Phi-4: it takes those of the other dense decoder, by depth.
FAMILIES = {
    "qwen2_5_omni": _QWEN2_5,
    "qwen3_omni_moe": _QWEN3,
    "qwen2_5_vl": replace(_QWEN2_5, hears=False),
    "qwen3_vl": replace(_QWEN3, hears=False),
    "qwen3_vl_moe": replace(_QWEN3, hears=False),
    "phi4_multimodal": replace(_QWEN2_5, sees_video=False),
}
PAPER_RATIOS = {
    "qwen2_5_omni": {35: (0.30, 0.65), 25: (0.20, 0.55), 15: (0.10, 0.45), 10: (0.06, 0.35)},
    "qwen3_omni_moe": {35: (0.32, 0.70), 25: (0.22, 0.60), 15: (0.12, 0.50), 10: (0.07, 0.45)},
}
"""Family -> retention in percent -> (video, audio) retention ratios (arXiv 2605.20035, main results)."""


def seats(
    config: Any,
    video: float | None = None,
    audio: float | None = None,
    *,
    drop_layers: Sequence[int] | None = None,
    late_layer: int | Literal["family"] | None = "family",
    temperature: float | None = None,
    encoder_ratio_scale: float = 1.4,
    windows: str = "layout",
) -> Schedule:
    """The SEATS schedule: diversity before the LLM, staged pruning inside it, a late drop of audio and video.

    Family defaults scale with depth: layer l of the family's L_0 layers becomes round(l * L / L_0).

    Args:
        config: of a whole model or its thinker, e.g. `model.config`.
        video: retention ratio, the share of the encoder's video tokens kept, averaged over all decoder layers; None for
            families that take no video.
        audio: the same for audio; None for families that hear nothing. The paper's R=10 % is (0.06, 0.35), 15 %
            (0.10, 0.45), 25 % (0.20, 0.55), 35 % (0.30, 0.65) for Qwen2.5-Omni.
        drop_layers: 1-based layers whose output is pruned; default from the family.
        late_layer: first layer without audio and video; None = never; default from the family.
        temperature: of the softmax over windows; default from the family.
        encoder_ratio_scale: encoder ratio / retention ratio; the paper uses 1.4.
        windows: "layout" or "runs", see `StagePruner`.

    Returns:
        A Schedule with one DiversitySelector, one StagePruner per drop layer, and one ModalityDropper unless
        `late_layer` is None.

    Raises:
        TypeError: an argument of the wrong type, a config that is not one of a known family's.
        ValueError: ratios outside [0, 1], an encoder ratio above 1, layers out of range, repeated or not before the
            late drop, scaled layers that collide, a target that cannot be reached.

    Example:
        >>> from transformers import Qwen2_5OmniThinkerConfig
        >>> from seats_ops import seats
        >>> config = Qwen2_5OmniThinkerConfig(text_config={"num_hidden_layers": 28})
        >>> schedule = seats(config, video=0.06, audio=0.35)
        >>> [(layer, type(stage).__name__) for layer, stage in schedule.stages()][1:]
        [(16, 'StagePruner'), (18, 'StagePruner'), (20, 'StagePruner'), (23, 'ModalityDropper')]
    """
    family, num_layers = FAMILIES[family_name(config)], _num_layers(config)
    late = _scaled(family.late_layer, family, num_layers) if late_layer == "family" else late_layer
    # Layers are checked before ratios.
    _drops(family, drop_layers, late, num_layers)
    retention = {}
    for name, target, takes in (("video", video, family.sees_video), ("audio", audio, family.hears)):
        if takes:
            retention[name] = check_ratio(name, target)
        elif target is not None:
            raise ValueError(f"{name}: expected None, as the model takes no {name}, got {target!r}")
    scale = check_positive("encoder_ratio_scale", encoder_ratio_scale)
    encoder = {}
    for name, target in retention.items():
        encoder[name] = scale * target
        if encoder[name] > 1.0:
            raise ValueError(
                f"{name}: expected encoder_ratio_scale * {name} <= 1, got {scale} * {target} = {encoder[name]:.4g}"
            )
    after_layer: dict[int, Any] = {}
    after_layer |= staged_pruners(config, retention, encoder, drop_layers, late, temperature, windows)
    if late is not None:
        after_layer[late - 1] = ModalityDropper()
    return Schedule(before_llm=(DiversitySelector(encoder),), after_layer=after_layer)


def staged_pruners(
    config: Any,
    retention: Mapping[str, float],
    encoder: Mapping[str, float],
    drop_layers: Sequence[int] | None,
    late: int | None,
    temperature: float | None,
    windows: str,
) -> dict[int, StagePruner]:
    """Stage II by layer: what brings the shares that enter the LLM, `encoder`, down to `retention` on average.

    Args:
        config, drop_layers, temperature, windows: see `seats`.
        retention, encoder: by modality.
        late: first layer without audio and video; None = never.

    Raises:
        TypeError, ValueError: as `seats`.
    """
    family, num_layers = FAMILIES[family_name(config)], _num_layers(config)
    drops = _drops(family, drop_layers, late, num_layers)
    keep = {}
    for name, target in retention.items():
        _check_reachable(name, target, encoder[name], num_layers, drops, late)
        keep[name] = solve_keep_ratios(target, encoder[name], num_layers=num_layers, drop_layers=drops, late_layer=late)
    allocator = WindowBudgetAllocator(family.temperature if temperature is None else temperature)
    stages = {}
    for i, layer in enumerate(drops):
        ratios = {name: keep[name][i] for name in retention}
        first, *others = ratios.values()
        alike = all(ratio == first for ratio in others)
        stages[layer] = StagePruner(first if alike else ratios, allocator=allocator, windows=windows)
    return stages


def _drops(family: Family, given: Sequence[int] | None, late: Any, num_layers: int) -> tuple[int, ...]:
    scaled = [_scaled(layer, family, num_layers) for layer in family.drop_layers]
    return _checked_layers(given, scaled, late, num_layers)


def family_name(config: Any) -> str:
    """The key in `FAMILIES` for the config of a whole model or its thinker. Raises TypeError: it is none's."""
    thinker = getattr(config, "thinker_config", config)
    model_type = str(getattr(thinker, "model_type", "")).removesuffix("_thinker")
    if model_type not in FAMILIES or not hasattr(_text(config), "num_hidden_layers"):
        raise TypeError(
            f"config: expected that of a whole model or a thinker of {tuple(FAMILIES)}, got {type(config).__name__}"
        )
    return model_type


def _text(config: Any) -> Any:
    """The decoder's config; Phi-4's is that of the model itself."""
    thinker = getattr(config, "thinker_config", config)
    return getattr(thinker, "text_config", thinker)


def _num_layers(config: Any) -> int:
    return int(_text(config).num_hidden_layers)


def _scaled(layer: int, family: Family, num_layers: int) -> int:
    return round(layer * num_layers / family.num_layers)


def _checked_layers(
    given: Sequence[int] | None, scaled: list[int], late: int | None, num_layers: int
) -> tuple[int, ...]:
    """Drop layers, ascending, after all checks that concern layers."""
    if late is not None:
        if isinstance(late, bool) or not isinstance(late, int):
            raise TypeError(f"late_layer: expected an int or None, got {describe(late)}")
        if not 2 <= late <= num_layers:
            raise ValueError(f"late_layer: expected 2 to {num_layers}, the number of layers, got {late}")
    if given is not None and not isinstance(given, Iterable):
        raise TypeError(f"drop_layers: expected a sequence of ints, got {describe(given)}")
    drops = tuple(scaled if given is None else given)
    if any(type(layer) is not int for layer in drops):
        raise TypeError(f"drop_layers: expected a sequence of ints, got {describe(drops)}")
    drops = tuple(sorted(drops))
    hint = "" if given is not None else f" by scaling the family's layers to {num_layers}; give drop_layers"
    if len(set(drops)) != len(drops):
        raise ValueError(f"drop_layers: expected distinct layers, got {drops}{hint}")
    # The late drop acts on the output of layer late - 1, so a drop there would have no layer of its own.
    end = num_layers if late is None else late - 1
    if drops and not 1 <= drops[0] <= drops[-1] < end:
        what = "the number of layers" if late is None else f"the layer before late_layer {late}"
        raise ValueError(f"drop_layers: expected layers from 1 to below {end}, {what}, got {drops}{hint}")
    return drops


def _check_reachable(
    name: str, target: float, encoder: float, num_layers: int, drops: tuple[int, ...], late: int | None
) -> None:
    most, least = (
        average_retention(encoder, f, num_layers=num_layers, drop_layers=drops, late_layer=late) for f in (0.0, 1.0)
    )
    if not least - 1e-9 <= target <= most + 1e-9:
        raise ValueError(
            f"{name}: expected a retention from {least:.4g} to {most:.4g}, what these layers can reach from an encoder "
            f"ratio of {encoder:.4g}, got {target}"
        )
