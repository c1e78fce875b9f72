"""Qwen2.5-VL in vLLM, see `model.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from seats_ops.integrations.vllm.probe import check_internals

check_internals("qwen2_5_vl")  # before anything of vLLM's is imported by its name

from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VLDummyInputsBuilder,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
    Qwen2_5_VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from seats_ops.integrations.vllm.features import SECONDS, seconds_as_int
from seats_ops.integrations.vllm.model import SeatsModel
from seats_ops.integrations.vllm.processor import SeatsProcessor


class SeatsQwen2_5_VLProcessor(SeatsProcessor, Qwen2_5_VLMultiModalProcessor):
    """Tells the model how long a temporal grid of each video lasts, in whatever dtype it runs."""

    def _postprocess_hf_mm_data(self, hf_data: Any, hf_kwargs: Mapping[str, object], processed_data: Any) -> Any:
        data = super()._postprocess_hf_mm_data(hf_data, hf_kwargs, processed_data)
        if "video_grid_thw" in data:
            together = self.info.get_hf_config().vision_config.temporal_patch_size
            # The processor has written into them which frames it took.
            seconds = [together / metadata.sampled_fps for metadata in hf_data["video_metadata"]]
            # float32, as the model is given them.
            data[SECONDS] = seconds_as_int(torch.tensor(seconds, dtype=torch.float32, device="cpu").tolist())
        return data


@MULTIMODAL_REGISTRY.register_processor(
    SeatsQwen2_5_VLProcessor, info=Qwen2_5_VLProcessingInfo, dummy_inputs=Qwen2_5_VLDummyInputsBuilder
)
class SeatsQwen2_5_VL(SeatsModel, Qwen2_5_VLForConditionalGeneration):
    """See `SeatsModel`."""
