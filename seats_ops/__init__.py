"""Composable token-selection operators for omni-modal LLMs.

A `Schedule` says which stages act where. A stage takes a `TokenLayout` (what every token is and where it came from) and
some tensors, and gives a keep mask: `DiversitySelector` before the LLM, `StagePruner` with a `WindowBudgetAllocator`
after a layer, `ModalityDropper` late. `seats` makes the schedule of the SEATS paper for a model's config::

    schedule = seats(model.config, video=0.06, audio=0.35)
    with seats_ops.integrations.attach(model, schedule) as trace:
        answer = model.generate(**inputs)
    print(trace.summary())           # or trace.to_html("page.html"), trace.save("trace.json")

The primitives under the stages, each a Triton kernel with a torch reference, are in `seats_ops.functional`; what a
schedule costs is in `seats_ops.cost`; how to test a stage or a kernel of your own in `seats_ops.testing`. On the
command line: `seats-ops --help`.
"""

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
