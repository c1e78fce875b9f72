"""What a token is and where it came from: the one value that flows through a schedule."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seats_ops.layout.modality import MediaShape, Modality
from seats_ops.layout.values import check_layout_values, check_media_values
from seats_ops.ops.compact.api import compact
from seats_ops.ops.segments import rows_of
from seats_ops.validation import check_cu_seqlens, check_integers, check_length, check_same_device, describe


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
        grid: integer [T, 4] or None, (item, t, h, w) of a token: which of `shapes`, and where in it; -1 for text.
        shapes: `MediaShape` of every item before anything was dropped, on the host; items ascend over rows.
        seconds: float [T] or None, when what a token shows begins, from the start of its item; NaN where nobody knows.
        question: bool [T] or None, text that asks: what the user wrote last.

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
    grid: Tensor | None = None
    shapes: tuple[MediaShape, ...] | None = None
    seconds: Tensor | None = None
    question: Tensor | None = None

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
        check_media_values(self.modality, self.grid, self.shapes, self.seconds, self.question)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TokenLayout):
            return NotImplemented
        names = (*PER_TOKEN, "cu_seqlens")
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

    def counts(self) -> Tensor:
        """int64 [B, 4]: tokens of every `Modality` of a prompt.

        Example:
            >>> layout.counts().tolist()
            [[2, 2, 1, 0], [1, 1, 0, 0]]
        """
        kinds = len(Modality)
        cells = self.rows() * kinds + self.modality.long()
        return torch.bincount(cells, minlength=kinds * self.num_rows).view(-1, kinds)

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
        names = [name for name in (*PER_TOKEN, "cu_seqlens") if getattr(self, name) is not None]
        whole = [name for name in names if not getattr(self, name).is_floating_point()]
        flat = [getattr(self, name).flatten().long() for name in whole]
        parts = torch.cat(flat).to(device, non_blocking=True).split([len(part) for part in flat])
        moved = {n: p.view(getattr(self, n).shape) for n, p in zip(whole, parts, strict=True)}
        moved["cu_seqlens"] = moved["cu_seqlens"].int()
        if "question" in moved:
            moved["question"] = moved["question"] != 0
        if self.seconds is not None:
            moved["seconds"] = self.seconds.to(device, non_blocking=True)
        return _trusted(self, **moved, host=self if self.modality.device.type == "cpu" else None)

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
        present = [name for name in PER_TOKEN if getattr(self, name) is not None]
        tensors = [getattr(self, name) for name in present]
        kept = dict(zip(present, compact(keep_mask, *tensors, num_kept=num_kept), strict=True))
        running = torch.nn.functional.pad(keep_mask.cumsum(0), (1, 0))
        cu_seqlens = running[self.cu_seqlens.long()].to(self.cu_seqlens.dtype)
        return _trusted(self, **kept, cu_seqlens=cu_seqlens, blocks=None)

    def ordered(self, order: Tensor) -> TokenLayout:
        """The same tokens in another order.

        Args:
            order: int64 [T] on the layout's device: which token stands where; every prompt keeps its own.

        Example:
            >>> layout.ordered(torch.tensor([1, 0, 2, 3, 4, 5, 6])).position.tolist()
            [1, 0, 2, 3, 4, 0, 1]
        """
        if self.host is not None:
            return self.host.ordered(order.cpu()).to(self.modality.device)
        present = [name for name in PER_TOKEN if getattr(self, name) is not None]
        return _trusted(self, **{name: getattr(self, name)[order] for name in present})


PER_TOKEN = ("modality", "position", "block", "window", "grid", "seconds", "question")
"""Tensors of a layout with one row per token."""


def _trusted(layout: TokenLayout, **changes: object) -> TokenLayout:
    """A layout made from one that was checked: its values are not looked at again."""
    changed = object.__new__(TokenLayout)
    changed.__dict__.update(layout.__dict__, **changes)
    return changed


def check_layout(value: object) -> TokenLayout:
    """`value` if it is a TokenLayout, else TypeError."""
    if not isinstance(value, TokenLayout):
        raise TypeError(f"layout: expected a TokenLayout, got {describe(value)}")
    return value


def _same(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        # Seconds that nobody knows are NaN.
        return a.device == b.device and a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())
    return a is b or (not isinstance(a, Tensor) and not isinstance(b, Tensor) and a == b)
