"""Stage II: drop the tokens that matter least to the query, window by window (SEATS section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout, check_layout
from seats_ops.layout.windows import run_windows
from seats_ops.operators.own_work import own_macs_of
from seats_ops.operators.stage import BUDGETED, Allocator, KeepRatio, budgeted_modalities
from seats_ops.operators.stage_checks import check_budgets, check_takes, name_of
from seats_ops.operators.stored import Stored
from seats_ops.operators.window_budget_allocator import WindowBudgetAllocator
from seats_ops.ops.segment_topk.api import segment_topk
from seats_ops.validation import check_keep_ratio, describe, reads_are_free

WINDOWS = ("layout", "runs")


@dataclass(frozen=True)
class StagePruner(Stored):
    """Keeps the top-scored tokens of every (window, modality), as many as the allocator grants.

    Attributes:
        keep_ratio: in [0, 1], share of the tokens still there to keep; a number for video and audio, or a mapping by
            "video" and "audio". What it does not name is left alone, as text and images always are.
        allocator: turns scores into budgets per window and modality; see `seats_ops.Allocator` for one of your own.
        windows: "layout" uses the window ids given once from the original prompt; "runs" rebuilds them from adjacency
            at every drop, as the paper's implementation does. They differ once a run has lost all its tokens.

    Example:
        >>> import torch
        >>> from seats_ops import StagePruner, TokenLayout
        >>> layout = TokenLayout(torch.tensor([1, 1, 1, 1, 0]), torch.arange(5), torch.tensor([0, 5]))
        >>> scores = torch.tensor([0.1, 0.4, 0.3, 0.2, 0.0])
        >>> StagePruner(0.5)(scores, layout)
        tensor([False,  True,  True, False,  True])
    """

    inputs: ClassVar[tuple[str, ...]] = ("scores",)

    keep_ratio: KeepRatio
    allocator: Allocator = field(default_factory=WindowBudgetAllocator, kw_only=True)
    windows: str = field(default="layout", kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep_ratio", check_keep_ratio("keep_ratio", self.keep_ratio, BUDGETED))
        if not callable(self.allocator) or isinstance(self.allocator, type):
            raise TypeError(f"allocator: expected a WindowBudgetAllocator, got {describe(self.allocator)}")
        who = f"allocator: {name_of(self.allocator)}"
        check_takes(who, self.allocator, ("scores", "layout", "keep_ratio"), ("backend",))
        if self.windows not in WINDOWS:
            raise ValueError(f"windows: expected one of {WINDOWS}, got {self.windows!r}")

    def __call__(self, scores: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        """Select tokens.

        Args:
            scores: [T] float, relevance of every token to the query of its prompt.
            layout: of the same T tokens. With `layout.num_windows` nothing is read from the device, else once.
            backend: "auto", "triton" or "reference".

        Returns:
            bool [T] keep mask.

        Raises:
            TypeError, ValueError: shapes, dtypes or devices do not fit.
        """
        return self.select(scores, layout, backend=backend)[0]

    def select(self, scores: Tensor, layout: TokenLayout, *, backend: str = "auto") -> tuple[Tensor, Tensor]:
        """The keep mask, bool [T], and the budgets behind it, int64 [W, 2] of (video, audio).

        Example:
            >>> keep_mask, budgets = StagePruner(0.5).select(scores, layout)
            >>> budgets  # of the one window: video, audio
            tensor([[2, 0]])
        """
        check_layout(layout)
        if self.windows == "runs":
            plan = layout.plan()
            window = run_windows(plan)
            # Windows cut by the clock are not runs: their number bounds that of the runs only where nobody may look.
            count = plan.num_windows
            if reads_are_free(window):
                count = int(window.max()) + 1 if len(window) else 0
            plan = replace(plan, window=window, num_windows=count)
            layout = plan.to(layout.modality.device)
        budgets = self.allocator(scores, layout, self.keep_ratio, backend=backend)
        plan = layout.plan()
        window, num_windows = plan.windows()
        check_budgets(name_of(self.allocator), budgets, num_windows, scores.device)
        budgeted = plan.is_modality(*budgeted_modalities(self.keep_ratio)) & (window >= 0)
        slot = torch.where(plan.is_modality(Modality.AUDIO), 2 * window + 1, 2 * window)
        segment = torch.where(budgeted, slot, -1).to(scores.device, non_blocking=True)
        return segment_topk(scores, segment, budgets.flatten(), backend=backend), budgets

    def own_macs(self, found: Mapping[str, int], sizes: Any) -> int | None:
        """See `Stage`: that of the allocator, as scores are ranked; None where it does not say.

        Example:
            >>> StagePruner(0.5).own_macs({"text": 5, "video": 100, "audio": 0, "image": 0}, None)
            0
        """
        return own_macs_of(self.allocator, found, sizes)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Any:
        """Inverse of `to_dict`; an allocator of a class of your own is to be there already.

        Example:
            >>> StagePruner.from_dict(StagePruner(0.5).to_dict()) == StagePruner(0.5)
            True
        """
        allocator = data.get("allocator")
        if isinstance(allocator, Mapping) and "type" not in allocator:
            data = {**data, "allocator": {"type": WindowBudgetAllocator.__name__, **allocator}}
        return super().from_dict(data)
