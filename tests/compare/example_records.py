"""Records of prompts as a comparison writes them, made by hand."""

from __future__ import annotations

from dataclasses import replace

from seats_ops.compare import ALL_TOKENS, Agreement, PromptRecord, RunRecord


def record(name: str, kl: float = 0.5, flops: int = 100, error: str | None = None) -> PromptRecord:
    if error is not None:
        return PromptRecord(name, error=error)
    full = RunRecord(ALL_TOKENS, (1, 2), "yes", 40.0, 40, 1000, 800, (3.0, 5.0, 4.0), (2.0, 2.0, 2.0), 64)
    one = replace(
        full, name="ten", flops=flops, prefill_seconds=(1.0, 1.0, 7.0), agreement=Agreement(0.5, True, 1, (kl, kl), 1.0)
    )
    one = replace(one, kept={"video": 0.125}, asked={"video": 0.1})
    two = replace(one, name="five", flops=flops // 2, agreement=Agreement(0.0, False, 0, (0.1, 0.3), 0.5))
    return PromptRecord(name, {"clip": [name, 3]}, "what?", {"text": 8, "video": 32}, (full, one, two))
