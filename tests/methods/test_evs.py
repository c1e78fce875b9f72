"""`evs`: a stable sort by change against the frame before, counted as the host counts."""

from __future__ import annotations

import numpy as np
import pytest

from seats_ops.layout import TokenLayout
from seats_ops.methods import method
from tests.methods.cases import (
    VIDEO,
    Found,
    cases,
    check_counts,
    check_device,
    check_rows,
    check_stored,
    frames_of,
    kept,
    layout_of,
    layouts,
    run_stage,
    tensors_for,
    video,
)


def literal(layout: TokenLayout, x: np.ndarray, q: float) -> list[int]:
    dropped: set[int] = set()
    for item, shape in enumerate(layout.shapes or ()):
        if shape.modality != VIDEO:
            continue
        scored = []
        frames = frames_of(layout, item)
        for t, frame in enumerate(frames):
            for place, i in enumerate(frame):
                score = 255.0
                if t:
                    a, b = x[i], x[frames[t - 1][place]]
                    score = round(1 - float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))), 12)
                scored.append((-score, i))
        k = max(shape.h * shape.w, int(shape.num_tokens * (1 - q)))
        dropped |= {i for _, i in sorted(scored)[k:]}
    return [i for i in range(len(layout)) if i not in dropped]


@pytest.mark.parametrize("ratio", [0.3, 0.55, 0.0, 1.0])
def test_equals_a_literal_restatement(ratio: float) -> None:
    schedule = method("evs")(None, ratio)
    check_stored(schedule)
    (stage,) = schedule.before_llm
    assert stage.inputs == ("features", "grid")
    for title, layout, tensors in cases():
        selection, _ = run_stage(stage, layout, tensors)
        assert kept(selection) == literal(layout, tensors["features"].double().numpy(), 1 - ratio), title
        check_counts(stage, layout, selection)
        check_rows(stage, layout, tensors)


def test_counts_are_those_of_the_host() -> None:
    # A product just below a whole number is rounded down: int(1000 * (1 - 0.8)) is 199.
    layout = layout_of([video(10, 10, 10), 1])
    (stage,) = method("evs")(None, 0.2).before_llm
    assert stage.count_tokens(Found(layout, 0))["video"] == int(1000 * (1 - 0.8)) == 199
    assert run_stage(stage, layout, tensors_for(layout))[0].keep_mask.sum() == 200


def test_short_clips_keep_exactly_the_first_frame() -> None:
    layout = layout_of([video(3, 2, 5), 1])
    (stage,) = method("evs")(None, {"video": 0.3}).before_llm
    assert kept(run_stage(stage, layout, tensors_for(layout))[0]) == [*range(10), 30]


def test_ratios_of_other_modalities_are_refused() -> None:
    with pytest.raises(ValueError, match="ratio"):
        method("evs")(None, {"video": 0.3, "audio": 0.5})


def test_the_device_is_left_alone() -> None:
    layout = layouts()["four prompts"]
    check_device(method("evs")(None, 0.3).before_llm[0], layout, tensors_for(layout))
