"""Whole prefills, pruned and not, taking turns: how much of the saved work is saved time, and what selection costs."""

from __future__ import annotations

import functools
import statistics
from contextlib import ExitStack, nullcontext
from typing import Any

import torch

from benchmarks.own_cost import own_seconds
from benchmarks.prefill_model import clip_prompt, model_of_width
from benchmarks.timing import now, spread
from seats_ops import seats
from seats_ops.cli.run import PAPER_RATIOS, kv_bytes, last_logits_only
from seats_ops.cli.stopwatch import Stopwatch
from seats_ops.cost import prefill_cost
from seats_ops.integrations import attach
from seats_ops.schedule import Schedule


@torch.no_grad()
def compare(width: int, seconds: int, device: torch.device, repeats: int) -> list[dict[str, Any]]:
    """One row per retention, from one process: all sides run once to warm up, then take turns `repeats` times.

    The towers do the same work on both sides, and vary by more than a pruned decoder takes: each run has the time
    inside its own towers taken off. Saliency is computed after a tower and stays in.
    """
    model = model_of_width(width, device)
    inputs, lengths = clip_prompt(model.config, seconds, device)
    schedules: dict[int | None, Schedule | None] = {None: None}
    schedules |= {r: seats(model.config, video=v, audio=a) for r, (v, a) in PAPER_RATIOS.items()}
    clock = functools.partial(now, device)
    towers = [model.model.visual, model.model.audio_tower]
    whole: dict[int | None, list[float]] = {r: [] for r in schedules}
    inside: dict[int | None, list[float]] = {r: [] for r in schedules}
    own: dict[int | None, list[dict[str, float]]] = {r: [] for r in schedules}
    # Of the decoder layers that a drop follows, by their number.
    before: dict[int | None, list[dict[int, float]]] = {r: [] for r in schedules}
    held = {}
    for turn in range(1 + repeats):
        for retention, schedule in schedules.items():
            with ExitStack() as stack:
                stack.enter_context(last_logits_only(model))
                ours = stack.enter_context(own_seconds(device))
                stack.enter_context(attach(model, schedule) if schedule else nullcontext())
                layers = {
                    index: stack.enter_context(Stopwatch([model.model.language_model.layers[index - 1]], clock))
                    for index in (schedule.after_layer if schedule else ())
                }
                watch = stack.enter_context(Stopwatch(towers, clock))
                cache = model(**inputs, use_cache=True).past_key_values
            held[retention] = kv_bytes(cache)
            if turn:
                whole[retention].append(watch.seconds)
                own[retention].append(dict(ours))
                before[retention].append({index: layer.inside for index, layer in layers.items()})
                inside[retention].append(watch.inside)
    decoder = {r: [t - tower for t, tower in zip(times, inside[r], strict=True)] for r, times in whole.items()}
    full = statistics.median(decoder[None])
    rows = []
    for retention, schedule in schedules.items():
        if schedule is None:
            continue
        pruned = statistics.median(decoder[retention])
        executed, paper = (_reduction(model.config, schedule, lengths, causal) for causal in (True, False))
        parts = {name: statistics.median(run.get(name, 0.0) for run in own[retention]) for name in own[retention][0]}
        rows.append(
            {
                "name": f"prefill/{retention}",
                "width": width,
                "prompt_tokens": lengths.total,
                "repeats": repeats,
                "seconds": spread(decoder[retention]),
                "seconds_unpruned": spread(decoder[None]),
                "seconds_towers": spread(inside[retention]),
                "seconds_towers_unpruned": spread(inside[None]),
                "seconds_with_towers": spread(whole[retention]),
                "seconds_with_towers_unpruned": spread(whole[None]),
                "speedup": full / pruned,
                "flops_reduction_executed": executed,
                "flops_reduction_paper": paper,
                "realised_of_executed": full / pruned / executed,
                "realised_of_paper": full / pruned / paper,
                "own_seconds": parts,
                "own_share_of_prefill": sum(parts.values()) / statistics.median(whole[retention]),
                "own_share_of_decoder": sum(parts.values()) / pruned,
                "drop_share_of_layer_before": {
                    index: parts[f"drop after layer {index}"]
                    / statistics.median(run[index] for run in before[retention])
                    for index in schedule.after_layer
                },
                "kv_bytes": held[retention],
                "kv_bytes_unpruned": held[None],
            }
        )
    return rows


def _reduction(config: Any, schedule: Schedule, lengths: Any, causal: bool) -> float:
    """FLOPs of the decoder layers without a schedule, over those with it."""
    cost = prefill_cost(config, schedule, lengths, causal=causal)
    full = prefill_cost(config, Schedule(), lengths, causal=causal)
    return sum(full.flops_per_layer) / sum(cost.flops_per_layer)
