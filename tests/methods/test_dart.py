"""`dart`: pivots and picks one by one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from seats_ops.layout import TokenLayout
from seats_ops.methods import method
from tests.methods.cases import (
    TEXT,
    VIDEO,
    Found,
    audio,
    cases,
    check_counts,
    check_device,
    check_rows,
    check_stored,
    kept,
    layout_of,
    layouts,
    run_stage,
    tensors_for,
    video,
)


def literal(layout: TokenLayout, x: np.ndarray, ratios: dict[str, float], p_media: int, p_text: int) -> list[int]:
    norm = np.round(np.abs(x).sum(1), 10)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    modality, item_of = layout.modality.tolist(), layout.grid[:, 0].tolist()
    starts = layout.cu_seqlens.tolist()
    dropped: set[int] = set()
    for item, shape in enumerate(layout.shapes):
        if shape.modality.name.lower() not in ratios:
            continue
        tokens = [i for i in range(len(layout)) if item_of[i] == item]
        end = next(s for s in starts if s > tokens[-1])
        after = [i for i in range(tokens[-1] + 1, end) if modality[i] == TEXT]
        first = sorted(tokens, key=lambda i: (-norm[i], i))[:p_media]
        pivots = first + sorted(after, key=lambda i: (-norm[i], i))[:p_text]
        q = int(len(tokens) * ratios[shape.modality.name.lower()] / len(pivots))
        chosen = set(first)
        for pivot in pivots:
            left = [i for i in tokens if i not in chosen]
            chosen |= set(sorted(left, key=lambda i: (round(float(unit[i] @ unit[pivot]), 10), i))[:q])
        dropped |= set(tokens) - chosen
    return [i for i in range(len(layout)) if i not in dropped]


@pytest.mark.parametrize(
    ("ratio", "options", "ratios", "pivots"),
    [
        (0.4, {}, {"video": 0.4}, (4, 4)),
        ({"video": 0.9, "image": 0.5, "audio": 0.3}, {"media_pivots": 2, "text_pivots": 1}, None, (2, 1)),
        (0.3, {"media_pivots": 1, "text_pivots": 0}, {"video": 0.3}, (1, 0)),
        (0.0, {}, {"video": 0.0}, (4, 4)),
    ],
    ids=str,
)
def test_equals_a_literal_restatement(
    ratio: Any, options: dict[str, int], ratios: dict[str, float] | None, pivots: tuple[int, int]
) -> None:
    schedule = method("dart")(None, ratio, **options)
    check_stored(schedule)
    (stage,) = schedule.before_llm
    for title, layout, tensors in cases():
        selection, _ = run_stage(stage, layout, tensors)
        expected = literal(layout, tensors["features"].double().numpy(), ratios or ratio, *pivots)
        assert kept(selection) == expected, title
        check_counts(stage, layout, selection)
        check_rows(stage, layout, tensors)


def test_the_count_is_that_of_the_release_and_not_the_target() -> None:
    layout = layout_of([1, video(10, 4, 4), 9])
    (stage,) = method("dart")(None, 0.25).before_llm
    assert stage.count_tokens(Found(layout, 0))["video"] == 4 + int(160 * 0.25 / 8) * 8 == 44


def test_without_text_behind_it_an_item_has_its_own_pivots_alone() -> None:
    layout = layout_of([4, video(5, 2, 2), 1, audio(3)], [2, video(3, 2, 2), 3])
    tensors = tensors_for(layout)
    selection, _ = run_stage(method("dart")(None, 0.5).before_llm[0], layout, tensors)
    assert kept(selection) == literal(layout, tensors["features"].double().numpy(), {"video": 0.5}, 4, 4)


def test_after_a_layer_it_looks_at_hidden_states() -> None:
    config = SimpleNamespace(num_hidden_layers=28)
    schedule = method("dart")(config, 0.3, layer=2)
    check_stored(schedule)
    assert [(layer, stage.inputs) for layer, stage in schedule.stages()] == [(2, ("features", "grid"))]
    for options in ({"layer": 28}, {"layer": -1}, {"media_pivots": 0}, {"text_pivots": 1.5}):
        with pytest.raises(ValueError, match=next(iter(options))):
            method("dart")(config, 0.3, **options)


def test_other_media_do_not_matter() -> None:
    layout = layout_of([2, video(6, 2, 3), audio(9), 5])
    tensors = tensors_for(layout)
    (stage,) = method("dart")(None, 0.4).before_llm
    expected = kept(run_stage(stage, layout, tensors)[0])
    poisoned = torch.where((layout.modality == VIDEO)[:, None], tensors["features"], torch.nan)
    poisoned[layout.modality == TEXT] = tensors["features"][layout.modality == TEXT]
    assert kept(run_stage(stage, layout, {**tensors, "features": poisoned})[0]) == expected


def test_the_device_is_left_alone() -> None:
    layout = layouts()["four prompts"]
    check_device(method("dart")(None, 0.3).before_llm[0], layout, tensors_for(layout))
