"""The tools catch what they are for: kernels with one planted mistake each, and one that has none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime.errors import InterpreterError

from seats_ops import functional as F
from seats_ops.ops.launch import count_launches
from seats_ops.testing.interpreter import program_order
from seats_ops.testing.poison import poisoned_outputs

BLOCK = 8


@triton.jit
def copy_kernel(x, out, total, MISTAKE: tl.constexpr):
    pid = tl.program_id(0)
    token = pid * 8 + tl.arange(0, 8)
    inside = token < total
    if MISTAKE == "reads beyond the end":
        inside = token < total + 1
    if MISTAKE == "reads before the start":
        token = token - 1
    value = tl.load(x + token, mask=inside, other=0.0)
    if MISTAKE == "no other":
        value = tl.sum(tl.load(x + token, mask=inside), 0) + tl.zeros((8,), tl.float32)
    if MISTAKE == "writes beyond the end":
        tl.store(out + token, value, mask=token < total + 1)
    elif MISTAKE == "reads back its own":
        tl.store(out + token, value, mask=inside)
        tl.store(x + token, tl.load(out + token, mask=inside, other=0.0), mask=inside)
    elif MISTAKE == "two programs write one place":
        tl.store(out + tl.arange(0, 8), value, mask=inside)
    elif MISTAKE == "overwrites what another reads":
        tl.store(x + (token + 8) % total, value, mask=inside)
    elif MISTAKE == "leaves a hole":
        tl.store(out + token, value, mask=inside & (token != 3))
    else:
        tl.store(out + token, value, mask=token < total)


def copy(mistake: str) -> tuple[Tensor, Tensor]:
    x = torch.arange(20.0)
    out = torch.empty(20)
    copy_kernel[(3,)](x, out, 20, MISTAKE=mistake)
    return x, out


def test_a_right_kernel_passes() -> None:
    x, out = copy("none")
    assert torch.equal(out, x)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("reads beyond the end", "load out of bounds: 4 bytes beyond"),
        ("reads before the start", "load out of bounds"),
        ("writes beyond the end", "store out of bounds: 4 bytes beyond"),
        ("reads back its own", "reads what program number"),
        ("two programs write one place", "overwrites what program number"),
        ("overwrites what another reads", "overwrites what another program reads|reads what program number"),
    ],
)
def test_faults_are_named(mistake: str, message: str) -> None:
    with pytest.raises(InterpreterError, match=f"copy_kernel.*({message})"):
        copy(mistake)


@pytest.mark.parametrize("mistake", ["leaves a hole", "no other"])
def test_undefined_values_show(mistake: str) -> None:
    _, out = copy(mistake)
    assert out.isnan().any()


def test_poison_for_every_kind_of_output() -> None:
    with poisoned_outputs():
        assert torch.empty(3, dtype=torch.bfloat16).isnan().all()
        assert (torch.empty(3, dtype=torch.int64) == torch.iinfo(torch.int64).max).all()
        assert torch.empty(3, dtype=torch.bool).all()
        assert torch.empty_like(torch.zeros(2)).isnan().all() and torch.zeros(2).new_empty(2).isnan().all()


@triton.jit
def order_kernel(out, turn):
    tl.store(out + tl.program_id(0) * 6 + tl.program_id(1) * 2 + tl.program_id(2), tl.atomic_add(turn, 1))


def in_order(order: str) -> list[int]:
    out, turn = torch.zeros(24, dtype=torch.int32), torch.zeros(1, dtype=torch.int32)
    with program_order(order, seed=4):
        order_kernel[(4, 3, 2)](out, turn)
    return out.tolist()


def test_orders_of_programs() -> None:
    assert in_order("forward") == list(range(24))
    assert in_order("reversed") == list(reversed(range(24)))
    shuffled = in_order("shuffled")
    assert shuffled != sorted(shuffled) == list(range(24))
    with pytest.raises(ValueError, match="order"):
        in_order("sideways")


@triton.jit
def dot_kernel(a, b, out):
    row = tl.arange(0, 16)
    cell = row[:, None] * 16 + row[None, :]
    product = tl.dot(tl.load(a + cell), tl.load(b + cell), input_precision="ieee")
    tl.store(out + cell, product)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dots_multiply_values(dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(0)
    a, b = (torch.randn(16, 16, generator=random).to(dtype) for _ in range(2))
    out = torch.empty(16, 16)
    dot_kernel[(1,)](a, b, out)
    torch.testing.assert_close(out, a.float() @ b.float(), rtol=1e-5, atol=1e-5)


@triton.jit
def round_kernel(x, out):
    lane = tl.arange(0, 8)
    tl.store(out + lane, tl.load(x + lane).to(tl.bfloat16))


def test_casts_to_bfloat16_round_to_nearest_even() -> None:
    x = torch.tensor([1.0, 1.00390625, 1.01171875, -3.14159, 3.3e38, 3.4e38, 1e-40, float("nan")])
    out = torch.empty(8, dtype=torch.bfloat16)
    round_kernel[(1,)](x, out)
    torch.testing.assert_close(out, x.to(torch.bfloat16), rtol=0, atol=0, equal_nan=True)


def calls() -> dict[str, Callable[[], object]]:
    ids, counts, offsets = torch.zeros(4, dtype=torch.int64), torch.tensor([2]), torch.tensor([0, 4])
    heads = torch.ones(4, 1, 16)
    return {
        "attention_received": lambda: F.attention_received(heads, heads, offsets),
        "dpc_knn": lambda: F.dpc_knn(torch.eye(4), offsets, num_neighbors=2),
        "max_min_diversity": lambda: F.max_min_diversity(torch.eye(4), offsets, counts),
        "greedy_dpp": lambda: F.greedy_dpp(torch.eye(4), offsets, counts),
        "query_relevance": lambda: F.query_relevance(heads[:1], heads),
        "window_budget": lambda: F.window_budget(
            torch.ones(4), ids + 1, ids, torch.tensor([[2, 0]]), num_windows=1, temperature=0.1
        ),
        "segment_topk": lambda: F.segment_topk(torch.ones(4), ids, counts),
        "compact": lambda: F.compact(ids == 0, ids),
        "merge_rows": lambda: F.merge_rows(torch.eye(4), ids, ids, torch.ones(4)),
        "group_budget": lambda: F.group_budget(torch.ones(4), ids + 3, counts, offsets),
        "temporal_similarity": lambda: F.temporal_similarity(torch.eye(4), ids),
    }


@pytest.mark.parametrize("primitive", F.__all__)
def test_the_session_runs_kernels(primitive: str) -> None:
    with count_launches() as launched:
        calls()[primitive]()
    assert launched
