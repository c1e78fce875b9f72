"""Qwen2.5-Omni's thinker in vLLM, see `model.py`."""

from __future__ import annotations

from seats_ops.integrations.vllm.probe import check_internals

check_internals("qwen2_5_omni")  # before anything of vLLM's is imported by its name

from vllm.model_executor.models.qwen2_5_omni_thinker import (
    Qwen2_5OmniThinkerDummyInputsBuilder,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2_5OmniThinkerMultiModalProcessor,
    Qwen2_5OmniThinkerProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from seats_ops.integrations.vllm.hearing import HearingModel
from seats_ops.integrations.vllm.sound_in_video import SoundProcessor


class SeatsQwen2_5OmniProcessor(SoundProcessor, Qwen2_5OmniThinkerMultiModalProcessor):
    """See `SoundProcessor`."""


@MULTIMODAL_REGISTRY.register_processor(
    SeatsQwen2_5OmniProcessor, info=Qwen2_5OmniThinkerProcessingInfo, dummy_inputs=Qwen2_5OmniThinkerDummyInputsBuilder
)
class SeatsQwen2_5OmniThinker(HearingModel, Qwen2_5OmniThinkerForConditionalGeneration):
    """See `SeatsModel`."""
