"""How a stage is called: with the inputs it names, and nothing else of it is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from seats_ops.layout import TokenLayout
from seats_ops.operators.stage import Stage
from seats_ops.operators.stage_pruner import StagePruner


@torch.no_grad()
def call_stage(stage: Stage, layout: TokenLayout, tensors: Mapping[str, Any], backend: str) -> Any:
    """What the stage returns, unchecked; of a `StagePruner` the budgets too."""
    first, rest = stage.inputs[:1], stage.inputs[1:]
    call: Any = stage
    # A subclass that chooses otherwise speaks for itself.
    if isinstance(stage, StagePruner) and type(stage).__call__ is StagePruner.__call__:
        call = stage.select
    return call(*(tensors[name] for name in first), layout, **{name: tensors[name] for name in rest}, backend=backend)
