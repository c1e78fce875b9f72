"""`seats(...)`: the paper's schedule for a model, from its config alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from seats_ops.methods.arguments import layers_before, num_layers
from seats_ops.methods.seats_families import FAMILIES, PAPER_RATIOS, Family, family_name
from seats_ops.operators.diversity_selector import DiversitySelector
from seats_ops.operators.modality_dropper import ModalityDropper
from seats_ops.operators.stage_pruner import StagePruner
from seats_ops.operators.window_budget_allocator import WindowBudgetAllocator
from seats_ops.schedule import Schedule, solve_keep_ratios
from seats_ops.schedule.keep_ratios import check_reachable
from seats_ops.validation import check_positive, check_ratio

__all__ = ["FAMILIES", "PAPER_RATIOS", "Family", "family_name", "seats", "staged_pruners"]


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
    exact_total: bool = False,
) -> Schedule:
    """The SEATS schedule: diversity before the LLM, staged pruning inside it, a late drop of audio and video.

    Family defaults scale with depth: layer l of the family's L_0 layers becomes round(l * L / L_0). That is an
    assumption; `seats_ops.horizon` measures which layers a model and its prompts allow.

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
        exact_total: what enters is exact over all blocks together, see `DiversitySelector`; the paper rounds per block.

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
    family, total = FAMILIES[family_name(config)], num_layers(config)
    late = family.scaled(family.late_layer, total) if late_layer == "family" else late_layer
    # Layers are checked before ratios.
    _drops(family, drop_layers, late, total)
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
    return Schedule(DiversitySelector(encoder, exact_total=exact_total), after_layer)


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
    family, total = FAMILIES[family_name(config)], num_layers(config)
    drops = _drops(family, drop_layers, late, total)
    keep = {}
    for name, target in retention.items():
        given: Any = {"num_layers": total, "drop_layers": drops, "late_layer": late}
        check_reachable(name, target, encoder[name], **given)
        keep[name] = solve_keep_ratios(target, encoder[name], **given)
    allocator = WindowBudgetAllocator(family.temperature if temperature is None else temperature)
    stages = {}
    for i, layer in enumerate(drops):
        ratios = {name: keep[name][i] for name in retention}
        first, *others = ratios.values()
        alike = all(ratio == first for ratio in others)
        stages[layer] = StagePruner(first if alike else ratios, allocator=allocator, windows=windows)
    return stages


def _drops(family: Family, given: Sequence[int] | None, late: Any, total: int) -> tuple[int, ...]:
    return layers_before(late, given, [family.scaled(layer, total) for layer in family.drop_layers], total)
