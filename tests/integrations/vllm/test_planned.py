"""Plans for vLLM of every family against the prompts that the adapter leaves, from seconds and pixels alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seats_ops.cli.clip_lengths import clip_lengths, prompt_lengths
from seats_ops.cli.plan_options import PlanOptions
from seats_ops.cli.plan_serving import ARCHITECTURES, plan_serving
from tests.integrations.vllm import checkpoint_families
from tests.integrations.vllm.cases_families import SCHEDULES
from tests.integrations.vllm.checkpoint_families import PATCH, config, sizes

MEDIA = {"video": 96, "sound in video": 96 + 78}
"""Tokens of six seconds: 6 grids of 4 x 4, and 13 of sound a second."""
PAIRS = [(family, "video") for family in PATCH] + [("qwen3_omni", "sound in video")]


@pytest.mark.parametrize(("family", "name"), PAIRS)
@pytest.mark.parametrize("schedule", ["unweighted", "weighted", "visionzip"])
def test_a_plan_is_as_long_as_what_the_adapter_leaves(family: str, name: str, schedule: str) -> None:
    expected = json.loads((Path(__file__).parent / f"references_{family}.json").read_text())[schedule][name]
    side, bounds = 4 * 2 * PATCH[family], sizes(family)
    clip = clip_lengths(
        config(family),
        6.0,
        size=(side, side),
        sound=name != "video",
        min_pixels=bounds["shortest_edge"],
        max_pixels=bounds["longest_edge"],
    )
    # The checkpoint writes times letter by letter, Qwen's vocabulary digit by digit.
    text = expected["whole"] - MEDIA[name] - clip.timestamps
    lengths = prompt_lengths(config(family), text, clip)
    plan = plan_serving(PlanOptions(engine="vllm"), config(family), SCHEDULES[schedule], lengths)
    assert (plan.whole.tokens, plan.pruned.tokens) == (expected["whole"], len(expected["prompt"]))


def test_the_architectures_are_those_that_are_tried() -> None:
    assert {*checkpoint_families.ARCHITECTURES.values(), "SeatsQwen2_5OmniModel"} == set(ARCHITECTURES.values())
