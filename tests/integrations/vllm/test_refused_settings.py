"""Settings that cannot be served with, as vLLM itself reads them: what is refused is what it would have done."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm")

from seats_ops import DiversitySelector, Schedule
from seats_ops.integrations.vllm import overrides, register
from seats_ops.integrations.vllm.refusals import check_engine
from seats_ops.integrations.vllm.served import read_schedule
from tests.integrations.vllm.engines import QUIET, engine

WEIGHTED, UNWEIGHTED = (Schedule(DiversitySelector(0.5, weighted=weighted)) for weighted in (True, False))
SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"speculative_config": {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 3}}, "speculative"),
    ({"pipeline_parallel_size": 2}, "pipeline parallelism"),
    ({"tensor_parallel_size": 4, "decode_context_parallel_size": 2}, "decode context parallelism"),
    ({"tensor_parallel_size": 2, "distributed_executor_backend": "external_launcher"}, "distributed_executor_backend"),
    ({"video_pruning_rate": 0.5}, "video_pruning_rate"),
    ({"enable_mm_embeds": True}, "enable_mm_embeds"),
    ({"enable_prompt_embeds": True}, "enable_prompt_embeds"),
    ({"enable_lora": True}, "LoRA"),
    ({"compilation_config": {"cudagraph_mm_encoder": True}}, "cudagraph_mm_encoder"),
    ({"compilation_config": {"compile_mm_encoder": True}}, "compile_mm_encoder"),
]


def config(checkpoint: Path, schedule: Schedule, architecture: str = "SeatsQwen2_5OmniModel", **options: Any) -> Any:
    """A `VllmConfig`, of no engine."""
    os.environ.update(QUIET)
    os.environ.setdefault("VLLM_CACHE_ROOT", str(checkpoint.parent / "vllm-cache"))
    from vllm.engine.arg_utils import EngineArgs

    register()
    plain = {"dtype": "float32", "enforce_eager": True, "max_model_len": 1024, "skip_mm_profiling": True}
    asked = overrides(schedule, architecture)
    return EngineArgs(str(checkpoint), hf_overrides=asked, **plain, **options).create_engine_config()


@pytest.mark.parametrize("options", [{}, {"tensor_parallel_size": 2}], ids=["alone", "two ranks"])
@pytest.mark.parametrize("schedule", [WEIGHTED, UNWEIGHTED], ids=["weighted", "unweighted"])
def test_plain_settings_pass(schedule: Schedule, options: dict[str, Any], checkpoint: Path) -> None:
    check_engine(config(checkpoint, schedule, **options), read_schedule(schedule.to_dict()))


@pytest.mark.parametrize(("options", "named"), SETTINGS, ids=lambda value: str(value)[:30])
def test_a_setting_is_named(options: dict[str, Any], named: str, checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=f"expected an engine without .*{named}"):
        check_engine(config(checkpoint, WEIGHTED, **options), read_schedule(WEIGHTED.to_dict()))


def test_a_compiled_encoder_may_be_had_by_who_asks_nothing_of_it(checkpoint: Path) -> None:
    compiled = config(checkpoint, UNWEIGHTED, compilation_config={"compile_mm_encoder": True})
    check_engine(compiled, read_schedule(UNWEIGHTED.to_dict()))


def test_experts_shared_out_over_ranks_are_refused(family_checkpoint: Callable[[str], Path]) -> None:
    options = {"tensor_parallel_size": 2, "enable_expert_parallel": True}
    made = config(family_checkpoint("qwen3_omni"), WEIGHTED, "SeatsQwen3OmniModel", **options)
    with pytest.raises(ValueError, match=r"expected an engine without expert parallelism \(enable_expert_parallel\)"):
        check_engine(made, read_schedule(WEIGHTED.to_dict()))


def test_media_shared_out_over_ranks_may_be_had_by_who_asks_nothing_of_encoders(
    checkpoint: Path, family_checkpoint: Callable[[str], Path]
) -> None:
    shared_out = {"tensor_parallel_size": 2, "mm_encoder_tp_mode": "data"}
    # vLLM takes it back for Qwen2.5-Omni, whose encoders it can only split.
    check_engine(config(checkpoint, WEIGHTED, **shared_out), read_schedule(WEIGHTED.to_dict()))
    path, architecture = family_checkpoint("qwen2_5_vl"), "SeatsQwen2_5_VLModel"
    check_engine(config(path, UNWEIGHTED, architecture, **shared_out), read_schedule(UNWEIGHTED.to_dict()))
    with pytest.raises(ValueError, match=r"mm_encoder_tp_mode='data'.*ask for saliency"):
        check_engine(config(path, WEIGHTED, architecture, **shared_out), read_schedule(WEIGHTED.to_dict()))
    alone = config(path, WEIGHTED, architecture, mm_encoder_tp_mode="data")
    check_engine(alone, read_schedule(WEIGHTED.to_dict()))


def test_the_engine_does_not_start(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="expected an engine without embedding inputs"):
        engine(checkpoint, WEIGHTED, enable_mm_embeds=True)
