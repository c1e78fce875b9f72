"""What pruning saves and what it changes, on prompts of one's own: `compare(model, prompts, schedules)`.

    result = compare(model, {"clip": Prompt(inputs)}, {"10%": seats(model.config, video=0.06, audio=0.35)})
    result.overall["10%"]["kl"].value, result.records[0].runs[1].agreement.top1

Agreement says how much of what the full model says the pruned one still says. It does not say which of the two is
right: an answer may change for the better, and one that stays may have been wrong all along.
"""

from seats_ops.compare.comparison import Comparison, compare
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
