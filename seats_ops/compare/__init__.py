"""What pruning saves and what it changes, on prompts of one's own: `compare(model, prompts, schedules)`.

Agreement says how much of what the full model says the pruned one still says. It does not say which of the two is
right: an answer may change for the better, and one that stays may have been wrong all along.

Example:
    >>> from seats_ops import seats
    >>> from seats_ops.compare import Prompt, compare
    >>> schedules = {"10%": seats(model.config, video=0.06, audio=0.35)}
    >>> result = compare(model, {"clip": Prompt(inputs)}, schedules, max_new_tokens=2, repeats=1)
    >>> 0 < result.overall["10%"]["flops"].value < 1
    True
"""

from seats_ops.compare.comparison import compare
from seats_ops.compare.outcome import Comparison
from seats_ops.compare.overall import METRICS, Mean, of_prompts
from seats_ops.compare.prompt import Prompt
from seats_ops.compare.records import ALL_TOKENS, Agreement, PromptRecord, RunRecord

__all__ = [
    "ALL_TOKENS",
    "METRICS",
    "Agreement",
    "Comparison",
    "Mean",
    "Prompt",
    "PromptRecord",
    "RunRecord",
    "compare",
    "of_prompts",
]
