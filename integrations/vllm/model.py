"""Models of vLLM with the stages before the LLM.

vLLM fixes a prompt's length, and asks for its positions, before any encoder has run. Lengths are known by then, and so
are the positions of text. Which tokens stay, and where they stood, is known after the encoder: so every placeholder is
told where its item begins, and what to add rides on the embeddings, through the engine's encoder cache, to
`embed_input_ids`, which runs right before `forward` on the same columns. Nothing is remembered between steps, so that
chunks, cache hits and preemption need no care. (vLLM's own hook for models that prune, `recompute_mrope_positions`, is
not called on a CPU.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from vllm.distributed.parallel_state import get_tp_group
from vllm.model_executor.models.interfaces import SupportsMultiModal

from seats_ops.integrations.ranks import same_on_all_ranks
from seats_ops.integrations.vllm import channels
from seats_ops.integrations.vllm.features import SECONDS, SOUND_FRAMES, TEXT, unit_of
from seats_ops.integrations.vllm.positions import Placed, prompt_positions
from seats_ops.integrations.vllm.refusals import check_engine, check_inputs
from seats_ops.integrations.vllm.saliency import VisionValues, joined, of_items
from seats_ops.integrations.vllm.selection import Chosen, choose
from seats_ops.integrations.vllm.served import ENTRY, read_schedule
from seats_ops.integrations.vllm.units import Unit

Encoded = list[tuple[Tensor, dict[str, Tensor]]]
"""Rows [N, D] of items and what their tower tells of them."""


class SeatsModel(SupportsMultiModal):
    """What stands before a model of vLLM among the bases of one that selects.

    The scheduler counts tokens that stay, but towers work on all: videos are encoded one by one.

    Under tensor parallelism every rank goes through all of it. What towers tell is averaged over the heads of all
    ranks, and what the first rank chose goes on everywhere.

    Attributes:
        lacks: inputs that no stage can be told in this family.
        window_order: see `VisionValues`.
    """

    requires_sequential_video_encoding = True
    lacks: ClassVar[frozenset[str]] = frozenset()
    window_order: ClassVar[bool] = True

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        served = read_schedule(getattr(vllm_config.model_config.hf_config, ENTRY, None))
        check_engine(vllm_config, served)
        check_inputs(served, self.lacks)
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.served = served
        # Beside the weights, at one address, as captured graphs read it.
        columns = vllm_config.scheduler_config.max_num_batched_tokens
        device = next(self.parameters()).device
        offsets = torch.zeros(3, columns, dtype=torch.int64, device=device)
        self.register_buffer("offsets", offsets, persistent=False)
        asked = served.asked
        ranks = get_tp_group()
        self.tp_group = ranks.device_group if ranks.world_size > 1 else None
        self.vision_values = (
            VisionValues(self.visual, asked, "auto", self.window_order, self.tp_group) if asked else None
        )

    def embed_multimodal(self, **kwargs: Any) -> tuple[Tensor, ...]:
        """[K, D + 6] of every unit: what stays, and where it stood."""
        found: list[Tensor] = []
        for modality, inputs in self._parse_and_validate_multimodal_inputs(**kwargs).items():
            encoded = self.encoded(modality, inputs, kwargs)
            units = [unit_of(self.config, modality, data) for data in _each(modality, kwargs, len(encoded))]
            found += [self.selected(unit, items) for unit, items in zip(units, encoded, strict=True)]
        return tuple(found)

    def encoded(self, modality: str, inputs: Any, kwargs: Mapping[str, Any]) -> list[Encoded]:
        """Of every unit its items.

        Args:
            inputs: of one modality, as vLLM's model reads them from `kwargs`.
        """
        grids = inputs[f"{modality}_grid_thw"].tolist()
        with self.vision_values.watching() if self.vision_values else nullcontext():
            rows = getattr(self, f"_process_{modality}_input")(inputs)
        values = self.vision_values.values(grids) if self.vision_values else {}
        return [[item] for item in zip(rows, of_items(values, [len(x) for x in rows]), strict=True)]

    def selected(self, unit: Unit, items: Encoded) -> Tensor:
        """[K, D + 6] of one unit.

        Args:
            items: rows and values of each of its items.
        """
        chosen = self.chosen(unit, items)
        expected = self.served.kept(unit)
        if chosen.counts != expected:
            raise RuntimeError(f"seats_ops: expected stages to leave {expected} tokens of {unit}, got {chosen.counts}")
        rows, positions = self.placed(unit, self.agreed(chosen))
        return channels.load(rows, positions.to(rows.device))

    def chosen(self, unit: Unit, items: Encoded) -> Chosen:
        """What stages leave of it."""
        order = torch.cat(unit.columns()).argsort().to(items[0][0].device)
        values = joined([values for _, values in items])
        rows = torch.cat([rows for rows, _ in items])[order]
        values = {name: x[order] for name, x in values.items()}
        width = self.config.get_text_config().hidden_size
        return choose(self.served.stages, [unit], rows, values, width=width)

    def agreed(self, chosen: Chosen) -> Chosen:
        """What the first of the ranks chose: a tie that rounding breaks may go one way here and another way there."""
        if self.tp_group is None:
            return chosen
        # Where the rows are, as no group sends from both.
        index = same_on_all_ranks(chosen.index.to(chosen.rows.device), self.tp_group).cpu()
        return replace(chosen, index=index, rows=same_on_all_ranks(chosen.rows, self.tp_group))

    def placed(self, unit: Unit, chosen: Chosen) -> tuple[Tensor, Tensor]:
        """Rows that fill the placeholders of a unit, and their positions from its begin on."""
        return chosen.rows, unit.positions()[:, chosen.index]

    def get_mrope_input_positions(self, input_tokens: Sequence[int], mm_features: Sequence[Any]) -> tuple[Tensor, int]:
        """int64 [3, T] of the prompt that stays, and what later positions are ahead of their columns.

        Final for text; those of media are where their item begins.
        """
        placed = []
        for feature in mm_features:
            where = feature.mm_position
            if not where.get_num_embeds():
                continue
            data = {name: None if field is None else field.data for name, field in feature.data.items()}
            unit = unit_of(self.config, feature.modality, data)
            placed.append(Placed(where.offset, where.length, unit))
        return prompt_positions(len(input_tokens), placed)

    def embed_input_ids(
        self, input_ids: Tensor, multimodal_embeddings: Any = None, *, is_multimodal: Tensor | None = None
    ) -> Tensor:
        """[T, D] of the columns of a step; how far they are from their item's begin is kept for `forward`."""
        self.offsets.zero_()
        if multimodal_embeddings is None or is_multimodal is None or not len(multimodal_embeddings):
            return super().embed_input_ids(input_ids)
        where = is_multimodal.nonzero().squeeze(1).to(input_ids.device)
        rows, offsets = channels.unload(torch.cat(list(multimodal_embeddings)))
        if len(rows) != len(where):
            raise RuntimeError(f"seats_ops: expected embeddings for {len(where)} placeholders, got {len(rows)}")
        embeds = self._embed_text_input_ids(
            input_ids, self.get_language_model().embed_input_ids, is_multimodal=is_multimodal.to(input_ids.device)
        )
        width = embeds.shape[1]
        embeds[where] = rows[:, :width].to(embeds.dtype)
        self.offsets[:, where] = offsets
        if rows.shape[1] > width:
            # What the first layers of the decoder add (DeepStack); vLLM's model keeps it for `forward`.
            levels = embeds.new_zeros(len(embeds), rows.shape[1] - width)
            levels[where] = rows[:, width:].to(embeds.dtype)
            self._set_deepstack_input_embeds(levels.unflatten(1, (-1, width)).transpose(0, 1))
        return embeds

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: object,
    ) -> Any:
        """See vLLM; positions [3, T]."""
        if positions.ndim == 2:
            positions = positions + self.offsets[:, : positions.shape[1]]
        return super().forward(input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)


def _each(modality: str, kwargs: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The fields that describe an item, item by item."""
    names = {"audio": ("audio_feature_lengths",), "image": ("image_grid_thw",)}.get(
        modality, ("video_grid_thw", SECONDS, SOUND_FRAMES, TEXT)
    )
    there = {name: kwargs[name] for name in names if kwargs.get(name) is not None}
    return [{name: value[i] for name, value in there.items()} for i in range(count)]
