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
    **{f"random {seed}": {"seed": seed} for seed in SEEDS},
}
"""Saliency and text are not to be had from an encoder of pictures: what does without them does. Counts are exact."""
OF_VIDEO = ("divprune", "seats-selector", "evs", "vidcom2", "dart", "dycoke")
OF_SOUND = ("divprune-om", "seats-selector")
SAME = {"divprune-om": "divprune"}
"""The same on a silent video."""
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
def _schedule(name: str, ratio: float, found: PromptLengths) -> Schedule | None:
    kind = name.split(" ")[0]
    options = {kind: OPTIONS.get(name, {})}
    one = at_equal_cost([kind], config(), found, retention=ratio, options=options)[0]
    return one.schedule


def kept_by(names: tuple[str, ...], ratio: float, layout: TokenLayout, media: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Name and bool [N] keep mask of the prompt's media; left out is who cannot keep as few.

    Args:
        names: of `OF_VIDEO`, `OF_SOUND` and `BASELINES`.
        ratio: share of the media that enters the LLM.
        layout: of one prompt, on the CPU.
        media: float32 [N, D], features of the N tokens of its media.
    """
    features = whole(layout, media)
    for name in names:
        schedule = _schedule(name, ratio, lengths(layout))
        if schedule is None:
            continue
        left = run_stages(schedule, layout, {"features": features}, "reference")
        keep_mask = torch.zeros(len(layout), dtype=torch.bool, device="cpu")
        keep_mask[left.position] = True
        yield name, keep_mask[layout.modality != 0]
