"""VisionZip against its definition in plain Python, in both variants."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from seats_ops import Modality, Schedule, TokenLayout
from seats_ops.methods import method
from tests.methods.cases import cases, check_rows, kept, layouts, merge_sums, row_alone, run_stage, tensors_for
from tests.methods.counting import check_counts


def literal(
    layout: TokenLayout, tensors: dict[str, Any], ratios: dict[int, float], variant: str
) -> tuple[list[int], dict[int, np.ndarray]]:
    """Kept tokens of one prompt, and new rows of anchors."""
    kinds, grid = layout.modality.tolist(), layout.grid.tolist()
    x, keys = tensors["features"].double().numpy(), tensors["keys"].double().numpy()
    score = tensors["saliency" if variant == "seats" else "saliency:mean"].tolist()
    groups: list[tuple[int, list[int]]] = []
    for kind in ratios:
        mine = [i for i in range(len(kinds)) if kinds[i] == kind]
        if not mine:
            continue
        if variant == "original":
            for item in sorted({grid[i][0] for i in mine}):
                groups.append((kind, [i for i in mine if grid[i][0] == item]))
        else:
            shape = layout.shapes[grid[mine[0]][0]]
            one = 50 if kind == Modality.AUDIO else shape.h * shape.w
            groups += [(kind, mine[s : s + one]) for s in range(0, len(mine), one)]
    keep, merged = {i for i in range(len(kinds)) if kinds[i] not in ratios}, {}
    for kind, group in groups:
        n, r = len(group), ratios[kind]
        if variant == "original":
            total = min(n, max(1, round(r * n)))
            contextual = min(total, max(1, round(10 / 64 * total)))
            dominant = total - contextual
        else:
            dominant = 0 if r <= 0.05 else min(n, max(1, int(np.float32(r - 0.05) * np.float32(n))))
            contextual = min(max(round(0.05 * n), 1), n - dominant)
        top = sorted(group, key=lambda i: (-score[i], i))[:dominant]
        rest = [i for i in group if i not in top]
        step = max(1, len(rest) // contextual) if contextual else 1
        anchors = rest[::step][:contextual]
        members: dict[int, list[int]] = {a: [] for a in anchors}
        unit = {i: keys[i] / (np.linalg.norm(keys[i]) + 1e-6) for i in rest}
        for i in rest:
            if i not in anchors:
                best = max(anchors, key=lambda a: (np.float32(unit[i] @ unit[a]), -a))
                members[best].append(i)
        keep |= {*top, *anchors}
        for a, of in members.items():
            if of:
                merged[a] = x[a] + np.mean([x[i] for i in of], 0)
    return sorted(keep), merged


@pytest.mark.parametrize(("variant", "ratio"), [("seats", 0.04), ("seats", 0.15), ("original", 0.2)])
def test_equals_the_definition(variant: str, ratio: float) -> None:
    (stage,) = method("visionzip-om")(None, ratio, variant=variant).before_llm
    for name, layout, tensors in cases():
        selection, values = run_stage(stage, layout, tensors)
        expected: list[int] = []
        for row in range(layout.num_rows):
            start = int(layout.cu_seqlens[row])
            keep, merged = literal(*row_alone(layout, row, tensors), {1: ratio, 2: ratio}, variant)
            expected += [i + start for i in keep]
            for i, value in merged.items():
                np.testing.assert_allclose(values[i + start].numpy(), value, rtol=1e-5, atol=1e-5, err_msg=name)
        assert kept(selection) == expected, name
        assert all(abs(total - 2.0) < 1e-5 for total in merge_sums(selection).values()), name
        check_counts(stage, layout, selection.keep_mask)


@pytest.mark.parametrize("variant", ["seats", "original"])
def test_prompts_do_not_influence_each_other(variant: str) -> None:
    (stage,) = method("visionzip-om")(None, {"video": 0.3, "audio": 0.5}, variant=variant).before_llm
    for name in ("two videos", "four prompts", "with the smallest"):
        for kind in ("random", "duplicated"):
            layout = layouts()[name]
            check_rows(stage, layout, tensors_for(layout, kind))


def test_numbers_of_the_papers() -> None:
    (stage,) = method("visionzip")(None, {"image": 64 / 576}, variant="original").before_llm
    assert [int(part) for part in stage._numbers(torch.tensor([576]), torch.tensor([3]))] == [54, 10]
    (stage,) = method("visionzip")(None, 0.06).before_llm
    assert [int(part) for part in stage._numbers(torch.tensor([144]), torch.tensor([1]))] == [1, 7]
    # In float64 it would be 3.
    (stage,) = method("visionzip")(None, 0.15).before_llm
    assert int(stage._numbers(torch.tensor([40]), torch.tensor([1]))[0]) == 4


def test_audio_and_images_stay_unless_asked_for() -> None:
    layout = layouts()["everything"]
    (stage,) = method("visionzip")(None, 0.2).before_llm
    selection, _ = run_stage(stage, layout, tensors_for(layout))
    assert selection.keep_mask[layout.is_modality(Modality.AUDIO, Modality.IMAGE)].all()
    assert method("visionzip")(None, 0.2, variant="original").before_llm[0].keep_ratio == {"video": 0.2, "image": 0.2}


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="variant"):
        method("visionzip")(None, 0.2, variant="new")
    with pytest.raises(ValueError, match="image"):
        method("visionzip")(None, {"image": 0.2})
    layout = layouts()["one video"]
    (stage,) = method("visionzip")(None, 0.2).before_llm
    plain = TokenLayout(layout.modality, layout.position, layout.cu_seqlens)
    with pytest.raises(ValueError, match="grid"):
        run_stage(stage, plain, tensors_for(layout))


@pytest.mark.parametrize("name", ["visionzip", "visionzip-om"])
def test_a_schedule_is_read_back(name: str) -> None:
    for variant in ("seats", "original"):
        schedule = method(name)(None, 0.2, variant=variant)
        assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule
