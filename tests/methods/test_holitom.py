"""HoliTom against its definition in plain Python: before the LLM, and after a layer."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen2_5OmniThinkerConfig

from seats_ops import Modality, Schedule, TokenLayout
from seats_ops.methods import method
from seats_ops.operators.static_segments import static_segments
from tests.methods.cases import cases, check_rows, kept, layout_of, layouts, merge_sums, run_stage, tensors_for, video
from tests.methods.counting import check_counts

CONFIG = Qwen2_5OmniThinkerConfig()


def peaks_of(x: np.ndarray, count: int) -> list[int]:
    """Places of the density peaks of some rows."""
    if not count:
        return []
    d = np.array([[np.linalg.norm(a - b) / math.sqrt(len(a)) for b in x] for a in x])
    density = [math.exp(-float(np.mean(np.array(sorted(row)[: min(7, count)]) ** 2))) for row in d]
    score = []
    for i in range(len(x)):
        denser = [d[i, j] for j in range(len(x)) if (density[j], -j) > (density[i], -i)]
        score.append(np.float32(density[i] * (min(denser) if denser else d[i].max())))
    return sorted(sorted(range(len(x)), key=lambda i: (-score[i], i))[:count])


def merged(x: np.ndarray, centres: list[int]) -> list[np.ndarray]:
    """What becomes of the centres when all other rows go to the nearest of them."""
    members: dict[int, list[np.ndarray]] = {c: [] for c in centres}
    for i in range(len(x)):
        if centres and i not in members:
            members[min(centres, key=lambda c: (np.linalg.norm(x[i] - x[c]), c))].append(x[i])
    return [0.6 * x[c] + 0.4 * np.mean(of, 0) if of else x[c] for c, of in members.items()]


def best_cut(still: np.ndarray) -> tuple[list[tuple[int, int]], int]:
    """Segments (first, last) that leave out the most tokens."""
    frames = len(still) + 1
    best, start_of = [0] * (frames + 1), [0] * frames
    for end in range(frames):
        best[end + 1], start_of[end] = best[end], end
        for start in range(end - 1, -1, -1):
            value = best[start] + int(still[start:end].all(0).sum()) * (end - start)
            if value > best[end + 1]:
                best[end + 1], start_of[end] = value, start
    cut, end = [], frames - 1
    while end >= 0:
        cut.append((start_of[end], end))
        end = start_of[end] - 1
    return cut[::-1], best[frames]


def of_one_video(
    x: np.ndarray, attention: list[float], frames: int, grid: int, ratio: float, context: float
) -> dict[int, np.ndarray]:
    """Place -> value of what is kept."""
    unit = x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-8)
    unit = unit.reshape(frames, grid, -1)
    still = np.array([(a * b).sum(-1) > 0.8 for a, b in pairwise(unit)]).reshape(frames - 1, grid)
    cut, left_out = best_cut(still)
    ratio = min(ratio / ((frames * grid - left_out) / (frames * grid)), 1)
    values: dict[int, np.ndarray] = {}
    for start, end in cut:
        static = [p for p in range(grid) if end > start and still[start:end, p].all()]
        moving = [p for p in range(grid) if p not in static]
        means = np.array([np.mean([x[t * grid + p] for t in range(start, end + 1)], 0) for p in static])
        count = round(len(static) * ratio)
        if static and not moving:
            count = max(count, 1)
        centres = peaks_of(means, count)
        for c, value in zip(centres, merged(means, centres), strict=True):
            values[start * grid + static[c]] = value
        for t in range(start, end + 1):
            places = [t * grid + p for p in moving]
            total = math.ceil(len(places) * ratio)
            salient = round(total * (1 - context))
            top = sorted(places, key=lambda i: (-attention[i], i))[:salient]
            rest = [i for i in places if i not in top]
            centres = peaks_of(x[rest], total - salient)
            values |= {i: x[i] for i in top}
            values |= {rest[c]: value for c, value in zip(centres, merged(x[rest], centres), strict=True)}
    return values


def still_cases() -> Any:
    """Random features never stand still: places that do, in most frames."""
    for name, layout, tensors in cases():
        kind = name.split(", ")[1]
        if not layout.is_modality(Modality.VIDEO).any():
            continue
        x = tensors["features"]
        if kind == "duplicated":
            # Rows at three different distances can be equally dense in theory; which is denser, rounding says.
            x = x * x[:, :1]
        if kind in ("random", "clustered"):
            grid = layout.grid
            scene = torch.randn(40, 16, generator=torch.Generator().manual_seed(1))
            moves = (grid[:, 1] // 4 * 3 + grid[:, 2] * 7 + grid[:, 3] * 5).clamp(min=0) % 40
            x = scene[moves] * (1.0 + grid[:, 2:3].clamp(min=0) % 2) + 0.45 * x
        yield name, layout, {**tensors, "features": x}


@pytest.mark.parametrize(("ratio", "context"), [(0.3, 0.4), (0.1, 0.0), (0.02, 1.0)])
def test_equals_the_definition(ratio: float, context: float) -> None:
    (stage,) = method("holitom")(None, ratio, layer=None, context=context).before_llm
    for name, layout, tensors in still_cases():
        selection, values = run_stage(stage, layout, tensors)
        grid = layout.grid.tolist()
        expected = {i for i, kind in enumerate(layout.modality.tolist()) if kind != Modality.VIDEO}
        for item, shape in enumerate(layout.shapes):
            if shape.modality == Modality.VIDEO:
                mine = [i for i in range(len(layout)) if grid[i][0] == item]
                x, attention = tensors["features"][mine].double().numpy(), tensors["saliency:mean"][mine].tolist()
                found = of_one_video(x, attention, shape.t, shape.h * shape.w, ratio, context)
                expected |= {mine[i] for i in found}
                for i, value in found.items():
                    np.testing.assert_allclose(values[mine[i]].numpy(), value, rtol=1e-5, atol=1e-5, err_msg=name)
        assert kept(selection) == sorted(expected), name
        assert all(abs(total - 1.0) < 1e-5 for total in merge_sums(selection).values()), name
        check_counts(stage, layout, selection.keep_mask)


def test_something_stands_still_in_the_cases() -> None:
    (stage,) = method("holitom")(None, 0.3, layer=None).before_llm
    merging = [name for name, *given in still_cases() if run_stage(stage, *given)[0].merge.target.numel()]
    assert {"one video, random", "nine frames, clustered", "unequal videos, random"} <= set(merging)


def test_segments() -> None:
    random = np.random.default_rng(0)
    for share in (0.3, 0.6, 0.9):
        still = random.random((11, 6)) < share
        cut, left_out = best_cut(still)
        assert static_segments(torch.tensor(still), 1024) == ([(s, e + 1) for s, e in cut], left_out)
    segments, _ = static_segments(torch.ones(9, 3, dtype=torch.bool), 4)
    assert max(end - start for start, end in segments) == 4
    assert static_segments(torch.ones(0, 3, dtype=torch.bool), 4) == ([(0, 1)], 0)


def literal_inner(layout: TokenLayout, tensors: dict[str, Any], ratio: float) -> dict[int, np.ndarray]:
    x, scores = tensors["features"].double().numpy(), tensors["scores:last_text/attention"].tolist()
    rows, values = layout.rows().tolist(), {}
    for row in range(layout.num_rows):
        mine = [i for i in range(len(x)) if rows[i] == row and layout.modality[i] == Modality.VIDEO]
        if not mine:
            continue
        top = sorted(mine, key=lambda i: (-scores[i], i))[: max(1, round(ratio * len(mine)))]
        new = {i: x[i] for i in top}
        unit = {i: x[i] / (np.linalg.norm(x[i]) + 1e-8) for i in mine}
        for i in mine:
            if i not in new:
                best = max(top, key=lambda a: (np.float32(unit[i] @ unit[a]), -a))
                new[best] = (new[best] + x[i]) / 2
        values |= new
    return values


@pytest.mark.parametrize("ratio", [0.5, 0.1])
def test_after_a_layer(ratio: float) -> None:
    ((layer, stage),) = method("holitom")(CONFIG, 0.2, inner_ratio=ratio).stages()[1:]
    assert layer == 18
    for name, layout, tensors in cases():
        selection, values = run_stage(stage, layout, tensors)
        expected = literal_inner(layout, tensors, ratio)
        others = (~layout.is_modality(Modality.VIDEO)).nonzero().flatten().tolist()
        assert kept(selection) == sorted([*others, *expected]), name
        for i, value in expected.items():
            np.testing.assert_allclose(values[i].numpy(), value, rtol=1e-5, atol=1e-5, err_msg=name)
        assert all(abs(total - 1.0) < 1e-5 for total in merge_sums(selection).values()), name
        check_counts(stage, layout, selection.keep_mask)


@pytest.mark.parametrize(("depth", "scaled"), [(28, 18), (36, 23), (4, 3)])
def test_the_layer_scales_with_depth(depth: int, scaled: int) -> None:
    config = Qwen2_5OmniThinkerConfig(text_config={"num_hidden_layers": depth})
    assert list(method("holitom")(config, 0.2).after_layer) == [scaled]
    assert list(method("holitom")(config, 0.2, layer=2).after_layer) == [2]
    with pytest.raises(ValueError, match=f"expected ascending layers from 1 to {depth - 1}"):
        method("holitom")(config, 0.2, layer=depth)


def test_prompts_do_not_influence_each_other() -> None:
    for _, stage in method("holitom")(CONFIG, 0.3, context=0.4).stages():
        for name, layout, tensors in still_cases():
            if layout.num_rows > 1:
                check_rows(stage, layout, tensors)
                assert name


def test_a_video_that_stands_still_keeps_a_token() -> None:
    layout = layout_of([1, video(8, 3, 3), 2])
    (stage,) = method("holitom")(None, 0.001, layer=None).before_llm
    selection, _ = run_stage(stage, layout, tensors_for(layout, "constant"))
    assert kept(selection) == [0, 1, 73, 74]


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="inner_ratio"):
        method("holitom")(CONFIG, 0.2, inner_ratio=1.5)
    layout = layouts()["one video"]
    (stage,) = method("holitom")(None, 0.2, layer=None).before_llm
    thinned = layout.select(layout.position != 4)
    with pytest.raises(ValueError, match="all 120 tokens"):
        run_stage(stage, thinned, tensors_for(thinned))


def test_a_schedule_is_read_back() -> None:
    schedule = method("holitom")(CONFIG, 0.2, context=0.4)
    assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule
