"""Tables of what takes longer than a prefill: ever longer clips, and decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.report.numbers import NOTHING, table

MIB = 2**20
Rows = Sequence[dict[str, Any]]


def growth(rows: Rows) -> str:
    """By axis: milliseconds and, in brackets, MiB at the peak."""
    parts = []
    for axis in ("tokens", "windows", "batch"):
        along = [row for row in rows if row["axis"] == axis]
        if not along:
            continue
        places = sorted({row["place"] for row in along})
        cells = {
            (row["entry"], row["place"]): f"{1e3 * row['seconds']['median']:,.1f} ({row['peak_bytes'] / MIB:,.0f})"
            for row in along
        }
        body = [
            [f"`{entry}`", *(cells.get((entry, p), NOTHING) for p in places)]
            for entry in sorted({row["entry"] for row in along})
        ]
        parts.append(table([axis, *(f"{place:,}" for place in places)], body))
    return "\n\n".join(parts)


def decode(rows: Rows) -> str:
    """By side, the model without pruning among them."""
    body = [
        [
            row["name"].removeprefix("decode/"),
            f"{row['seconds_to_first_token']['median']:.2f}",
            f"{1e3 * row['seconds_per_token']['median']:.1f}",
            f"{row['kv_bytes'] / MIB:.1f}",
            f"{(row['rss_peak'] - row['rss_loaded']) / MIB:.0f}",
            f"{(row['rss_with_cache'] - row['rss_loaded']) / MIB:.0f}",
        ]
        for row in rows
    ]
    heads = ("first token, s", "further token, ms", "KV, MiB", "peak RSS over the model, MiB", "RSS left, MiB")
    return table(["Side", *heads], body)
