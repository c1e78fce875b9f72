"""Nothing is read from the device when lengths are given: on the meta device there is nothing that could be read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from seats_ops import DiversitySelector, Modality, ModalityDropper, StagePruner, TokenLayout, WindowBudgetAllocator
from seats_ops import functional as F
from seats_ops.testing import layout_of_runs

VALUES = {"device": "meta", "dtype": torch.bfloat16}
IDS = {"device": "meta", "dtype": torch.int64}


def meta_layout() -> TokenLayout:
    layout = layout_of_runs([[(Modality.TEXT, 2), (Modality.VIDEO, 12), (Modality.AUDIO, 6)]])
    moved = {
        field.name: value.to("meta")
        for field in dataclasses.fields(layout)
        if isinstance(value := getattr(layout, field.name), Tensor)
    }
    return dataclasses.replace(layout, **moved)


PRIMITIVES: dict[str, tuple[Callable[[], Tensor], tuple[int, ...], torch.dtype]] = {
    "attention_received": (
        lambda: F.attention_received(
            torch.empty(20, 2, 8, **VALUES), torch.empty(20, 2, 8, **VALUES), torch.empty(4, **IDS), max_seqlen=9
        ),
        (20,),
        torch.float32,
    ),
    "dpc_knn": (
        lambda: F.dpc_knn(
            torch.empty(20, 8, **VALUES),
            torch.empty(4, **IDS),
            num_neighbors=4,
            density_scale=torch.empty(20, **VALUES),
            offsets=torch.empty(20, 3, **VALUES),
            offset_weight=0.2,
            max_seqlen=9,
        ),
        (20,),
        torch.float32,
    ),
    "max_min_diversity": (
        lambda: F.max_min_diversity(
            torch.empty(20, 8, **VALUES),
            torch.empty(4, **IDS),
            torch.empty(3, **IDS),
            weights=torch.empty(20, **VALUES),
            max_seqlen=9,
        ),
        (20,),
        torch.bool,
    ),
    "max_min_diversity by weight": (
        lambda: F.max_min_diversity(
            torch.empty(20, 8, **VALUES),
            torch.empty(4, **IDS),
            torch.empty(3, **IDS),
            weights=torch.empty(20, **VALUES),
            max_seqlen=9,
            first="weight",
        ),
        (20,),
        torch.bool,
    ),
    "greedy_dpp": (
        lambda: F.greedy_dpp(
            torch.empty(20, 8, **VALUES),
            torch.empty(4, **IDS),
            torch.empty(3, **IDS),
            quality=torch.empty(20, **VALUES),
            max_seqlen=9,
            max_keep=4,
        ),
        (20,),
        torch.bool,
    ),
    "query_relevance": (
        lambda: F.query_relevance(
            torch.empty(3, 4, 8, **VALUES), torch.empty(20, 2, 8, **VALUES), torch.empty(4, **IDS), max_seqlen=9
        ),
        (20,),
        torch.float32,
    ),
    "window_budget": (
        lambda: F.window_budget(
            torch.empty(20, **VALUES),
            torch.empty(20, **IDS),
            torch.empty(20, **IDS),
            torch.empty(2, 2, **IDS),
            num_windows=5,
            temperature=0.1,
            window_offsets=torch.empty(3, **IDS),
        ),
        (5, 2),
        torch.int64,
    ),
    "segment_topk": (
        lambda: F.segment_topk(torch.empty(20, **VALUES), torch.empty(20, **IDS), torch.empty(3, **IDS)),
        (20,),
        torch.bool,
    ),
    "temporal_similarity": (
        lambda: F.temporal_similarity(torch.empty(20, 8, **VALUES), torch.empty(20, **IDS)),
        (20,),
        torch.float32,
    ),
    "group_budget": (
        lambda: F.group_budget(
            torch.empty(9, **VALUES),
            torch.empty(9, **IDS),
            torch.empty(2, **IDS),
            torch.empty(3, **IDS),
            temperature=0.7,
            max_groups=6,
        ),
        (9,),
        torch.int64,
    ),
    "compact": (
        lambda: F.compact(torch.empty(20, **VALUES) > 0, torch.empty(20, 3, **VALUES), num_kept=4)[0],
        (4, 3),
        torch.bfloat16,
    ),
    "merge_rows": (
        lambda: F.merge_rows(
            torch.empty(20, 3, **VALUES), torch.empty(9, **IDS), torch.empty(9, **IDS), torch.empty(9, **VALUES)
        ),
        (20, 3),
        torch.bfloat16,
    ),
}


@pytest.mark.parametrize("name", PRIMITIVES)
def test_primitives(name: str) -> None:
    call, shape, dtype = PRIMITIVES[name]
    result = call()
    assert (result.device.type, tuple(result.shape), result.dtype) == ("meta", shape, dtype)


def test_operators() -> None:
    layout = meta_layout()
    features, scores = torch.empty(20, 8, **VALUES), torch.empty(20, device="meta")
    masks = [
        DiversitySelector(0.5)(features, layout, saliency=scores),
        StagePruner(0.5)(scores, layout),
        ModalityDropper()(layout),
    ]
    assert all((m.device.type, m.shape, m.dtype) == ("meta", (20,), torch.bool) for m in masks)
    assert WindowBudgetAllocator()(scores, layout, 0.5).shape == (1, 2)
    rest = layout.select(masks[0], num_kept=11)
    assert rest.modality.shape == (11,) and rest.cu_seqlens.shape == (2,)
