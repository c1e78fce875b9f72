"""`seats-ops inspect`: what a saved trace says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import typer
from rich.console import Console
from rich.markup import escape

from seats_ops import PruneTrace
from seats_ops.cost.asked import beside
from seats_ops.trace.retention import mean_asked_of, mean_retention

from .tables import new_table, stage_title

EXPECTED = "a JSON file that PruneTrace.save wrote"


def inspect(console: Console, path: Path, *, indices: bool = False, as_json: bool = False) -> PruneTrace:
    """Print stages, budgets per window and keys per layer of the trace in `path`.

    Args:
        console: To print to.
        path: A file that `PruneTrace.save` wrote.
        indices: Print the kept columns of every prompt as well.
        as_json: Print the same as JSON, nothing else.

    Raises:
        ValueError: the file is not a trace.
    """
    trace = _loaded("trace", path)
    if as_json:
        stored = json.loads(trace.to_json())
        if not indices:
            stored = {name: value for name, value in stored.items() if name not in ("layout", "saliency")}
            for stage in stored["stages"]:
                for name in ("kept_indices", "scores", "merge", "multiplicity", "order"):
                    stage.pop(name, None)
        typer.echo(json.dumps(stored, indent=1))
        return trace
    media = [name for name, count in trace.prompt_counts.items() if count]
    table = new_table(
        f"{escape(path.name)}: {len(trace.prompt_lengths)} prompt(s)", ["stage", "acts", "tokens", *media]
    )
    table.add_row("prompt", "", f"{sum(trace.prompt_lengths):,}", *[f"{trace.prompt_counts[m]:,}" for m in media])
    for stage in trace.stages:
        counts = [_count(stage.counts.get(name, 0), trace.prompt_counts[name]) for name in media]
        table.add_row(escape(stage.name), stage_title(stage.layer).replace("\n", " "), f"{stage.num_tokens:,}", *counts)
    console.print(table)

    budgeted = [stage for stage in trace.stages if stage.budgets is not None]
    if budgeted:
        budgets = new_table(
            "Budgets: video + audio",
            ["window", *[stage_title(stage.layer) for stage in budgeted]],
        )
        windows = max(len(stage.budgets) for stage in budgeted if stage.budgets is not None)
        for window in range(windows):
            cells = []
            for stage in budgeted:
                pairs = stage.granted() or []
                pair = pairs[window] if window < len(pairs) else ("-", "-")
                cells.append(" + ".join("-" if number is None else str(number) for number in pair))
            budgets.add_row(str(window), *cells)
        console.print(budgets)
    for stage in trace.stages:
        if stage.merge is not None:
            rows, which = stage.merge.target.unique(dim=0, return_inverse=True)
            sums = torch.zeros(len(rows), dtype=torch.float32, device="cpu").index_add(
                0, which, stage.merge.coefficient
            )
            where = f"{escape(stage.name)} ({stage_title(stage.layer)})".replace("\n", " ")
            ends = f"{sums.min():.4g} to {sums.max():.4g}" if len(rows) else "nothing"
            said = f"{len(rows):,} kept tokens are sums, whose coefficients add up to {ends}"
            console.print(f"{where}: {said}", soft_wrap=True)
    if trace.kv_lengths:
        layers = len(trace.kv_lengths)
        shares = beside(mean_retention(trace, layers), mean_asked_of(trace, layers))
        if shares:
            console.print(f"Kept, mean of {layers} layers: {shares}", soft_wrap=True)
        console.print(f"Keys per layer after the prefill: {_runs(trace.kv_lengths)}", soft_wrap=True)
    if indices:
        for stage in trace.stages:
            for row, kept in enumerate(stage.kept_indices):
                console.print(
                    f"{escape(stage.name)} (layer {stage.layer}), prompt {row}: {kept.tolist()}", soft_wrap=True
                )
    return trace


def write_page(console: Console, path: Path, html: Path, other: Path | None, row: int) -> None:
    """Write the page of the trace in `path`, beside the one in `other`.

    Raises:
        ValueError: a file is no trace, knows no tokens, or is of another prompt; the page exists or cannot be written.
    """
    second = None if other is None else _loaded("other", other)
    names = (path.name, "" if other is None else other.name)
    if other is not None and path.name == other.name:
        names = (str(path), str(other))
    trace = _loaded("trace", path)
    try:
        trace.to_html(html, other=second, names=names, row=row)
    except OSError as error:
        reason = error.strerror or "it exists"
        raise ValueError(f"--html: expected a new file in a folder to write to, got {html} ({reason})") from error
    console.print(f"Open {html.absolute()} in a browser.", markup=False, soft_wrap=True)


def _loaded(name: str, path: Path) -> PruneTrace:
    """Raises ValueError: the file is not a trace."""
    try:
        trace = PruneTrace.load(path)
        _check(trace)
    except OSError as error:
        raise ValueError(f"{name}: expected {EXPECTED}, got {path} ({error.strerror})") from error
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError, RecursionError) as error:
        reason = f"no {error} in it" if isinstance(error, KeyError) else error
        raise ValueError(f"{name}: expected {EXPECTED}, got {path} ({reason})") from error
    return trace


def _check(trace: PruneTrace) -> None:
    """Raises TypeError: JSON with a trace's names need not be one."""
    names: list[Any] = [stage.name for stage in trace.stages]
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"names of stages are missing where it has {names!r}")
    dicts: list[Any] = [trace.prompt_counts, *[stage.counts for stage in trace.stages]]
    lists: list[Any] = [trace.prompt_lengths, trace.kv_lengths]
    lists += [[stage.layer, stage.num_tokens] for stage in trace.stages]
    for kind, values in ((dict, dicts), (list, lists)):
        for found in values:
            numbers: Any = found.values() if isinstance(found, dict) else found
            if not isinstance(found, kind) or not all(isinstance(number, int) for number in numbers):
                raise TypeError(f"whole numbers are missing where it has {found!r}")
    for stage in trace.stages:
        if stage.budgets is not None and (stage.budgets.dim() != 2 or stage.budgets.shape[1] != 2):
            raise TypeError(f"budgets are not pairs in {stage.name!r}")


def _count(left: int, before: int) -> str:
    return f"{left:,} ({left / before:.1%})"


def _runs(lengths: list[int]) -> str:
    """`[67, 67, 67]` as `67 (layers 1-3)`."""
    parts, start = [], 0
    for end in range(1, len(lengths) + 1):
        if end == len(lengths) or lengths[end] != lengths[start]:
            where = f"layers {start + 1}-{end}" if end - start > 1 else f"layer {end}"
            parts.append(f"{lengths[start]:,} ({where})")
            start = end
    return ", ".join(parts)
