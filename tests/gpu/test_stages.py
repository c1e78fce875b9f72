"""Stages on a device: nothing is read back, and every run gives the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from seats_ops import DiversitySelector, Modality, ModalityDropper, StagePruner
from seats_ops import functional as F
from seats_ops.testing import clustered_features, layout_of_runs, packed_offsets

pytestmark = pytest.mark.gpu
DEVICE = "cuda"
CHUNKS = 6
HOST_LAYOUT = layout_of_runs(
    [[(Modality.TEXT, 20), *[(Modality.VIDEO, 288), (Modality.AUDIO, 50)] * CHUNKS, (Modality.TEXT, 12)]],
    block_length=330,
)
TOTAL = len(HOST_LAYOUT)


def stage_one() -> Callable[[], Tensor]:
    """Saliency, once with a log-sum-exp that the tower left, then one selection."""
    layout = HOST_LAYOUT.to(torch.device(DEVICE))
    features = clustered_features(TOTAL, 3584, seed=0, clusters=60, dtype=torch.bfloat16).to(DEVICE)
    heads = torch.randn(TOTAL, 16, 80, device=DEVICE, dtype=torch.bfloat16)
    logsumexp = torch.full((16, TOTAL), 5.0, device=DEVICE)
    windows = packed_offsets([330] * (TOTAL // 330) + [TOTAL % 330]).to(DEVICE)

    def run() -> Tensor:
        saliency = F.attention_received(heads, heads, windows, max_seqlen=330, backend="triton")
        saliency += F.attention_received(heads, heads, windows, logsumexp=logsumexp, max_seqlen=330, backend="triton")
        return DiversitySelector(0.2)(features, layout, saliency=saliency, backend="triton")

    return run


def long_window() -> Callable[[], Tensor]:
    """More tokens than a matrix of distances takes."""
    layout = layout_of_runs([[(Modality.VIDEO, 5000)]], block_length=5000).to(torch.device(DEVICE))
    features = clustered_features(5000, 256, seed=0, clusters=60, dtype=torch.bfloat16).to(DEVICE)
    return lambda: DiversitySelector(0.02, weighted=False)(features, layout, backend="triton")


def stage_two() -> Callable[[], Tensor]:
    """Relevance, budgets, selection, and the compaction of everything that rides along."""
    layout = HOST_LAYOUT.to(torch.device(DEVICE))
    hidden = torch.randn(1, TOTAL, 3584, device=DEVICE, dtype=torch.bfloat16)
    query, key = hidden[:, -1].view(1, 28, 128), torch.randn(TOTAL, 4, 128, device=DEVICE, dtype=torch.bfloat16)
    offsets = packed_offsets([TOTAL]).to(DEVICE)
    rotary = [torch.randn(1, TOTAL, 128, device=DEVICE, dtype=torch.bfloat16) for _ in range(2)]
    positions = torch.arange(TOTAL, device=DEVICE)[:, None].expand(3, 1, TOTAL, 1)
    cache = [torch.randn(1, 4, TOTAL, 128, device=DEVICE, dtype=torch.bfloat16) for _ in range(2 * 16)]
    keep = StagePruner(0.5)(torch.zeros(TOTAL), HOST_LAYOUT)
    num_kept = int(keep.sum())

    def run() -> Tensor:
        scores = F.query_relevance(query, key, offsets, max_seqlen=TOTAL, backend="triton")
        keep = StagePruner(0.5)(scores, layout, backend="triton")
        kept = F.compact(keep, hidden, *rotary, positions, *cache, num_kept=num_kept, dim=-2, backend="triton")
        return torch.cat([part.double().flatten() for part in kept])

    return run


def stage_three() -> Callable[[], Tensor]:
    layout = HOST_LAYOUT.to(torch.device(DEVICE))
    return lambda: ModalityDropper()(layout, backend="triton")


STAGES = [stage_one, long_window, stage_two, stage_three]


@pytest.fixture
def reads_raise() -> Iterator[Callable[[], None]]:
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_is_read_from_the_device(
    stage: Callable[[], Callable[[], Tensor]], reads_raise: Callable[[], None]
) -> None:
    run = stage()
    run()  # compiles the kernels, which may wait for the device
    reads_raise()
    run()


@pytest.mark.parametrize("stage", STAGES)
def test_every_run_gives_the_same_bits(stage: Callable[[], Callable[[], Tensor]]) -> None:
    torch.manual_seed(0)
    run = stage()
    first = run()
    assert all(torch.equal(run(), first) for _ in range(20))
