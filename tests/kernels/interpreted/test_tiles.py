"""Another launch table changes no selection, and scores by their rounding alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from seats_ops import functional as F
from seats_ops.ops.launch import count_launches
from seats_ops.ops.tile_grid import changed, grid_of
from seats_ops.ops.tile_tables import hold_tiles
from seats_ops.ops.tiles import DEFAULT, Table
from seats_ops.testing import clustered_features, packed_offsets


def corner(place: int) -> Table:
    """Every entry with the smallest (0) or the largest (-1) value of each of its fields."""
    points = {entry: {field: values[place] for field, values in grid_of(entry).items()} for entry in DEFAULT}
    return {entry: changed(tile, points[entry]) for entry, tile in DEFAULT.items()}


TABLES = {"smallest": corner(0), "largest": corner(-1)}
tables = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def under(table: Table, call: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """The result by the default table, and by another."""
    by_default = call()
    with hold_tiles(table), count_launches() as launches:
        result = call()
    assert launches
    return by_default, result


@tables
@dtypes
@pytest.mark.parametrize("channels", [16, 80])
def test_received_attention(table: Table, dtype: torch.dtype, channels: int) -> None:
    query, key = random(44, 1, channels).to(dtype), random(44, 1, channels, seed=1).to(dtype)
    offsets = packed_offsets([36, 1, 7])
    results = under(table, lambda: F.attention_received(query, key, offsets, max_seqlen=36))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-7)


@tables
@pytest.mark.parametrize("channels", [16, 24, 80, 130])
def test_relevance(table: Table, channels: int) -> None:
    query, key = random(2, 2, channels), random(150, 1, channels, seed=1)
    offsets = packed_offsets([140, 10])
    results = under(table, lambda: F.query_relevance(query, key, offsets, max_seqlen=140))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-7)


@tables
@dtypes
@pytest.mark.parametrize("matrix", [4096, 16], ids=["matrix", "too long for a matrix"])
def test_diversity(table: Table, dtype: torch.dtype, matrix: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seats_ops.ops.max_min_diversity.triton.MAX_MATRIX", matrix)
    features, weights = clustered_features(106, 40, seed=3).to(dtype), random(106, seed=4).abs()
    offsets, counts = packed_offsets([70, 1, 35]), torch.tensor([4, 1, 3])
    kept, same = under(
        table, lambda: F.max_min_diversity(features, offsets, counts, weights=weights, max_seqlen=70, max_keep=4)
    )
    assert torch.equal(kept, same)


@tables
@dtypes
def test_density_peaks(table: Table, dtype: torch.dtype) -> None:
    features, offsets = clustered_features(53, 40, seed=3).to(dtype), packed_offsets([36, 1, 16])
    results = under(table, lambda: F.dpc_knn(features, offsets, num_neighbors=3, max_seqlen=36))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)


@tables
@dtypes
def test_determinantal_selection(table: Table, dtype: torch.dtype) -> None:
    features, quality = clustered_features(106, 140, seed=3).to(dtype), random(106, seed=4).abs()
    offsets, counts = packed_offsets([70, 1, 35]), torch.tensor([4, 1, 3])
    kept, same = under(
        table, lambda: F.greedy_dpp(features, offsets, counts, quality=quality, max_seqlen=70, max_keep=4)
    )
    assert torch.equal(kept, same)


@tables
@pytest.mark.parametrize("windows", [5, 40])
@pytest.mark.parametrize("kinds", [1, 2])
def test_budgets(table: Table, windows: int, kinds: int) -> None:
    token, totals = torch.arange(200), torch.tensor([[60, 50]])
    budgets, same = under(
        table,
        lambda: F.window_budget(
            random(200), 1 + token % kinds, token % windows, totals, num_windows=windows, temperature=0.1
        ),
    )
    assert torch.equal(budgets, same)


@tables
@pytest.mark.parametrize("ties", [False, True])
def test_best_of_segments(table: Table, ties: bool) -> None:
    scores, segment, budget = random(2500), torch.arange(2500) % 2 * 2, torch.tensor([700, 3, 0])
    scores = scores.sign() if ties else scores
    kept, same = under(table, lambda: F.segment_topk(scores, segment, budget))
    assert torch.equal(kept, same) and int(kept.sum()) == 700


@tables
@pytest.mark.parametrize("groups", [40, 90])
def test_shares(table: Table, groups: int) -> None:
    lengths, totals, offsets = torch.arange(groups) % 9, torch.tensor([2 * groups]), packed_offsets([groups])
    results = under(table, lambda: F.group_budget(random(groups), lengths, totals, offsets, temperature=0.7))
    assert torch.equal(*results)


@tables
@dtypes
@pytest.mark.parametrize("channels", [3, 80, 300])
def test_similarity(table: Table, dtype: torch.dtype, channels: int) -> None:
    features, partner = random(70, channels).to(dtype), torch.arange(70) - 20
    results = under(table, lambda: F.temporal_similarity(features, partner.clamp(min=-1)))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)


@tables
@pytest.mark.parametrize("width", [1, 24, 130])
def test_compaction(table: Table, width: int) -> None:
    keep, rows = random(2500) > 0.3, random(2500, width, seed=1)
    (kept, same) = under(table, lambda: F.compact(keep, rows, num_kept=int(keep.sum()))[0])
    assert torch.equal(kept, same) and torch.equal(kept, rows[keep])


@tables
@dtypes
@pytest.mark.parametrize("width", [1, 24, 1030])
def test_merging(table: Table, dtype: torch.dtype, width: int) -> None:
    number = 530 if width == 1 else 30
    features, coefficient = random(12, width).to(dtype), random(number, seed=1)
    target, source = torch.arange(number) % 5, torch.arange(number) // 3 % 12
    assert torch.equal(*under(table, lambda: F.merge_rows(features, target, source, coefficient)))
