"""The paper's line of retentions, and how far along it a budget reaches: from FLOPs or KV bytes to a schedule.

lengths = PromptLengths(text=590, video_blocks=split_blocks(9600, 288), audio_blocks=split_blocks(1570, 50))
fit = fit_retention(model.config, lengths, max_flops=20e12)
fit.retention, fit.video, fit.audio, fit.schedule, fit.cost.flops
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, Literal

from seats_ops.cost import Cost, PromptLengths, prefill_cost
from seats_ops.methods.seats import FAMILIES, PAPER_RATIOS, family_name, seats
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
    above = max(1, bisect_left([at for at, _, _ in points], retention))
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


@dataclass(frozen=True)
class _Limit:
    """At most `most` of something that a cost has so much `extra` of whatever is kept."""

    name: str
    most: float
    kind: Literal["flops", "kv_bytes"]
    extra: int = 0

    def of(self, cost: Cost) -> int:
        return int(getattr(cost, self.kind)) + self.extra


def fit_retention(
    config: Any,
    lengths: PromptLengths,
    *,
    max_flops: float | None = None,
    max_kv_bytes: float | None = None,
    max_memory_bytes: float | None = None,
    weight_bytes: int | None = None,
    flops_share: float | None = None,
    kv_share: float | None = None,
    kv_policy: Literal["uniform", "per-layer"] = "uniform",
    exact_total: bool = False,
) -> Fit:
    """The highest retention on the paper's line whose prefill fits; if all tokens fit, all of them.

    Args:
        config: of a whole model or its thinker, of a known family.
        lengths: of the prompt.
        max_flops: FLOPs of the prefill at most, counted as `prefill_cost` does: one per multiply-add.
        max_kv_bytes: bytes of keys and values after the prefill at most, in bfloat16.
        max_memory_bytes: bytes at most of weights, keys and values; nothing else that a run needs is counted.
        weight_bytes: of the model, for `max_memory_bytes`.
        flops_share, kv_share: the same as shares, above 0 and up to 1, of what all tokens cost.
        kv_policy: as in `prefill_cost`.
        exact_total: as in `seats`.

    Returns:
        The fit, to a hundredth of a percent of R. Several limits all hold. Token counts are those of `token_counts`,
        predictions included.

    Raises:
        TypeError: not a known family's config.
        ValueError: no limit, one that is not positive, or one that even a prompt without audio and video is above.
    """

    def cost(schedule: Schedule) -> Cost:
        return prefill_cost(config, schedule, lengths, kv_policy=kv_policy)

    def at(step: int) -> Fit:
        video, audio = paper_ratios(config, step / STEPS)
        schedule = seats(
            config, video=video, audio=audio, encoder_ratio_scale=ENCODER_RATIO_SCALE, exact_total=exact_total
        )
        return Fit(step / STEPS, video, audio, schedule, cost(schedule))

    family, full = FAMILIES[family_name(config)], cost(Schedule())
    limits: list[_Limit] = []
    if max_flops is not None:
        limits.append(_Limit("max_flops", check_positive("max_flops", max_flops), "flops"))
    if max_kv_bytes is not None:
        limits.append(_Limit("max_kv_bytes", check_positive("max_kv_bytes", max_kv_bytes), "kv_bytes"))
    if max_memory_bytes is not None:
        if weight_bytes is None:
            raise ValueError("weight_bytes: expected bytes of the model's weights with max_memory_bytes, got None")
        most = check_positive("max_memory_bytes", max_memory_bytes)
        limits.append(_Limit("max_memory_bytes", most, "kv_bytes", weight_bytes))
    if flops_share is not None:
        limits.append(_Limit("flops_share", _share("flops_share", flops_share) * full.flops, "flops"))
    if kv_share is not None:
        limits.append(_Limit("kv_share", _share("kv_share", kv_share) * full.kv_bytes, "kv_bytes"))
    if not limits:
        raise ValueError("fit_retention: expected a limit of FLOPs, KV bytes or memory, got none")

    if all(limit.of(full) <= limit.most for limit in limits):
        return Fit(1.0, 1.0 if family.sees_video else None, 1.0 if family.hears else None, Schedule(), full)
    best, step, above = at(0), 0, round(highest_retention(config) * STEPS) + 1
    for limit in limits:
        _check_reachable(limit, best.cost, full)
    # Costs grow with the retention, but for the rounding of single tokens.
    while above - step > 1:
        middle = (step + above) // 2
        found = at(middle)
        if all(limit.of(found.cost) <= limit.most for limit in limits):
            best, step = found, middle
        else:
            above = middle
    return best


def _share(name: str, share: float) -> float:
    return check_ratio(name, check_positive(name, share))


def _check_reachable(limit: _Limit, least: Cost, full: Cost) -> None:
    needed, unit = float(limit.of(least)), ""
    got = float(limit.most)
    if needed <= got:
        return
    if limit.name.endswith("share"):
        whole = getattr(full, limit.kind)
        needed, got = needed / whole, got / whole
    elif limit.kind == "kv_bytes":
        needed, got, unit = needed / 2**20, got / 2**20, " MiB"
    what = "the weights and the prompt" if limit.extra else "the prompt"
    raise ValueError(
        f"{limit.name}: expected at least {needed:.6g}{unit}, what {what} cost{'' if limit.extra else 's'} with all "
        f"audio and video dropped before the LLM, got {got:.6g}{unit}"
    )
