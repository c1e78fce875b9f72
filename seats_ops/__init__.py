"""Composable token-selection operators for omni-modal LLMs."""

from __future__ import annotations

import seats_ops.floors  # noqa: F401 before what an old torch would break
from seats_ops import functional
from seats_ops.backend import why_not_triton
from seats_ops.diversity_selector import DiversitySelector
from seats_ops.errors import BackendUnavailable, UnsupportedModelState
from seats_ops.layout import Modality, TokenLayout
from seats_ops.modality_dropper import ModalityDropper
from seats_ops.presets import seats
from seats_ops.recorded_stage import RecordedStage
from seats_ops.schedule import Schedule
from seats_ops.stage_pruner import StagePruner
from seats_ops.stages import Allocator, Stage
from seats_ops.trace import PruneTrace
from seats_ops.window_budget_allocator import WindowBudgetAllocator

__all__ = [
    "Allocator",
    "BackendUnavailable",
    "DiversitySelector",
    "Modality",
    "ModalityDropper",
    "PruneTrace",
    "RecordedStage",
    "Schedule",
    "Stage",
    "StagePruner",
    "TokenLayout",
    "UnsupportedModelState",
    "WindowBudgetAllocator",
    "functional",
    "seats",
    "why_not_triton",
]
__version__ = "0.1.0"
