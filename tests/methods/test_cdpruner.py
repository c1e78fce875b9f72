"""CDPruner against its definition in plain Python."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from seats_ops import Modality, Schedule, TokenLayout
from seats_ops.methods import method
from tests.methods.cases import cases, check_rows, kept, layouts, row_alone, run_stage, tensors_for
from tests.methods.counting import check_counts


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def greedy(x: np.ndarray, q: np.ndarray, k: int) -> list[int]:
    """Places picked; what rounding leaves of a variance, 3e-5, counts as none."""
    similarity = unit(x) @ unit(x).T
    variance, rows, picked = np.ones(len(x)), [], []
    for _ in range(k):
        gain = [-1.0 if j in picked else q[j] ** 2 * variance[j] for j in range(len(x))]
        best = max(range(len(x)), key=lambda j: (np.float32(gain[j]), -j))
        picked.append(best)
        if variance[best] > 0:
            row = similarity[best] - sum(r[best] * r for r in rows)
            rows.append(row / math.sqrt(variance[best]))
            variance = variance - rows[-1] ** 2
            variance[variance <= 3e-5] = 0.0
    return picked


def literal(layout: TokenLayout, tensors: dict[str, Any], ratio: float, theta: float | None, split: int) -> list[int]:
    x, kinds, grid = tensors["features"].double().numpy(), layout.modality.tolist(), layout.grid.tolist()
    units = unit(x)
    asks = [i for i, yes in enumerate(layout.question.tolist()) if yes]
    keep = {i for i, kind in enumerate(kinds) if kind in (Modality.TEXT, Modality.AUDIO)}
    for kind in (Modality.VIDEO, Modality.IMAGE):
        mine = [i for i in range(len(kinds)) if kinds[i] == kind]
        relevance = [-float(np.mean([units[i] @ units[j] for j in asks])) for i in mine]
        quality = dict.fromkeys(mine, 1.0)
        if mine and max(relevance) - min(relevance) > 1e-6:
            low, high = min(relevance), max(relevance)
            quality = {i: (q - low + 1e-6) / (high - low) for i, q in zip(mine, relevance, strict=True)}
        if theta is not None:
            quality = {i: math.exp(q * theta / (2 * (1 - theta))) for i, q in quality.items()}
        for item in sorted({grid[i][0] for i in mine}):
            of = [i for i in mine if grid[i][0] == item]
            k, n = max(1, min(len(of), round(ratio * len(of)))), len(of)
            parts = [(of, k)]
            if split and n > split:
                parts = [(of[: n // 2], k // 2), (of[n // 2 :], k - k // 2)]
            for part, count in parts:
                picked = greedy(x[part], np.array([quality[i] for i in part]), count) if part else []
                keep |= {part[j] for j in picked}
    return sorted(keep)


@pytest.mark.parametrize(("ratio", "theta", "split"), [(0.15, None, 0), (0.1, 0.5, 0), (0.2, None, 20)])
def test_equals_the_definition(ratio: float, theta: float | None, split: int) -> None:
    (stage,) = method("cdpruner")(None, ratio, theta=theta, split_above=split).before_llm
    for name, layout, tensors in cases():
        if "duplicated" in name:
            continue
        selection, _ = run_stage(stage, layout, tensors)
        expected: list[int] = []
        for row in range(layout.num_rows):
            start = int(layout.cu_seqlens[row])
            expected += [i + start for i in literal(*row_alone(layout, row, tensors), ratio, theta, split)]
        assert kept(selection) == expected, name
        check_counts(stage, layout, selection.keep_mask)


def test_duplicates_are_not_picked_twice() -> None:
    layout = layouts()["nine frames"]
    tensors = tensors_for(layout, "duplicated")
    (stage,) = method("cdpruner")(None, 4 / 54).before_llm
    selection, _ = run_stage(stage, layout, tensors)
    picked = [i for i in kept(selection) if layout.modality[i] == Modality.VIDEO]
    assert len(picked) == 4
    assert len(tensors["features"][picked].unique(dim=0)) == len(picked)


def test_prompts_do_not_influence_each_other() -> None:
    for split in (0, 20):
        (stage,) = method("cdpruner")(None, 0.25, split_above=split).before_llm
        for name in ("two videos", "four prompts", "with the smallest"):
            layout = layouts()[name]
            check_rows(stage, layout, tensors_for(layout, "clustered"))


def test_the_question_counts_and_the_sign() -> None:
    layout = layouts()["one video"]
    tensors = tensors_for(layout)
    found = []
    for inverted in (True, False):
        (stage,) = method("cdpruner")(None, 0.1, inverted=inverted).before_llm
        found.append(kept(run_stage(stage, layout, tensors)[0]))
    tensors["features"][layout.question] *= -1.0
    (stage,) = method("cdpruner")(None, 0.1).before_llm
    assert found[0] != found[1] == kept(run_stage(stage, layout, tensors)[0])


def test_text_that_does_not_ask_is_not_looked_at() -> None:
    layout = layouts()["one video"]
    tensors = tensors_for(layout)
    (stage,) = method("cdpruner")(None, 0.1).before_llm
    expected = kept(run_stage(stage, layout, tensors)[0])
    tensors["features"][layout.is_modality(Modality.TEXT) & ~layout.question] = float("nan")
    assert kept(run_stage(stage, layout, tensors)[0]) == expected


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="theta"):
        method("cdpruner")(None, 0.2, theta=1.0)
    with pytest.raises(ValueError, match="split_above"):
        method("cdpruner")(None, 0.2, split_above=-1)


def test_a_schedule_is_read_back() -> None:
    schedule = method("cdpruner")(None, 0.2, theta=0.5, split_above=100)
    assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule
