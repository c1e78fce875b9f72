"""What a part of a stage leaves of a prompt, and what it shows to the next one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seats_ops.operators.diversity_selector import DiversitySelector
from seats_ops.operators.found import Found
from seats_ops.operators.modality_dropper import ModalityDropper
from seats_ops.operators.stage import MEDIA, MEDIA_MODALITIES, count_kind_of, ratio_of
from seats_ops.operators.stage_checks import name_of

CERTAINTY = ("shape", "reconciled", "text", "data")
"""Count kinds, the most certain first."""


def least_certain(*stages: object) -> str:
    """The count kind of stages that act together; "shape" of none."""
    return max(map(count_kind_of, stages), key=CERTAINTY.index, default=CERTAINTY[0])


def tokens_left(stage: object, found: Mapping[str, int]) -> dict[str, int]:
    """`count_tokens` of a stage, or what is known of one of ours that has none, see `Stage`.

    Raises:
        TypeError: a stage without it. ValueError: a DiversitySelector, where `found.blocks` does not tell its blocks.
    """
    # A subclass may do anything.
    if type(stage) is ModalityDropper:
        return {**found, **dict.fromkeys(stage.modalities, 0)}
    if type(stage) is DiversitySelector:
        return {**found, **{name: sum(lengths) for name, lengths in _blocks_left(stage, found).items()}}
    count: Any = getattr(stage, "count_tokens", None)
    if not callable(count):
        raise TypeError(f"schedule: expected stages with count_tokens, got {name_of(stage)}")
    return dict(count(found))


def bounds_left(stage: object, found: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """(least, most) that a stage leaves; raises as `tokens_left`."""
    bounds: Any = getattr(stage, "count_bounds", None)
    if count_kind_of(stage) in ("shape", "reconciled"):
        return {name: (n, n) for name, n in tokens_left(stage, found).items()}
    return dict(bounds(found)) if callable(bounds) else {name: (0, n) for name, n in found.items()}


def rest_of(stage: object, found: Mapping[str, int]) -> Found:
    """What is left of `found` without the media that a stage keeps, with what is known of it; as `tokens_left`."""
    left = tokens_left(stage, found)
    rest = {name: n - left[name] if name in MEDIA else n for name, n in found.items()}
    whole = not any(left[name] for name in MEDIA)
    blocks = dict(getattr(found, "blocks", {}))
    if type(stage) is DiversitySelector and not stage.exact_total:
        for name, kept in _blocks_left(stage, found).items():
            blocks[name] = tuple(n - k for n, k in zip(blocks.get(name, ()), kept, strict=True))
    sure = {name: lengths for name, lengths in blocks.items() if sum(lengths) == rest[name]}
    before = getattr(found, "before", found)
    return Found(rest, getattr(found, "shapes", None) if whole else None, before, sure)


def _blocks_left(stage: DiversitySelector, found: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    blocks, left = getattr(found, "blocks", {}), {}
    for kind in (m for m in MEDIA_MODALITIES if ratio_of(stage.keep_ratio, m) is not None):
        name = kind.name.lower()
        lengths = blocks.get(name, None if found[name] else ())
        if lengths is None:
            raise ValueError(f"found: expected the blocks of {name} to count what DiversitySelector leaves, got none")
        left[name] = stage.blocks_left(lengths, kind)
    return left
