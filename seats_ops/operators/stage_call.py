"""How a stage is called: with the inputs it names, and nothing else of it is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from seats_ops.layout import TokenLayout
from seats_ops.operators.inputs import parse_inputs
from seats_ops.operators.stage import Stage
from seats_ops.operators.stage_pruner import StagePruner


@torch.no_grad()
def call_stage(stage: Stage, layout: TokenLayout, tensors: Mapping[str, Any], backend: str) -> Any:
    """What the stage returns, unchecked; of a `StagePruner` the budgets too.

    Args:
        tensors: what there is, by the full name of an input, see `parse_input`.
    """
    call: Any = stage
    # A subclass that chooses otherwise speaks for itself.
    if isinstance(stage, StagePruner) and type(stage).__call__ is StagePruner.__call__:
        call = stage.select
    if hasattr(stage, "call_parts"):
        return stage.call_parts(layout, tensors, backend=backend)
    return call_with_inputs(call, stage.inputs, layout, tensors, backend)


def call_with_inputs(
    call: Any, names: tuple[str, ...], layout: TokenLayout, tensors: Mapping[str, Any], backend: str, *more: Any
) -> Any:
    """A stage or a piece of one, called as `Stage` says; `more` follows the layout."""
    passed = [item for item in parse_inputs(names) if not item.is_fact]
    first, rest = passed[:1], passed[1:]
    keywords = {item.keyword: tensors[item.name] for item in rest}
    return call(*(tensors[item.name] for item in first), layout, *more, **keywords, backend=backend)
