"""Qwen2.5-Omni's thinker in vLLM, with the stages before the LLM.

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
from typing import Any

import torch
from torch import Tensor

from seats_ops.integrations.vllm.probe import check_internals

check_internals("qwen2_5_omni")  # before anything of vLLM's is imported by its name

from vllm.model_executor.models.qwen2_5_omni_thinker import (
    Qwen2_5OmniThinkerDummyInputsBuilder,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2_5OmniThinkerProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from seats_ops.integrations.vllm import channels
from seats_ops.integrations.vllm.features import SECONDS, SOUND, SOUND_FRAMES, unit_of
from seats_ops.integrations.vllm.items import Unit
from seats_ops.integrations.vllm.positions import Placed, prompt_positions
from seats_ops.integrations.vllm.processor import SeatsProcessor
from seats_ops.integrations.vllm.refusals import check_engine
from seats_ops.integrations.vllm.saliency import AudioValues, VisionValues, joined, of_items
from seats_ops.integrations.vllm.selection import Chosen, choose
from seats_ops.integrations.vllm.served import ENTRY, read_schedule

Encoded = list[tuple[Tensor, dict[str, Tensor]]]


@MULTIMODAL_REGISTRY.register_processor(
    SeatsProcessor, info=Qwen2_5OmniThinkerProcessingInfo, dummy_inputs=Qwen2_5OmniThinkerDummyInputsBuilder
)
class SeatsQwen2_5OmniThinker(Qwen2_5OmniThinkerForConditionalGeneration):
    """See the module. The scheduler counts tokens that stay, but towers work on all: videos are encoded one by one."""

    requires_sequential_video_encoding = True

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        self.served = read_schedule(getattr(vllm_config.model_config.hf_config, ENTRY, None))
        check_engine(vllm_config, self.served)
        served = self.served
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.served = served
        # Beside the weights, at one address, as captured graphs read it.
        columns = vllm_config.scheduler_config.max_num_batched_tokens
        device = next(self.parameters()).device
        offsets = torch.zeros(3, columns, dtype=torch.int64, device=device)
        self.register_buffer("offsets", offsets, persistent=False)
        asked = self.served.asked
        self.vision_values = VisionValues(self.visual, asked, "auto") if asked else None
        self.audio_values = AudioValues(self.audio_tower, asked, "auto") if asked else None

    def embed_multimodal(self, **kwargs: Any) -> tuple[Tensor, ...]:
        """[K, D + 6] of every unit: what stays, and where it stood. A video's sound comes with the video."""
        found: list[Tensor] = []
        for modality, inputs in self._parse_and_validate_multimodal_inputs(**kwargs).items():
            encoded = [[item] for item in self._encode(modality, inputs)]
            units = [unit_of(self.config, modality, data) for data in _each(modality, kwargs, len(encoded))]
            if modality == "video" and kwargs.get(SOUND) is not None:
                frames = kwargs[SOUND_FRAMES].flatten()
                sounds = {"input_features": kwargs[SOUND], "audio_feature_lengths": frames}
                for items, sound in zip(encoded, self._encode("audio", sounds), strict=True):
                    items.append(sound)
            found += [self.selected(unit, items) for unit, items in zip(units, encoded, strict=True)]
        return tuple(found)

    def _encode(self, modality: str, inputs: Any) -> Encoded:
        """Rows [N, D] of every item and what its tower tells of them."""
        if modality == "audio":
            frames = inputs["audio_feature_lengths"].flatten().tolist()
            with self.audio_values.watching() if self.audio_values else nullcontext():
                rows = self._process_audio_input(inputs)
            values = self.audio_values.values(frames) if self.audio_values else {}
        else:
            grids = inputs[f"{modality}_grid_thw"].tolist()
            with self.vision_values.watching() if self.vision_values else nullcontext():
                rows = getattr(self, f"_process_{modality}_input")(inputs)
            values = self.vision_values.values(grids) if self.vision_values else {}
        return list(zip(rows, of_items(values, [len(x) for x in rows]), strict=True))

    def selected(self, unit: Unit, items: Encoded) -> Tensor:
        """[K, D + 6] of one unit.

        Args:
            items: rows and values of each of its items.
        """
        chosen = self.chosen(unit, items)
        expected = self.served.kept(unit)
        if chosen.counts != expected:
            raise RuntimeError(f"seats_ops: expected stages to leave {expected} tokens of {unit}, got {chosen.counts}")
        return channels.load(chosen.rows, unit.positions()[:, chosen.index].to(chosen.rows.device))

    def chosen(self, unit: Unit, items: Encoded) -> Chosen:
        """What stages leave of it."""
        order = torch.cat(unit.columns()).argsort().to(items[0][0].device)
        values = joined([values for _, values in items])
        rows = torch.cat([rows for rows, _ in items])[order]
        return choose(self.served.stages, [unit], rows, {name: x[order] for name, x in values.items()})

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
        embeds[where] = rows.to(embeds.dtype)
        self.offsets[:, where] = offsets
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
        modality, ("video_grid_thw", SECONDS, SOUND_FRAMES)
    )
    there = {name: kwargs[name] for name in names if kwargs.get(name) is not None}
    return [{name: value[i] for name, value in there.items()} for i in range(count)]
