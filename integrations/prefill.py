"""One prefill: run the stages where the schedule says, gather what the layers need, prune the cache at the end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache
from transformers.masking_utils import create_causal_mask

from seats_ops.integrations.cache import prune_layer
from seats_ops.layout import Modality, TokenLayout
from seats_ops.ops.compact.op import gather
from seats_ops.stages import Stage, stage_inputs
from seats_ops.trace import PruneTrace, StageRecord


class Prefill:
    """State of one forward over a prompt (one row, no padding).

    Attributes:
        layout: of the tokens still there.
        fired: layers (0 = before the LLM) whose stages have run.
    """

    def __init__(
        self, family: Any, layout: TokenLayout, saliency: Tensor | None, trace: PruneTrace, backend: str
    ) -> None:
        self.family = family
        self.layout = layout
        self.saliency = saliency
        self.trace = trace
        self.backend = backend
        self.prompt_length = len(layout)
        self.fired: set[int] = set()
        # Tokens kept by each gather, and the number of layers that had run before it.
        self.gathers: list[tuple[int, Tensor]] = []
        self.rotary: tuple[Tensor, Tensor] | None = None
        self.position_ids: Tensor | None = None
        self.attention_mask: Any = None
        trace.clear()
        trace.prompt_lengths = layout.plan().cu_seqlens.diff().tolist()
        trace.prompt_counts = _count(layout.plan())

    def enter(self, stages: tuple[Stage, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Stages before the LLM: thin the embeddings and positions the text model was called with."""
        embeds = kwargs["inputs_embeds"]
        position_ids = kwargs.get("position_ids")
        for stage in stages:
            kept = self._run(stage, 0, {"features": embeds[0].detach(), "saliency": self.saliency})
            if kept is None:
                continue
            if position_ids is None:
                # The model would number the tokens it is given; kept tokens keep their own positions.
                position_ids = torch.arange(embeds.shape[1], device=embeds.device).expand(3, 1, -1)
            (embeds,) = gather(kept, [embeds], 1, self.backend)
            (position_ids,) = gather(kept, [position_ids], -1, self.backend)
            if position_ids.ndim == 3 and position_ids.shape[0] == 4:
                # Row 0 holds text positions; gaps there would be taken for several packed sequences.
                position_ids = torch.cat(
                    [torch.arange(len(kept), device=embeds.device).expand(1, 1, -1), position_ids[1:]]
                )
            kwargs = {**kwargs, "inputs_embeds": embeds, "position_ids": position_ids, "attention_mask": None}
        self.fired.add(0)
        return kwargs

    def before_layer(
        self, index: int, stages: tuple[Stage, ...], hidden: Tensor, kwargs: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Any]]:
        """Stages after layer `index` (1-based), seen from the call of the next one; stale arguments are replaced."""
        cos, sin = self.rotary or kwargs["position_embeddings"]
        position_ids = self.position_ids if self.rotary else kwargs.get("position_ids")
        for stage in stages:
            tensors = {"features": hidden[0].detach(), "saliency": self.saliency}
            if "scores" in stage.inputs:
                tensors["scores"] = self._scores(index, hidden[0].detach(), cos[0], sin[0])
            kept = self._run(stage, index, tensors)
            if kept is None:
                continue
            hidden, cos, sin = gather(kept, [hidden, cos, sin], 1, self.backend)
            if position_ids is not None:
                position_ids = torch.arange(len(kept), device=hidden.device)[None].to(position_ids.dtype)
            self.rotary, self.position_ids = (cos, sin), position_ids
            self.attention_mask = create_causal_mask(
                config=self.family.text_model.config,
                inputs_embeds=hidden,
                attention_mask=None,
                past_key_values=None,
            )
        if stages:
            self.fired.add(index)
        if self.rotary:
            # The text model passes every layer what it made for the longer sequence.
            kwargs = {
                **kwargs,
                "position_embeddings": self.rotary,
                "position_ids": self.position_ids,
                "attention_mask": self.attention_mask,
            }
        return hidden, kwargs

    def prune_cache(self, cache: Cache, kv_policy: str) -> None:
        """Drop keys: "uniform" holds only the final survivors in every layer, "per-layer" what each layer saw."""
        # Where the final survivors stand in what a layer saw: composed from the last gather back to the first.
        survivors: Tensor | None = None
        pending = list(self.gathers)
        lengths = [0] * len(cache.layers)
        for index in reversed(range(len(cache.layers))):
            while pending and pending[-1][0] > index:
                _, kept = pending.pop()
                survivors = kept if survivors is None else kept[survivors]
            held = survivors if kv_policy == "uniform" else None
            lengths[index] = prune_layer(cache, index, held, self.prompt_length)
        self.trace.kv_lengths = lengths

    def _scores(self, index: int, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        layout = self.layout
        slot = torch.arange(len(layout), device=hidden.device)
        query = torch.where(layout.is_modality(Modality.TEXT), slot, 0).amax(0, keepdim=True)
        layer = self.family.text_model.layers[index - 1]
        return self.family.query_scores(layer, hidden, cos, sin, query, layout.cu_seqlens, self.backend)

    def _run(self, stage: Stage, layer: int, tensors: dict[str, Any]) -> Tensor | None:
        """int64 positions of the kept tokens, None if all are kept. Updates layout, saliency and trace."""
        names = stage_inputs(stage)
        call = getattr(stage, "select", stage)
        with torch.no_grad():
            result = call(
                *(tensors[name] for name in names[:1]),
                self.layout,
                **{name: tensors[name] for name in names[1:]},
                backend=self.backend,
            )
        keep_mask, budgets = result if isinstance(result, tuple) else (result, None)
        device = keep_mask.device
        # The only read of a stage: with the mask at hand, the layout is worked out on the host.
        keep_mask = keep_mask.cpu()
        counts = _count(self.layout.plan(), keep_mask)
        num_kept = sum(counts.values())
        kept = None
        if num_kept < len(self.layout):
            kept = keep_mask.nonzero().squeeze(1).to(device, non_blocking=True)
            self.gathers.append((layer, kept))
            if self.saliency is not None:
                (self.saliency,) = gather(kept, [self.saliency], 0, self.backend)
            self.layout = self.layout.plan().select(keep_mask, num_kept).to(device)
        self.trace.stages.append(
            StageRecord(type(stage).__name__, layer, [self.layout.position.long()], num_kept, counts, budgets)
        )
        return kept


def _count(layout: TokenLayout, keep_mask: Tensor | None = None) -> dict[str, int]:
    """Tokens by modality name."""
    modality = layout.modality.long() if keep_mask is None else layout.modality[keep_mask].long()
    totals = torch.bincount(modality, minlength=len(Modality)).tolist()
    return {kind.name.lower(): n for kind, n in zip(Modality, totals, strict=True)}
