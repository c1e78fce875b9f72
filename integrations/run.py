"""A schedule at work on one batch of prompts: run a stage, remember what is left, write it down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seats_ops.integrations.ranks import same_on_all_ranks
from seats_ops.layout import Modality, TokenLayout
from seats_ops.operators.stage import Stage
from seats_ops.operators.stage_call import call_stage
from seats_ops.operators.stage_checks import (
    check_kept,
    check_result,
    check_unchanged,
    place_of,
    query_of_rows,
    versions_of,
)
from seats_ops.operators.stored import OURS
from seats_ops.ops.compact.op import gather
from seats_ops.trace import PruneTrace
from seats_ops.trace.records import MediaItem, StageRecord


class ScheduleRun:
    """The tokens of one prefill while stages take some away.

    Attributes:
        layout: of the tokens still there.
        saliency: float32 [T] of the same tokens, or None.
        trace: written while stages run.
        backend: of all primitives.
        group: of ranks that split the model's heads and must drop the same tokens, or None.
        records_scores: the trace gets saliency and relevance too, a read each.
    """

    def __init__(
        self,
        layout: TokenLayout,
        saliency: Tensor | None,
        trace: PruneTrace,
        backend: str,
        group: Any = None,
        *,
        items: Sequence[MediaItem] = (),
        records_scores: bool = False,
    ) -> None:
        plan = layout.plan()
        # Stages are worked out on the host: a layout that was never there goes there once.
        on_host = plan.modality.device.type == "cpu"
        self.layout = layout if on_host else plan.to(torch.device("cpu")).to(layout.modality.device)
        self.saliency = saliency
        self.trace = trace
        self.backend = backend
        self.group = group
        self.records_scores = records_scores
        trace.clear()
        trace.layout, trace.items = self.layout.plan(), list(items)
        trace.prompt_lengths = trace.layout.cu_seqlens.diff().tolist()
        trace.prompt_counts = _count(trace.layout)
        if records_scores and saliency is not None:
            trace.saliency = saliency.detach().float().cpu()

    def move_to(self, device: torch.device) -> None:
        """Go on on another device, where the next layer lives."""
        if self.layout.modality.device != device:
            self.layout = self.layout.plan().to(device)
        if self.saliency is not None:
            self.saliency = self.saliency.to(device)

    def query_tokens(self) -> Tensor:
        """int64 [B] on the layout's device: packed index of the last text token of every prompt (SEATS section 3.2).

        Raises:
            ValueError: a prompt has no text left.
        """
        plan = self.layout.plan()
        query = query_of_rows(plan)
        if bool((query < plan.cu_seqlens[:-1]).any()):
            raise ValueError("schedule: expected stages that leave the query to every prompt, got one without text")
        return query.to(self.layout.modality.device, non_blocking=True)

    def apply(self, stage: Stage, layer: int, tensors: dict[str, Any]) -> Tensor | None:
        """Run one stage; one device read.

        Args:
            stage: of the schedule.
            layer: 1-based layer whose output it acts on, 0 before the LLM.
            tensors: what the stage may ask for by name, each [T, ...] or None; `saliency` is known here.

        Returns:
            bool [T] on the CPU, or None if the stage kept every token.

        Raises:
            TypeError, ValueError: the stage does not keep to the protocol of `seats_ops.Stage`.
        """
        tensors = {"saliency": self.saliency, **tensors}
        where = place_of(stage, layer)
        if type(stage) not in OURS.values():
            # In inference mode nobody counts writes: a stage that writes has a copy of its own to write to.
            tensors = {n: x.clone() if x is not None and x.is_inference() else x for n, x in tensors.items()}
        given = versions_of(self.layout, *tensors.values())
        result = call_stage(stage, self.layout, tensors, self.backend)
        check_unchanged(where, given)
        keep_mask, budgets = check_result(where, result, self.layout)
        keep_mask = same_on_all_ranks(keep_mask, self.group)
        device = keep_mask.device
        scores = None
        if self.records_scores and "scores" in stage.inputs and tensors["scores"] is not None:
            scores = tensors["scores"].detach().float().cpu()
        # The only read of a stage: with the mask at hand, the layout is worked out on the host.
        keep_mask = keep_mask.cpu()
        counts = _count(self.layout.plan(), keep_mask)
        num_kept = sum(counts.values())
        dropped = num_kept < len(self.layout)
        if dropped:
            check_kept(where, keep_mask, self.layout.plan())
            if self.saliency is not None:
                kept = keep_mask.nonzero().squeeze(1).to(device, non_blocking=True)
                (self.saliency,) = gather(kept, [self.saliency], 0, self.backend)
            self.layout = self.layout.plan().select(keep_mask, num_kept).to(device)
        rows = self.layout.position.long().split(self.layout.plan().cu_seqlens.diff().tolist())
        self.trace.stages.append(
            StageRecord(type(stage).__name__, layer, list(rows), num_kept, counts, budgets, scores)
        )
        return keep_mask if dropped else None


def _count(layout: TokenLayout, keep_mask: Tensor | None = None) -> dict[str, int]:
    """Tokens by modality name."""
    modality = layout.modality.long() if keep_mask is None else layout.modality[keep_mask].long()
    totals = torch.bincount(modality, minlength=len(Modality)).tolist()
    return {kind.name.lower(): n for kind, n in zip(Modality, totals, strict=True)}
