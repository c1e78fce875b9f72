"""How much of a chunk of video its sound leaves (OmniZip, arXiv 2511.14582)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from seats_ops.layout import Modality, TokenLayout
from seats_ops.layout.runs import frame_size, token_runs

LEAST, MOST = 0.35, 0.75
"""Share that a chunk of video loses where all of its sound is kept, and where none is."""


def guided_drops(kept_sound: Sequence[float], sizes: Sequence[int], drop: float) -> list[float]:
    """Share that every chunk of video of a prompt loses, between 0.35 and 0.75 where it has sound.

    Where more than two chunks have sound all of them but the first least and the first most reduced one are moved, so
    that the video loses `drop` as far as these bounds let it: once by a factor, then by an equal share of what is
    missing.

    Args:
        kept_sound: share of its sound that is kept, of the first chunks.
        sizes: tokens of all chunks.
        drop: of chunks without sound, and of all.

    Example:
        >>> from seats_ops.operators.guided import guided_drops
        >>> [round(share, 6) for share in guided_drops([1.0, 0.5, 0.0], [10, 10, 10, 10], 0.6)]
        [0.35, 0.7, 0.75, 0.6]
    """
    with_sound = min(len(kept_sound), len(sizes))
    drops = [_clipped(MOST + (LEAST - MOST) * share) for share in kept_sound[:with_sound]]
    alone = [drop] * (len(sizes) - with_sound)
    target = drop * sum(sizes) - drop * sum(sizes[with_sound:])
    if with_sound <= 2 or abs(_lost(drops, sizes) - target) <= 1e-3:
        return drops + alone
    fixed = drops.index(min(drops)), drops.index(max(drops))
    others = [i for i in range(with_sound) if i not in fixed]
    # Where all are equal both are the same chunk, and it counts twice: the second step puts that right.
    factor = (target - sum(drops[i] * sizes[i] for i in fixed)) / sum(drops[i] * sizes[i] for i in others)
    for i in others:
        drops[i] = _clipped(drops[i] * factor)
    missing = target - _lost(drops, sizes)
    if abs(missing) > 1e-3:
        more = missing / sum(sizes[i] for i in others)
        for i in others:
            drops[i] = _clipped(drops[i] + more)
    return drops + alone


def guided_chunks(plan: TokenLayout, kept: Tensor, drop: float) -> Iterator[tuple[Tensor, int, float]]:
    """Every chunk of video of a layout on the host: its tokens, tokens of a frame, the share that it loses.

    Args:
        plan: with grid.
        kept: bool [T] on the host: sound that is kept.
        drop: see `guided_drops`.

    Example:
        >>> import torch
        >>> from seats_ops.layout import MediaShape, Modality, TokenLayout
        >>> from seats_ops.operators.guided import guided_chunks
        >>> grid = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]])
        >>> shapes = (MediaShape(Modality.VIDEO, 1, 1, 2), MediaShape(Modality.AUDIO, 1))
        >>> modality, offsets = torch.tensor([1, 1, 2]), torch.tensor([0, 3])
        >>> layout = TokenLayout(modality, torch.arange(3), offsets, grid=grid, shapes=shapes)
        >>> [(tokens.tolist(), size, drop) for tokens, size, drop in guided_chunks(layout, modality == 2, 0.6)]
        [([0, 1], 2, 0.35)]
    """
    for video, sound in zip(*(token_runs(plan, kind) for kind in (Modality.VIDEO, Modality.AUDIO)), strict=True):
        shares = [int(kept[tokens].sum()) / len(tokens) for tokens in sound]
        drops = guided_drops(shares, [len(tokens) for tokens in video], drop)
        yield from ((tokens, frame_size(plan, tokens[0]), lost) for tokens, lost in zip(video, drops, strict=True))


def _clipped(share: float) -> float:
    return max(LEAST, min(MOST, share))


def _lost(drops: Sequence[float], sizes: Sequence[int]) -> float:
    return sum(share * n for share, n in zip(drops, sizes, strict=False))
