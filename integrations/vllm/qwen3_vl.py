"""Qwen3-VL in vLLM, see `model.py`.

Between the frames of a video stands text, and which frame a kept token is of is known after the encoder only. So the
item of a video fills the text in it too: whatever the ids of the prompt say, each of its rows stands where it belongs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from seats_ops.integrations.vllm.probe import check_internals

check_internals("qwen3_vl")  # before anything of vLLM's is imported by its name

from vllm.model_executor.models.qwen3_vl import (
    Qwen3VLDummyInputsBuilder,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMultiModalProcessor,
    Qwen3VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.processing.processor import PromptUpdateDetails

from seats_ops.integrations.vllm.features import TEXT
from seats_ops.integrations.vllm.frames import FRAME, TimedFrames
from seats_ops.integrations.vllm.model import SeatsModel
from seats_ops.integrations.vllm.processor import SeatsProcessor
from seats_ops.integrations.vllm.selection import Chosen
from seats_ops.integrations.vllm.units import Unit
from seats_ops.layout import Modality


class SeatsQwen3VLProcessor(SeatsProcessor, Qwen3VLMultiModalProcessor):
    """A video's item carries the ids of the text in it."""

    # vLLM has more for its own pruning only.
    table = 1

    def _postprocess_hf_mm_data(self, hf_data: Any, hf_kwargs: Mapping[str, object], processed_data: Any) -> Any:
        data = super()._postprocess_hf_mm_data(hf_data, hf_kwargs, processed_data)
        if "timestamps" in data:
            data[TEXT] = [
                torch.tensor(self._text(times), dtype=torch.int64, device="cpu") for times in data["timestamps"]
            ]
        return data

    def _text(self, times: list[float]) -> list[int]:
        """Of one video, see `TimedFrames`."""
        config, tokenizer = self.info.get_hf_config(), self.info.get_tokenizer()
        around = [config.vision_start_token_id, FRAME, config.vision_end_token_id]
        written = [tokenizer.encode(f"<{time:.1f} seconds>", add_special_tokens=False) for time in times]
        return [token for ids in written for token in [*ids, *around]]

    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Mapping[str, object]) -> Any:
        fields = super()._get_mm_fields_config(hf_inputs, hf_processor_mm_kwargs)
        return fields | {TEXT: MultiModalFieldConfig.batched("video", keep_on_cpu=True)}

    def written(self, unit: Unit) -> Any:
        if not isinstance(unit, TimedFrames):
            return super().written(unit)
        counts = [n for _, n in self.per_run(unit)]
        return PromptUpdateDetails.from_seq(unit.written(counts, self.id_of(Modality.VIDEO)))


@MULTIMODAL_REGISTRY.register_processor(
    SeatsQwen3VLProcessor, info=Qwen3VLProcessingInfo, dummy_inputs=Qwen3VLDummyInputsBuilder
)
class SeatsQwen3VL(SeatsModel, Qwen3VLForConditionalGeneration):
    """See `SeatsModel`. The rows of a token are its embedding and what DeepStack adds to it."""

    lacks: ClassVar[frozenset[str]] = frozenset({"seconds"})
    window_order = False

    def placed(self, unit: Unit, chosen: Chosen) -> tuple[Tensor, Tensor]:
        if not isinstance(unit, TimedFrames):
            return super().placed(unit, chosen)
        rows = chosen.rows
        ids = torch.tensor(unit.text_ids, dtype=torch.int64, device=rows.device)
        text = self.get_language_model().embed_input_ids(ids).to(rows.dtype)
        order, positions = unit.woven(chosen.index)
        text = pad(text, (0, rows.shape[1] - text.shape[1]))
        return torch.cat([text, rows])[order.to(rows.device)], positions
