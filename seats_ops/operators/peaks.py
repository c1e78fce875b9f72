"""Density peaks of some tokens of a layout, such as those of every frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seats_ops.ops.dpc_knn.api import dpc_knn


def density_peaks(
    features: Tensor,
    groups: Sequence[Tensor],
    *,
    per_token: tuple[str, ...] = ("density_scale", "offsets"),
    backend: str = "auto",
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """`dpc_knn` of groups of tokens that may be anywhere.

    Args:
        features: [T, D].
        groups: int64 tokens of each group, on the host.
        options: of `dpc_knn`; those named by `per_token` are [T, ...] here.

    Returns:
        int64 [M] tokens of all groups, one group after another, and float32 [M] their scores, on the device.

    Example:
        >>> import torch
        >>> from seats_ops.operators.peaks import density_peaks
        >>> features = torch.tensor([[0.0], [5.0], [1.0], [5.0], [2.0]])
        >>> token, score = density_peaks(features, [torch.tensor([0, 2, 4])], num_neighbors=3)
        >>> int(token[score.argmax()])
        2
    """
    lengths = torch.tensor([0, *(len(group) for group in groups)], dtype=torch.int32, device="cpu")
    flat = torch.cat([lengths[:0].long(), *groups]).to(features.device, non_blocking=True)
    own = {name: options[name][flat] for name in per_token if options.get(name) is not None}
    scores = dpc_knn(
        features,
        lengths.cumsum(0).int().to(features.device, non_blocking=True),
        index=flat,
        max_seqlen=int(lengths.max()),
        backend=backend,
        **{**options, **own},
    )
    return flat, scores
