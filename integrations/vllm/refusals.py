"""Engines and settings with which selection would not be right, refused by name before they start."""

from __future__ import annotations

from typing import Any

from seats_ops.integrations.vllm.served import Served
from seats_ops.operators.inputs import parse_input
from seats_ops.operators.stage_checks import name_of

VERSIONS = ("0.32",)
"""Minor versions of vLLM whose insides this package knows."""


def check_version(version: str) -> None:
    """Raise ImportError for a version of vLLM that was not tested."""
    if not version.startswith(tuple(f"{known}." for known in VERSIONS)):
        raise ImportError(f"vllm: expected a version among {', '.join(f'{v}.*' for v in VERSIONS)}, got {version}")


def check_engine(config: Any, served: Served) -> None:
    """Raise ValueError for a setting of a `VllmConfig` that cannot be served with.

    Args:
        config: of the engine.
        served: the schedule.
    """
    media, parallel = config.model_config.multimodal_config, config.parallel_config
    refused = {
        "speculative decoding": config.speculative_config is not None,
        "pipeline parallelism": parallel.pipeline_parallel_size > 1,
        "tensor parallelism": parallel.tensor_parallel_size > 1,
        "dual batch overlap": bool(getattr(parallel, "enable_dbo", False)),
        "video_pruning_rate, another way to choose tokens": bool(getattr(media, "video_pruning_rate", None)),
        "embedding inputs (enable_mm_embeds), which come without what encoders tell": bool(media.enable_mm_embeds),
        "LoRA": config.lora_config is not None,
        "an encoder in CUDA graphs (cudagraph_mm_encoder), which skips what selects": bool(
            getattr(config.compilation_config, "cudagraph_mm_encoder", False)
        ),
    }
    if served.asked:
        refused |= {
            "a compiled encoder (compile_mm_encoder), which skips hooks, as stages ask for "
            + ", ".join(sorted(served.asked)): bool(config.compilation_config.compile_mm_encoder)
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
