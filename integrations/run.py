"""A schedule at work on one batch of prompts: run a stage, remember what is left, write it down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.ranks import same_on_all_ranks
from seats_ops.layout import Modality, TokenLayout
from seats_ops.operators.asked import asked_of
from seats_ops.operators.inputs import parse_input
from seats_ops.operators.selection import Merge, check_declared, check_merge_faults, check_order, merge_faults
from seats_ops.operators.stage import Stage, generators_of
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


@dataclass(frozen=True)
class Applied:
    """What one stage changed.

    Attributes:
        keep_mask: bool [T] on the CPU.
        order: int64 [K] on the CPU, see `Selection`; None for ascending.
        values: [T, D] of the tokens that the stage saw, or None.
        merge: the map that gives them new values instead, on the device of the features, or None.
        renumbered: positions are to count anew.
        kv_rule: of the stage.
    """

    keep_mask: Tensor
    order: Tensor | None = None
    values: Tensor | None = None
    merge: Merge | None = None
    renumbered: bool = False
    kv_rule: str = "sliced"

    @property
    def index(self) -> Tensor:
        """int64 [K] on the CPU: the tokens that go on, in their order."""
        return self.keep_mask.nonzero().squeeze(1) if self.order is None else self.order

    @property
    def moves(self) -> bool:
        """Rows are dropped or change places."""
        return self.order is not None or not bool(self.keep_mask.all())


class ScheduleRun:
    """The tokens of one prefill while stages take some away.

    Attributes:
        layout: of the tokens still there.
        saliency: float32 [T] of the same tokens, or None.
        given: further inputs of all tokens of the prompts, [T_0, ...], by full name.
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
        given: Mapping[str, Tensor] | None = None,
    ) -> None:
        plan = layout.plan()
        # Stages are worked out on the host: a layout that was never there goes there once.
        on_host = plan.modality.device.type == "cpu"
        self.layout = layout if on_host else plan.to(torch.device("cpu")).to(layout.modality.device)
        self.saliency = saliency
        self.given = dict(given or {})
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
        # Which of the prompts' tokens those still there are; None: all of them, in order.
        self._origin: Tensor | None = None
        # A stage has put tokens in another order than the prompts'.
        self._ordered = False

    def move_to(self, device: torch.device) -> None:
        """Go on on another device, where the next layer lives."""
        if self.layout.modality.device != device:
            self.layout = self.layout.plan().to(device)
        if self.saliency is not None:
            self.saliency = self.saliency.to(device)
        self.given = {name: value.to(device) for name, value in self.given.items()}

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

    def apply(self, stage: Stage, layer: int, tensors: dict[str, Any]) -> Applied | None:
        """Run one stage; one device read, one more for a merge.

        Args:
            stage: of the schedule.
            layer: 1-based layer whose output it acts on, 0 before the LLM.
            tensors: what the stage may ask for by full name, each [T, ...] or None; what is known of the prompts since
                they came in is added.

        Returns:
            None if the stage kept every token as it was.

        Raises:
            TypeError, ValueError: the stage does not keep to the protocol of `seats_ops.Stage`.
        """
        tensors = {**self._known(stage), **tensors}
        where = place_of(stage, layer)
        if self.group is not None and getattr(stage, "merges", False):
            raise _split(where, "give rows new values")
        if type(stage) not in OURS.values():
            # In inference mode nobody counts writes: a stage that writes has a copy of its own to write to.
            tensors = {n: x.clone() if _is_inference(x) else x for n, x in tensors.items()}
        given = versions_of(self.layout, *(x for x in tensors.values() if isinstance(x, Tensor)))
        result = call_stage(stage, self.layout, tensors, self.backend)
        check_unchanged(where, given)
        selection = check_result(where, result, self.layout, tensors.get("features"))
        check_declared(where, stage, selection)
        if layer == 0 and selection.positions != "kept":
            raise ValueError(f"{where}: expected positions to be kept before the LLM, got {selection.positions!r}")
        keep_mask = same_on_all_ranks(selection.keep_mask, self.group)
        device = keep_mask.device
        scores = None
        if self.records_scores:
            names = (item.name for item in map(parse_input, stage.inputs) if item.kind == "scores")
            asked = [tensors[name] for name in names if tensors.get(name) is not None]
            scores = _by_column(asked[0].detach().float().cpu(), self.layout.plan()) if asked else None
        merge = selection.merge if selection.merge is not None and len(selection.merge.target) else None
        merged = None
        if merge is not None:
            if tensors.get("features") is None:
                raise ValueError(f"{where}: expected a stage that merges to name features among its inputs, got none")
            check_merge_faults(where, merge_faults(replace(selection, keep_mask=keep_mask)))
            merged = Merge(*(part.detach().cpu() for part in merge))
        # The only read of a stage without merges: with the mask at hand, the layout is worked out on the host.
        keep_mask = keep_mask.cpu()
        order = None if selection.order is None else selection.order.cpu()
        if order is not None:
            if self.group is not None:
                raise _split(where, "reorder rows")
            check_order(where, order, keep_mask, self.layout.plan())
            order = None if bool((order.diff() > 0).all()) else order
        counts = _count(self.layout.plan(), keep_mask)
        num_kept = sum(counts.values())
        applied = Applied(
            keep_mask,
            order,
            selection.values,
            merge,
            selection.positions == "renumbered",
            getattr(stage, "kv_rule", "sliced"),
        )
        before = self.layout.plan()
        if num_kept < len(self.layout) or order is not None:
            check_kept(where, keep_mask, before)
            kept = applied.index
            self._origin = kept if self._origin is None else self._origin[kept]
            if self.saliency is not None:
                (self.saliency,) = gather(kept.to(device, non_blocking=True), [self.saliency], 0, self.backend)
            plan = before.select(keep_mask, num_kept)
            if order is not None:
                self._ordered = True
                plan = plan.ordered(torch.searchsorted(keep_mask.nonzero().squeeze(1), order))
            self.layout = plan.to(device)
        plan = self.layout.plan()
        lengths = plan.cu_seqlens.diff().tolist()
        kept_columns = self.layout.position.long().split(lengths)
        multiplicity = None
        if selection.multiplicity is not None:
            multiplicity = _by_column(selection.multiplicity.detach().cpu()[applied.index], plan)
        self.trace.stages.append(
            StageRecord(
                type(stage).__name__,
                layer,
                [row.sort().values for row in kept_columns] if self._ordered else list(kept_columns),
                num_kept,
                counts,
                selection.budgets,
                scores,
                merge=None if merged is None else _recorded(merged, before),
                multiplicity=multiplicity,
                order=None if order is None else list(plan.position.long().split(lengths)),
                positions=selection.positions,
                kv_rule=applied.kv_rule,
                values=selection.values is not None,
                asked=asked_of(stage),
            )
        )
        rewrites = applied.merge is not None or applied.values is not None
        return applied if applied.moves or rewrites or applied.renumbered else None

    def _known(self, stage: Stage) -> dict[str, Any]:
        """Of what the stage asks for, what was known before any layer ran."""
        known: dict[str, Any] = {"saliency": self.saliency}
        for name, kind, _ in map(parse_input, stage.inputs):
            if name in self.given:
                value = self.given[name]
                known[name] = value if self._origin is None else value[self._origin.to(value.device)]
            elif kind == "counts":
                assert self.trace.layout is not None
                known[name] = self.trace.layout.counts()
            elif kind == "kept":
                known[name] = torch.ones_like(self.layout.modality, dtype=torch.bool)
            elif kind == "generators":
                known[name] = generators_of(stage, self.layout.num_rows)
        return known


def _split(where: str, what: str) -> UnsupportedModelState:
    return UnsupportedModelState(
        f"{where}: expected a stage that does not {what} where tensor parallelism splits the model, as ranks agree on "
        "which tokens go and on nothing else"
    )


def _is_inference(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_inference()


def _by_column(values: Tensor, layout: TokenLayout) -> Tensor:
    """Values of the tokens of a layout, prompt by prompt in ascending columns, however a stage ordered them."""
    place = layout.position.long()
    return values[(layout.rows() * (place.max() + 1 if len(place) else 1) + place).argsort()]


def _recorded(merge: Merge, before: TokenLayout) -> Merge:
    """The same map between columns of the prompts: int64 [N, 2] of (prompt, column)."""
    places = torch.stack([before.rows(), before.position.long()], 1)
    return Merge(places[merge.target], places[merge.source], merge.coefficient)


def _count(layout: TokenLayout, keep_mask: Tensor | None = None) -> dict[str, int]:
    """Tokens by modality name."""
    modality = layout.modality.long() if keep_mask is None else layout.modality[keep_mask].long()
    totals = torch.bincount(modality, minlength=len(Modality)).tolist()
    return {kind.name.lower(): n for kind, n in zip(Modality, totals, strict=True)}
