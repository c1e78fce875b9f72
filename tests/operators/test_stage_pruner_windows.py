"""The two ways in which StagePruner finds windows: ids given once, and runs rebuilt at every drop."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from seats_ops import Modality, StagePruner, TokenLayout, WindowBudgetAllocator
from seats_ops.testing import layout_of_runs, packed_offsets
from seats_ops.testing.golden import GoldenCase, golden_cases
from seats_ops.testing.strategies import batch_runs, keep_ratios, seeds

V, A, T, I = Modality.VIDEO, Modality.AUDIO, Modality.TEXT, Modality.IMAGE  # noqa: E741 - letters draw the prompts


def scores_for(layout: TokenLayout, seed: int, steps: int | None = None) -> Tensor:
    """Uniform scores; with `steps`, multiples of 1/steps, which tie often."""
    scores = torch.rand(len(layout.modality), generator=torch.Generator().manual_seed(seed))
    return scores if steps is None else (scores * steps).floor() / steps


def runs_of(modality: list[int]) -> list[list[tuple[Modality, int]]]:
    """One prompt's tokens as runs."""
    runs: list[tuple[Modality, int]] = []
    for m in modality:
        if runs and runs[-1][0] == m:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((Modality(m), 1))
    return [runs]


@pytest.mark.parametrize("windows", ["runs", "layout"])
@pytest.mark.parametrize(
    "case", golden_cases(Path(__file__).parents[1] / "golden", "budget"), ids=lambda case: case.name
)
def test_golden(case: GoldenCase, windows: str) -> None:
    stored, sizes = case.tensors(), case.params
    modality = stored["video_mask"] * int(V) + stored["audio_mask"] * int(A)
    layout = TokenLayout(modality, torch.arange(len(modality)), packed_offsets([len(modality)]))
    if windows == "layout":
        layout = layout_of_runs(runs_of(modality.tolist()))
        assert layout.num_windows == sizes["n_windows"]
    ratios = {"video": sizes["video_keep_ratio"], "audio": sizes["audio_keep_ratio"]}
    pruner = StagePruner(ratios, allocator=WindowBudgetAllocator(sizes["temperature"]), windows=windows)

    keep = pruner(stored["scores"], layout)

    assert torch.equal(keep, stored["keep_mask"])
    assert int(keep[stored["video_mask"]].sum()) == sizes["kept_video"]
    assert int(keep[stored["audio_mask"]].sum()) == sizes["kept_audio"]


@settings(max_examples=30)
@given(batch_runs(), keep_ratios(), seeds())
def test_both_window_modes_agree_while_no_run_is_empty(rows: list, ratio: float, seed: int) -> None:
    layout = layout_of_runs(rows)
    scores = scores_for(layout, seed)
    assert torch.equal(StagePruner(ratio)(scores, layout), StagePruner(ratio, windows="runs")(scores, layout))


@settings(max_examples=40)
@given(batch_runs(max_rows=3), keep_ratios(), seeds())
def test_runs_mode_rebuilds_windows_from_adjacency(rows: list, ratio: float, seed: int) -> None:
    """After any loss of tokens, "runs" equals "layout" on windows that plain Python finds anew in what is left."""
    layout = layout_of_runs(rows)
    random = torch.Generator().manual_seed(seed)
    survivors = torch.rand(len(layout.modality), generator=random) < 0.4
    rest = layout.select(survivors)
    bounds = rest.cu_seqlens.tolist()
    again = layout_of_runs([runs_of(rest.modality[start:end].tolist())[0] for start, end in itertools.pairwise(bounds)])
    scores = scores_for(rest, seed + 1)
    assert torch.equal(StagePruner(ratio, windows="runs")(scores, rest), StagePruner(ratio)(scores, again))


def test_the_two_modes_differ_once_a_run_is_emptied() -> None:
    """The first audio run is gone: its video neighbours merge under "runs" and stay two windows under "layout"."""
    layout = layout_of_runs([[(T, 1), (V, 8), (A, 2), (V, 8), (A, 8), (T, 1)]])
    keep = ~((layout.modality == int(A)) & (layout.window == 0))
    rest = layout.select(keep)
    scores = torch.cat([torch.ones(9), torch.zeros(8), torch.linspace(0, 1, 8), torch.ones(1)])
    ids, runs = StagePruner(0.5)(scores, rest), StagePruner(0.5, windows="runs")(scores, rest)
    assert int(ids[9:17].sum()) >= 1, "every window keeps a token of its own"
    assert runs[1:9].all() and not runs[9:17].any(), "one window: the global top of each modality"


def test_no_window_ids_is_a_plain_top_k_per_modality() -> None:
    layout = layout_of_runs([[(T, 2), (V, 9), (A, 6), (V, 3)]])
    scores = scores_for(layout, 1)
    bare = TokenLayout(layout.modality, layout.position, layout.cu_seqlens)
    keep = StagePruner({"video": 0.5, "audio": 0.5})(scores, bare)
    for m, count in ((V, 6), (A, 3)):
        members = torch.nonzero(layout.modality == int(m)).flatten().tolist()
        best = sorted(members, key=lambda i: -float(scores[i]))[:count]
        assert [i for i in members if keep[i]] == sorted(best)
