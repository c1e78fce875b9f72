"""DiversitySelector against the authors' whole-sequence numbers, and what it promises about blocks, counts and text."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seats_ops import DiversitySelector, Modality, TokenLayout
from seats_ops import functional as F
from seats_ops.testing import (
    assert_same_selection,
    certify_greedy,
    clustered_features,
    layout_of_runs,
    near_constant_saliency,
    packed_offsets,
)
from seats_ops.testing.golden import GoldenCase, golden_cases
from seats_ops.testing.strategies import batch_runs, keep_ratios, seeds

V, A, T, I = Modality.VIDEO, Modality.AUDIO, Modality.TEXT, Modality.IMAGE  # noqa: E741 - letters draw the prompts


NO_BOUND = float("inf")


def quota(length: int, ratio: float) -> int:
    """Python's round is half to even."""
    return max(1, min(length, round(ratio * length)))


def data_for(layout: TokenLayout, seed: int) -> tuple[Tensor, Tensor]:
    total = len(layout.modality)
    return clustered_features(total, 16, seed=seed), near_constant_saliency(total, seed=seed)


@pytest.mark.parametrize(
    "case", golden_cases(Path(__file__).parents[1] / "golden", "diversity_windows"), ids=lambda case: case.name
)
def test_golden(case: GoldenCase) -> None:
    stored, sizes = case.tensors(), case.params
    ids, features = stored["input_ids"][0], stored["inputs_embeds"][0]
    _, height, width = stored["video_grid_thw"][0].tolist()
    merge_unit = 4
    per_block = {
        V: sizes["grid_in_window"] * height * width // merge_unit,
        A: sizes["sec_in_audio_window"] * sizes["audio_tokens_per_second"],
    }
    modality, saliency = torch.zeros_like(ids), torch.ones(len(ids))
    block = torch.full_like(ids, -1)
    for kind, name in ((V, "video"), (A, "audio")):
        mine = ids == sizes[f"{name}_token_id"]
        assert int(mine.sum()) == sizes[f"n_{name}"]
        modality[mine] = int(kind)
        if f"{name}_attention" in stored:
            saliency[mine] = stored[f"{name}_attention"]
        block[mine] = int(block.max()) + 1 + torch.arange(int(mine.sum())) // per_block[kind]
    layout = TokenLayout(modality, torch.arange(len(ids)), packed_offsets([len(ids)]), block)
    ratios = {"video": sizes["video_ratio"], "audio": sizes["audio_ratio"]}

    keep = DiversitySelector(ratios)(features, layout, saliency=saliency)

    assert int(keep.sum()) == sizes["kept_total"]
    by_block = block.argsort(stable=True)
    lengths = torch.bincount(block + 1, minlength=int(block.max()) + 2).tolist()
    margin = NO_BOUND if case.entry["min_relative_margin"] is None else case.entry["min_relative_margin"]
    gaps = [NO_BOUND, *([margin] * (len(lengths) - 1))]
    assert_same_selection(keep[by_block], stored["keep_mask"][by_block], packed_offsets(lengths), gap=gaps)
    kept_per_block = torch.tensor([int(part.sum()) for part in keep[by_block].split(lengths)])
    certificate = certify_greedy(
        features[by_block], packed_offsets(lengths), kept_per_block, keep[by_block], weights=saliency[by_block]
    )
    assert certificate, certificate.reason


@settings(max_examples=50)
@given(batch_runs(), keep_ratios(), keep_ratios(), seeds(), st.booleans())
def test_counts_per_block_and_nothing_else_dropped(
    rows: list, video: float, audio: float, seed: int, host_lengths: bool
) -> None:
    layout = layout_of_runs(rows, block_length=5)
    if not host_lengths:
        layout = dataclasses.replace(layout, blocks=None, num_windows=None)
    features, saliency = data_for(layout, seed)

    keep = DiversitySelector({"video": video, "audio": audio})(features, layout, saliency=saliency)

    assert keep.dtype == torch.bool and keep.shape == layout.modality.shape
    assert bool(keep[layout.block == -1].all())
    for block in range(int(layout.block.max()) + 1 if len(keep) else 0):
        members = layout.block == block
        ratio = video if int(layout.modality[members][0]) == V else audio
        assert int(keep[members].sum()) == quota(int(members.sum()), ratio)


@settings(max_examples=30)
@given(batch_runs(), keep_ratios(), seeds(), st.booleans())
def test_is_max_min_diversity_of_every_block(rows: list, ratio: float, seed: int, weighted: bool) -> None:
    layout = layout_of_runs(rows, block_length=7)
    features, saliency = data_for(layout, seed)
    keep = DiversitySelector(ratio, weighted=weighted)(features, layout, saliency=saliency if weighted else None)
    for block in range(len(layout.blocks)):
        members = torch.nonzero(layout.block == block).flatten()
        certificate = certify_greedy(
            features[members],
            packed_offsets([len(members)]),
            torch.tensor([quota(len(members), ratio)]),
            keep[members],
            weights=saliency[members] if weighted else None,
        )
        assert certificate, certificate.reason


