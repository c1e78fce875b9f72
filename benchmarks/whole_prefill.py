"""Whole prefills, pruned and not, taking turns: how much of the saved work is saved time, and what selection costs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from statistics import median
from typing import Any

import torch

from benchmarks.machine import named
from benchmarks.observe import host_waits, kernels, launches, pageable
from benchmarks.own_cost import own_seconds
from benchmarks.prefill_model import clip_prompt, model_of_width
from benchmarks.timing import spread
from seats_ops import seats
from seats_ops.cli.run import PAPER_RATIOS
from seats_ops.cost import prefill_cost
from seats_ops.integrations import attach
from seats_ops.integrations.huggingface.compat import cache_of, part
from seats_ops.measure.memory import peak_bytes
from seats_ops.measure.prefill import kv_bytes, last_logits_only
from seats_ops.measure.stopwatch import Stopwatch, now
from seats_ops.schedule import Schedule

# What a run gives: seconds of everything, seconds inside the towers.
Timed = list[tuple[float, float]]
# Our own seconds by part, seconds inside every decoder layer.
Watched = list[tuple[dict[str, float], list[float]]]


@torch.no_grad()
def compare(
    width: int, seconds: int, text: int, device: torch.device, repeats: int, retentions: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """One row per retention, from one process: all sides run once to warm up, then take turns `repeats` times.

    The towers do the same work on both sides, and vary by more than a pruned decoder takes: each run has the time
    inside its own towers taken off ("realised_of_..."), or both sides the towers' median without pruning
    ("..._fixed_towers"). Saliency is computed after a tower and stays in.
    """
    model = model_of_width(width, device)
    inputs, lengths = clip_prompt(model.config, seconds, device, text)
    schedules: dict[int | None, Schedule | None] = {None: None}
    chosen = {r: PAPER_RATIOS[r] for r in retentions or PAPER_RATIOS}
    schedules |= {r: seats(model.config, video=v, audio=a) for r, (v, a) in chosen.items()}
    clock = functools.partial(now, device)
    towers = [part(model, f"model.{name}") for name in ("visual", "audio_tower")]
    decoder_layers = part(model, "model.language_model").layers
    timed: dict[int | None, Timed] = {r: [] for r in schedules}
    watched: dict[int | None, Watched] = {r: [] for r in schedules}
    held = {}
    for number, (time, watch) in enumerate(_rounds(device, repeats)):
        # Forth and back: no side always runs after the same one.
        for retention, schedule in list(schedules.items())[:: -1 if number % 2 else 1]:
            with ExitStack() as stack:
                stack.enter_context(last_logits_only(model))
                ours = stack.enter_context(own_seconds(device)) if watch else {}
                stack.enter_context(attach(model, schedule) if schedule else nullcontext())
                layers = [stack.enter_context(Stopwatch([layer], clock)) for layer in (decoder_layers if watch else ())]
                whole = stack.enter_context(Stopwatch(towers, clock))
                cache = cache_of(model(**inputs, use_cache=True))
            held[retention] = kv_bytes(cache)
            del cache
            if time:
                timed[retention].append((whole.seconds, whole.inside))
            if watch:
                watched[retention].append((dict(ours), [layer.inside for layer in layers]))
    on_device = {r: _seen(model, inputs, schedule, device) for r, schedule in schedules.items()}
    return [
        {
            "name": f"prefill/{retention}",
            "again": again(width, seconds, text, named(device), repeats, retention),
            "clock": "process time" if device.type == "cpu" else "wall, warm L2",
            "width": width,
            "prompt_tokens": lengths.total,
            "repeats": repeats,
            **_flops(model.config, schedule, lengths),
            **_times(timed[retention], timed[None]),
            **_parts(watched[retention], watched[None], schedule),
            "kv_bytes": held[retention],
            "kv_bytes_unpruned": held[None],
            **on_device[retention],
            **{f"{name}_unpruned": value for name, value in on_device[None].items()},
        }
        | _ratios(model.config, schedule, lengths, timed[retention], timed[None], watched[retention])
        for retention, schedule in schedules.items()
        if schedule is not None
    ]


def again(width: int, seconds: int, text: int, device: str, repeats: int, retention: int | None) -> str:
    """The command that gives one row, and the unpruned side with it."""
    prompt = f"--width {width} --seconds {seconds} --text {text}"
    return f"python -m benchmarks prefill {prompt} --device {device} --repeats {repeats} --retention {retention}"


def _seen(model: Any, inputs: dict[str, Any], schedule: Schedule | None, device: torch.device) -> dict[str, Any]:
    """Peak memory, launches, waits of the host and seconds of all kernels, on a GPU; each in a run of its own."""
    if device.type == "cpu":
        return {}
    with last_logits_only(model), attach(model, schedule) if schedule else nullcontext():

        def run() -> None:
            model(**inputs, use_cache=True)

        done = kernels(run, device)
        return {
            "peak_bytes": peak_bytes(run, device),
            "host_reads": host_waits(run),
            "launches": launches(done),
            "pageable_copies": pageable(done),
            "kernel_seconds": sum(seconds for _, seconds in done),
        }


def _rounds(device: torch.device, repeats: int) -> list[tuple[bool, bool]]:
    """(timed, watched) of every round; the first warms up. A GPU that is watched waits at every hook: not timed."""
    together = device.type == "cpu"
    return [(False, False), *([(True, True)] if together else [(True, False), (False, True)]) * repeats]


def _decoder(runs: Timed) -> list[float]:
    """Seconds of every run but those inside its towers."""
    return [whole - towers for whole, towers in runs]


def _times(runs: Timed, full: Timed) -> dict[str, Any]:
    found = {}
    for suffix, side in (("", runs), ("_unpruned", full)):
        found[f"seconds{suffix}"] = spread(_decoder(side))
        found[f"seconds_towers{suffix}"] = spread([towers for _, towers in side])
        found[f"seconds_with_towers{suffix}"] = spread([whole for whole, _ in side])
    return found


def _parts(runs: Watched, full: Watched, schedule: Schedule) -> dict[str, Any]:
    """Where the time goes: our own by part, the decoder's layers; a drop as a share of the layer before it."""
    own = {part: median(run.get(part, 0.0) for run, _ in runs) for part in runs[0][0]}
    return {
        "own_seconds": own,
        "seconds_layers": median(sum(layers) for _, layers in runs),
        "seconds_layers_unpruned": median(sum(layers) for _, layers in full),
        "drop_share_of_layer_before": {
            index: own[f"drop after layer {index}"] / median(layers[index - 1] for _, layers in runs)
            for index in schedule.after_layer
        },
    }


