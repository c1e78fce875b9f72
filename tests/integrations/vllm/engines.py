"""Engines in this process, as tests need them, and what they answer."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seats_ops import Schedule
from seats_ops.integrations.vllm import overrides, register
from tests.integrations.vllm.cases import RATE, Case
from tests.integrations.vllm.checkpoint import PIXELS
from tests.integrations.vllm.references import NEW_TOKENS
from tests.integrations.vllm.workers import record, recorded

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}
"""Of the environment: nothing is fetched or sent, and engines live in this process."""


def engine(
    checkpoint: Path, schedule: Schedule | None, architecture: str = "SeatsQwen2_5OmniModel", **options: Any
) -> Any:
    """A `vllm.LLM`; vLLM's own model without a schedule."""
    os.environ.update(QUIET)
    os.environ.setdefault("VLLM_CACHE_ROOT", str(checkpoint.parent / "vllm-cache"))
    import vllm

    register()
    known = {} if schedule is None else {"hf_overrides": overrides(schedule, architecture)}
    defaults = {
        "dtype": "float32",
        "enforce_eager": True,
        "max_model_len": 2048,
        "max_num_seqs": 16,
        "max_num_batched_tokens": 4096,
        "block_size": 32,
        "limit_mm_per_prompt": {"video": 2, "audio": 2, "image": 2},
        "skip_mm_profiling": True,
        "enable_prefix_caching": False,
        "mm_processor_kwargs": {"size": PIXELS},
        "seed": 0,
    }
    return vllm.LLM(model=str(checkpoint), **{**defaults, **known, **options})


def close(llm: Any) -> None:
    """Give its memory back; the caller must not hold it."""
    llm.llm_engine.engine_core.shutdown()
    del llm
    gc.collect()


def request(case: Case) -> dict[str, Any]:
    """What `LLM.generate` takes."""
    media: dict[str, Any] = {}
    if case.videos:
        media["video"] = [(x, _times(len(x), case.fps)) for x in case.videos] if case.timed else case.videos
    if case.sounds:
        media["audio"] = [(sound, RATE) for sound in case.sounds]
    if case.images:
        from PIL import Image

        media["image"] = [Image.fromarray(image) for image in case.images]
    options: dict[str, Any] = {}
    if case.videos and not case.timed:
        options["fps"] = case.fps
    if case.together:
        options["use_audio_in_video"] = True
    return {"prompt": case.prompt, "multi_modal_data": media, "mm_processor_kwargs": options}


def _times(frames: int, fps: float) -> dict[str, Any]:
    """What a loader of videos tells of frames that are all taken."""
    return {
        "fps": fps,
        "duration": frames / fps,
        "total_num_frames": frames,
        "frames_indices": list(range(frames)),
        "video_backend": "opencv",
        "do_sample_frames": False,
    }


def answers(llm: Any, cases: Sequence[Case], num_tokens: int = NEW_TOKENS) -> list[dict[str, Any]]:
    """Greedy answers to all of them at once."""
    from vllm import SamplingParams

    greedy = SamplingParams(temperature=0.0, max_tokens=num_tokens, ignore_eos=True, logprobs=1)
    return [told(out) for out in llm.generate([request(case) for case in cases], greedy, use_tqdm=False)]


def told(out: Any) -> dict[str, Any]:
    """As a reference has it."""
    first = out.outputs[0]
    return {
        "prompt": list(out.prompt_token_ids),
        "tokens": list(first.token_ids),
        "logprobs": [max(one.logprob for one in step.values()) for step in first.logprobs],
        "cached": out.num_cached_tokens,
    }


def model_of(llm: Any) -> Any:
    """The module that runs."""
    return llm.llm_engine.model_executor.driver_worker.worker.model_runner.model


def forget(llm: Any) -> None:
    """Encode and compute anew."""
    llm.reset_mm_cache()
    llm.llm_engine.reset_encoder_cache()
    llm.reset_prefix_cache()


def answer_and_kept(llm: Any, case: Case) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """Of one request; tokens that went on, by modality, numbered over all its items; the same on all ranks."""
    forget(llm)
    llm.collective_rpc(record)
    try:
        (got,) = answers(llm, [case])
    finally:
        kept, *others = llm.collective_rpc(recorded)
    assert all(other == kept for other in others)
    return got, kept
