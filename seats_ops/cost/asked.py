"""What retention a schedule asks for, and how what came of it is written beside it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

from seats_ops.cost.counts import tokens_per_layer
from seats_ops.operators.asked import asked_of
from seats_ops.operators.stage import MEDIA
from seats_ops.schedule import Schedule
from seats_ops.validation import check_int


def asked_retention(schedule: Schedule, num_layers: int) -> dict[str, float]:
    """What `realised_retention` would be if no count were rounded: the target, whatever the prompt.

    Args:
        num_layers: decoder layers of the model.

    Returns:
        One number in [0, 1] for each of "video", "audio" and "image", without those of which a stage does not say what
        it was asked for: ratios are read from stages of this package that keep a share of what they find.

    Raises:
        ValueError: `num_layers` is not an int from 1.

    Example:
        >>> from seats_ops import DiversitySelector, ModalityDropper, Schedule
        >>> from seats_ops.cost import PromptLengths, asked_retention, realised_retention
        >>> schedule = Schedule(DiversitySelector({"audio": 0.1}), {14: ModalityDropper(("video",))})
        >>> asked_retention(schedule, num_layers=28)
        {'video': 0.5, 'audio': 0.1, 'image': 1.0}
        >>> short = PromptLengths(text=20, audio_blocks=(26, 26))  # 2.6 of each, which is 3
        >>> round(realised_retention(schedule, short, num_layers=28)["audio"], 3)
        0.115
    """
    check_int("num_layers", num_layers, 1)
    return mean_asked([(layer, asked_of(stage)) for layer, stage in schedule.stages()], num_layers)


def mean_asked(steps: Iterable[tuple[int, Mapping[str, float]]], num_layers: int) -> dict[str, float]:
    """Mean over the layers of the share that all stages so far ask for, from (layer, share of what each finds)."""
    shares = list(asked_so_far(steps))
    found = {}
    for name in MEDIA:
        if all(name in share for _, share in shares):
            seen = tokens_per_layer(1.0, [(layer, share[name]) for layer, share in shares], num_layers)[:-1]
            found[name] = statistics.fmean(seen)
    return found


def asked_so_far(steps: Iterable[tuple[int, Mapping[str, float]]]) -> Iterable[tuple[int, dict[str, float]]]:
    """(layer, share of the prompt's tokens that are asked for after it); who does not say once is not known again."""
    so_far = dict.fromkeys(MEDIA, 1.0)
    for layer, asked in steps:
        so_far = {name: share * asked[name] for name, share in so_far.items() if name in asked}
        yield layer, so_far


def beside(kept: Mapping[str, float], asked: Mapping[str, float]) -> str:
    """Both as text: "video 12.0% (asked 10.0%), audio 7.5%"."""
    return ", ".join(
        f"{name} {share:.1%}" + (f" (asked {asked[name]:.1%})" if name in asked else "") for name, share in kept.items()
    )
