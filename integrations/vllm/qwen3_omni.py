"""Qwen3-Omni's thinker in vLLM, see `model.py`."""

from __future__ import annotations

from seats_ops.integrations.vllm.probe import check_internals

check_internals("qwen3_omni")  # before anything of vLLM's is imported by its name

from vllm.model_executor.models.qwen3_omni_moe_thinker import (
    Qwen3OmniMoeThinkerDummyInputsBuilder,
    Qwen3OmniMoeThinkerForConditionalGeneration,
    Qwen3OmniMoeThinkerMultiModalProcessor,
    Qwen3OmniMoeThinkerProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from seats_ops.integrations.vllm.hearing import HearingModel
from seats_ops.integrations.vllm.saliency import QWEN3
from seats_ops.integrations.vllm.sound_in_video import SoundProcessor


class SeatsQwen3OmniProcessor(SoundProcessor, Qwen3OmniMoeThinkerMultiModalProcessor):
    """See `SoundProcessor`."""

    fps = 1.0


@MULTIMODAL_REGISTRY.register_processor(
    SeatsQwen3OmniProcessor, info=Qwen3OmniMoeThinkerProcessingInfo, dummy_inputs=Qwen3OmniMoeThinkerDummyInputsBuilder
)
class SeatsQwen3OmniThinker(HearingModel, Qwen3OmniMoeThinkerForConditionalGeneration):
    """See `SeatsModel`."""

    audio_tower_kind = QWEN3
    window_order = False
