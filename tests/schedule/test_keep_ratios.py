"""The retention solver against the authors' schedules, and realised retention against its target."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from seats_ops import (
    Modality,
    StagePruner,
    TokenLayout,
)
from seats_ops.schedule import solve_keep_ratios
from seats_ops.testing import packed_offsets
from seats_ops.testing.strategies import seeds

ROWS = json.loads((Path(__file__).parents[1] / "golden" / "decay_schedule.json").read_text())


def parsed_layers(text: str | None) -> list[int]:
    return [int(part) for part in re.split("[-,]", text)] if text else []


def row_id(row: dict[str, Any]) -> str:
    given = row["inputs"]
    return f"{row['description'][:40]} {given['model']} {given['video_ratio']}"


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_solver_reproduces_every_golden_schedule(row: dict[str, Any]) -> None:
    given, recorded = row["inputs"], row["outputs"]
    for modality in ("video", "audio"):
        ratios = solve_keep_ratios(
            given[f"{modality}_ratio"],
            given[f"{modality}_encoder_ratio"],
            num_layers=recorded["num_layers"],
            drop_layers=parsed_layers(given["progressive_drop_layers"]),
            late_layer=given["late_block_layer"],
        )
        assert isinstance(ratios, tuple)
        assert ratios == tuple(recorded[f"{modality}_inner_progressive_ratio_list"])


@st.composite
def reachable_targets(draw: st.DrawFn) -> dict[str, Any]:
    num_layers = draw(st.integers(4, 60))
    late = draw(st.one_of(st.none(), st.integers(3, num_layers)))
    last = (late - 2) if late else num_layers - 1
    drops = sorted(draw(st.sets(st.integers(1, last), min_size=1, max_size=min(5, last))))
    end = late - 1 if late else num_layers
    encoder_ratio = draw(st.floats(0.05, 1.0))
    # Between the averages of dropping everything at the drops' full size and of dropping nothing.
    steps = [math.exp(i) for i in range(len(drops))]
    levels = [1.0 - sum(steps[: i + 1]) / sum(steps) for i in range(len(drops))]
    lengths = [b - a for a, b in zip(drops, [*drops[1:], end], strict=True)]
    low = (drops[0] + sum(n * level for n, level in zip(lengths, levels, strict=True))) / num_layers
    high = end / num_layers
    where = draw(st.floats(0.02, 0.98))
    return {
        "retention": encoder_ratio * (low + where * (high - low)),
        "encoder_ratio": encoder_ratio,
        "num_layers": num_layers,
        "drop_layers": drops,
        "late_layer": late,
    }


def average_retention(ratios: tuple[float, ...], target: dict[str, Any]) -> float:
    """Share of the encoder's tokens, averaged over the layers one by one."""
    late = target["late_layer"] or target["num_layers"] + 1
    level, levels = target["encoder_ratio"], []
    for layer in range(1, target["num_layers"] + 1):
        levels.append(level if layer < late else 0.0)
        if layer in target["drop_layers"]:
            level *= ratios[target["drop_layers"].index(layer)]
    return sum(levels) / len(levels)


@settings(max_examples=150)
@given(reachable_targets())
def test_solved_schedules_meet_their_retention(target: dict[str, Any]) -> None:
    exact = solve_keep_ratios(**target, digits=12)
    assert len(exact) == len(target["drop_layers"])
    assert all(0.0 <= ratio <= 1.0 for ratio in exact)
    assert average_retention(exact, target) == pytest.approx(target["retention"], abs=1e-10)
    rounded = solve_keep_ratios(**target)
    assert all(ratio == round(ratio, 4) for ratio in rounded)
    # Every level is a product of at most K ratios, each off by at most half of the fourth decimal.
    bound = target["encoder_ratio"] * len(rounded) * 0.5e-4 * 1.001
    assert abs(average_retention(rounded, target) - target["retention"]) <= bound


@settings(max_examples=40)
@given(reachable_targets())
def test_drops_grow_by_e(target: dict[str, Any]) -> None:
    levels = [1.0]
    for ratio in solve_keep_ratios(**target, digits=12):
        levels.append(levels[-1] * ratio)
    losses = [a - b for a, b in itertools.pairwise(levels)]
    for first, second in itertools.pairwise(losses):
        assert second == pytest.approx(first * math.e, rel=1e-6)


@settings(max_examples=30)
@given(reachable_targets(), st.integers(1, 2000), seeds())
def test_realised_token_counts_meet_the_retention(target: dict[str, Any], num_tokens: int, seed: int) -> None:
    """Counting real keep masks: one token of rounding per stage is all that separates them from the target."""
    assume(target["encoder_ratio"] * num_tokens >= 1)
    ratios = solve_keep_ratios(**target)
    random = torch.Generator().manual_seed(seed)
    count = max(1, min(num_tokens, round(target["encoder_ratio"] * num_tokens)))
    layout = TokenLayout(torch.full((count,), int(Modality.VIDEO)), torch.arange(count), packed_offsets([count]))
    counts = []
    for layer in range(1, target["num_layers"] + 1):
        late = target["late_layer"]
        counts.append(0 if late and layer >= late else len(layout.modality))
        if layer in target["drop_layers"]:
            pruner = StagePruner(ratios[target["drop_layers"].index(layer)])
            layout = layout.select(pruner(torch.rand(len(layout.modality), generator=random), layout))
    average = sum(counts) / len(counts)
    rounding = 0.5 * (1 + len(ratios)) + 1.0  # half a token per stage; at least one token is kept
    assert abs(average - target["retention"] * num_tokens) <= rounding + num_tokens * len(ratios) * 1e-4
