"""The same prompt with all tokens and with SEATS: what was kept, what it cost, how long it took."""

from __future__ import annotations

import contextlib
import functools
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from seats_ops import PruneTrace, Schedule, seats
from seats_ops.integrations.huggingface.compat import cache_of, part
from seats_ops.measure.prefill import attached, kv_bytes, last_logits_only
from seats_ops.measure.stopwatch import Stopwatch, now, said_of
from seats_ops.methods.seats import PAPER_RATIOS as RATIOS_OF_FAMILIES

PAPER_RATIOS = RATIOS_OF_FAMILIES["qwen2_5_omni"]
"""Retention in percent -> (video, audio) retention ratios of the demo's family."""


@dataclass
class Run:
    """One way to run the prompt.

    Attributes:
        name: For tables and file names.
        schedule: None runs all tokens.
        retention: The (video, audio) ratios that SEATS was asked for; None for another schedule.
        trace: What the schedule kept; None without one.
        prefill_seconds: One measurement per repeat: encoders, selection, all decoder layers, logits of the last token.
            CPU time where the model is on a CPU, so that neighbours on a shared machine count less; wall time on a GPU.
        encoder_seconds: Of each, the part spent in the vision and the audio tower.
        layer_seconds: One list per repeat, with an entry per decoder layer, of prefills of their own: looking at the
            clock around every layer is no part of `prefill_seconds`. Selection between layers is left out.
        layer_clock: Which clock that was, and where.
        kv_bytes: Keys and values in the cache after the prefill, of all layers.
        answer: Token ids generated greedily.
    """

    name: str
    schedule: Schedule | None = None
    retention: tuple[float, float] | None = (1.0, 1.0)
    trace: PruneTrace | None = None
    prefill_seconds: list[float] = field(default_factory=list)
    encoder_seconds: list[float] = field(default_factory=list)
    layer_seconds: list[list[float]] = field(default_factory=list)
    layer_clock: str = ""
    kv_bytes: int = 0
    answer: list[int] = field(default_factory=list)


def slug(name: str) -> str:
    """A run's name as part of file names, without what folders and shells read otherwise."""
    return re.sub(r"[\s/\\:*?\"<>|\[\]]+", "-", name.lower()).rstrip("%-")


def paper_runs(config: Any) -> list[Run]:
    """All tokens, then SEATS at the paper's retention ratios, most tokens first."""
    runs = [Run("all tokens")]
    for percent, (video, audio) in PAPER_RATIOS.items():
        runs.append(Run(f"SEATS {percent}%", seats(config, video=video, audio=audio), (video, audio)))
    return runs


@torch.no_grad()
def measure(
    model: Any,
    inputs: dict[str, torch.Tensor],
    runs: list[Run],
    *,
    repeats: int = 3,
    max_new_tokens: int = 8,
    kv_policy: str = "uniform",
    backend: str = "auto",
    progress: Callable[[str], None] = lambda text: None,
) -> None:
    """Fill in `runs`. Each generates once, which also warms up; then prefills are timed, the runs taking turns.

    Turns spread a slow moment of the machine over all runs instead of over one. With every timed prefill a run with a
    schedule does another one, for the time of each of its layers.

    Args:
        model: A thinker.
        inputs: Keyword arguments of its forward call, one prompt.
        runs: Changed in place.
        repeats: Timed prefills per run.
        max_new_tokens: Length of the answer.
        kv_policy, backend: As in `seats_ops.integrations.attach`.
        progress: Called with a description before each of the `len(runs) * (1 + repeats)` steps.
    """
    encoders = [part(model, f"model.{name}") for name in ("visual", "audio_tower")]
    layers = part(model, "model.language_model").layers
    clock = functools.partial(now, inputs["input_ids"].device)
    with last_logits_only(model):
        for run in runs:
            progress(f"{run.name}: selection and answer")
            with attached(model, run.schedule, kv_policy, backend, record="scores") as run.trace:
                output = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
            run.answer = output[0, inputs["input_ids"].shape[1] :].tolist()
        for repeat in range(repeats):
            # Forth and back: no run always comes after the same one.
            for run in runs[:: -1 if repeat % 2 else 1]:
                progress(f"{run.name}: timed prefill {repeat + 1} of {repeats}")
                with attached(model, run.schedule, kv_policy, backend), Stopwatch(encoders, clock) as watch:
                    output = model(**inputs, use_cache=True)
                run.prefill_seconds.append(watch.seconds)
                run.encoder_seconds.append(watch.inside)
                run.kv_bytes = kv_bytes(cache_of(output))
                if run.schedule is not None:
                    with attached(model, run.schedule, kv_policy, backend), contextlib.ExitStack() as stack:
                        watches = [stack.enter_context(Stopwatch([layer], clock)) for layer in layers]
                        model(**inputs, use_cache=True)
                    run.layer_seconds.append([watch.inside for watch in watches])
                    run.layer_clock = said_of(inputs["input_ids"].device)


def layer_medians(run: Run) -> list[float]:
    """Seconds of every decoder layer."""
    return [statistics.median(times) for times in zip(*run.layer_seconds, strict=True)]