def _ratios(
    config: Any, schedule: Schedule, lengths: Any, runs: Timed, full: Timed, watched: Watched
) -> dict[str, float]:
    """Speed-ups, the share of the FLOPs' reduction that they are, and what of the time is ours."""
    executed, paper = (_reduction(config, schedule, lengths, causal) for causal in (True, False))
    pruned, all_tokens = median(_decoder(runs)), median(_decoder(full))
    whole, whole_full, towers = (median(x) for x in ((w for w, _ in runs), (w for w, _ in full), (t for _, t in full)))
    speedup, fixed = all_tokens / pruned, (whole_full - towers) / (whole - towers)
    own = median(sum(run.values()) for run, _ in watched)
    return {
        "speedup": speedup,
        "speedup_fixed_towers": fixed,
        "flops_reduction_executed": executed,
        "flops_reduction_paper": paper,
        "realised_of_executed": speedup / executed,
        "realised_of_paper": speedup / paper,
        "realised_of_executed_fixed_towers": fixed / executed,
        "realised_of_paper_fixed_towers": fixed / paper,
        "own_share_of_prefill": own / whole,
        "own_share_of_decoder": own / pruned,
    }


def _flops(config: Any, schedule: Schedule, lengths: Any) -> dict[str, int]:
    """Of the decoder layers as executed, two per multiply-add."""
    costs = {"flops_executed": schedule, "flops_executed_unpruned": Schedule()}
    return {
        name: sum(prefill_cost(config, stages, lengths, flops_per_mac=2, causal=True).flops_per_layer)
        for name, stages in costs.items()
    }


def _reduction(config: Any, schedule: Schedule, lengths: Any, causal: bool) -> float:
    """FLOPs of the decoder layers without a schedule, over those with it."""
    cost = prefill_cost(config, schedule, lengths, causal=causal)
    full = prefill_cost(config, Schedule(), lengths, causal=causal)
    return sum(full.flops_per_layer) / sum(cost.flops_per_layer)
