"""Calls with more of something than one grid takes: refused with the number, or split into several launches."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor

from seats_ops import functional as F
from seats_ops.backend import resolve_backend, too_many
from seats_ops.errors import BackendUnavailable
from seats_ops.ops.compact.triton import kept_index_kernel
from seats_ops.ops.launch import count_launches, launch
from seats_ops.testing import packed_offsets


def many_segments(number: int, backend: str) -> Tensor:
    q = torch.ones(3, 1, 8)
    return F.attention_received(q, q, packed_offsets([3] + [0] * (number - 1)), max_seqlen=3, backend=backend)


def many_prompts(number: int, backend: str) -> Tensor:
    offsets = packed_offsets([3] + [0] * (number - 1))
    return F.query_relevance(torch.ones(number, 1, 8), torch.ones(3, 1, 8), offsets, max_seqlen=3, backend=backend)


def many_windows(number: int, backend: str) -> Tensor:
    token = torch.arange(number)
    ones, totals = torch.ones(number), torch.tensor([[number, 0]])
    return F.window_budget(ones, ones.long(), token, totals, num_windows=number, temperature=0.1, backend=backend)


def many_groups(number: int, backend: str) -> Tensor:
    ones, offsets = torch.ones(number), packed_offsets([number])
    return F.group_budget(ones, ones.long(), torch.tensor([number]), offsets, backend=backend)


def many_heads(number: int, backend: str) -> Tensor:
    q = torch.ones(1, number, 1)
    return F.attention_received(q, q, packed_offsets([1]), backend=backend)


def many_key_heads(number: int, backend: str) -> Tensor:
    return F.query_relevance(torch.ones(1, number, 1), torch.ones(1, number, 1), backend=backend)


def many_channels_of_a_key(number: int, backend: str) -> Tensor:
    return F.query_relevance(torch.ones(1, 1, number), torch.ones(1, 1, number), backend=backend)


def many_channels(number: int, backend: str) -> Tensor:
    return F.max_min_diversity(torch.ones(1, number), packed_offsets([1]), torch.tensor([1]), backend=backend)


def many_rows(number: int, backend: str) -> Tensor:
    none = torch.zeros(0, dtype=torch.int64)
    return F.merge_rows(torch.ones(number, 0), none, none, torch.ones(0), backend=backend)


def many_neighbors(number: int, backend: str) -> Tensor:
    return F.dpc_knn(torch.ones(number, 1), packed_offsets([number]), num_neighbors=number, backend=backend)


def many_channels_of_a_token(number: int, backend: str) -> Tensor:
    return F.dpc_knn(torch.ones(1, number), packed_offsets([1]), num_neighbors=1, backend=backend)


def many_channels_of_a_process(number: int, backend: str) -> Tensor:
    features = torch.ones(1, 1).expand(1, number)
    return F.greedy_dpp(features, packed_offsets([1]), torch.tensor([1]), backend=backend)


def a_long_segment(number: int, backend: str) -> Tensor:
    features = torch.ones(1, 1).expand(number, 1)
    return F.greedy_dpp(features, packed_offsets([number]), torch.tensor([1]), backend=backend)


@pytest.mark.parametrize(
    ("call", "most", "what"),
    [
        (many_segments, 65535, "segments"),
        (many_prompts, 65535, "prompts"),
        (many_windows, 2048, "windows"),
        (many_groups, 2048, "groups of a row"),
        (many_heads, 65535, "heads"),
        (many_key_heads, 65535, "key heads"),
        (many_channels_of_a_key, 65536, "channels"),
        (many_channels, 524287, "channels"),
        (many_rows, 2**31 - 2, "rows"),
        (many_neighbors, 16, "neighbors"),
        (many_channels_of_a_token, 2**24, "channels"),
        (many_channels_of_a_process, 33554431, "channels"),
        (a_long_segment, 524280, "tokens of a segment"),
    ],
)
def test_calls_too_large_for_a_kernel(call: Callable[[int, str], Tensor], most: int, what: str) -> None:
    with pytest.raises(BackendUnavailable, match=f"{most + 1} {what} in a call, above {most}"):
        call(most + 1, "triton")


def test_long_windows_too_many_for_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seats_ops.ops.max_min_diversity.op.MAX_MATRIX", 2)
    offsets, counts = packed_offsets([3] + [0] * 65535), torch.zeros(65536, dtype=torch.int64)
    with pytest.raises(BackendUnavailable, match="65536 windows, one of them long, in a call, above 65535"):
        F.max_min_diversity(torch.ones(3, 8), offsets, counts, max_seqlen=3, backend="triton")


def test_on_a_gpu_auto_takes_the_reference_for_them() -> None:
    on_a_gpu = cast(Tensor, SimpleNamespace(device=torch.device("cuda")))
    assert resolve_backend("auto", "window_budget", on_a_gpu, too_many("windows", 2049, 2048)) == "reference"
    assert resolve_backend("auto", "window_budget", on_a_gpu, too_many("windows", 2048, 2048)) == "triton"


def test_a_grid_that_no_gpu_takes_is_refused() -> None:
    with count_launches() as launches, pytest.raises(ValueError, match=r"at most 65535 programs .* got \(1, 65536\)"):
        launch(kept_index_kernel, (1, 65536), torch.ones(1), num_warps=4)
    assert launches == []


def test_more_slabs_than_a_grid_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seats_ops.ops.compact.triton.MAX_GRID", 3)
    keep = torch.arange(40) % 3 == 0
    heads = torch.randn(7, 40, 8)
    with count_launches() as launches:
        (got,) = F.compact(keep, heads, dim=1, num_kept=14)
    assert launches == ["kept_index_kernel"] + ["gather_kernel"] * 3
    assert torch.equal(got, heads[:, keep])
