"""Who selects, each at the ratio of its own at which as many tokens enter the LLM, and who cannot on features alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor

from benchmarks.methods import run_stages
from seats_ops import Schedule, TokenLayout
from seats_ops.cost import PromptLengths
from seats_ops.methods import at_equal_cost, method
from seats_ops.operators.inputs import joined_inputs

from .prompts import config, lengths, whole

SEEDS = range(5)
BASELINES = ("uniform", *(f"random {seed}" for seed in SEEDS))
OPTIONS: dict[str, dict[str, Any]] = {
    "seats-selector": {"weighted": False, "exact_total": True},
    "dart": {"text_pivots": 0},
    "vidcom2": {"variant": "reconciled"},
}
"""Saliency and text are not to be had from an encoder of pictures: what does without them does. Counts are exact."""
OF_VIDEO = ("divprune", "seats-selector", "evs", "vidcom2", "dart", "dycoke")
OF_SOUND = ("divprune-om", "seats-selector")
AVAILABLE = {"features", "grid", "generators"}


def why_not(name: str, ratio: float = 0.25) -> str:
    """Why a method cannot be run here, "" if it can."""
    schedule = _largest_accepted(name, ratio)
    asked = joined_inputs(stage.inputs for stage in schedule.before_llm)
    missing = sorted(set(asked) - AVAILABLE)
    if missing:
        return f"asks for {', '.join(missing)}"
    if not schedule.before_llm:
        return "acts inside the LLM alone"
    if any(getattr(stage, "merges", False) for stage in schedule.before_llm):
        return "keeps no patch as it is: there is nothing to blank"
    return ""


def _largest_accepted(name: str, ratio: float) -> Schedule:
    """Of a method that refuses a small ratio, that of a large one: it asks for the same."""
    options = OPTIONS.get(name, {})
    try:
        return method(name)(config(), ratio, **options)
    except ValueError:
        return method(name)(config(), 0.75, **options)


@cache
def _own_ratio(name: str, ratio: float, found: PromptLengths) -> float | None:
    return at_equal_cost([name], config(), found, retention=ratio, options={name: OPTIONS.get(name, {})})[0].ratio


def seed_of(name: str, item: int) -> dict[str, int]:
    """Of "random 3", another one for every item: masks that items share are few, however many items there are."""
    _, _, place = name.partition(" ")
    return {"seed": item * len(SEEDS) + int(place)} if place else {}


def kept_by(
    names: tuple[str, ...], ratio: float, layout: TokenLayout, media: Tensor, *, item: int
) -> Iterator[tuple[str, Tensor]]:
    """Name and bool [N] keep mask of the prompt's media; left out is who cannot keep as few.

    Args:
        names: of `OF_VIDEO`, `OF_SOUND` and `BASELINES`.
        ratio: share of the media that enters the LLM.
        layout: of one prompt, on the CPU.
        media: float32 [N, D], features of the N tokens of its media.
        item: number of the clip or sound, which seeds random.
    """
    features = whole(layout, media)
    for name in names:
        kind = name.split(" ")[0]
        own = _own_ratio(kind, ratio, lengths(layout))
        if own is None:
            continue
        schedule = method(kind)(config(), own, **OPTIONS.get(kind, {}), **seed_of(name, item))
        left = run_stages(schedule, layout, {"features": features}, "reference")
        keep_mask = torch.zeros(len(layout), dtype=torch.bool, device="cpu")
        keep_mask[left.position] = True
        yield name, keep_mask[layout.modality != 0]
