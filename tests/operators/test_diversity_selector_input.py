"""DiversitySelector at the edges: unusual prompts, non-finite data, memory layout, and arguments that are refused."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from seats_ops import DiversitySelector, Modality, TokenLayout
from seats_ops.testing import (
    clustered_features,
    layout_of_runs,
    near_constant_saliency,
)

V, A, T, I = Modality.VIDEO, Modality.AUDIO, Modality.TEXT, Modality.IMAGE  # noqa: E741 - letters draw the prompts


def data_for(layout: TokenLayout, seed: int) -> tuple[Tensor, Tensor]:
    total = len(layout.modality)
    return clustered_features(total, 16, seed=seed), near_constant_saliency(total, seed=seed)


@pytest.mark.parametrize("rows", [[], [[]], [[], []], [[(T, 4)]], [[(V, 1)]], [[(A, 3)], [], [(T, 2)]]])
def test_unusual_prompts(rows: list) -> None:
    layout = layout_of_runs(rows)
    features, saliency = data_for(layout, 0)
    keep = DiversitySelector(0.5)(features, layout, saliency=saliency)
    expected = {(): 0, (0,): 0, (4,): 4, (1,): 1, (3, 2): 4}
    assert int(keep.sum()) == expected[tuple(n for row in rows for _, n in row) or ()]


def test_non_finite_data_keep_exact_counts() -> None:
    layout = layout_of_runs([[(V, 10), (A, 10)]], block_length=5)
    features, saliency = data_for(layout, 0)
    features[[1, 3, 12]], saliency[[2, 3, 15]] = float("nan"), float("inf")
    keep = DiversitySelector(0.4)(features, layout, saliency=saliency)
    assert [int(part.sum()) for part in keep.split(5)] == [2, 2, 2, 2]
    assert torch.equal(keep, DiversitySelector(0.4)(features, layout, saliency=saliency))


def test_memory_layout_dtypes_and_inputs() -> None:
    layout = layout_of_runs([[(T, 2), (V, 12), (A, 9)]])
    features, saliency = data_for(layout, 5)
    before = features.clone(), saliency.clone(), layout.modality.clone(), layout.block.clone()
    selector = DiversitySelector(0.4)
    keep = selector(features, layout, saliency=saliency)
    strided = features.T.contiguous().T, saliency.repeat_interleave(2)[::2]
    assert torch.equal(selector(strided[0], layout, saliency=strided[1]), keep)
    for got, copy in zip((features, saliency, layout.modality, layout.block), before, strict=True):
        assert torch.equal(got, copy)
    narrow = TokenLayout(*(x.int() for x in (layout.modality, layout.position, layout.cu_seqlens, layout.block)))
    assert torch.equal(selector(features, narrow, saliency=saliency), keep)
    for dtype in (torch.bfloat16, torch.float16):
        assert int(selector(features.to(dtype), layout, saliency=saliency).sum()) == int(keep.sum())


@pytest.mark.parametrize(
    ("ratio", "error"),
    [
        (-0.1, ValueError),
        (1.1, ValueError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        ("0.5", TypeError),
        (None, TypeError),
        ({"video": 1.5}, ValueError),
        ({"video": 0.5, "audio": math.nan}, ValueError),
        ({"video": "0.5"}, TypeError),
        ({"vidio": 0.5}, ValueError),
        ({"text": 0.5}, ValueError),
    ],
)
def test_bad_ratios_are_named(ratio: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="keep_ratio"):
        DiversitySelector(ratio)


def test_bad_arguments_are_named() -> None:
    layout = layout_of_runs([[(T, 2), (V, 6)]])
    features, saliency = data_for(layout, 0)
    selector = DiversitySelector(0.5)
    with pytest.raises(TypeError, match="weighted"):
        DiversitySelector(0.5, weighted="yes")
    with pytest.raises(ValueError, match="features"):
        selector(features[:7], layout, saliency=saliency)
    with pytest.raises(ValueError, match="features"):
        selector(features[0], layout, saliency=saliency)
    with pytest.raises(TypeError, match="features"):
        selector(features.long(), layout, saliency=saliency)
    with pytest.raises(ValueError, match="features"):
        selector(features.to("meta"), layout, saliency=saliency)
    with pytest.raises(ValueError, match="saliency"):
        selector(features, layout, saliency=saliency[:7])
    with pytest.raises(TypeError, match="saliency"):
        selector(features, layout, saliency=saliency.long())
    with pytest.raises((TypeError, ValueError), match="saliency"):
        selector(features, layout)
    with pytest.raises(ValueError, match="backend"):
        selector(features, layout, saliency=saliency, backend="cuda")


def test_a_layout_is_asked_for() -> None:
    with pytest.raises(TypeError, match="layout"):
        DiversitySelector(0.5)(torch.ones(8, 4), torch.ones(8), saliency=torch.ones(8))


def test_is_a_frozen_comparable_value() -> None:
    ratios = {"video": 0.3, "audio": 0.7}
    selector = DiversitySelector(ratios)
    with pytest.raises(dataclasses.FrozenInstanceError):
        selector.keep_ratio = 0.5
    assert selector == DiversitySelector({"audio": 0.7, "video": 0.3})
    assert selector != DiversitySelector(0.3) and selector != DiversitySelector(ratios, weighted=False)
    ratios["video"] = 0.9
    assert selector == DiversitySelector({"video": 0.3, "audio": 0.7})
