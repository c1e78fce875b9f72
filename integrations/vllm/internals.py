"""What this package relies on inside vLLM, and in which versions; `probe.py` looks for it before a model is made.

vLLM promises none of it, and a method that it renames is one of ours that it no longer calls.
"""

from __future__ import annotations

from collections.abc import Mapping

VERSIONS = {
    "0.32": "All tests of this package run with it.",
    "0.33": "Read, not run. What it changes is none of what stands here: embedded videos bring their seconds, sounds "
    "may come as a list, the second model runner is given inputs of encoders again after it has asked for positions.",
}
"""Minor versions that are admitted, and why. A version that needs other code is named here, beside that code."""

Needs = Mapping[str, tuple[str, ...]]
"""Lines by "module:Class". "name(self, x, ...)" is a method that takes these parameters first, "name(self, x)" these
alone, "name" an attribute of the class or of what it makes."""

PROCESSOR = (
    "info",
    "apply(self, inputs, timing_ctx)",
    "_apply_hf_processor(self, inputs, timing_ctx)",
    "_merge_mm_kwargs(self, cache, mm_hashes, mm_is_cached, mm_missing_kwargs, mm_missing_prompt_updates)",
    "get_dummy_mm_inputs(self, mm_counts, *, cache, scheduler_config)",
    "_get_mm_hashes(self, inputs)",
    "_get_mm_fields_config(self, hf_inputs, hf_processor_mm_kwargs)",
    "_get_prompt_updates(self, mm_items, hf_processor_mm_kwargs, out_mm_kwargs)",
)
"""Of a processor of media that is a base of ours."""

SOUND_PROCESSOR = (
    *PROCESSOR,
    "_maybe_apply_prompt_updates(self, mm_items, mm_res)",
    "_get_cache_missing_items(self, cache, mm_data_items, mm_hashes)",
    "_derive_audio_from_video_placeholders(self, placeholders, mm_prompt_updates)",
)
"""The same where videos have sounds."""

MODEL = (
    "__init__(self, *, vllm_config, prefix)",
    "embed_multimodal(self, **kwargs)",
    "get_mrope_input_positions(self, input_tokens, mm_features)",
    "embed_input_ids(self, input_ids, multimodal_embeddings, *, is_multimodal)",
    "forward(self, input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)",
    "get_language_model(self)",
    "_embed_text_input_ids(self, input_ids, embed_input_ids, *, is_multimodal)",
    "_parse_and_validate_multimodal_inputs(self, **kwargs)",
    "_process_image_input(self, image_input)",
    "_process_video_input(self, video_input)",
    "visual",
    "config",
)
"""Of a model that is a base of ours."""

HEARING_MODEL = (*MODEL, "_process_audio_input(self, audio_input)", "audio_tower")
"""The same with an audio tower."""

DEEPSTACK = ("deepstack_num_level", "_set_deepstack_input_embeds(self, deepstack_input_embeds)")
"""Of a model whose first layers add what its tower says of later ones."""

EVERY: Needs = {
    "vllm:ModelRegistry": ("get_supported_archs()", "register_model(model_arch, model_cls)"),
    "vllm.multimodal:MULTIMODAL_REGISTRY": ("register_processor(processor, *, info, dummy_inputs)",),
    "vllm.multimodal.cache:BaseMultiModalProcessorCache": ("is_cached(self, mm_hashes)",),
    "vllm.multimodal.inputs:MultiModalFeatureSpec": ("data", "modality", "mm_position"),
    "vllm.multimodal.inputs:MultiModalFieldConfig": (
        "batched(modality, *, keep_on_cpu)",
        "flat_from_sizes(modality, size_per_item, dim, ...)",
    ),
    "vllm.multimodal.inputs:MultiModalFieldElem": ("data",),
    "vllm.multimodal.inputs:MultiModalKwargsItems": ("get_data(self, ...)",),
    "vllm.multimodal.inputs:PlaceholderRange": ("offset", "length", "get_num_embeds(self)"),
    "vllm.multimodal.parse:MultiModalDataItems": ("get_all_counts(self)",),
    "vllm.multimodal.processing.context:BaseProcessingInfo": ("ctx", "get_hf_config(self)"),
    "vllm.multimodal.processing.context:InputProcessingContext": (
        "model_config",
        "get_merged_mm_kwargs(self, kwargs, ...)",
    ),
    "vllm.multimodal.processing.inputs:ProcessorInputs": ("mm_data_items", "hf_processor_mm_kwargs"),
    "vllm.multimodal.processing.processor:MultiModalProcessingResult": ("kwargs", "hashes"),
    "vllm.multimodal.processing.processor:PlaceholderFeaturesInfo": ("is_embed",),
    "vllm.multimodal.processing.processor:PromptReplacement": ("modality", "replacement"),
    "vllm.multimodal.processing.processor:PromptUpdateDetails": (
        "select_token_ids(seq, embed_token_ids)",
        "from_seq(seq)",
    ),
    "vllm.distributed.parallel_state:get_tp_group": (),
    "vllm.distributed.parallel_state:GroupCoordinator": ("world_size", "device_group"),
    # Settings that are refused: one that has another name would be let through.
    "vllm.config:VllmConfig": (
        *("model_config", "parallel_config", "compilation_config", "scheduler_config"),
        *("speculative_config", "lora_config"),
    ),
    "vllm.config:ModelConfig": ("hf_config", "multimodal_config", "enable_prompt_embeds"),
    "vllm.config:SchedulerConfig": ("max_num_batched_tokens",),
    "vllm.config:MultiModalConfig": ("video_pruning_rate", "enable_mm_embeds", "mm_encoder_tp_mode"),
    "vllm.config:CompilationConfig": ("compile_mm_encoder", "cudagraph_mm_encoder"),
    "vllm.config:ParallelConfig": (
        *("pipeline_parallel_size", "tensor_parallel_size", "prefill_context_parallel_size", "use_ubatching"),
        *("decode_context_parallel_size", "enable_expert_parallel", "distributed_executor_backend"),
    ),
}
"""For all models."""

MODELS = "vllm.model_executor.models"
VISION = f"{MODELS}.qwen2_5_vl:Qwen2_5_Vision"
SOUND = "transformers.models.qwen2_5_omni.modeling_qwen2_5_omni:Qwen2_5OmniAudio"
OMNI = f"{MODELS}.qwen2_5_omni_thinker:Qwen2_5OmniThinker"
VL = f"{MODELS}.qwen2_5_vl:Qwen2_5_VL"
VL3 = f"{MODELS}.qwen3_vl:Qwen3VL"
OMNI3 = f"{MODELS}.qwen3_omni_moe_thinker:Qwen3OmniMoe"
TOWER = ("blocks", "num_heads", "spatial_merge_unit")
ATTENTION = ("qkv", "attn", "hidden_size_per_attention_head")

VISION_2_5: Needs = {
    f"{VISION}Transformer": (*TOWER, "prepare_encoder_metadata(self, grid_thw, ...)"),
    f"{VISION}Block": ("attn",),
    f"{VISION}Attention": ATTENTION,
}
"""The tower that works window by window."""

FAMILIES: dict[str, Needs] = {
    "qwen2_5_omni": {
        f"{OMNI}MultiModalProcessor": (
            *SOUND_PROCESSOR,
            "_postprocess_hf_mm_data(self, hf_data, hf_kwargs, processed_data)",
        ),
        f"{OMNI}ForConditionalGeneration": HEARING_MODEL,
        f"{OMNI}ProcessingInfo": ("get_hf_config(self)",),
        f"{OMNI}DummyInputsBuilder": (),
        **VISION_2_5,
        f"{SOUND}Encoder": ("layers", "n_window"),
        f"{SOUND}EncoderLayer": ("self_attn",),
        f"{SOUND}Attention": ("q_proj", "k_proj", "num_heads", "scaling"),
    },
    "qwen2_5_vl": {
        f"{VL}MultiModalProcessor": (
            *PROCESSOR,
            "_postprocess_hf_mm_data(self, mm_inputs, hf_processor_mm_kwargs, processed_data)",
        ),
        f"{VL}ForConditionalGeneration": MODEL,
        f"{VL}ProcessingInfo": ("get_hf_config(self)",),
        f"{VL}DummyInputsBuilder": (),
        **VISION_2_5,
    },
    "qwen3_vl": {
        f"{VL3}MultiModalProcessor": (
            *PROCESSOR,
            "_postprocess_hf_mm_data(self, mm_inputs, hf_processor_mm_kwargs, processed_data)",
        ),
        f"{VL3}ForConditionalGeneration": (*MODEL, *DEEPSTACK),
        f"{VL3}ProcessingInfo": ("get_hf_config(self)", "get_tokenizer(self)"),
        f"{VL3}DummyInputsBuilder": (),
        f"{MODELS}.qwen3_vl:Qwen3_VisionTransformer": TOWER,
        f"{MODELS}.qwen3_vl:Qwen3_VisionBlock": ("attn",),
        f"{VISION}Attention": ATTENTION,
    },
    "qwen3_omni": {
        f"{OMNI3}ThinkerMultiModalProcessor": (
            *SOUND_PROCESSOR,
            "_postprocess_hf_mm_data(self, mm_data, hf_processor_mm_kwargs, processed_data)",
        ),
        f"{OMNI3}ThinkerForConditionalGeneration": (*HEARING_MODEL, *DEEPSTACK),
        f"{OMNI3}ThinkerProcessingInfo": ("get_hf_config(self)",),
        f"{OMNI3}ThinkerDummyInputsBuilder": (),
        f"{MODELS}.qwen3_omni_moe_thinker:Qwen3Omni_VisionTransformer": TOWER,
        f"{MODELS}.qwen3_omni_moe_thinker:Qwen3_VisionBlock": ("attn",),
        f"{VISION}Attention": ATTENTION,
        f"{OMNI3}AudioEncoder": ("layers", "n_window"),
        f"{OMNI3}AudioEncoderLayer": ("self_attn",),
        f"{OMNI3}AudioAttention": ("attn", "num_heads", "scaling"),
    },
}
"""What a model of ours adds, by the name of its module in this package."""
