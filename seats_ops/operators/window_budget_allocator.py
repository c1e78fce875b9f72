"""Stage II, first half: how many tokens every window may keep of each modality (SEATS section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout, check_layout
from seats_ops.operators.own_work import nothing
from seats_ops.operators.stage import BUDGETED, KeepRatio, budgeted_modalities, ratio_of
from seats_ops.operators.stored import Stored
from seats_ops.ops.segments import segment_sums
from seats_ops.ops.window_budget.api import window_budget
from seats_ops.validation import check_keep_ratio, check_length, check_positive, check_values


@dataclass(frozen=True)
class WindowBudgetAllocator(Stored):
    """Shares a token budget top-down, from windows to modalities, by relevance to the query.

    Attributes:
        temperature: of the softmax over windows; 0.1 for Qwen2.5-Omni, 0.3 for Qwen3-Omni.

    Example:
        >>> import torch
        >>> from seats_ops import WindowBudgetAllocator, TokenLayout
        >>> modality, window = torch.tensor([1, 1, 1, 1, 0]), torch.tensor([0, 0, 1, 1, -1])
        >>> layout = TokenLayout(modality, torch.arange(5), torch.tensor([0, 5]), window=window)
        >>> scores = torch.tensor([0.9, 0.8, 0.0, 0.1, 0.0])  # the first window answers the query
        >>> WindowBudgetAllocator()(scores, layout, 0.75)
        tensor([[2, 0],
                [1, 0]])
    """

    own_macs = nothing

    temperature: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", check_positive("temperature", self.temperature))

    def __call__(self, scores: Tensor, layout: TokenLayout, keep_ratio: KeepRatio, *, backend: str = "auto") -> Tensor:
        """Budgets for one drop.

        Per prompt and modality the total is max(1, round(keep_ratio * n)), half to even, 0 where it has no token.

        Args:
            scores: [T] float, relevance to the query.
            layout: of the same T tokens. With `layout.num_windows` nothing is read from the device, else once.
            keep_ratio: in [0, 1], a number or a mapping by "video" and "audio"; what it does not name gets no budget.
            backend: "auto", "triton" or "reference".

        Returns:
            int64 [W, 2], budgets of (video, audio) per window id.

        Raises:
            TypeError, ValueError: shapes, dtypes, devices or ratios do not fit.
        """
        check_length("scores", check_values("scores", scores, 1), len(check_layout(layout)), "layout")
        keep_ratio = check_keep_ratio("keep_ratio", keep_ratio, BUDGETED)
        device = scores.device
        plan = layout.plan()
        window, num_windows = plan.windows()
        rows = plan.rows()
        window = torch.where(plan.is_modality(*budgeted_modalities(keep_ratio)), window, -1)
        totals = []
        for modality in (Modality.VIDEO, Modality.AUDIO):
            count = segment_sums((plan.is_modality(modality) & (window >= 0)).long(), plan.cu_seqlens)
            wanted = (count.double() * (ratio_of(keep_ratio, modality) or 0.0)).round().long().clamp(min=1)
            totals.append(torch.where(count > 0, wanted, 0))
        last_window = rows.new_full((plan.num_rows,), -1).scatter_reduce(0, rows, window, "amax")
        # Ids ascend over rows, so a row's ids start after the largest one seen before it.
        offsets = torch.nn.functional.pad(last_window.cummax(0).values + 1, (1, 0))
        offsets[-1:] = num_windows
        return window_budget(
            scores,
            layout.modality,
            window.to(device, non_blocking=True),
            torch.stack(totals, 1).to(device, non_blocking=True),
            num_windows=num_windows,
            temperature=self.temperature,
            window_offsets=offsets.to(device, non_blocking=True),
            backend=backend,
        )
