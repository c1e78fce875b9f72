"""The primitives as torch operators: checked by `opcheck`, compiled without graph breaks."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from seats_ops import DiversitySelector, Modality, ModalityDropper, StagePruner, WindowBudgetAllocator
from seats_ops import functional as F
from seats_ops.testing import clustered_features, layout_of_runs, packed_offsets

# The same file runs on the reference, and on the kernels in a session under the interpreter.
BACKEND = "triton" if os.environ.get("TRITON_INTERPRET") == "1" else "auto"
LAYOUT = layout_of_runs(
    [[(Modality.TEXT, 2), (Modality.VIDEO, 9), (Modality.AUDIO, 5), (Modality.TEXT, 1), (Modality.VIDEO, 7)]]
)


def operator_calls() -> list[tuple[str, tuple[Any, ...]]]:
    values, offsets = clustered_features(24, 16, seed=1), packed_offsets([9, 0, 15])
    scores = values[:, 0].contiguous()
    query, key = values.view(24, 1, 16).expand(24, 2, 16).contiguous(), values.view(24, 1, 16)
    ids, counts = torch.arange(24) // 9, torch.tensor([3, 0, 6])
    mask, order = ids != 1, torch.arange(24).flip(0)
    index = mask.nonzero().flatten()
    return [
        ("attention_received", (query, query, offsets, None, 0.25, 15, BACKEND)),
        ("max_min_diversity", (values, offsets, counts, None, None, 15, None, "spread", BACKEND)),
        ("max_min_diversity", (values.bfloat16(), offsets, counts, scores, order, 15, 6, "weight", BACKEND)),
        ("dpc_knn", (values, offsets, 3, "euclidean", True, True, None, None, 0.0, None, 15, BACKEND)),
        ("dpc_knn", (values.half(), offsets, 3, "cosine", False, False, scores.abs(), values, 0.2, order, 15, BACKEND)),
        ("greedy_dpp", (values, offsets, counts, None, None, 15, 6, BACKEND)),
        ("greedy_dpp", (values.bfloat16(), offsets, counts, scores.abs(), order, 15, 6, BACKEND)),
        ("query_relevance", (query[:3], key, offsets, 0.25, 15, BACKEND)),
        ("window_budget", (scores, ids, ids, torch.tensor([[3, 2]]), 3, 0.1, torch.tensor([0, 3]), BACKEND)),
        ("segment_topk", (scores, ids, counts, BACKEND)),
        ("temporal_similarity", (values.bfloat16(), order - 1, 2.0, 1e-8, BACKEND)),
        ("group_budget", (scores.abs()[:3], counts, counts[:2], torch.tensor([0, 1, 3]), None, 1, 2, BACKEND)),
        ("group_budget", (scores[:3], counts, counts[:1], torch.tensor([0, 3]), 0.7, 0, 3, BACKEND)),
        ("kept_index", (mask, len(index), BACKEND)),
        ("kept_index", (mask, None, BACKEND)),
        ("merge_rows", (values.clone().requires_grad_(), ids, order, scores, None, BACKEND)),
        ("merge_rows", (values.bfloat16(), order, ids, scores, mask, BACKEND)),
        ("merge_rows", (values, ids[:0], order[:0], scores[:0], None, BACKEND)),
        ("gather", (index, [values.clone().requires_grad_(), ids], 0, BACKEND)),
    ]


CALLS = operator_calls()


def test_every_operator_is_checked() -> None:
    registered = {
        name.removeprefix("seats_ops::") for name in torch._C._dispatch_get_all_op_names() if "seats_ops" in name
    }
    assert registered == {name for name, _ in CALLS}


@pytest.mark.parametrize(("name", "arguments"), CALLS, ids=[name for name, _ in CALLS])
def test_opcheck(name: str, arguments: tuple[Any, ...]) -> None:
    torch.library.opcheck(getattr(torch.ops.seats_ops, name).default, arguments)


SELECTOR, ALLOCATOR, PRUNER, DROPPER = (
    DiversitySelector(0.5),
    WindowBudgetAllocator(),
    StagePruner(0.5),
    ModalityDropper(),
)


def stages() -> dict[str, Callable[[Tensor], Tensor]]:
    return {
        "DiversitySelector": lambda x: SELECTOR(x, LAYOUT, saliency=x[:, 0].abs(), backend=BACKEND),
        "WindowBudgetAllocator": lambda x: ALLOCATOR(x[:, 0], LAYOUT, 0.5, backend=BACKEND),
        "StagePruner": lambda x: PRUNER(x[:, 0], LAYOUT, backend=BACKEND),
        "ModalityDropper": lambda x: DROPPER(LAYOUT, backend=BACKEND) & (x[:, 0] == x[:, 0]),
    }


def saliency(features: Tensor) -> Tensor:
    heads = features.view(24, 2, 8)
    return F.attention_received(heads, heads.flip(0), packed_offsets([9, 0, 15]), max_seqlen=15, backend=BACKEND)


@pytest.mark.parametrize("name", ["attention_received", *stages()])
def test_operators_compile_without_a_break(name: str) -> None:
    features = clustered_features(24, 16, seed=2)
    stage = {"attention_received": saliency, **stages()}[name]
    compiled = torch.compile(stage, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(features), stage(features))


class SmallModel(torch.nn.Module):
    """Two layers with a drop between them, as an adapter puts it: relevance, budgets, selection, compaction."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = torch.nn.Linear(16, 16), torch.nn.Linear(16, 16)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.before(hidden)
        heads = hidden.view(-1, 2, 8)
        scores = F.query_relevance(heads[-1:].contiguous(), heads, max_seqlen=24, backend=BACKEND)
        keep = PRUNER(scores, LAYOUT, backend=BACKEND)
        (hidden,) = F.compact(keep, hidden, num_kept=13, backend=BACKEND)
        return self.after(hidden)


def test_a_model_with_a_drop_compiles_without_a_break() -> None:
    torch.manual_seed(0)
    model, features = SmallModel(), clustered_features(24, 16, seed=3)
    with torch.no_grad():
        expected = model(features)
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")(features)
    torch.testing.assert_close(compiled, expected)
