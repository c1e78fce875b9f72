"""What `seats-ops plan` was asked, and what it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seats_ops import Schedule
from seats_ops.cost import Cost, PromptLengths
from seats_ops.retention import Fit

from .checkpoints import Checkpoint
from .clip_lengths import ClipLengths
from .plan_options import PlanOptions
from .plan_serving import Serving


@dataclass(frozen=True)
class Plan:
    """What was asked and what was found.

    Attributes:
        checkpoint: None for a config of one's own.
        config: of the thinker.
        clip: None where tokens were given.
        fit: None without a budget.
        ratios: of the paper's schedule; None for a schedule of one's own.
        weights: bytes; None where no limit of memory was given.
        serving: None without an engine.
    """

    asked: PlanOptions
    checkpoint: Checkpoint | None
    config: Any
    clip: ClipLengths | None
    lengths: PromptLengths
    fit: Fit | None
    ratios: tuple[float | None, float | None] | None
    weights: int | None
    schedule: Schedule
    cost: Cost
    serving: Serving | None = None

    @property
    def model(self) -> str:
        return self.asked.model if self.checkpoint is None else self.checkpoint.name
