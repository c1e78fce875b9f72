"""How the numbers of a comparison are called and written, on a terminal and on a page alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from seats_ops.compare.overall import CONFIDENCE, LEAST, Mean
from seats_ops.compare.records import Agreement, PromptRecord, RunRecord
from seats_ops.cost.asked import beside

TITLES = {
    "token_agreement": "same tokens",
    "first_token_agreement": "same first token",
    "top1_agreement": "same top 1",
    "kl": "KL, nats",
    "tokens": "tokens",
    "flops": "FLOPs",
    "kv_bytes": "KV",
    "prefill_seconds": "LLM prefill",
    "first_token_seconds": "first token",
    "peak_bytes": "peak memory",
}

AGREEMENTS = ("token_agreement", "first_token_agreement", "top1_agreement", "kl")
SHARES = ("tokens", "flops", "kv_bytes", "prefill_seconds", "first_token_seconds", "peak_bytes")

PROVES = (
    "Agreement with the model that sees all tokens says how much pruning changes its answers. It does not say which of "
    "the two is right: a changed answer may be better or worse, an unchanged one may be wrong in both. Greedy answers "
    "part for good at the first token that differs, so equal tokens are a harsh measure and KL along the full model's "
    "answer the finer one. For quality, measure a task with known answers."
)

RANDOM = "The weights are random: times, tokens, FLOPs and memory are real, agreement and answers mean nothing."

MEANINGS = (
    "Same tokens: share of places at which both greedy answers have the same token. Same top 1 and KL(full || pruned): "
    "next-token distributions at every place of the full model's answer (teacher forced). The other columns are shares "
    "of what the run with all tokens takes: tokens an average layer runs on; FLOPs of the decoder layers, computed; "
    "keys and values held; time until the first token, and of it what is not the encoders' (LLM prefill); most memory "
    "held at once beyond weights and inputs. Means over the prompts, of one number each."
)


def interval_note(prompts: int) -> str:
    """What the brackets are, or why there are none."""
    if prompts < LEAST:
        number = f"{prompts} prompt{'s' * (prompts != 1)}"
        return f"No intervals: {number}, and fewer than {LEAST} say nothing about how they vary."
    return (
        f"Under a mean its {CONFIDENCE:.0%} interval, by resampling the {prompts} prompts, each with its runs "
        "(paired bootstrap)."
    )


def kept_notes(records: Sequence[PromptRecord], schedules: Iterable[str]) -> list[str]:
    """Of every schedule what is kept beside what was asked for, each a mean over the prompts that have the modality."""
    notes = []
    for name in schedules:
        runs = [run for record in records for run in record.runs if run.name == name]
        kept, asked = (_means([getattr(run, of) for run in runs]) for of in ("kept", "asked"))
        if kept:
            notes.append(f"{name} keeps, mean of all layers: {beside(kept, asked)}.")
    return notes


def _means(shares: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for each in shares for name in each)
    return {name: statistics.fmean(each[name] for each in shares if name in each) for name in names}


def written(metric: str, value: float, signed: bool = False) -> str:
    """KL as a number, all else in percent; a difference (`signed`) in points of these."""
    if metric == "kl":
        return f"{value:{'+' if signed else ''}.3f}"
    return f"{100 * value:+.1f}" if signed else f"{value:.1%}"


def mean_written(metric: str, mean: Mean, signed: bool = False) -> tuple[str, str]:
    """The mean and its interval, which is empty if there is none."""
    said = written(metric, mean.value, signed)
    if mean.low is None or mean.high is None:
        return said, ""
    low, high = (written(metric, bound, signed).rstrip("%") for bound in (mean.low, mean.high))
    return said, f"{low} to {high}" if signed else f"{low}–{high}"


def _agreed(say: Callable[[Agreement], str]) -> Callable[[RunRecord], str]:
    return lambda run: "" if run.agreement is None else say(run.agreement)


ABSOLUTE: dict[str, Callable[[RunRecord], str]] = {
    "tokens": lambda run: f"{run.mean_tokens:,.0f}",
    "in the end": lambda run: f"{run.last_tokens:,}",
    "GFLOPs": lambda run: f"{run.flops / 1e9:,.1f}",
    "KV MiB": lambda run: f"{run.kv_bytes / 2**20:,.2f}",
    "LLM prefill ms": lambda run: f"{statistics.median(run.prefill_seconds) * 1e3:,.0f}",
    "first token ms": lambda run: f"{statistics.median(run.first_token_seconds) * 1e3:,.0f}",
    "peak MiB": lambda run: f"{run.peak_bytes / 2**20:,.1f}",
    "same tokens": _agreed(lambda found: f"{found.tokens:.0%}"),
    "first token": _agreed(lambda found: "same" if found.first_token else "other"),
    "same top 1": _agreed(lambda found: f"{found.top1:.0%}"),
    "KL, nats": _agreed(lambda found: f"{found.mean_kl:.3f}"),
    "kept": lambda run: beside(run.kept, run.asked),
}
"""Title of a column -> what it says of one run of one prompt."""