@settings(max_examples=30)
@given(batch_runs(max_rows=4), keep_ratios(), seeds())
def test_a_row_in_a_batch_equals_the_row_alone(rows: list, ratio: float, seed: int) -> None:
    layout = layout_of_runs(rows)
    features, saliency = data_for(layout, seed)
    selector = DiversitySelector(ratio)
    keep = selector(features, layout, saliency=saliency)
    lengths = (layout.cu_seqlens[1:] - layout.cu_seqlens[:-1]).tolist()
    parts = zip(rows, keep.split(lengths), features.split(lengths), saliency.split(lengths), strict=True)
    for row, mine, row_features, row_saliency in parts:
        alone = layout_of_runs([row])
        got = selector(row_features, alone, saliency=row_saliency)
        for block in range(len(alone.blocks)):
            members = alone.block == block
            assert int(mine[members].sum()) == int(got[members].sum())
            if torch.equal(mine[members], got[members]):
                continue
            # Tiles of another shape add up in another order: where that decided, both must be right.
            count = torch.tensor([int(got[members].sum())])
            for selection in (got, mine):
                arguments = (row_features[members], packed_offsets([int(members.sum())]), count, selection[members])
                assert certify_greedy(*arguments, weights=row_saliency[members])


def test_no_blocks_means_one_block_per_modality_and_row() -> None:
    rows = [[(T, 2), (V, 6), (A, 5), (V, 6)], [(A, 7), (T, 1), (V, 4)]]
    layout = layout_of_runs(rows, block_length=100)
    features, saliency = data_for(layout, 1)
    selector = DiversitySelector({"video": 0.5, "audio": 0.3})
    bare = TokenLayout(layout.modality, layout.position, layout.cu_seqlens)
    keep = selector(features, bare, saliency=saliency)
    assert torch.equal(keep, selector(features, layout, saliency=saliency))
    assert int(keep.sum()) == 2 + 6 + 2 + 2 + 1 + 2


def test_ratio_one_keeps_everything_and_ratio_zero_one_token_per_block() -> None:
    layout = layout_of_runs([[(T, 3), (V, 11), (A, 6), (T, 2)]], block_length=4)
    features, saliency = data_for(layout, 0)
    assert bool(DiversitySelector(1.0)(features, layout, saliency=saliency).all())
    keep = DiversitySelector(0.0)(features, layout, saliency=saliency)
    assert int(keep.sum()) == 5 + len(layout.blocks)


def test_half_rounds_to_even() -> None:
    layout = layout_of_runs([[(V, 5), (A, 7)]], block_length=100)
    features, saliency = data_for(layout, 0)
    keep = DiversitySelector(0.5)(features, layout, saliency=saliency)
    assert [int(keep[:5].sum()), int(keep[5:].sum())] == [2, 4]


def test_a_mapping_leaves_alone_what_it_does_not_name() -> None:
    layout = layout_of_runs([[(T, 2), (V, 8), (I, 6), (A, 8)]])
    features, saliency = data_for(layout, 0)
    counts = {}
    for names in (("video",), ("audio",), ("video", "audio")):
        keep = DiversitySelector(dict.fromkeys(names, 0.5))(features, layout, saliency=saliency)
        counts[names] = [int(keep[layout.modality == int(m)].sum()) for m in (T, V, I, A)]
    assert counts == {("video",): [2, 4, 6, 8], ("audio",): [2, 8, 6, 4], ("video", "audio"): [2, 4, 6, 4]}


def test_images_are_thinned_when_named() -> None:
    layout = layout_of_runs([[(T, 2), (I, 6), (V, 4)]])
    features, saliency = data_for(layout, 0)
    bare = TokenLayout(layout.modality, layout.position, layout.cu_seqlens)
    keep = DiversitySelector({"image": 0.5})(features, bare, saliency=saliency)
    assert [int(keep[layout.modality == int(m)].sum()) for m in (T, I, V)] == [2, 3, 4]


def test_kept_tokens_never_matter() -> None:
    """Features and saliency of text, NaN included, change nothing."""
    layout = layout_of_runs([[(T, 3), (V, 12), (I, 2), (A, 9), (T, 1)]])
    features, saliency = data_for(layout, 2)
    keep = DiversitySelector(0.4)(features, layout, saliency=saliency)
    outside = (layout.modality == int(T)) | (layout.modality == int(I))
    features[outside], saliency[outside] = float("nan"), float("inf")
    assert torch.equal(DiversitySelector(0.4)(features, layout, saliency=saliency), keep)


def test_saliency_decides_and_can_be_switched_off() -> None:
    layout = layout_of_runs([[(V, 30)]], block_length=30)
    features, _ = data_for(layout, 3)
    saliency = torch.ones(30)
    plain = DiversitySelector(0.2)(features, layout, saliency=saliency)
    loser = int(torch.nonzero(~plain)[0])
    saliency[loser] = 100.0
    assert DiversitySelector(0.2)(features, layout, saliency=saliency)[loser]
    unweighted = DiversitySelector(0.2, weighted=False)
    assert torch.equal(unweighted(features, layout), plain)
    assert torch.equal(unweighted(features, layout, saliency=saliency), plain)


def test_the_primitive_alone_gives_the_same_on_one_block() -> None:
    layout = layout_of_runs([[(V, 40)]], block_length=40)
    features, saliency = data_for(layout, 9)
    keep = DiversitySelector(0.25)(features, layout, saliency=saliency)
    assert torch.equal(keep, F.max_min_diversity(features, packed_offsets([40]), torch.tensor([10]), weights=saliency))
