"""Layers to drop after, from a measured horizon."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from scipy.stats import binomtest

from seats_ops.compare.overall import CONFIDENCE, LEAST
from seats_ops.horizon.curves import MEDIA, Curves
from seats_ops.methods.arguments import num_layers
from seats_ops.methods.seats import seats
from seats_ops.schedule import Schedule
from seats_ops.schedule.keep_ratios import average_retention
from seats_ops.validation import check_number

THRESHOLD = 0.99
MOST_DROPS = 3
SCALE = 1.4
"""Of the paper: share that enters the LLM / retention ratio."""


@dataclass(frozen=True)
class Suggestion:
    """Layers for `seats_ops.seats`, by this rule.

    - `late_layer` is 1 + the first layer l >= 1 such that after l and after every later layer that was measured, all
      media may leave: the lower end of the 95 % interval of agreement is at least the threshold, over all rows and
      within every label. None if there is no such layer, or if the answers stay without any media (layer 0), as then
      they tell nothing.
    - `drop_layers` are layers before the late drop after which relevance beats shuffled scores: the interval of the KL
      that it saves lies above 0, at 95 % divided by the number of layers that were looked at (Bonferroni), and within
      no label below 0. Of more than three the first, the one in the middle and the last are taken.
    - With fewer than five rows there are no intervals, and nothing is suggested; labels with fewer are not asked.
      Where nothing is suggested because the rows cannot tell, the suggestion is not `conclusive`.

    Attributes:
        late_layer: first layer without audio and video; None: none is suggested.
        drop_layers: ascending; empty: none is suggested.
        helped: all layers after which relevance beats shuffled scores, of which `drop_layers` are some.
        reasons: sentences for people, also what the rows cannot prove.
        conclusive: False: the rows cannot tell, as they are too few or their answers need no media.

    Example:
        >>> from seats_ops.horizon import Suggestion
        >>> Suggestion(late_layer=24, drop_layers=(16, 18), helped=(16, 18), reasons=()).drop_layers
        (16, 18)
    """

    late_layer: int | None
    drop_layers: tuple[int, ...]
    helped: tuple[int, ...]
    reasons: tuple[str, ...]
    conclusive: bool = True

    def schedule(self, config: Any, video: float | None = None, audio: float | None = None, **options: Any) -> Schedule:
        """`seats(config, video, audio)` with these layers.

        Where neither is suggested, tokens are chosen before the LLM alone. The encoder ratio scale is the paper's 1.4
        where these layers can reach the retention from it, else in the middle of what they can reach it from.

        Args:
            config, video, audio: see `seats_ops.seats`.
            options: of `seats_ops.seats`.

        Raises:
            TypeError, ValueError: see `seats_ops.seats`, such as a share above 1 that would have to enter the LLM.

        Example:
            >>> suggestion = Suggestion(late_layer=24, drop_layers=(16, 18), helped=(16, 18), reasons=())
            >>> [layer for layer, _ in suggestion.schedule(model.config, video=0.06, audio=0.35).stages()]
            [0, 16, 18, 23]
        """
        if "encoder_ratio_scale" not in options:
            options["encoder_ratio_scale"] = self._scale(num_layers(config))
        return seats(config, video, audio, drop_layers=self.drop_layers, late_layer=self.late_layer, **options)

    def _scale(self, layers: int) -> float:
        """Between the one at which nothing is left to drop and the one at which the last drop leaves nothing."""
        most, least = (
            average_retention(1.0, drop, num_layers=layers, drop_layers=self.drop_layers, late_layer=self.late_layer)
            for drop in (0.0, 1.0)
        )
        low, high = 1 / most, 1 / least
        return SCALE if low <= SCALE <= high else (low + high) / 2


def suggest(horizon: Curves, threshold: float) -> Suggestion:
    """See `Suggestion`. Raises ValueError: a threshold out of range."""
    if not 0 < check_number("threshold", threshold) <= 1:
        raise ValueError(f"threshold: expected an agreement above 0, up to 1, got {threshold}")
    if horizon.num_rows < LEAST:
        few = f"{horizon.num_rows} prompt{'s' * (horizon.num_rows != 1)}"
        return Suggestion(None, (), (), (f"Nothing is suggested from {few}: it takes {LEAST} for an interval.",), False)
    if 0 in horizon.layers and _in_the_way(horizon, 0, threshold) is None:
        said = "The answers stay as they are without any media: such questions cannot tell which layers need them."
        return Suggestion(None, (), (), (said,), False)
    late, reasons = _late(horizon, threshold)
    helped, tried = _helped(horizon, late)
    drops = helped if len(helped) <= MOST_DROPS else (helped[0], helped[(len(helped) - 1) // 2], helped[-1])
    if helped:
        reasons.append(f"Relevance beats shuffled scores after layers {', '.join(map(str, helped))} of {tried} tried.")
    else:
        reasons.append(f"Relevance never beats shuffled scores ({tried} layers tried): no drop layers.")
    return Suggestion(late, drops, helped, tuple(reasons))


def _groups(horizon: Curves) -> Iterator[tuple[str, Curves]]:
    """All rows, then those of every label that has enough of them."""
    yield "", horizon
    for label in sorted(set(horizon.labels or ())):
        part = horizon.of(label)
        if part.num_rows >= LEAST:
            yield f" of {label!r}", part


def _in_the_way(horizon: Curves, layer: int, threshold: float) -> str | None:
    """Of dropping all media after a layer; None: nothing."""
    for name, part in _groups(horizon):
        found = part.mean(MEDIA, layer)
        low = found.value if found.low is None else found.low
        if low < threshold:
            return f"after layer {layer} agreement{name} is {found.value:.1%} (at least {low:.1%})"
    return None


def _late(horizon: Curves, threshold: float) -> tuple[int | None, list[str]]:
    late, blocked = None, "no layer was measured"
    for layer in reversed([layer for layer in horizon.layers if layer > 0]):
        found = _in_the_way(horizon, layer, threshold)
        blocked = found or "no layer before it was measured"
        if found is not None:
            break
        late = layer + 1
    if late is None:
        return None, [f"No late layer: {blocked}, and {threshold:.1%} is asked for."]
    reasons = [f"All media may leave after layer {late - 1}: {blocked}."]
    kl = horizon.cell(MEDIA, late - 1).kl
    reasons.append(
        f"KL there is {fmean(kl):.3f} nats on average and {max(kl):.3f} at worst: near 0 if nothing reads them."
    )
    if horizon.answer_tokens == 1:
        agreement = horizon.cell(MEDIA, late - 1).agreement
        trial = binomtest(round(sum(agreement)), len(agreement), alternative="greater")
        least = trial.proportion_ci(CONFIDENCE, method="exact").low
        reasons.append(
            f"{len(agreement)} answers cannot show more than that at least {least:.1%} of such answers stay (exact "
            f"binomial bound, {CONFIDENCE:.0%})."
        )
    return late, reasons


def _helped(horizon: Curves, late: int | None) -> tuple[tuple[int, ...], int]:
    """Layers after which relevance beats shuffled scores, and of how many; each with a layer before the late drop."""
    end = horizon.num_layers if late is None else late - 1
    layers = [layer for layer in horizon.layers if 0 < layer < end]
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(layers))
    groups = list(_groups(horizon))

    def helps(layer: int) -> bool:
        gain, *others = (part.gain(layer, confidence=confidence) for _, part in groups)
        return (gain.low or 0.0) > 0 and all(other.high is None or other.high >= 0 for other in others)

    return tuple(layer for layer in layers if helps(layer)), len(layers)
