"""One prefill: run the stages where the schedule says, gather what the layers need, prune the cache at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.huggingface.compat import causal_mask
from seats_ops.integrations.huggingface.deepstack import DeepStack
from seats_ops.integrations.huggingface.prompt.grid import Grid
from seats_ops.integrations.huggingface.scores.query import query_scores
from seats_ops.integrations.huggingface.scores.query_rows import rows_that_ask
from seats_ops.integrations.run import ScheduleRun
from seats_ops.layout import Modality
from seats_ops.operators.inputs import needs_previous, parse_input
from seats_ops.operators.stage import Stage
from seats_ops.ops.compact.op import gather
from seats_ops.ops.derivatives import has_tangent
from seats_ops.ops.merge_rows.api import merge_rows


@dataclass(frozen=True)
class Gather:
    """One thinning of the batch.

    Attributes:
        layer: layers that had run before it.
        width: slots per row before it.
        source: int64 [B * C * M'] on the CPU, see `Grid.keep`.
        grid: the slots after it.
        kv_rule: of the stage: "sliced" or "long".
    """

    layer: int
    width: int
    source: Tensor
    grid: Grid
    kv_rule: str = "sliced"


class Prefill:
    """State of one forward over a batch of prompts.

    Attributes:
        run: the tokens still there and the trace.
        grid: where they stand in the padded batch.
        entered: the same before any stage.
        embeds: what the text model was called with, [B, S, D], if somebody will want it (`keeps_embeds`).
        routes: the model will weigh how its router chose, over all columns.
        asked: inputs that any stage of the schedule names.
        rope_ids: [..., B * C, M], positions that rotary embedding goes by; None unless a stage may renumber.
        previous: [B * C, M, D], what the layer that ran last started from, if some stage asks for it.
        fired: layers (0 = before the LLM) whose stages have run.
    """

    def __init__(
        self,
        text_model: Any,
        run: ScheduleRun,
        grid: Grid,
        keeps_embeds: bool = False,
        routes: bool = False,
        asked: frozenset[str] = frozenset(),
        renumbers: bool = False,
    ) -> None:
        self.text_model = text_model
        self.run = run
        self.grid = self.entered = grid
        self.keeps_embeds = keeps_embeds
        self.routes = routes
        self.asked = asked
        # Some stage asks for what a layer started from.
        self.keeps_previous = any(map(needs_previous, asked))
        self.embeds: Tensor | None = None
        self.previous: Tensor | None = None
        self.renumbers = renumbers
        self.rope_ids: Tensor | None = None
        self.prompt_width = grid.width
        self.fired: set[int] = set()
        self.gathers: list[Gather] = []
        self.rotary: tuple[Tensor, Tensor] | None = None
        self.position_ids: Tensor | None = None
        self.attention_mask: Any = None
        self.deepstack: DeepStack | None = None
        self.pending: list[Callable[[], None]] = []

    @property
    def acts_on_the_first(self) -> bool:
        """The first layer's arguments change, or its input is to be held."""
        return self.position_ids is not None or self.keeps_previous

    def enter(self, stages: tuple[Stage, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Stages before the LLM: thin the embeddings and positions the text model was called with."""
        embeds, position_ids = kwargs["inputs_embeds"], kwargs.get("position_ids")
        if self.keeps_embeds:
            self.embeds = embeds
        if kwargs.get("deepstack_visual_embeds") is not None:
            visual = self.grid.repeat(self.run.layout.plan().is_modality(Modality.VIDEO, Modality.IMAGE))
            self.deepstack = DeepStack(list(kwargs["deepstack_visual_embeds"]), self.grid.all_rows(), visual)
            kwargs = {**kwargs, "deepstack_visual_embeds": None, "visual_pos_masks": None}
        if "embeddings" in self.asked:
            self.run.given["embeddings"] = self.grid.packed(embeds.detach())
        for stage in stages:
            embeds, source = self._apply(stage, 0, embeds, {})
            if source is None:
                kwargs = {**kwargs, "inputs_embeds": embeds}
                continue
            if position_ids is None:
                # The model would number the tokens it is given; kept tokens keep their own positions.
                position_ids = torch.arange(embeds.shape[1], dtype=torch.int64, device=embeds.device).expand(3, 1, -1)
            position_ids = position_ids.expand(*position_ids.shape[:-2], embeds.shape[0], -1)
            embeds, position_ids = self._rows(source, embeds), self._columns(source, position_ids)
            if position_ids.ndim == 3 and position_ids.shape[0] == 4:
                # Row 0 holds text positions; gaps there would be taken for several packed sequences.
                position_ids = torch.cat([self.grid.positions()[None].to(position_ids), position_ids[1:]])
            mask = self._padding_mask(embeds)
            if position_ids.ndim == 2:
                # The same goes for text positions alone: a mask says that the prompt is one, and layers count anew.
                self.position_ids = self.grid.positions().to(position_ids)
                mask = torch.ones_like(self.position_ids) if mask is None else mask
            kwargs = {**kwargs, "inputs_embeds": embeds, "position_ids": position_ids, "attention_mask": mask}
        self.fired.add(0)
        if self.renumbers:
            if position_ids is None:
                position_ids = torch.arange(embeds.shape[1], dtype=torch.int64, device=embeds.device).expand(3, 1, -1)
            ids = position_ids.expand(*position_ids.shape[:-2], embeds.shape[0], -1)
            self.rope_ids = ids[-3:] if ids.ndim == 3 else ids
        return kwargs

    def before_layer(
        self, index: int, stages: tuple[Stage, ...], hidden: Tensor, kwargs: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Any]]:
        """Stages after layer `index` (1-based), seen from the call of the next one; stale arguments are replaced."""
        if self.deepstack is not None and index:
            hidden = self.deepstack.add(index, hidden)
        for stage in stages:
            rotary = self.rotary or kwargs["position_embeddings"]
            cos, sin = (x.to(hidden.device).expand(hidden.shape[0], -1, -1) for x in rotary)
            names = [item.name for item in map(parse_input, stage.inputs) if item.kind == "scores"]
            tensors = {name: self._scores(name, index, hidden, cos, sin) for name in names}
            if "previous" in stage.inputs and self.previous is not None:
                tensors["previous"] = self.grid.packed(self.previous.detach())
            hidden, source = self._apply(stage, index, hidden, tensors)
            if source is None:
                continue
            if self.rope_ids is not None:
                self.rope_ids = self._columns(source, self.rope_ids.to(hidden.device))
            if self.previous is not None:
                self.previous = self._rows(source, self.previous)
            hidden, cos, sin = self._rows(source, hidden, cos, sin)
            position_ids = kwargs.get("position_ids")
            if position_ids is not None:
                self.position_ids = self.grid.positions().to(position_ids)
            if self.rope_ids is not None and getattr(stage, "renumbers", False):
                # The last one of a prompt keeps its position: only differences count, and tokens to come follow it.
                count = self.grid.positions().to(self.rope_ids)
                self.rope_ids = self.rope_ids[..., -1:] - count[:, -1:] + count
                cos, sin = self.text_model.rotary_emb(hidden, self.rope_ids)
            self.rotary = cos, sin
            self.attention_mask = causal_mask(self.text_model.config, hidden, self._padding_mask(hidden))
        if stages:
            self.fired.add(index)
        # What the layer to come starts from; only where some stage asks is it held.
        self.previous = hidden if self.keeps_previous else None
        if self.position_ids is not None:
            kwargs = {**kwargs, "position_ids": self.position_ids}
        if self.rotary:
            # The text model passes every layer what it made for the longer sequence.
            kwargs = {**kwargs, "position_embeddings": self.rotary, "attention_mask": self.attention_mask}
        return hidden, kwargs

    def _apply(
        self, stage: Stage, layer: int, hidden: Tensor, tensors: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Run a stage on [B * C, M, D] hidden states.

        Returns:
            The states with the values that the stage gave them; on their device, where the content of every new slot
            comes from, None if rows stay where they are.
        """
        self.run.move_to(hidden.device)
        tensors = dict(tensors)
        if "features" in stage.inputs:
            tensors["features"] = self.grid.packed(hidden.detach())
        applied = self.run.apply(stage, layer, tensors)
        if applied is None:
            return hidden, None
        if self.routes:
            raise UnsupportedModelState(
                "output_router_logits: expected False where tokens are dropped, got True: the balancing loss pairs "
                "every column of the mask with a choice of every layer's router"
            )
        if applied.merge is not None:
            # Of the states themselves, so that gradients flow through.
            values = merge_rows(self.grid.packed(hidden), *applied.merge, backend=self.run.backend)
            hidden = self.grid.replaced(hidden, values)
            if self.deepstack is not None:
                self.deepstack.merge(applied.merge, self.grid)
        elif applied.values is not None:
            hidden = self.grid.replaced(hidden, applied.values)
        if not applied.moves:
            return hidden, None
        width, (grid, source) = self.grid.width, self.grid.keep(applied.index)
        if self.deepstack is not None:
            self.deepstack.keep(self.grid.all_rows().filled.numel(), grid.all_rows(), source)
        self.grid = grid
        self.gathers.append(Gather(layer, width, source, grid, applied.kv_rule))
        return hidden, source.to(hidden.device, non_blocking=True)

    def _rows(self, source: Tensor, *tensors: Tensor) -> Any:
        """[B * C, M, ...] -> [B * C, M', ...], all in one go."""
        shape = self.grid.all_rows().filled.shape
        flat = gather(source, [x.flatten(0, 1) for x in tensors], 0, self.run.backend)
        # One operation makes them all, so that all seem to need gradients if one does: checkpointing would go through
        # the rotary embedding once per layer.
        if any(x.requires_grad for x in tensors):
            constant = [not (x.requires_grad or has_tangent(x)) for x in tensors]
            flat = [new.detach() if alone else new for alone, new in zip(constant, flat, strict=True)]
        rows = [x.unflatten(0, shape) for x in flat]
        return rows[0] if len(rows) == 1 else rows

    def _columns(self, source: Tensor, ids: Tensor) -> Tensor:
        """[..., B * C, M] -> [..., B * C, M']."""
        (flat,) = gather(source, [ids.flatten(-2)], -1, self.run.backend)
        return flat.unflatten(-1, self.grid.all_rows().filled.shape)

    def _padding_mask(self, like: Tensor) -> Tensor | None:
        return None if self.grid.is_full else self.grid.all_rows().filled.long().to(like.device, non_blocking=True)

    def _scores(self, name: str, index: int, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        self.run.move_to(hidden.device)
        query, weights = parse_input(name).variant.split("/")
        layer = self.text_model.layers[index if weights == "next" else index - 1]
        states = hidden
        if weights == "attention":
            assert self.previous is not None
            states = self.previous.to(hidden.device)
        states, cos, sin = (self.grid.packed(x.detach()) for x in (states, cos, sin))
        if weights == "next":
            # Where a model is spread over devices, a layer starts by fetching its input.
            device = _device_of(layer, hidden.device)
            states, cos, sin = (x.to(device) for x in (states, cos, sin))
        # The last text of a prompt is its last token, which sees all of them in any case.
        asking = None if query == "last_text" else rows_that_ask(query, self.run.layout, weights == "attention")
        return query_scores(
            layer,
            states,
            cos,
            sin,
            query=(self.run.query_tokens() if asking is None else asking.rows).to(states.device),
            cu_seqlens=self.run.layout.cu_seqlens.to(states.device),
            max_seqlen=self.grid.width,
            backend=self.run.backend,
            pending=self.pending,
            asking=asking,
        ).to(hidden.device)

    def undisturb(self) -> None:
        """Do what scoring was kept from doing at its end by an interrupt."""
        while self.pending:
            self.pending[-1]()
            self.pending.pop()


def _device_of(layer: Any, otherwise: torch.device) -> torch.device:
    """Where a layer runs: accelerate may bring its weights there only then."""
    device = getattr(getattr(layer, "_hf_hook", None), "execution_device", None)
    if device is not None:
        return torch.device(device)
    weight = next(iter(layer.parameters()), None)
    return otherwise if weight is None or weight.is_meta else weight.device
