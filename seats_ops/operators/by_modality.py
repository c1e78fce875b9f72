"""What stages and budgets with a ratio for every modality share: the check of it, its modalities, counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops.layout import Modality
from seats_ops.operators.stage import MEDIA, MEDIA_MODALITIES, KeepRatio, num_kept, ratio_of
from seats_ops.validation import check_keep_ratio


class ByModality:
    """A frozen dataclass with a `keep_ratio`: a number for video and audio, or a mapping; other modalities stay.

    Attributes:
        known: modalities that a mapping may name.
        kinds: those that have a ratio, in the order of `MEDIA_MODALITIES`.
    """

    known: ClassVar[tuple[str, ...]] = MEDIA
    count_kind: ClassVar[str] = "shape"

    keep_ratio: KeepRatio

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep_ratio", check_keep_ratio("keep_ratio", self.keep_ratio, self.known))

    @property
    def kinds(self) -> list[Modality]:
        """See above."""
        return [kind for kind in MEDIA_MODALITIES if ratio_of(self.keep_ratio, kind) is not None]

    def share_of(self, kind: int) -> float:
        """The ratio of a modality; 0 for one without."""
        return ratio_of(self.keep_ratio, Modality(kind)) or 0.0

    def shares(self) -> Tensor:
        """float64 [4] on the host: `share_of` of every modality."""
        return torch.tensor([self.share_of(kind) for kind in Modality], dtype=torch.float64, device="cpu")

    def count_of(self, kind: Modality, found: Mapping[str, Any]) -> int:
        """Tokens of a modality with a ratio that are left of a prompt that has some of it: its share, rounded."""
        return num_kept(found[kind.name.lower()], self.share_of(kind))

    def count_tokens(self, found: Mapping[str, int]) -> dict[str, int]:
        """See `Stage`."""
        there = [kind for kind in self.kinds if found[kind.name.lower()]]
        return {**found, **{kind.name.lower(): self.count_of(kind, found) for kind in there}}
