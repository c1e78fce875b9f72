"""compare(model, prompts, schedules): what pruning saves and what it changes, on prompts of one's own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from seats_ops.backend import BACKENDS
from seats_ops.compare.folder import Folder
from seats_ops.compare.outcome import Comparison
from seats_ops.compare.overall import differences, overall, worst_first
from seats_ops.compare.prompt import How, Prompt, compare_prompt
from seats_ops.compare.records import ALL_TOKENS, PromptRecord
from seats_ops.cost import KV_POLICIES
from seats_ops.integrations.huggingface.families.family import find_family
from seats_ops.integrations.huggingface.guards.refusals import check_schedule
from seats_ops.measure.stopwatch import said_of
from seats_ops.schedule import Schedule
from seats_ops.trace import PruneTrace
from seats_ops.validation import check_int, describe


def compare(
    model: nn.Module,
    prompts: Mapping[str, Prompt | Callable[[], Prompt]],
    schedules: Mapping[str, Schedule],
    *,
    max_new_tokens: int = 64,
    repeats: int = 3,
    kv_policy: str = "uniform",
    backend: str = "auto",
    decode: Callable[[tuple[int, ...]], str] | None = None,
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    identities: Mapping[str, Any] | None = None,
    pages: bool = True,
    notes: Sequence[str] = (),
    progress: Callable[[float, str], None] = lambda done, text: None,
) -> Comparison:
    """Answer every prompt with all tokens and with every schedule, and measure what differs and what it costs.

    A prompt that fails is reported and the next one goes on. With a folder every prompt is written down as soon as it
    is measured; the same call again, after it was interrupted, goes on where it stopped and tries again what failed.

    Args:
        model: of a supported family, as for `attach`; of a full Omni model the thinker is compared.
        prompts: name -> a prompt, or a function that makes it when it is its turn.
        schedules: name -> schedule.
        max_new_tokens: length of the answers.
        repeats: timed prefills per prompt and schedule; tables show medians.
        kv_policy, backend: as for `attach`.
        decode: answers as text.
        out: folder for `prompts.jsonl`, `overall.json`, `index.html` and a page and a trace for every prompt and
            schedule.
        settings: what else decides the numbers, such as the name of the model: a folder of a comparison with others
            is refused.
        identities: name of a prompt -> what it is, for JSON; one that has changed is run anew.
        notes: of the result, for its readers.
        pages: False leaves out the pages and traces of prompts.
        progress: called with the number of prompts done, in parts of one, and what comes next.

    Raises:
        TypeError, ValueError: a model or a schedule that does not fit it, no prompts, no schedules, bad options, a
            folder of another comparison. OSError: the folder cannot be written; what was measured before is in it.

    Example:
        >>> from seats_ops import ModalityDropper, Schedule
        >>> from seats_ops.compare import Prompt, compare
        >>> late = Schedule(after_layer={20: ModalityDropper()})
        >>> result = compare(model, {"clip": Prompt(inputs)}, {"late": late}, max_new_tokens=1, repeats=1)
        >>> [run.name for run in result.records[0].runs]
        ['all tokens', 'late']
        >>> result.overall["late"]["kl"].prompts
        1
    """
    how = How(max_new_tokens, repeats, kv_policy, backend, decode)
    thinker = _check(model, prompts, schedules, how)
    asked = {
        "schedules": {name: schedule.to_dict() for name, schedule in schedules.items()},
        **{"max_new_tokens": max_new_tokens, "repeats": repeats, "kv_policy": kv_policy, "backend": backend},
        **(settings or {}),
    }
    folder = None if out is None else Folder(Path(out), asked)
    known = {} if folder is None else folder.journal.records
    found: list[PromptRecord] = []
    for number, (name, given) in enumerate(prompts.items()):
        identity = json.loads(json.dumps((identities or {}).get(name)))
        record = known.get(name)
        lacks_pages = folder is not None and pages and not folder.has_pages(name, schedules)
        if record is None or record.error is not None or record.identity != identity or lacks_pages:
            progress(number, name)
            step = _steps(number, (1 + len(schedules)) * (repeats + 2), progress)
            prompt, record, traces = _run(model, name, given, schedules, how, step)
            record = replace(record, identity=identity)
            if folder is not None:
                folder.journal.add(record)
                if pages and prompt is not None:
                    folder.add_pages(record, traces, prompt.media, thinker.config)
        found.append(record.in_order(schedules))
    done = worst_first([record for record in found if record.error is None])
    failed = [record for record in found if record.error is not None]
    page = None if folder is None else folder.page
    clock = said_of(next(thinker.parameters()).device)
    names = list(schedules) if done else []
    result = Comparison(done, failed, overall(done, names), differences(done, names), clock, tuple(notes), page)
    if folder is not None:
        folder.finish(result)
    return result


def _steps(before: int, steps: int, progress: Callable[[float, str], None]) -> Callable[[str], None]:
    """Of one prompt: an answer, timed prefills and one whose memory is watched, for every way to run it."""
    taken = itertools.count()
    return lambda text: progress(before + next(taken) / steps, text)


def _run(
    model: nn.Module,
    name: str,
    given: Prompt | Callable[[], Prompt],
    schedules: Mapping[str, Schedule],
    how: How,
    step: Callable[[str], None],
) -> tuple[Prompt | None, PromptRecord, dict[str, PruneTrace]]:
    """Whatever a prompt does, the next one gets its turn."""
    try:
        prompt = given if isinstance(given, Prompt) else given()
        return prompt, *compare_prompt(model, name, prompt, schedules, how, step)
    except Exception as error:
        kind = "" if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: "
        return None, PromptRecord(name, error=f"{kind}{error}"), {}


def _check(model: nn.Module, prompts: Mapping[str, Any], schedules: Mapping[str, Schedule], how: How) -> Any:
    """What can be known to be wrong before anything runs; the thinker if nothing is."""
    family, thinker = find_family(model)
    for name, value in (("prompts", prompts), ("schedules", schedules)):
        if not isinstance(value, Mapping) or not value or not all(isinstance(key, str) and key for key in value):
            raise TypeError(f"{name}: expected a mapping of names with at least one entry, got {describe(value)}")
    for name, schedule in schedules.items():
        if name == ALL_TOKENS:
            raise ValueError(f"schedules: expected other names than {ALL_TOKENS!r}, which is the run without one")
        try:
            check_schedule(schedule, family.text_model(thinker).config)
        except (TypeError, ValueError) as error:
            raise type(error)(f"schedules[{name!r}]: {error}") from error
    for name in ("max_new_tokens", "repeats"):
        check_int(name, getattr(how, name), 1)
    for name, choices in (("kv_policy", KV_POLICIES), ("backend", BACKENDS)):
        if getattr(how, name) not in choices:
            raise ValueError(f"{name}: expected one of {choices}, got {getattr(how, name)!r}")
    return thinker
