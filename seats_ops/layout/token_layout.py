"""What a token is and where it came from: the one value that flows through a schedule."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum

import torch
from torch import Tensor

from seats_ops.layout.values import check_layout_values
from seats_ops.ops.compact.api import compact
from seats_ops.ops.segments import rows_of
from seats_ops.validation import check_cu_seqlens, check_integers, check_length, check_same_device, describe


class Modality(IntEnum):
    """Kind of a token. Everything that is not video, audio or image is TEXT, special tokens included.

    Example:
        >>> from seats_ops import Modality
        >>> [modality.name for modality in Modality]
        ['TEXT', 'VIDEO', 'AUDIO', 'IMAGE']
    """

    TEXT = 0
    VIDEO = 1
    AUDIO = 2
    IMAGE = 3


@dataclass(frozen=True, eq=False)
class TokenLayout:
    """T tokens of B prompts on one packed axis.

    Attributes:
        modality: integer [T], values of `Modality`.
        position: integer [T], the token's column in the original prompt; never renumbered.
        cu_seqlens: integer [B+1], where each prompt starts and ends on the packed axis (as in FlashAttention).
        block: integer [T] or None, Stage I block of a token, -1 for none (SEATS section 3.1). Blocks hold one modality.
            None means: every modality of a row is one block.
        window: integer [T] or None, Stage II window, -1 for none; ids ascend over rows (SEATS section 3.2).
            None means: every row is one window.
        blocks: host copy of (modality, number of tokens) of every block id, if known. Spares operators a device read.
        num_windows: number of window ids, if known. Spares operators a device read.
        host: the same layout on the CPU, if known. Operators plan there, which spares small kernels; see `to`.

    Raises:
        TypeError, ValueError: a tensor of the wrong dtype, shape or device; ragged `cu_seqlens` that do not fit.

    Example:
        >>> import torch
        >>> from seats_ops import Modality, TokenLayout
        >>> modality = torch.tensor([0, 1, 1, 2, 0, 1, 0])  # two prompts: text, video, video, audio, text; video, text
        >>> position = torch.tensor([0, 1, 2, 3, 4, 0, 1])
        >>> layout = TokenLayout(modality, position, cu_seqlens=torch.tensor([0, 5, 7]))
        >>> len(layout), layout.num_rows
        (7, 2)
    """

    modality: Tensor
    position: Tensor
    cu_seqlens: Tensor
    block: Tensor | None = None
    window: Tensor | None = None
    blocks: tuple[tuple[int, int], ...] | None = None
    num_windows: int | None = None
    host: TokenLayout | None = None

    def __post_init__(self) -> None:
        widened = {"modality": check_integers("modality", self.modality)}
        total = widened["modality"].shape[0]
        widened["cu_seqlens"] = check_cu_seqlens("cu_seqlens", self.cu_seqlens, total, validate=False)
        for name in ("position", "block", "window"):
            value = getattr(self, name)
            if value is not None:
                widened[name] = check_integers(name, value)
                check_length(name, value, total, "modality")
        check_same_device("modality", widened["modality"], **{n: t for n, t in widened.items() if n != "modality"})
        for name, tensor in widened.items():
            object.__setattr__(self, name, tensor)
        check_layout_values(self.modality, self.cu_seqlens, self.block, self.window, self.blocks, self.num_windows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TokenLayout):
            return NotImplemented
        names = ("modality", "position", "cu_seqlens", "block", "window")
        return all(_same(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return self.modality.shape[0]

    @property
    def num_rows(self) -> int:
        """Number of prompts B."""
        return self.cu_seqlens.shape[0] - 1

    def is_modality(self, *modalities: Modality) -> Tensor:
        """bool [T]: the token is of one of these modalities.

        Example:
            >>> layout.is_modality(Modality.VIDEO, Modality.AUDIO)
            tensor([False,  True,  True,  True, False,  True, False])
        """
        mask = torch.zeros_like(self.modality, dtype=torch.bool)
        for modality in modalities:
            mask |= self.modality == int(modality)
        return mask

    def rows(self) -> Tensor:
        """int64 [T]: the prompt each token belongs to.

        Example:
            >>> layout.rows()
            tensor([0, 0, 0, 0, 0, 1, 1])
        """
        return rows_of(self.cu_seqlens, len(self))

    def windows(self) -> tuple[Tensor, int]:
        """int64 [T] window ids and their number; without `num_windows` (and with `window`) one device read.

        Example:
            >>> window, num_windows = layout.windows()  # none were given: every row is one
            >>> window.tolist(), num_windows
            ([0, 0, 0, 0, 0, 1, 1], 2)
        """
        if self.window is None:
            return self.rows(), self.num_rows
        num_windows = self.num_windows
        if num_windows is None:
            num_windows = int(self.window.max()) + 1 if len(self) else 0
        return self.window.long(), num_windows

    def plan(self) -> TokenLayout:
        """The copy on which to work out small integers: on the CPU if there is one.

        Example:
            >>> layout.plan() is layout  # it is on the CPU already
            True
        """
        return self if self.host is None else self.host

    def to(self, device: torch.device) -> TokenLayout:
        """The layout on another device, in one transfer; one that comes from the CPU remembers its origin.

        Example:
            >>> layout.to(torch.device("meta")).plan() is layout
            True
        """
        if device == self.modality.device:
            return self
        tensors = [self.modality, self.position, self.block, self.window, self.cu_seqlens]
        present = [tensor.long() for tensor in tensors if tensor is not None]
        moved = iter(torch.cat(present).to(device, non_blocking=True).split([len(tensor) for tensor in present]))
        modality, position, block, window, cu_seqlens = (None if t is None else next(moved) for t in tensors)
        assert modality is not None and position is not None and cu_seqlens is not None
        host = self if self.modality.device.type == "cpu" else None
        return _trusted(modality, position, cu_seqlens.int(), block, window, self.blocks, self.num_windows, host)

    def select(self, keep_mask: Tensor, num_kept: int | None = None) -> TokenLayout:
        """The layout of the kept tokens; ids and positions stay what they were.

        Args:
            keep_mask: bool [T].
            num_kept: number of True entries, if known; without it one device read. A layout with a `host` copy reads
                the mask once instead, so that the copy stays true.

        Example:
            >>> kept = layout.select(layout.is_modality(Modality.TEXT))
            >>> kept.position.tolist(), kept.cu_seqlens.tolist()
            ([0, 4, 1], [0, 2, 3])
        """
        if not isinstance(keep_mask, Tensor) or keep_mask.dtype != torch.bool:
            raise TypeError(f"keep_mask: expected a bool tensor, got {describe(keep_mask)}")
        if keep_mask.shape != self.modality.shape:
            raise ValueError(f"keep_mask: expected shape [{len(self)}], got {describe(keep_mask)}")
        if self.host is not None:
            return self.host.select(keep_mask.cpu()).to(self.modality.device)
        present = [n for n in ("modality", "position", "block", "window") if getattr(self, n) is not None]
        kept = dict(
            zip(present, compact(keep_mask, *(getattr(self, n) for n in present), num_kept=num_kept), strict=True)
        )
        running = torch.nn.functional.pad(keep_mask.cumsum(0), (1, 0))
        cu_seqlens = running[self.cu_seqlens.long()].to(self.cu_seqlens.dtype)
        block, window = kept.get("block"), kept.get("window")
        return _trusted(kept["modality"], kept["position"], cu_seqlens, block, window, None, self.num_windows, None)


def _trusted(*values: object) -> TokenLayout:
    """A layout made from one that was checked: its values are not looked at again."""
    layout = object.__new__(TokenLayout)
    for item, value in zip(fields(TokenLayout), values, strict=True):
        object.__setattr__(layout, item.name, value)
    return layout


def check_layout(value: object) -> TokenLayout:
    """`value` if it is a TokenLayout, else TypeError."""
    if not isinstance(value, TokenLayout):
        raise TypeError(f"layout: expected a TokenLayout, got {describe(value)}")
    return value


def _same(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.device == b.device and torch.equal(a, b)
    return a is b or (not isinstance(a, Tensor) and not isinstance(b, Tensor) and a == b)
