"""FastVID against its definition in plain Python, in both releases."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from seats_ops import Modality, Schedule, TokenLayout
from seats_ops.methods import method
from seats_ops.operators.dyseg import dyseg
from tests.methods.cases import cases, check_rows, kept, layouts, merge_sums, run_stage, tensors_for
from tests.methods.counting import check_counts


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def peaks(x: np.ndarray, count: int) -> list[int]:
    """Places of the density peaks of some rows."""
    d = np.array([[np.linalg.norm(a - b) / math.sqrt(len(a)) for b in x] for a in x]).reshape(len(x), len(x))
    density = [math.exp(-np.mean(sorted(row)[:4] ** np.array(2.0))) for row in d]
    score = []
    for i in range(len(x)):
        denser = [d[i, j] for j in range(len(x)) if (density[j], -j) > (density[i], -i)]
        score.append(np.float32(density[i] * (min(denser) if denser else d[i].max())))
    return sorted(sorted(range(len(x)), key=lambda i: (-score[i], i))[:count])


def plan_of(segment: list[int], similar: list[float], grid: int, ratio: float, release: str) -> dict[int, tuple]:
    """Frame -> (salient, anchors)."""
    n, budget = len(segment), int(grid * ratio)
    if release == "llava":
        budget = max(budget, 1)
        context = int(budget * 0.4)
        each = (context * n) // math.ceil(n / 4)
        salient = budget - context
        return {t: (salient, min(each, grid - salient) if (segment[-1] - t) % 4 == 0 else 0) for t in segment}
    context = max(int(budget * n * 0.4), 1)
    salient = max(budget * n - context, 0)
    valid = [t for t in segment if t == segment[-1] or similar[t] < 0.95]
    groups = math.ceil(len(valid) / 4)
    anchors = dict.fromkeys(valid, 0)
    # From the segment's end; what does not divide goes to the last of them.
    order = valid[::-1][::4]
    shares = [context // groups + (i < context % groups) for i in range(groups)][::-1]
    for t, share in zip(order, shares, strict=True):
        anchors[t] = share
    found = {}
    for i, t in enumerate(valid):
        own = anchors[t] if n == 1 else min(anchors[t], max(grid // 2, 1))
        share = salient // len(valid) + (i < salient % len(valid))
        found[t] = (min(share, grid - own), own)
    return found


def of_one_video(
    x: np.ndarray, attention: list[float], frames: int, grid: int, ratio: float, release: str, segments: int
) -> tuple[set[int], dict[int, np.ndarray]]:
    threshold = 0.84 if release == "qwen" else 0.9
    means = unit(x.reshape(frames, grid, -1).mean(1))
    similar = [float(np.float32(means[t] @ means[t + 1])) for t in range(frames - 1)]
    least = sorted(range(frames - 1), key=lambda t: (similar[t], t))[: segments - 1]
    cuts = sorted({*least, *(t for t in range(frames - 1) if similar[t] < threshold)})
    keep: set[int] = set()
    merged: dict[int, np.ndarray] = {}
    starts = [0, *(t + 1 for t in cuts)]
    for start, end in zip(starts, [*starts[1:], frames], strict=True):
        segment = list(range(start, end))
        plan = plan_of(segment, similar, grid, ratio, release)
        salient: set[int] = set()
        anchors: dict[int, list[int]] = {}
        for t, (many, few) in plan.items():
            places = range(t * grid, (t + 1) * grid)
            top = sorted(places, key=lambda i: (-attention[i], i))[:many]
            rest = [i for i in places if i not in top]
            salient |= set(top)
            anchors[t] = [rest[j] for j in peaks(x[rest], few)] if few else []
        inside = [i for i in range(start * grid, end * grid) if i not in salient]
        for own in anchors.values():
            members: dict[int, list[int]] = {a: [] for a in own}
            for i in inside:
                if own and not (release == "qwen" and i in own):
                    members[max(own, key=lambda a: (np.float32(unit(x[i]) @ unit(x[a])), -a))].append(i)
            for a, of in members.items():
                part = max(1 / (len(of) + 1), 0.6)
                if of:
                    merged[a] = part * x[a] + (1 - part) * np.mean([x[i] for i in of], 0)
            keep |= set(own)
        keep |= salient
    return keep, merged


def literal(
    layout: TokenLayout, tensors: dict[str, Any], ratio: float, release: str, segments: int
) -> tuple[list[int], dict[int, np.ndarray]]:
    grid, kinds = layout.grid.tolist(), layout.modality.tolist()
    keep = {i for i, kind in enumerate(kinds) if kind != Modality.VIDEO}
    merged = {}
    saliency = tensors["saliency:pooled" if release == "qwen" else "saliency:mean"].tolist()
    for item, shape in enumerate(layout.shapes):
        if shape.modality == Modality.VIDEO:
            mine = [i for i in range(len(layout)) if grid[i][0] == item]
            x = tensors["features"][mine].double().numpy()
            attention = [saliency[i] for i in mine]
            found, new = of_one_video(x, attention, shape.t, shape.h * shape.w, ratio, release, segments)
            keep |= {mine[i] for i in found}
            merged |= {mine[i]: value for i, value in new.items()}
    return sorted(keep), merged


def without_opposites(kind: str, tensors: dict[str, Any]) -> dict[str, Any]:
    """Rows at three different distances can be equally dense in theory, and which of them is denser, rounding says."""
    x = tensors["features"]
    return {**tensors, "features": x * x[:, :1]} if kind == "duplicated" else tensors


@pytest.mark.parametrize(("release", "ratio"), [("qwen", 0.3), ("qwen", 0.04), ("llava", 0.5)])
def test_equals_the_definition(release: str, ratio: float) -> None:
    (stage,) = method("fastvid")(None, ratio, release=release).before_llm
    for name, layout, tensors in cases():
        if layout.is_modality(Modality.VIDEO).any():
            compare(name, stage, layout, without_opposites(name.split(", ")[1], tensors), ratio, release)


def compare(
    name: str, stage: Any, layout: TokenLayout, tensors: dict[str, Any], ratio: float, release: str, segments: int = 8
) -> None:
    selection, values = run_stage(stage, layout, tensors)
    expected, merged = literal(layout, tensors, ratio, release, segments)
    assert kept(selection) == expected, name
    for i, value in merged.items():
        np.testing.assert_allclose(values[i].numpy(), value, rtol=1e-5, atol=1e-5, err_msg=name)
    assert set(merge_sums(selection)) == set(merged), name
    assert all(abs(total - 1.0) < 1e-5 for total in merge_sums(selection).values()), name
    check_counts(stage, layout, selection.keep_mask)


@pytest.mark.parametrize("release", ["qwen", "llava"])
@pytest.mark.parametrize("alike", [0.4, 1.3])
def test_long_segments(release: str, alike: float) -> None:
    """Of few cuts there are segments with several anchor frames, and of like frames some that keep nothing."""
    layout = layouts()["eleven frames"]
    assert layout.grid is not None
    for segments in (1, 2, 3):
        tensors = tensors_for(layout, "random", seed=segments)
        scene = torch.randn(2, 16, generator=torch.Generator().manual_seed(segments)) * 2.0
        tensors["features"] = tensors["features"] * alike + scene[layout.grid[:, 1].clamp(min=0) // 6]
        (stage,) = method("fastvid")(None, 0.8, release=release).before_llm
        stage = replace(stage, segments=segments)
        compare(f"{segments} segments", stage, layout, tensors, 0.8, release, segments)


@pytest.mark.parametrize("release", ["qwen", "llava"])
def test_prompts_do_not_influence_each_other(release: str) -> None:
    (stage,) = method("fastvid")(None, 0.3, release=release).before_llm
    for name in ("two videos", "four prompts", "with the smallest"):
        for kind in ("clustered", "duplicated"):
            layout = layouts()[name]
            check_rows(stage, layout, tensors_for(layout, kind))


def test_segments_of_a_video() -> None:
    assert dyseg(torch.tensor([0.95, 0.5, 0.92, 0.91]), threshold=0.9) == [2, 3]
    assert dyseg(torch.tensor([0.95, 0.5, 0.92, 0.92]), threshold=0.9, least=3) == [2, 1, 2]
    assert dyseg(torch.tensor([0.5, 0.5]), threshold=0.9, least=8) == [1, 1, 1]
    assert dyseg(torch.tensor([1.0, 1.0]), threshold=0.9, least=8) == [1, 1, 1]
    assert dyseg(torch.tensor([]), threshold=0.9, least=8) == [1]


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="release"):
        method("fastvid")(None, 0.2, release="new")
    with pytest.raises(ValueError, match="reduction"):
        run_stage(method("fastvid")(None, 0.2, reduction="new").before_llm[0], *next(cases())[1:])


def test_a_schedule_is_read_back() -> None:
    for release in ("qwen", "llava"):
        schedule = method("fastvid")(None, 0.2, release=release)
        assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule
