"""What retention a prefill was asked for, and what came of it, once counts were rounded."""

from __future__ import annotations

from seats_ops.cost.asked import asked_so_far, mean_asked
from seats_ops.cost.counts import mean_shares
from seats_ops.operators.stage import BUDGETED
from seats_ops.trace.prefill import Prefill


def mean_retention(trace: Prefill, num_layers: int) -> dict[str, float]:
    """Share of the tokens of every modality that a layer saw, averaged over all layers; what R means."""
    return mean_shares(trace.prompt_counts, [(stage.layer, stage.counts) for stage in trace.stages], num_layers)


def mean_asked_of(trace: Prefill, num_layers: int) -> dict[str, float]:
    """The same before rounding; without modalities that the prompts do not have, or of which a stage does not say."""
    found = mean_asked([(stage.layer, stage.asked) for stage in trace.stages], num_layers)
    return {name: share for name, share in found.items() if trace.prompt_counts.get(name)}


def asked_after_stages(trace: Prefill) -> list[dict[str, float]]:
    """After every stage the share of the prompts' tokens that was asked for, by the modalities of which it is known."""
    return [share for _, share in asked_so_far((stage.layer, stage.asked) for stage in trace.stages)]


def asked_of_media(trace: Prefill) -> list[float | None]:
    """The same of video and audio together; None where it is not known."""
    counts = {name: trace.prompt_counts.get(name, 0) for name in BUDGETED if trace.prompt_counts.get(name)}
    total = sum(counts.values())
    return [
        sum(n * share[name] for name, n in counts.items()) / total if total and counts.keys() <= share.keys() else None
        for share in asked_after_stages(trace)
    ]
