"""VidCom2 against its definition in plain Python."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from seats_ops import Modality, Schedule, TokenLayout
from seats_ops.layout import MediaShape
from seats_ops.methods import method
from tests.methods.cases import cases, check_rows, kept, layout_of, layouts, run_stage, tensors_for, video
from tests.methods.counting import check_counts


def likeness(x: np.ndarray, centre: np.ndarray) -> np.ndarray:
    squared = ((x - centre) ** 2).sum(-1)
    return np.asarray(sum(np.exp(-squared / (2 * 2.0**e)) for e in (-3, -2, -1, 0, 1)))


def of_one_video(x: np.ndarray, shape: MediaShape, ratio: float, variant: str) -> set[int]:
    """Places that are kept of a video's rows."""
    frames, grid = shape.t, shape.h * shape.w
    variance = ((x - x.mean(0)) ** 2).mean(0).astype(np.float32)
    channels = sorted(sorted(range(x.shape[1]), key=lambda c: (variance[c], c))[: max(1, x.shape[1] // 2)])
    x = x[:, channels]
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    to_video = likeness(x, x.mean(0))
    common = np.empty(len(x), dtype=np.float32)
    strange = []
    for t in range(frames):
        part = slice(t * grid, (t + 1) * grid)
        common[part] = to_video[part] + likeness(x[part], x[part].mean(0))
        strange.append(-to_video[part].mean())
    weights = [math.exp((f - max(strange)) / 0.01) for f in strange]
    keep: set[int] = set()
    for t in range(frames):
        scale = min(1.0, ratio * (1 + (weights[t] / sum(weights) - 1 / frames)))
        k = min(grid, max(1, round(scale * grid)))
        places = range(t * grid, (t + 1) * grid)
        keep |= set(sorted(places, key=lambda i: (common[i], i))[:k])
    if variant == "reconciled":
        target = max(frames, min(int(len(x) * (1 - (1 - ratio))), len(x)))
        others = sorted(set(range(len(x))) - keep, key=lambda i: (common[i], i))
        keep = set(sorted(keep, key=lambda i: (common[i], i))[:target]) | set(others[: max(0, target - len(keep))])
    return keep


def literal(layout: TokenLayout, tensors: dict[str, Any], ratio: float, variant: str) -> list[int]:
    grid, kinds = layout.grid.tolist(), layout.modality.tolist()
    keep = {i for i, kind in enumerate(kinds) if kind != Modality.VIDEO}
    for item, shape in enumerate(layout.shapes):
        if shape.modality == Modality.VIDEO:
            mine = [i for i in range(len(layout)) if grid[i][0] == item]
            x = tensors["features"][mine].double().numpy()
            keep |= {mine[i] for i in of_one_video(x, shape, ratio, variant)}
    return sorted(keep)


@pytest.mark.parametrize("variant", ["reference", "reconciled"])
@pytest.mark.parametrize("ratio", [0.1, 0.3])
def test_equals_the_definition(variant: str, ratio: float) -> None:
    (stage,) = method("vidcom2")(None, ratio, variant=variant).before_llm
    for name, layout, tensors in cases():
        selection, _ = run_stage(stage, layout, tensors)
        assert kept(selection) == literal(layout, tensors, ratio, variant), name
        check_counts(stage, layout, selection.keep_mask)


@pytest.mark.parametrize("variant", ["reference", "reconciled"])
def test_prompts_do_not_influence_each_other(variant: str) -> None:
    (stage,) = method("vidcom2")(None, 0.25, variant=variant).before_llm
    for name in ("two videos", "four prompts", "with the smallest"):
        layout = layouts()[name]
        check_rows(stage, layout, tensors_for(layout, "clustered"))


def test_counts_are_those_of_the_serving_engine() -> None:
    layout = layout_of([1, video(4, 25, 10), 2])
    (stage,) = method("vidcom2")(None, 1 - 0.8, variant="reconciled").before_llm
    selection, _ = run_stage(stage, layout, tensors_for(layout))
    # In float64 1000 (1 - 0.8) is below 200.
    assert len(kept(selection)) - 3 == int(1000 * (1 - 0.8)) == 199


def test_features_of_the_rest_are_not_looked_at() -> None:
    layout = layouts()["everything"]
    tensors = tensors_for(layout, "clustered")
    (stage,) = method("vidcom2")(None, 0.25).before_llm
    expected = kept(run_stage(stage, layout, tensors)[0])
    tensors["features"][~layout.is_modality(Modality.VIDEO)] = float("nan")
    assert kept(run_stage(stage, layout, tensors)[0]) == expected


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="variant"):
        method("vidcom2")(None, 0.2, variant="new")
    layout = layouts()["one video"]
    (stage,) = method("vidcom2")(None, 0.2).before_llm
    thinned = layout.select(layout.position != 4)
    with pytest.raises(ValueError, match="all 120 tokens"):
        run_stage(stage, thinned, tensors_for(thinned))


def test_a_schedule_is_read_back() -> None:
    for variant in ("reference", "reconciled"):
        schedule = method("vidcom2")(None, 0.2, variant=variant)
        assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule
