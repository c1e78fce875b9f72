"""Engines and settings with which selection would not be right, refused by name before they start."""

from __future__ import annotations

import os
from typing import Any

from seats_ops.integrations.vllm.served import Served
from seats_ops.operators.inputs import parse_input
from seats_ops.operators.stage_checks import name_of


def check_engine(config: Any, served: Served) -> None:
    """Raise ValueError for a setting of a `VllmConfig` that cannot be served with.

    Args:
        config: of the engine.
        served: the schedule.
    """
    model, parallel = config.model_config, config.parallel_config
    media, compilation = model.multimodal_config, config.compilation_config
    refused = {
        "speculative decoding": config.speculative_config is not None,
        "pipeline parallelism": parallel.pipeline_parallel_size > 1,
        "prefill context parallelism": parallel.prefill_context_parallel_size > 1,
        "decode context parallelism": parallel.decode_context_parallel_size > 1,
        "expert parallelism (enable_expert_parallel) beside tensor parallelism": (
            parallel.tensor_parallel_size > 1 and parallel.enable_expert_parallel
        ),
        "tensor parallelism by another executor (distributed_executor_backend) than 'mp'": (
            parallel.tensor_parallel_size > 1 and parallel.distributed_executor_backend != "mp"
        ),
        "dual batch overlap and other microbatches": parallel.use_ubatching,
        "video_pruning_rate, another way to choose tokens": bool(media.video_pruning_rate),
        "embedding inputs (enable_mm_embeds), which come without what encoders tell": media.enable_mm_embeds,
        "embedding inputs (enable_prompt_embeds), which come without positions": model.enable_prompt_embeds,
        "the frontend in Rust (VLLM_USE_RUST_FRONTEND), which prepares media itself": bool(
            int(os.environ.get("VLLM_USE_RUST_FRONTEND", "0"))
        ),
        "LoRA": config.lora_config is not None,
        "an encoder in CUDA graphs (cudagraph_mm_encoder), which skips what selects": compilation.cudagraph_mm_encoder,
    }
    if served.asked:
        names = ", ".join(sorted(served.asked))
        refused |= {
            f"a compiled encoder (compile_mm_encoder), which skips hooks, as stages ask for {names}": (
                compilation.compile_mm_encoder
            ),
            "media shared out over ranks (mm_encoder_tp_mode='data'), of which a rank sees its own only, as stages ask "
            f"for {names}": parallel.tensor_parallel_size > 1 and media.mm_encoder_tp_mode == "data",
        }
    for what, wrong in refused.items():
        if wrong:
            raise ValueError(f"seats_ops: expected an engine without {what}")


def check_inputs(served: Served, lacks: frozenset[str]) -> None:
    """Raise ValueError for a stage that asks for what cannot be told in a family of models.

    Args:
        served: the schedule.
        lacks: inputs.
    """
    for stage in served.stages:
        for name in sorted({parse_input(asked).name for asked in stage.inputs} & lacks):
            raise ValueError(
                f"seats_ops: expected stages that can be served with this model, got {name_of(stage)}, which asks for "
                f"{name!r}"
            )
