"""Stage III: drop whole modalities once fusion is done (SEATS section 3.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from seats_ops.layout import Modality, TokenLayout, check_layout
from seats_ops.operators.own_work import nothing
from seats_ops.operators.stage import BUDGETED, MEDIA
from seats_ops.operators.stored import Stored
from seats_ops.validation import describe


@dataclass(frozen=True)
class ModalityDropper(Stored):
    """Drops every token of the named modalities.

    Attributes:
        modalities: names among "video", "audio", "image".

    Example:
        >>> import torch
        >>> from seats_ops import ModalityDropper, TokenLayout
        >>> layout = TokenLayout(torch.tensor([1, 1, 2, 0]), torch.arange(4), torch.tensor([0, 4]))
        >>> ModalityDropper(("video",))(layout)
        tensor([False, False,  True,  True])
    """

    inputs: ClassVar[tuple[str, ...]] = ()
    count_kind: ClassVar[str] = "shape"
    own_macs = nothing

    modalities: tuple[str, ...] = BUDGETED

    def __post_init__(self) -> None:
        given: object = self.modalities
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise TypeError(f"modalities: expected a tuple of names among {MEDIA}, got {describe(given)}")
        names = tuple(given)
        if any(name not in MEDIA for name in names) or len(set(names)) != len(names):
            raise ValueError(f"modalities: expected distinct names among {MEDIA}, got {names}")
        object.__setattr__(self, "modalities", names)

    def __call__(self, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        """bool [T] keep mask: everything but the named modalities. `backend` is accepted for uniformity."""
        plan = check_layout(layout).plan()
        keep_mask = ~plan.is_modality(*(Modality[name.upper()] for name in self.modalities))
        return keep_mask.to(layout.modality.device, non_blocking=True)
