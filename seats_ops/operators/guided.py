"""How much of a chunk of video its sound leaves (OmniZip, arXiv 2511.14582)."""

from __future__ import annotations

from collections.abc import Sequence

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


def _clipped(share: float) -> float:
    return max(LEAST, min(MOST, share))


def _lost(drops: Sequence[float], sizes: Sequence[int]) -> float:
    return sum(share * n for share, n in zip(drops, sizes, strict=False))
