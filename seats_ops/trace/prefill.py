"""One prefill as data: what figures and pages are made from, and a `PruneTrace` adds methods to."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from seats_ops.layout import TokenLayout
from seats_ops.trace.records import MediaItem, StageRecord


@dataclass(eq=False, repr=False)
class Prefill:
    """Prompts, stages and cache of one prefill; `PruneTrace` says what every attribute is."""

    stages: list[StageRecord] = field(default_factory=list)
    prompt_lengths: list[int] = field(default_factory=list)
    prompt_counts: dict[str, int] = field(default_factory=dict)
    kv_lengths: list[int] = field(default_factory=list)
    layout: TokenLayout | None = None
    items: list[MediaItem] = field(default_factory=list)
    saliency: Tensor | None = None
    kv_policy: str = ""
