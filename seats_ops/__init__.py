"""Composable token-selection operators for omni-modal LLMs.

A `Schedule` says which stages act where. A stage takes a `TokenLayout` (what every token is and where it came from) and
some tensors, and gives a keep mask: `DiversitySelector` before the LLM, `StagePruner` with a `WindowBudgetAllocator`
after a layer, `ModalityDropper` late. `seats` makes the schedule of the SEATS paper for a model's config.

In a model of Hugging Face, here a Qwen2.5-Omni thinker; `inputs` is what its processor returned:

    >>> import seats_ops
    >>> from seats_ops.integrations import attach
    >>> schedule = seats_ops.seats(model.config, video=0.06, audio=0.35)
    >>> with attach(model, schedule) as trace:
    ...     answer = model.generate(**inputs, max_new_tokens=2)
    >>> table = trace.summary()      # or trace.plot(), trace.to_html("page.html"), trace.save("trace.json")

On tensors alone, without a model:

    >>> import torch
    >>> modality = torch.tensor([seats_ops.Modality.TEXT] * 5 + [seats_ops.Modality.VIDEO] * 100)
    >>> layout = seats_ops.TokenLayout(modality, torch.arange(105), cu_seqlens=torch.tensor([0, 105]))
    >>> selector = seats_ops.DiversitySelector(0.1)
    >>> keep_mask = selector(torch.randn(105, 64), layout, saliency=torch.rand(105))
    >>> int(keep_mask.sum())         # 10 % of the video, and all text
    15

Where to go on:

- `seats_ops.integrations`: `attach` for models of Hugging Face, `Pruning` for a decoder of your own.
- `seats_ops.Stage`, `seats_ops.Allocator`: what one of your own must do; `seats_ops.testing.check_stage` tests it.
- `seats_ops.functional`: the primitives under the stages, each a Triton kernel with a torch reference.
- `seats_ops.cost`: FLOPs and KV bytes of a schedule, from a config alone; `seats_ops.retention`: what fits a budget.
- `seats_ops.compare`: what pruning saves and what it changes, on prompts of your own.
- `seats_ops.horizon`: up to which layer a model needs its media, and after which ones relevance finds them.
- `seats_ops.inspector`: what became of every token, as a page.
- On the command line: `seats-ops --help`.
"""

from __future__ import annotations

import seats_ops.floors  # noqa: F401 before what an old torch would break
from seats_ops import functional
from seats_ops.backend import why_not_triton
from seats_ops.errors import BackendUnavailable, UnsupportedModelState
from seats_ops.layout import Modality, TokenLayout
from seats_ops.methods.seats import seats
from seats_ops.operators.composed import Both, PerModality
from seats_ops.operators.diversity_selector import DiversitySelector
from seats_ops.operators.modality_dropper import ModalityDropper
from seats_ops.operators.recorded_stage import RecordedStage
from seats_ops.operators.registry import register_stage
from seats_ops.operators.select import Budget, Budgeted, Ratio, Scorer, Select
from seats_ops.operators.selection import Merge, Selection
from seats_ops.operators.stage import Allocator, Stage
from seats_ops.operators.stage_pruner import StagePruner
from seats_ops.operators.window_budget_allocator import WindowBudgetAllocator
from seats_ops.schedule import Schedule
from seats_ops.trace import PruneTrace
from seats_ops.version import __version__ as __version__

__all__ = [
    "Allocator",
    "BackendUnavailable",
    "Both",
    "Budget",
    "Budgeted",
    "DiversitySelector",
    "Merge",
    "Modality",
    "ModalityDropper",
    "PerModality",
    "PruneTrace",
    "Ratio",
    "RecordedStage",
    "Schedule",
    "Scorer",
    "Select",
    "Selection",
    "Stage",
    "StagePruner",
    "TokenLayout",
    "UnsupportedModelState",
    "WindowBudgetAllocator",
    "functional",
    "register_stage",
    "seats",
    "why_not_triton",
]
