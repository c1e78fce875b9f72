"""max_min_diversity: a diverse subset of every block of a clip."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.entry import OURS, Entry, Size, randn
from benchmarks.per_window_loop import select_in_windows
from seats_ops import functional as F
from seats_ops.operators.stage import num_kept
from seats_ops.testing import near_constant_saliency, packed_offsets


def entries(size: Size, device: torch.device) -> Iterator[Entry]:
    blocks = {
        "video": (size.side**2 // 2, size.batch * size.grids // 2, size.kept[0]),
        "audio": (50, size.batch * size.audio_tokens // 50, size.kept[1]),
    }
    for name, (length, count, ratio) in blocks.items():
        lengths, keep = [length] * count, num_kept(length, ratio)
        features = randn(sum(lengths), size.hidden_size, device=device, seed=size.seed)
        weights = near_constant_saliency(sum(lengths), seed=0).to(device)
        offsets, wanted = packed_offsets(lengths).to(device), torch.tensor([keep] * count).to(device)
        ours = functools.partial(F.max_min_diversity, features, offsets, wanted, max_seqlen=length)
        cases: dict[str, dict[str, Callable[[], Any]]] = {
            name: {
                OURS: functools.partial(ours, weights=weights),
                "loop over windows": functools.partial(select_in_windows, features, weights, lengths, keep),
            }
        }
        peer = torch_fps(features.unflatten(0, (count, length)), keep)
        if peer is not None:
            cases[f"{name}_unweighted"] = {OURS: ours, "torch-fps": peer}
        for case, sides in cases.items():
            yield Entry(
                f"max_min_diversity/{case}",
                sides,
                flops=2 * size.hidden_size * sum(n * n for n in lengths),
                num_bytes=features.numel() * features.element_size() + 5 * sum(lengths),
                tests=("tests/ops/test_max_min_diversity.py",),
            )


def torch_fps(features: Tensor, keep: int, first: Tensor | None = None) -> Callable[[], Tensor] | None:
    """Farthest points of [W, n, D] on the unit sphere, int64 [W, keep]; None where torch-fps is not installed.

    It knows blocks of one length, no weights, and is told where to start (the first token if `first` is None). From the
    same start it picks what we pick, because distances between points of a sphere grow with 1 - cos.
    """
    try:
        from torch_fps import farthest_point_sampling
    except ImportError:
        return None
    everywhere = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
    start = torch.zeros(len(features), dtype=torch.int64, device=features.device) if first is None else first

    def run() -> Tensor:
        sphere = torch.nn.functional.normalize(features.float(), dim=-1)
        picks: Tensor = farthest_point_sampling(sphere, everywhere, keep, start_idx=start, validate=False)
        return picks

    return run
