"""A prompt to compare on, and the comparison of one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from seats_ops.compare.answers import Answer, agreement, answer, answer_along
from seats_ops.compare.records import ALL_TOKENS, Agreement, PromptRecord, RunRecord
from seats_ops.cost.decoder_sizes import decoder_sizes
from seats_ops.inspector import Media
from seats_ops.inspector.facts import layers_of
from seats_ops.integrations.huggingface.compat import cache_of, part
from seats_ops.integrations.huggingface.families.family import find_family
from seats_ops.measure.memory import peak_bytes
from seats_ops.measure.prefill import attached, kv_bytes, last_logits_only
from seats_ops.measure.stopwatch import Stopwatch, now
from seats_ops.schedule import Schedule
from seats_ops.trace import PruneTrace
from seats_ops.trace.retention import mean_asked_of, mean_retention


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        inputs: keyword arguments of the model, `input_ids` int64 [1, S] among them, as its processor gives them.
        question: for tables and pages.
        media: what the prompt showed and played, for the pages of its traces.

    Example:
        >>> from seats_ops.compare import Prompt
        >>> Prompt(inputs, "Who is speaking?").question
        'Who is speaking?'
    """

    inputs: Mapping[str, Any]
    question: str = ""
    media: Media | None = None


@dataclass(frozen=True)
class How:
    """Options of a comparison, checked."""

    max_new_tokens: int
    repeats: int
    kv_policy: str
    backend: str
    decode: Callable[[tuple[int, ...]], str] | None


@torch.no_grad()
def compare_prompt(
    model: nn.Module,
    name: str,
    prompt: Prompt,
    schedules: Mapping[str, Schedule],
    how: How,
    step: Callable[[str], None],
) -> tuple[PromptRecord, dict[str, PruneTrace]]:
    """Run one prompt with all tokens and with every schedule; the traces are those of the answers, with scores.

    Raises:
        ValueError: more than one prompt. Whatever the model raises.
    """
    family, thinker = find_family(model)
    device = next(thinker.parameters()).device
    inputs = {key: value.to(device) if torch.is_tensor(value) else value for key, value in prompt.inputs.items()}
    if inputs["input_ids"].shape[0] != 1:
        raise ValueError(f"inputs: expected one prompt, got a batch of {inputs['input_ids'].shape[0]}")
    ways: dict[str, Schedule | None] = {ALL_TOKENS: None, **schedules}
    traces: dict[str, PruneTrace] = {}
    answers: dict[str, Answer] = {}
    agreements: dict[str, Agreement] = {}
    with last_logits_only(thinker):
        for way, schedule in ways.items():
            step(f"{name}: {way}, answer")
            under = functools.partial(attached, thinker, schedule, how.kv_policy, how.backend)
            with under(record="scores") as trace:
                answers[way] = answer(thinker, inputs, how.max_new_tokens)
            if trace is None:
                continue
            traces[way] = trace
            full, pruned = answers[ALL_TOKENS], answers[way]
            along = pruned
            # An answer that is the same was chosen along the same tokens.
            if pruned.tokens != full.tokens:
                with under():
                    along = answer_along(thinker, inputs, full.tokens)
            agreements[way] = agreement(full, pruned, along)
        encoders = [part(thinker, tower.path) for tower in (family.vision, family.audio) if tower is not None]
        costs = _costs(thinker, inputs, ways, how, encoders, lambda way: step(f"{name}: {way}, prefill"))
    counts = next(iter(traces.values())).prompt_counts
    sizes = decoder_sizes(thinker.config)
    runs = []
    for way in ways:
        whole = [sum(counts.values())] * sizes.layers
        tokens = layers_of(traces[way], 0, sizes.layers) if way in traces else whole
        said = how.decode(answers[way].tokens) if how.decode else None
        runs.append(
            RunRecord(
                name=way,
                answer=answers[way].tokens,
                text=said,
                mean_tokens=sum(tokens) / len(tokens),
                last_tokens=tokens[-1],
                flops=sum(sizes.macs_per_layer(tokens)),
                agreement=agreements.get(way),
                kept=mean_retention(traces[way], sizes.layers) if way in traces else {},
                asked=mean_asked_of(traces[way], sizes.layers) if way in traces else {},
                **costs[way],
            )
        )
    return PromptRecord(name, question=prompt.question, prompt_tokens=dict(counts), runs=tuple(runs)), traces


def _costs(
    thinker: Any,
    inputs: Mapping[str, Any],
    ways: Mapping[str, Schedule | None],
    how: How,
    encoders: list[nn.Module],
    step: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Seconds, cache and memory of every way; they take turns, so that a slow moment of the machine is everyone's."""
    device = inputs["input_ids"].device
    clock = functools.partial(now, device)
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    found: dict[str, dict[str, Any]] = {}
    for repeat in range(how.repeats):
        # Forth and back: no way always comes after the same one.
        for way in list(ways)[:: -1 if repeat % 2 else 1]:
            step(way)
            with attached(thinker, ways[way], how.kv_policy, how.backend), Stopwatch(encoders, clock) as watch:
                thinker(**inputs, use_cache=True)
            seconds[way].append((watch.seconds, watch.seconds - watch.inside))
    for way, schedule in ways.items():
        step(way)
        kept: list[Any] = []
        with attached(thinker, schedule, how.kv_policy, how.backend):
            peak = peak_bytes(lambda kept=kept: kept.append(thinker(**inputs, use_cache=True)), device)  # type: ignore[misc]
        found[way] = {
            "first_token_seconds": tuple(whole for whole, _ in seconds[way]),
            "prefill_seconds": tuple(rest for _, rest in seconds[way]),
            "kv_bytes": kv_bytes(cache_of(kept[0])),
            "peak_bytes": peak,
        }
    return found
