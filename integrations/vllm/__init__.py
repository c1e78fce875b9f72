"""Selected tokens inside vLLM: a plugin that serves models with what the stages of a schedule keep, before the LLM.

Installed beside vLLM it adds architectures, and changes nothing for anybody who does not ask for them. It needs no
Hugging Face adapter.

Example:
    >>> from seats_ops import DiversitySelector, Schedule
    >>> from seats_ops.integrations.vllm import overrides
    >>> schedule = Schedule(DiversitySelector({"video": 0.1, "audio": 0.35}))
    >>> hf_overrides = overrides(schedule)  # vllm.LLM(model, hf_overrides=hf_overrides)
    >>> hf_overrides["architectures"]
    ['SeatsQwen2_5OmniModel']
"""

from __future__ import annotations

from typing import Any

from seats_ops.integrations.vllm.served import ENTRY, read_schedule
from seats_ops.schedule import Schedule
from seats_ops.validation import describe

__all__ = ["ARCHITECTURES", "overrides", "register"]

ARCHITECTURES = {
    "SeatsQwen2_5OmniModel": "seats_ops.integrations.vllm.qwen2_5_omni:SeatsQwen2_5OmniThinker",
    "SeatsQwen2_5_VLModel": "seats_ops.integrations.vllm.qwen2_5_vl:SeatsQwen2_5_VL",
    "SeatsQwen3VLModel": "seats_ops.integrations.vllm.qwen3_vl:SeatsQwen3VL",
    "SeatsQwen3OmniModel": "seats_ops.integrations.vllm.qwen3_omni:SeatsQwen3OmniThinker",
}
"""Names that `hf_overrides` may ask for, and where their classes are."""


def register() -> None:
    """Entry point of vLLM's plugins: makes the architectures known. vLLM calls it in each of its processes."""
    from vllm import ModelRegistry

    known = ModelRegistry.get_supported_archs()
    for name, place in ARCHITECTURES.items():
        if name not in known:
            # By name: a class would be imported before vLLM has started its processes.
            ModelRegistry.register_model(name, place)


def overrides(schedule: Schedule, architecture: str = "SeatsQwen2_5OmniModel") -> dict[str, Any]:
    """What `vllm.LLM(model, hf_overrides=...)` and, as JSON, `vllm serve model --hf-overrides ...` are given.

    Args:
        schedule: stages before the LLM that can be counted beforehand.
        architecture: one of `ARCHITECTURES`.

    Raises:
        TypeError, ValueError: a schedule that cannot be served, with the reason; another architecture.

    Example:
        >>> from seats_ops import DiversitySelector, Schedule
        >>> from seats_ops.integrations.vllm import overrides
        >>> overrides(Schedule(DiversitySelector(0.25)))["seats_ops"]["before_llm"][0]["keep_ratio"]
        0.25
    """
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule: expected a Schedule, got {describe(schedule)}")
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture: expected one of {tuple(ARCHITECTURES)}, got {architecture!r}")
    data = schedule.to_dict()
    read_schedule(data)
    return {"architectures": [architecture], ENTRY: data}
