"""Whole prefills, pruned and not, taking turns: how much of the saved work is saved time, and what selection costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from benchmarks.own_cost import own_seconds
from benchmarks.prefill_model import clip_prompt, random_model
from benchmarks.timing import spread
from seats_ops import seats
from seats_ops.cost import prefill_cost
from seats_ops.integrations import attach
from seats_ops.schedule import Schedule

# Retention ratios of the paper's table for Qwen2.5-Omni: (video, audio).
RATIOS = {35: (0.30, 0.65), 25: (0.20, 0.55), 15: (0.10, 0.45), 10: (0.06, 0.35)}


@torch.no_grad()
def compare(width: int, seconds: int, device: torch.device, repeats: int) -> list[dict[str, Any]]:
    """One row per retention, from one process: all sides run once to warm up, then take turns `repeats` times.

    The towers do the same work on both sides; their time without pruning is taken off both, so that what saliency adds
    to them counts as ours.
    """
    model = random_model(width, device)
    inputs, lengths = clip_prompt(model.config, seconds, device)
    schedules = {None: None, **{r: seats(model.config, video=v, audio=a) for r, (v, a) in RATIOS.items()}}
    towers = [model.model.visual, model.model.audio_tower]
    whole: dict[int | None, list[float]] = {r: [] for r in schedules}
    inside: dict[int | None, list[float]] = {r: [] for r in schedules}
    own: dict[int | None, list[dict[str, float]]] = {r: [] for r in schedules}
    kv_bytes = {}
    for turn in range(1 + repeats):
        for retention, schedule in schedules.items():
            attached = attach(model, schedule) if schedule else nullcontext()
            with own_seconds(device) as ours, attached, _time_inside(towers, device) as spent:
                start = _now(device)
                cache = _prefill(model, inputs)
                total = _now(device) - start
            kv_bytes[retention] = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
            if turn:
                whole[retention].append(total)
                inside[retention].append(spent[0])
                own[retention].append(dict(ours))
    tower_seconds = statistics.median(inside[None])
    decoder = {r: [t - tower_seconds for t in times] for r, times in whole.items()}
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
                "seconds": spread(decoder[retention]),
                "seconds_unpruned": spread(decoder[None]),
                "seconds_towers": tower_seconds,
                "speedup": full / pruned,
                "flops_reduction_executed": executed,
                "flops_reduction_paper": paper,
                "realised_of_executed": full / pruned / executed,
                "realised_of_paper": full / pruned / paper,
                "own_seconds": parts,
                "own_share": sum(parts.values()) / pruned,
                "own_share_with_towers": sum(parts.values()) / (pruned + tower_seconds),
                "kv_bytes": kv_bytes[retention],
                "kv_bytes_unpruned": kv_bytes[None],
            }
        )
    return rows


def _prefill(model: Any, inputs: dict[str, Any]) -> Any:
    """The cache after a forward over the whole prompt."""
    return model(**inputs, use_cache=True).past_key_values


def _reduction(config: Any, schedule: Schedule, lengths: Any, causal: bool) -> float:
    """FLOPs of the decoder layers without a schedule, over those with it."""
    cost = prefill_cost(config, schedule, lengths, causal=causal)
    full = prefill_cost(config, Schedule(), lengths, causal=causal)
    return sum(full.flops_per_layer) / sum(cost.flops_per_layer)


@contextmanager
def _time_inside(modules: list[Any], device: torch.device) -> Iterator[list[float]]:
    spent, started = [0.0], [0.0]

    def enter(*_: Any) -> None:
        started[0] = _now(device)

    def leave(*_: Any) -> None:
        spent[0] += _now(device) - started[0]

    handles = [m.register_forward_pre_hook(enter) for m in modules] + [m.register_forward_hook(leave) for m in modules]
    try:
        yield spent
    finally:
        for handle in handles:
            handle.remove()


def _now(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()
