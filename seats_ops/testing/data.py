"""Data on which a wrong selection does not pass by luck, made from seeds and sizes.

Random gaussian features are a weak test of a diversity selection: all distances are nearly equal, random weights decide
almost alone, and features full of garbage still select much the same tokens. Clusters with nearly constant weights make
the distances decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout

FLOAT32: Any = {"dtype": torch.float32, "device": "cpu"}
INT64: Any = {"dtype": torch.int64, "device": "cpu"}

Run = tuple[Modality, int]
"""Neighbouring tokens of one modality: the modality and how many."""


def packed_offsets(lengths: Sequence[int], dtype: torch.dtype = torch.int32) -> Tensor:
    """`cu_seqlens` [len(lengths)+1] of segments of these lengths.

    Example:
        >>> from seats_ops.testing import packed_offsets
        >>> packed_offsets([3, 0, 2]).tolist()
        [0, 3, 3, 5]
    """
    return torch.tensor([0, *lengths], dtype=dtype, device="cpu").cumsum(0).to(dtype)


def clustered_features(
    total: int, dim: int, *, seed: int, clusters: int = 5, spread: float = 0.25, dtype: torch.dtype = torch.float32
) -> Tensor:
    """[total, dim] features around a few centres, clusters of unequal size in random order.

    Example:
        >>> import torch
        >>> from seats_ops.testing import clustered_features
        >>> features = clustered_features(100, 16, seed=7)
        >>> features.shape, torch.equal(features, clustered_features(100, 16, seed=7))
        (torch.Size([100, 16]), True)
    """
    random = torch.Generator("cpu").manual_seed(seed)
    centres = torch.randn(clusters, dim, generator=random, **FLOAT32)
    share = torch.linspace(1.0, 3.0, clusters, **FLOAT32)
    member = torch.multinomial(share, max(total, 1), replacement=True, generator=random)[:total]
    noise = spread * torch.randn(total, dim, generator=random, **FLOAT32)
    return (centres[member] + noise).to(dtype)


def near_constant_saliency(
    total: int, *, seed: int, spread: float = 0.02, dtype: torch.dtype = torch.float32
) -> Tensor:
    """[total] weights within +-spread of 1, the mean of attention received.

    Example:
        >>> from seats_ops.testing import near_constant_saliency
        >>> saliency = near_constant_saliency(100, seed=7)
        >>> bool(((saliency - 1.0).abs() <= 0.02001).all())
        True
    """
    random = torch.Generator("cpu").manual_seed(seed)
    return (1.0 + spread * (2.0 * torch.rand(total, generator=random, **FLOAT32) - 1.0)).to(dtype)


def tied_features(total: int, *, seed: int, kinds: int = 4) -> Tensor:
    """[total, 16] features full of exact ties: signed Walsh rows, whose cosines -1, 0 and 1 are exact in every order.

    `kinds` different rows are repeated over the tokens, so that every value occurs among exact duplicates.

    Example:
        >>> from seats_ops.testing import tied_features
        >>> features = tied_features(100, seed=7, kinds=4)
        >>> features.shape, len(features.unique(dim=0))
        (torch.Size([100, 16]), 4)
    """
    random = torch.Generator("cpu").manual_seed(seed)
    walsh = torch.ones(1, 1, **FLOAT32)
    for _ in range(4):
        walsh = torch.cat([torch.cat([walsh, walsh], 1), torch.cat([walsh, -walsh], 1)], 0)
    rows = torch.cat([walsh, -walsh])[torch.randperm(32, generator=random, **INT64)[:kinds]]
    return rows[torch.randint(kinds, (total,), generator=random, **INT64)]


def layout_of_runs(rows: Sequence[Sequence[Run]], *, block_length: int | Mapping[Modality, int] = 8) -> TokenLayout:
    """The layout of prompts given as runs of tokens.

    The i-th video run and the i-th audio run of a prompt share a Stage II window; Stage I blocks are `block_length`
    consecutive tokens of one modality's own tokens, one length or one by modality; the last of a prompt may be shorter.
    Text and images have neither.

    Example:
        >>> from seats_ops import Modality
        >>> from seats_ops.testing import layout_of_runs
        >>> prompt = [(Modality.VIDEO, 3), (Modality.AUDIO, 2), (Modality.VIDEO, 2), (Modality.TEXT, 1)]
        >>> layout_of_runs([prompt]).window.tolist()
        [0, 0, 0, 0, 0, 1, 1, -1]
    """
    modality: list[int] = []
    position: list[int] = []
    block: list[int] = []
    window: list[int] = []
    blocks: list[tuple[int, int]] = []
    num_windows = 0
    for row in rows:
        seen = {Modality.VIDEO: 0, Modality.AUDIO: 0}
        runs = {Modality.VIDEO: 0, Modality.AUDIO: 0}
        open_block: dict[Modality, int] = {}
        start = len(modality)
        for kind, length in row:
            for _ in range(length):
                position.append(len(modality) - start)
                modality.append(int(kind))
                window.append(num_windows + runs[kind] if kind in runs else -1)
                if kind not in seen:
                    block.append(-1)
                    continue
                longest = block_length if isinstance(block_length, int) else block_length[kind]
                if seen[kind] % longest == 0:
                    open_block[kind] = len(blocks)
                    blocks.append((int(kind), 0))
                block.append(open_block[kind])
                blocks[open_block[kind]] = (int(kind), blocks[open_block[kind]][1] + 1)
                seen[kind] += 1
            if kind in runs and length:
                runs[kind] += 1
        num_windows += max(runs.values())
    return TokenLayout(
        torch.tensor(modality, **INT64),
        torch.tensor(position, **INT64),
        packed_offsets([sum(length for _, length in row) for row in rows]),
        torch.tensor(block, **INT64),
        torch.tensor(window, **INT64),
        blocks=tuple(blocks),
        num_windows=num_windows,
    )
