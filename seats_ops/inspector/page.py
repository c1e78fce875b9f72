"""Puts page, style, program and what there is to show into one file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from seats_ops.cost.decoder_sizes import decoder_sizes
from seats_ops.files import write_whole
from seats_ops.inspector.facts import described, items_of, keys_of, layers_of, run_of, tokens_of
from seats_ops.inspector.media import Media, drawn
from seats_ops.trace.prefill import Prefill
from seats_ops.validation import describe
from seats_ops.version import __version__

# In this order: each knows those before it.
PROGRAM = ("data.js", "merges.js", "view.js", "timeline.js", "prompt.js", "token.js", "tables.js", "main.js")


def page(
    trace: Prefill,
    *,
    media: Media | None = None,
    other: Prefill | None = None,
    names: Sequence[str] = ("A", "B"),
    row: int = 0,
    config: Any = None,
    kv_element_bytes: int = 2,
    layer_seconds: Sequence[Sequence[float]] | None = None,
    layer_clock: str = "",
) -> str:
    """The page as text; see `PruneTrace.to_html`.

    Example:
        >>> from seats_ops import Modality, Schedule
        >>> from seats_ops.inspector import page
        >>> from seats_ops.integrations import Pruning
        >>> from seats_ops.testing import layout_of_runs
        >>> import torch
        >>> with Pruning(Schedule(), layout_of_runs([[(Modality.AUDIO, 5), (Modality.TEXT, 2)]])) as pruning:
        ...     _ = pruning.before_llm(torch.zeros(7, 4))
        >>> page(pruning.trace).startswith("<!doctype html>")
        True
    """
    traces = [trace] if other is None else [trace, other]
    tokens = tokens_of(trace, row)
    if other is not None:
        second = tokens_of(other, row)
        differ = [name for name in ("column", "modality") if second[name] != tokens[name]]
        if differ:
            raise ValueError(f"other: expected a trace of the same prompt, got one with another {differ[0]} of a token")
    items = items_of(trace, row)
    shown = Media() if media is None else media
    pictures = drawn(shown, items)
    data = {
        "version": __version__,
        "title": shown.title,
        "clock": layer_clock,
        "row": row,
        "rows": len(trace.prompt_lengths),
        "total": trace.prompt_lengths[row],
        "tokens": tokens,
        "items": described(items, pictures),
        "runs": [
            {
                "name": name,
                **run_of(each, row),
                "layers": _layers(each, row, config, kv_element_bytes),
                "seconds": _seconds(layer_seconds, number, traces),
            }
            for number, (each, name) in enumerate(zip(traces, names, strict=False))
        ],
    }
    text = _asset("page.html")
    program = "\n".join(_asset(name) for name in PROGRAM)
    # What is given last is not looked through for the names of others.
    for mark, content in (("/*style*/", _asset("page.css")), ("/*program*/", program), ("/*data*/", _embedded(data))):
        text = text.replace(mark, content)
    return text


def write(path: str | Path, text: str, *, exist_ok: bool = False) -> Path:
    """The whole file or none under its name.

    Raises:
        FileExistsError: there is one already, and `exist_ok` does not allow to replace it.
        OSError: it cannot be written.

    Example:
        >>> from seats_ops.inspector import write
        >>> write("own.html", "<!doctype html><title>Mine</title>").name
        'own.html'
        >>> write("own.html", "another")
        Traceback (most recent call last):
        FileExistsError: path: expected one that does not exist, got own.html; exist_ok=True replaces it
    """
    target = Path(path)
    if target.exists() and not exist_ok:
        raise FileExistsError(f"path: expected one that does not exist, got {target}; exist_ok=True replaces it")
    write_whole(target, text)
    return target


def _embedded(data: dict[str, Any]) -> str:
    """JSON inside a script: nothing in it can end the script, or be read as markup."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _layers(trace: Prefill, row: int, config: Any, kv_element_bytes: int) -> dict[str, Any] | None:
    """Tokens of every layer; with a config FLOPs (one per multiply-add) and bytes of keys and values too."""
    number = len(trace.kv_lengths) or (0 if config is None else decoder_sizes(config).layers)
    if not number:
        return None
    tokens = layers_of(trace, row, number)
    found: dict[str, Any] = {"tokens": tokens, "full": trace.prompt_lengths[row]}
    if config is not None:
        sizes = decoder_sizes(config)
        if sizes.layers != number:
            raise ValueError(f"config: expected {number} layers as the trace has, got {sizes.layers}")
        found["flops"] = sizes.macs_per_layer(tokens)
        found["kv_bytes"] = [2 * sizes.kv_width * kv_element_bytes * n for n in keys_of(trace, row)]
    return found


def _seconds(given: Sequence[Sequence[float]] | None, number: int, traces: Sequence[Prefill]) -> list[float] | None:
    if given is None:
        return None
    if len(given) != len(traces):
        raise ValueError(
            f"layer_seconds: expected one list for each of {len(traces)} trace(s), got {describe(list(given))}"
        )
    seconds, layers = list(given[number]), len(traces[number].kv_lengths)
    if layers and len(seconds) != layers:
        raise ValueError(f"layer_seconds[{number}]: expected one for each of {layers} layers, got {len(seconds)}")
    return seconds


def _asset(name: str) -> str:
    return files("seats_ops.inspector").joinpath("assets", name).read_text(encoding="utf-8")
