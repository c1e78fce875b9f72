"""A stage is a handful of launches: Triton kernels and torch operators, counted on tensors without data."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("launches are recorded instead of run, which needs the compiler", allow_module_level=True)

from benchmarks.per_window_loop import drop_in_windows, saliency_of_windows, select_in_windows
from seats_ops import DiversitySelector, Modality, ModalityDropper, StagePruner
from seats_ops import functional as F
from seats_ops.testing import layout_of_runs
from seats_ops.testing.device_work import CountDeviceWork, CountOnHost

AT_MOST = 8
CHUNKS = 6
LAYOUT = layout_of_runs(
    [[(Modality.TEXT, 20), *[(Modality.VIDEO, 288), (Modality.AUDIO, 50)] * CHUNKS, (Modality.TEXT, 12)]],
    block_length=50,
)
TOTAL = len(LAYOUT)


def device(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def test_stage_one_takes_at_most_eight_launches_per_modality() -> None:
    layout = LAYOUT.to(torch.device("meta"))
    towers = {"video": (device(4 * 1728, 16, 80), 1320), "audio": (device(600, 20, 64), 100)}
    features, saliency = device(TOTAL, 3584), device(TOTAL, dtype=torch.float32)
    for name, (heads, window) in towers.items():
        offsets = device(len(heads) // window + 2, dtype=torch.int32)
        with CountDeviceWork() as count:
            F.attention_received(heads, heads, offsets, max_seqlen=window, backend="triton")
            DiversitySelector({name: 0.2})(features, layout, saliency=saliency, backend="triton")
        print(f"Stage I, {name} alone: {count.work}")
        assert count.work.launches <= AT_MOST and count.work.reads == 0
    with CountDeviceWork() as count:
        for heads, window in towers.values():
            offsets = device(len(heads) // window + 2, dtype=torch.int32)
            F.attention_received(heads, heads, offsets, max_seqlen=window, backend="triton")
        DiversitySelector(0.2)(features, layout, saliency=saliency, backend="triton")
    print(f"Stage I, both: {count.work}")
    assert count.work.launches <= AT_MOST * len(towers) and count.work.reads == 0


def test_the_launches_of_stage_one_do_not_grow_with_the_clip() -> None:
    """Ten minutes at 165 tokens a second."""
    layout = layout_of_runs([[(Modality.VIDEO, 330 * 300)]], block_length=330).to(torch.device("meta"))
    features, saliency = device(len(layout), 3584), device(len(layout), dtype=torch.float32)
    with CountDeviceWork() as count:
        F.attention_received(
            *[device(4 * len(layout), 2, 80)] * 2, device(301, dtype=torch.int32), max_seqlen=1320, backend="triton"
        )
        DiversitySelector(0.1)(features, layout, saliency=saliency, backend="triton")
    assert count.work.launches <= AT_MOST and count.work.reads == 0


def test_a_long_window_takes_a_launch_per_pick_and_no_read() -> None:
    layout = layout_of_runs([[(Modality.VIDEO, 5000)]], block_length=5000).to(torch.device("meta"))
    with CountDeviceWork() as count:
        DiversitySelector(0.01, weighted=False)(device(5000, 64), layout, backend="triton")
    assert 50 < count.work.launches <= 50 + AT_MOST
    assert count.work.reads == 0


def test_a_determinantal_selection_takes_a_launch_per_pick_and_no_read() -> None:
    """One that clears the mask, one for norms, one that proposes; however many segments there are."""
    for segments in (1, 200):
        offsets, counts = device(segments + 1, dtype=torch.int32), device(segments, dtype=torch.int64)
        with CountDeviceWork() as count:
            F.greedy_dpp(device(5000, 64), offsets, counts, max_seqlen=5000, max_keep=40, backend="triton")
        assert count.work.launches == 40 + 3 and count.work.reads == 0


def test_a_read_inside_an_operator_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = "seats_ops.ops.segment_topk.triton.segment_topk"
    monkeypatch.setattr(launcher, lambda scores, segment, budget: budget.max().item())
    with CountDeviceWork() as count:
        F.segment_topk(device(20), device(20, dtype=torch.int64), device(3, dtype=torch.int64), backend="triton")
    assert count.work.reads == 1


def test_a_score_or_a_count_takes_one_launch() -> None:
    with CountDeviceWork() as count:
        F.temporal_similarity(device(TOTAL, 3584), device(TOTAL, dtype=torch.int64), backend="triton")
    assert count.work.launches == 1 and count.work.reads == 0
    with CountDeviceWork() as count:
        lengths, totals, offsets = (device(n, dtype=torch.int64) for n in (64, 2, 3))
        F.group_budget(device(64), lengths, totals, offsets, temperature=0.7, max_groups=40, backend="triton")
    assert count.work.launches == 1 and count.work.reads == 0


def test_density_peaks_take_three_launches_and_one_more_where_offsets_count() -> None:
    features, frames = device(TOTAL, 3584), device(9, dtype=torch.int64)
    places = {"offsets": device(TOTAL, 3), "offset_weight": 0.2}
    for given, launches in (({}, 3), (places, 4), ({**places, "offset_weight": 0.0}, 3)):
        with CountDeviceWork() as count:
            F.dpc_knn(features, frames, num_neighbors=5, max_seqlen=200, backend="triton", **given)
        assert count.work.launches == launches and count.work.reads == 0


def test_a_drop_takes_at_most_eight_launches() -> None:
    """Relevance, budgets, selection; hidden states, cos, sin, positions, keys and values of 16 layers compacted."""
    layout = LAYOUT.to(torch.device("meta"))
    query, key, offsets = device(1, 28, 128), device(TOTAL, 4, 128), device(2, dtype=torch.int32)
    hidden, rotary = device(1, TOTAL, 3584), [device(1, TOTAL, 128) for _ in range(2)]
    positions = device(3, 1, TOTAL, 1, dtype=torch.int64)
    cache = [device(1, 4, TOTAL, 128) for _ in range(2 * 16)]
    with CountDeviceWork() as count:
        scores = F.query_relevance(query, key, offsets, max_seqlen=TOTAL, backend="triton")
        keep = StagePruner(0.5)(scores, layout, backend="triton")
        F.compact(keep, hidden, *rotary, positions, *cache, num_kept=TOTAL // 2, dim=-2, backend="triton")
    print(f"Stage II, one drop: {count.work}")
    assert count.work.launches <= AT_MOST and count.work.reads == 0


def test_the_late_drop_takes_at_most_eight_launches() -> None:
    layout = LAYOUT.to(torch.device("meta"))
    with CountDeviceWork() as count:
        ModalityDropper()(layout, backend="triton")
    print(f"Stage III: {count.work}")
    assert count.work.launches <= AT_MOST and count.work.reads == 0


def test_a_merge_takes_two_kernels_around_a_sort() -> None:
    features = device(TOTAL, 3584).requires_grad_()
    triples = [device(5 * TOTAL, dtype=torch.int64) for _ in range(2)], device(5 * TOTAL, dtype=torch.float32)
    with CountDeviceWork() as count:
        merged = F.merge_rows(features, *triples[0], triples[1], backend="triton")
    print(f"a merge: {count.work}")
    assert count.work.triton == ["triple_rows_kernel", "merge_rows_kernel"]
    assert count.work.launches == 5 and count.work.reads == 0
    with CountDeviceWork() as count:
        torch.autograd.grad(merged, features, device(TOTAL, 3584))
    print(f"its gradient: {count.work}")
    assert count.work.launches <= 20 and count.work.reads == 0


def test_reading_the_device_is_seen() -> None:
    with CountDeviceWork(), pytest.raises((RuntimeError, NotImplementedError)):
        F.compact(device(10, dtype=torch.bool), device(10, 4), backend="triton")[0].sum().item()


def test_a_loop_over_windows_takes_many() -> None:
    """What the counts are compared with: the same work, one window after the other, as research code does it."""
    random = torch.Generator().manual_seed(0)
    lengths = [24] * 5 + [7]
    heads, features = torch.randn(127, 2, 8, generator=random), torch.randn(127, 16, generator=random)
    with CountOnHost() as first:
        select_in_windows(features, saliency_of_windows(heads, heads, lengths), lengths, num_keep=5)
    window = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    with CountOnHost() as second:
        drop_in_windows(heads[-1], heads, window, 60, [features] * 35)
    for stage, count in (("Stage I", first), ("Stage II, one drop", second)):
        print(f"{stage} as a loop over {len(lengths)} windows: {len(count.operators)} launches, {count.reads} reads")
        assert len(count.operators) > 5 * AT_MOST
    assert first.reads >= 5 * len(lengths) and second.reads >= 2 * len(lengths) + 35
