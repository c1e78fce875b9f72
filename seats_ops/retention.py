"""The paper's line of retentions, and how far along it a budget reaches: from FLOPs or KV bytes to a schedule.

    lengths = PromptLengths(text=590, video_blocks=split_blocks(9600, 288), audio_blocks=split_blocks(1570, 50))
    fit = fit_retention(model.config, lengths, max_flops=20e12)
    fit.retention, fit.video, fit.audio, fit.schedule, fit.cost.flops
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from seats_ops.cost import Cost, PromptLengths, prefill_cost
from seats_ops.presets import FAMILIES, PAPER_RATIOS, family_name, seats
from seats_ops.schedule import Schedule
from seats_ops.validation import check_positive, check_ratio

ENCODER_RATIO_SCALE = 1.4
"""That of `seats`: a retention ratio above 1 / 1.4 would need more tokens than the encoder gives."""

STEPS = 10_000
"""Retentions are tried in hundredths of a percent."""


def highest_retention(config: Any) -> float:
    """Where the line ends: the paper's highest R for a family it covers, else 1 / 1.4."""
    pairs = PAPER_RATIOS.get(family_name(config))
    return max(pairs) / 100 if pairs else math.floor(STEPS / ENCODER_RATIO_SCALE) / STEPS


def paper_ratios(config: Any, retention: float) -> tuple[float | None, float | None]:
    """(video, audio) retention ratios for R, a share of all audio and video tokens; None where the family takes none.

    The paper's pairs at R = 10, 15, 25 and 35 %, straight lines between them, and below 10 % both in proportion down
    to nothing. A family of one modality has no pairs: R is its ratio.

    Raises:
        TypeError: not a known family's config. ValueError: R outside 0 to `highest_retention`.
    """
    name = family_name(config)
    family, most = FAMILIES[name], highest_retention(config)
    check_ratio("retention", retention)
    if retention > most:
        raise ValueError(f"retention: expected at most {most}, the highest that {name} has ratios for, got {retention}")
    if name not in PAPER_RATIOS:
        return (retention if family.sees_video else None), (retention if family.hears else None)
    points = [(0.0, 0.0, 0.0), *sorted((percent / 100, *pair) for percent, pair in PAPER_RATIOS[name].items())]
    above = next(i for i, (at, _, _) in enumerate(points) if retention <= at or i == len(points) - 1) or 1
    (low, *start), (high, *end) = points[above - 1], points[above]
    share = (retention - low) / (high - low)
    video, audio = (a + share * (b - a) for a, b in zip(start, end, strict=True))
    return video, audio


@dataclass(frozen=True)
class Fit:
    """What a budget allows.

    Attributes:
        retention: R; 1.0 where the whole prompt fits, and nothing has to go.
        video, audio: the retention ratios of `seats`, None for a modality that the family does not take.
        schedule: `seats` with these ratios; an empty one where nothing has to go.
        cost: of the schedule.
    """

    retention: float
    video: float | None
    audio: float | None
    schedule: Schedule
    cost: Cost


def fit_retention(
    config: Any,
    lengths: PromptLengths,
    *,
    max_flops: float | None = None,
    max_kv_bytes: float | None = None,
    flops_share: float | None = None,
    kv_share: float | None = None,
    kv_policy: Literal["uniform", "per-layer"] = "uniform",
) -> Fit:
    """The highest retention on the paper's line whose prefill fits; if all tokens fit, all of them.

    Args:
        config: of a whole model or its thinker, of a known family.
        lengths: of the prompt.
        max_flops: FLOPs of the prefill at most, counted as `prefill_cost` does: one per multiply-add.
        max_kv_bytes: bytes of keys and values after the prefill at most, in bfloat16.
        flops_share, kv_share: the same as shares, above 0 and up to 1, of what all tokens cost.
        kv_policy: as in `prefill_cost`.

    Returns:
        The fit, to a hundredth of a percent of R. Several limits all hold. Token counts are those of `token_counts`,
        predictions included.

    Raises:
        TypeError: not a known family's config.
        ValueError: no limit, one that is not positive, or one that even a prompt without audio and video is above.
    """
    if max_flops is max_kv_bytes is flops_share is kv_share is None:
        raise ValueError("fit_retention: expected max_flops, max_kv_bytes, flops_share or kv_share, got none")

    def cost(schedule: Schedule) -> Cost:
        return prefill_cost(config, schedule, lengths, kv_policy=kv_policy)

    full = cost(Schedule())
    limits: list[tuple[str, float, str]] = []
    for name, limit, kind in (("max_flops", max_flops, "flops"), ("max_kv_bytes", max_kv_bytes, "kv_bytes")):
        if limit is not None:
            limits.append((name, check_positive(name, limit), kind))
    for name, share, kind in (("flops_share", flops_share, "flops"), ("kv_share", kv_share, "kv_bytes")):
        if share is not None and check_ratio(name, check_positive(name, share)):
            limits.append((name, share * getattr(full, kind), kind))

    def fits(found: Cost) -> bool:
        return all(getattr(found, kind) <= limit for _, limit, kind in limits)

    def at(step: int) -> Fit:
        video, audio = paper_ratios(config, step / STEPS)
        schedule = seats(config, video=video, audio=audio, encoder_ratio_scale=ENCODER_RATIO_SCALE)
        return Fit(step / STEPS, video, audio, schedule, cost(schedule))

    family = FAMILIES[family_name(config)]
    if fits(full):
        return Fit(1.0, 1.0 if family.sees_video else None, 1.0 if family.hears else None, Schedule(), full)
    best, above = at(0), round(highest_retention(config) * STEPS) + 1
    for name, limit, kind in limits:
        least = getattr(best.cost, kind)
        if least > limit:
            of_full = f" ({least / getattr(full, kind):.4g} of all tokens)" if name.endswith("share") else ""
            raise ValueError(
                f"{name}: expected at least {least:.4g}{of_full}, what the prompt costs with all audio and video "
                f"dropped before the LLM, got {limit:.4g}"
            )
    # Costs grow with the retention, but for the rounding of single tokens.
    step = 0
    while above - step > 1:
        middle = (step + above) // 2
        found = at(middle)
        if fits(found.cost):
            best, step = found, middle
        else:
            above = middle
    return best
